"""Odd files of every kind, written word by word without the package's own code."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import struct
import zipfile
import zlib

import numpy as np

SHAPE = (9, 10, 11)  # z, y, x
VOXEL = 1.5


def values(shape=SHAPE):
    return np.random.default_rng(7).normal(size=shape).astype(np.float32)


def map_bytes(
    data=None,
    *,
    order="<",
    stamp=b"DD\0\0",
    word=b"MAP ",
    mode=2,
    dtype="f4",
    sizes=None,
    cell=None,
    angles=(90.0, 90.0, 90.0),
    m=None,
    axes=(1, 2, 3),
    start=(0, 0, 0),
    origin=(0.0, 0.0, 0.0),
    ispg=1,
    nsymbt=0,
    symmetry=None,
    extra=b"",
    imod=None,
    statistics=None,
):
    data = values() if data is None else data
    nz, ny, nx = data.shape
    head = bytearray(1024)

    def put(first_word, form, *items):
        struct.pack_into(order + form, head, 4 * (first_word - 1), *items)

    put(1, "4i", *(sizes or (nx, ny, nz)), mode)
    put(5, "3i", *start)
    put(8, "3i", *(m or (nx, ny, nz)))
    put(11, "3f", *(cell or (nx * VOXEL, ny * VOXEL, nz * VOXEL)))
    put(14, "3f", *angles)
    put(17, "3i", *axes)
    finite = np.nan_to_num(data.astype(np.float64), posinf=0, neginf=0)
    put(20, "3f", *(statistics or (finite.min(), finite.max(), finite.mean())))
    put(23, "2i", ispg, nsymbt)
    if imod is not None:
        put(39, "2i", 1146047817, imod)
    put(50, "3f", *origin)
    head[208:212] = word
    head[212:216] = stamp
    symmetry = b"\0" * max(nsymbt, 0) if symmetry is None else symmetry
    return bytes(head) + symmetry + data.astype(order + dtype).tobytes() + extra


def with_value(value, place=(1, 2, 3)):
    data = values()
    data[place] = value
    return data


PDB_LINE = (
    "ATOM  {:5d}  {:<3s} {:3s} {:1s}{:4d}    {:8.3f}{:8.3f}{:8.3f}{:6.2f}{:6.2f}          {:>2s}"
)


def pdb_atoms(count=20, residue="ALA", step=1.5, occupancy=1.0):
    names = ("N", "CA", "C", "O", "CB")
    return [
        PDB_LINE.format(
            i + 1,
            names[i % 5],
            residue,
            "A",
            i // 5 + 1,
            3.0 + step * i,
            4.0 + min(step, 1.0) * (i % 5),
            5.0,
            occupancy,
            30.0,
            names[i % 5][0],
        )
        for i in range(count)
    ]


def pdb_text(lines=None):
    return "HEADER    PROTEIN                                 01-JAN-20   9ZZZ\n" + "\n".join(
        [*(pdb_atoms() if lines is None else lines), "TER", "END", ""]
    )


CIF_TAGS = (
    "group_PDB id type_symbol label_atom_id label_alt_id label_comp_id label_asym_id "
    "label_entity_id label_seq_id pdbx_PDB_ins_code Cartn_x Cartn_y Cartn_z occupancy "
    "B_iso_or_equiv auth_seq_id auth_asym_id pdbx_PDB_model_num"
).split()


def cif_rows(count=20):
    names = ("N", "CA", "C", "O", "CB")
    for i in range(count):
        name, number = names[i % 5], i // 5 + 1
        yield dict(
            zip(
                CIF_TAGS,
                (
                    *("ATOM", str(i + 1), name[0], name, ".", "ALA", "A", "1", str(number), "?"),
                    *(f"{3 + 1.5 * i:.3f}", f"{4 + i % 5:.3f}", "5.000", "1.00", "30.0"),
                    *(str(number), "A", "1"),
                ),
                strict=True,
            )
        )


def cif_text(drop=(), change=None, name="9ZZZ", rows=None, end="#\n"):
    tags = [tag for tag in CIF_TAGS if tag not in drop]
    lines = [f"data_{name}", f"_entry.id {name}", "loop_", *("_atom_site." + tag for tag in tags)]
    for i, row in enumerate(cif_rows() if rows is None else rows):
        row = row | (change(i) if change else {})
        lines.append(" ".join(row[tag] for tag in tags))
    return "\n".join(lines) + "\n" + end


def at(index, **cells):
    """Change one row of a CIF table."""
    return lambda i: cells if i == index else {}


def gz(data):
    return gzip.compress(data, mtime=0)


def zipped(data):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("a.map", data)
    return buffer.getvalue()


def shifted(lines, columns):
    return [line[:28] + " " * columns + line[28:] for line in lines]


HTML = b"<!DOCTYPE html>\n<html><head><title>503 Busy</title></head><body>wait</body></html>\n"
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:0000\nsize 12345\n"
GOOD = map_bytes()
NOISE = np.random.default_rng(3).bytes(5000)
PDB = pdb_text().encode()
CIF = cif_text().encode()

# name -> (file name, bytes, kind, code); '' is a good file.
MAPS = {
    "good": ("a.mrc", GOOD, "map", ""),
    "empty": ("a.map", b"", "map", "FILE_EMPTY"),
    "gzip of nothing": ("a.map.gz", gz(b""), "map", "FILE_EMPTY"),
    "cut header": ("a.map", GOOD[:500], "map", "FILE_TRUNCATED"),
    "cut before the map word": ("a.map", GOOD[:150], "map", "FILE_TRUNCATED"),
    "cut data": ("a.map", GOOD[:-7], "map", "FILE_TRUNCATED"),
    "header only": ("a.map", GOOD[:1024], "map", "FILE_TRUNCATED"),
    "few extra bytes": ("a.map", GOOD + b"x" * 1000, "map", ""),
    "many extra bytes": ("a.map", GOOD + b"x" * 1024, "map", "FILE_EXTRA_BYTES"),
    "two volumes": ("a.map", map_bytes(extra=values().tobytes()), "map", "FILE_EXTRA_BYTES"),
    "gzip cut": ("a.map.gz", gz(GOOD)[:-500], "map", "FILE_GZ_TRUNCATED"),
    "gzip without trailer": ("a.map.gz", gz(GOOD)[:-8], "map", "FILE_GZ_TRUNCATED"),
    "gzip wrong CRC": (
        "a.map.gz",
        gz(GOOD)[:-8] + bytes(8),
        "map",
        "FILE_GZ_CORRUPT",
    ),
    "gzip damaged block": (
        "a.map.gz",
        gz(GOOD)[:200] + bytes(50) + gz(GOOD)[250:],
        "map",
        "FILE_GZ_CORRUPT",
    ),
    "gzip then garbage": ("a.map.gz", gz(GOOD) + b"garbage", "map", "FILE_GZ_TRAILING"),
    "gzip then zeros": ("a.map.gz", gz(GOOD) + bytes(512), "map", ""),
    "gzip of two members": ("a.map.gz", gz(GOOD[:700]) + gz(GOOD[700:]), "map", ""),
    "gzip in gzip": ("a.map.gz", gz(gz(GOOD)), "map", "FILE_GZ_NESTED"),
    "gzip bomb": ("a.map.gz", gz(GOOD + bytes(50_000_000)), "map", "FILE_GZ_CAP"),
    "gzip without suffix": ("a.map", gz(GOOD), "map", ""),
    "plain under gz": ("a.map.gz", GOOD, "map", ""),
    "bzip2": ("a.map.bz2", bz2.compress(GOOD), "map", "FILE_COMPRESSION"),
    "xz": ("a.map.xz", lzma.compress(GOOD), "map", "FILE_COMPRESSION"),
    "zip": ("a.map.zip", zipped(GOOD), "map", "FILE_COMPRESSION"),
    "zstd": ("a.map.zst", b"\x28\xb5\x2f\xfd" + NOISE, "map", "FILE_COMPRESSION"),
    "7z": ("a.map.7z", b"7z\xbc\xaf\x27\x1c" + NOISE, "map", "FILE_COMPRESSION"),
    "zlib": ("a.map", zlib.compress(GOOD), "map", "FILE_NOT_MAP"),
    "web page": ("a.map.gz", HTML, "map", "FILE_HTML"),
    "web page in gzip": ("a.map.gz", gz(HTML), "map", "FILE_HTML"),
    "pointer": ("a.mrc", POINTER, "map", "FILE_LFS_POINTER"),
    "json": ("a.map", b'{"error": "no such entry"}', "map", "FILE_TEXT"),
    "xml": ("a.map", b'<?xml version="1.0"?><error/>', "map", "FILE_TEXT"),
    "prose": ("a.map", b"Dear user, the archive moved.\n" * 60, "map", "FILE_TEXT"),
    "pdb text": ("a.map", PDB, "map", "FILE_TEXT"),
    "cif text": ("a.mrc.gz", gz(CIF), "map", "FILE_TEXT"),
    "text that spells MAP": ("a.map", b"x" * 208 + b"MAP " + b"y" * 2000, "map", "FILE_TEXT"),
    "png": ("a.map", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + NOISE, "map", "FILE_NOT_MAP"),
    "tiny png": ("a.map", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "map", "FILE_NOT_MAP"),
    "hdf5": ("a.map", b"\x89HDF\r\n\x1a\n" + bytes(3000), "map", "FILE_NOT_MAP"),
    "npy": ("a.map", b"\x93NUMPY\x01\0" + NOISE, "map", "FILE_NOT_MAP"),
    "noise": ("a.map", NOISE, "map", "FILE_NOT_MAP"),
    "zeros": ("a.map", bytes(4000), "map", "FILE_NOT_MAP"),
    "map word blank": ("a.map", map_bytes(word=b"    "), "map", "HDR_MAGIC"),
    "map word with NUL": ("a.map", map_bytes(word=b"MAP\0"), "map", ""),
    "stamp zero": ("a.map", map_bytes(stamp=bytes(4)), "map", ""),
    "stamp lies": ("a.map", map_bytes(stamp=b"\x11\x11\0\0"), "map", ""),
    "big endian": ("a.map", map_bytes(order=">", stamp=b"\x11\x11\0\0"), "map", ""),
    "big endian, zero stamp": ("a.map", map_bytes(order=">", stamp=bytes(4)), "map", ""),
    "complex": ("a.map", map_bytes(mode=4), "map", "HDR_MODE_COMPLEX"),
    "complex integers": ("a.map", map_bytes(mode=3), "map", "HDR_MODE_COMPLEX"),
    "mode 5": ("a.map", map_bytes(mode=5), "map", "HDR_MODE"),
    "mode 101": ("a.map", map_bytes(mode=101), "map", "HDR_MODE"),
    "mode negative": ("a.map", map_bytes(mode=-2), "map", "HDR_MODE"),
    "mode 0": ("a.map", map_bytes(values() * 20, mode=0, dtype="i1"), "map", ""),
    "mode 1 big endian": (
        "a.map",
        map_bytes(values() * 99, mode=1, dtype="i2", order=">", stamp=b"\x11\x11\0\0"),
        "map",
        "",
    ),
    "mode 6": ("a.map", map_bytes(np.abs(values()) * 99, mode=6, dtype="u2"), "map", ""),
    "mode 12": ("a.map", map_bytes(mode=12, dtype="f2"), "map", ""),
    "size zero": ("a.map", map_bytes(sizes=(11, 0, 9)), "map", "HDR_DIMENSIONS"),
    "size negative": ("a.map", map_bytes(sizes=(-11, 10, 9)), "map", "HDR_DIMENSIONS"),
    "size overflows": ("a.map", map_bytes(sizes=(2**31 - 1,) * 3), "map", "HDR_DIMENSIONS"),
    "declares 34 GB": ("a.map", map_bytes(sizes=(2048,) * 3), "map", "HDR_DIM_LIMIT"),
    "small": ("a.map", map_bytes(values((4, 9, 9))), "map", "HDR_DIM_SMALL"),
    "image": ("a.map", map_bytes(values((1, 40, 40))), "map", "HDR_NOT_3D"),
    "image stack": (
        "a.mrcs",
        map_bytes(values((20, 40, 40)), ispg=0, m=(40, 40, 1), cell=(60.0, 60.0, 1.5)),
        "map",
        "HDR_NOT_3D",
    ),
    "sampling zero": ("a.map", map_bytes(m=(11, 0, 9)), "map", "HDR_SAMPLING"),
    "sampling negative": ("a.map", map_bytes(m=(11, 10, -9)), "map", "HDR_SAMPLING"),
    "cell zero": ("a.map", map_bytes(cell=(0.0, 0.0, 0.0)), "map", "HDR_CELL"),
    "cell NaN": ("a.map", map_bytes(cell=(np.nan, 15.0, 13.0)), "map", "HDR_CELL"),
    "cell infinite": ("a.map", map_bytes(cell=(np.inf, 15.0, 13.0)), "map", "HDR_CELL"),
    "cell negative": ("a.map", map_bytes(cell=(-16.0, 15.0, 13.0)), "map", "HDR_CELL"),
    "cell of ones": ("a.map", map_bytes(cell=(1.0, 1.0, 1.0)), "map", "HDR_VOXEL_RANGE"),
    "voxel of 50 A": ("a.map", map_bytes(cell=(550.0, 500.0, 450.0)), "map", "HDR_VOXEL_RANGE"),
    "voxel 3 times longer": ("a.map", map_bytes(cell=(11.0, 10.0, 27.0)), "map", "HDR_ANISOTROPY"),
    "voxel 1 % longer": ("a.map", map_bytes(cell=(11.0, 10.0, 9.09)), "map", ""),
    "angle 120": ("a.map", map_bytes(angles=(90.0, 90.0, 120.0)), "map", "HDR_CELL_ANGLES"),
    "angle NaN": ("a.map", map_bytes(angles=(90.0, np.nan, 90.0)), "map", "HDR_CELL_ANGLES"),
    "angles unset": ("a.map", map_bytes(angles=(0.0, 0.0, 0.0)), "map", ""),
    "axes zero": ("a.map", map_bytes(axes=(0, 0, 0)), "map", "HDR_AXES"),
    "axes repeated": ("a.map", map_bytes(axes=(1, 2, 2)), "map", "HDR_AXES"),
    "origin NaN": ("a.map", map_bytes(origin=(np.nan, 0.0, 0.0)), "map", "HDR_ORIGIN"),
    "origin 1e30": ("a.map", map_bytes(origin=(0.0, 1e30, 0.0)), "map", "HDR_ORIGIN"),
    "nstart 2^30": ("a.map", map_bytes(start=(2**30, 0, 0)), "map", "HDR_ORIGIN"),
    "frames disagree": (
        "a.map",
        map_bytes(start=(-5, -5, -5), origin=(30.0, 30.0, 30.0)),
        "map",
        "",
    ),
    "nsymbt negative": ("a.map", map_bytes(nsymbt=-80), "map", "HDR_NSYMBT"),
    "nsymbt huge": (
        "a.map",
        map_bytes(nsymbt=2**31 - 1, symmetry=b""),
        "map",
        "HDR_NSYMBT",
    ),
    "nsymbt huge in gzip": (
        "a.map.gz",
        gz(map_bytes(nsymbt=2**20, symmetry=b"")),
        "map",
        "HDR_NSYMBT",
    ),
    "nsymbt 7": ("a.map", map_bytes(nsymbt=7), "map", ""),
    "stack of volumes": (
        "a.map",
        map_bytes(values((18, 10, 11)), ispg=401, m=(11, 10, 9), cell=(16.5, 15.0, 13.5)),
        "map",
        "HDR_STACK",
    ),
    "ispg 401, one volume": ("a.map", map_bytes(ispg=401), "map", ""),
    "space group 19": ("a.map", map_bytes(ispg=19), "map", "HDR_SPACEGROUP"),
    "space group float": ("a.map", map_bytes(ispg=1065353216), "map", ""),
    "one NaN": ("a.map", map_bytes(with_value(np.nan)), "map", "VAL_NONFINITE"),
    "one infinity": ("a.map", map_bytes(with_value(np.inf)), "map", "VAL_NONFINITE"),
    "half overflow": (
        "a.map",
        map_bytes(with_value(np.inf), mode=12, dtype="f2"),
        "map",
        "VAL_NONFINITE",
    ),
    "constant": ("a.map", map_bytes(np.full(SHAPE, 3.0, np.float32)), "map", "VAL_CONSTANT"),
    "beyond 1e30": ("a.map", map_bytes(with_value(3e31)), "map", "VAL_RANGE"),
    "denormal": (
        "a.map",
        map_bytes(with_value(0) * np.float32(1e-38)),
        "map",
        "VAL_RANGE",
    ),
    "all negative": ("a.map", map_bytes(values() - 1000), "map", ""),
    "wrong statistics": ("a.map", map_bytes(statistics=(5.0, 6.0, 7.0)), "map", ""),
    "map under pdb": ("a.pdb", GOOD, "map", ""),
}

DISTANT = cif_text(change=at(4, Cartn_x="3.0e9")).encode()
MODELS = {
    "good pdb": ("a.pdb", PDB, "model", ""),
    "good cif": ("a.cif", CIF, "model", ""),
    "good cif in gzip": ("a.cif.gz", gz(CIF), "model", ""),
    "empty cif": ("a.cif", b"", "model", "FILE_EMPTY"),
    "white space": ("a.cif", b"  \n \n", "model", "MOD_NO_ATOMS"),
    "web page": ("a.pdb", HTML, "model", "FILE_HTML"),
    "web page in gzip": ("a.cif.gz", gz(HTML), "model", "FILE_HTML"),
    "pointer": ("a.cif", POINTER, "model", "FILE_LFS_POINTER"),
    "bzip2": ("a.cif.bz2", bz2.compress(CIF), "model", "FILE_COMPRESSION"),
    "pdbml": ("a.xml", b'<?xml version="1.0"?><PDBx:datablock/>', "model", "MOD_FORMAT"),
    "mmjson": ("a.cif", b'{"data_9ZZZ": {}}', "model", "MOD_FORMAT"),
    "bcif": ("a.bcif", b"\x83\xa7encoder" + NOISE, "model", "MOD_FORMAT"),
    "prose": ("a.pdb", b"the model is in the other folder\n", "model", "MOD_FORMAT"),
    "utf-16": ("a.pdb", pdb_text().encode("utf-16"), "model", "MOD_ENCODING"),
    "utf-16 without mark": ("a.cif", cif_text().encode("utf-16-le"), "model", "MOD_ENCODING"),
    "NUL hole": ("a.cif", CIF[:400] + bytes(60) + CIF[460:], "model", "MOD_ENCODING"),
    "latin-1": ("a.pdb", b"AUTHOR    J. M\xfcller\n" + PDB, "model", ""),
    "bom": ("a.cif", b"\xef\xbb\xbf" + CIF, "model", ""),
    "crlf": ("a.pdb", PDB.replace(b"\n", b"\r\n"), "model", ""),
    "cr only": ("a.pdb", PDB.replace(b"\n", b"\r"), "model", ""),
    "cif under pdb": ("a.pdb", CIF, "model", ""),
    "pdb under cif": ("a.cif", PDB, "model", ""),
    "gzip under cif": ("a.cif", gz(CIF), "model", ""),
    "plain under gz": ("a.cif.gz", CIF, "model", ""),
    "gzip of members": ("a.cif.gz", gz(CIF[:333]) + gz(CIF[333:]), "model", ""),
    "gzip cut": ("a.cif.gz", gz(CIF)[:-20], "model", "FILE_GZ_TRUNCATED"),
    "gzip bomb": ("a.pdb.gz", gz(PDB + b" " * 80_000_000), "model", "FILE_GZ_CAP"),
    "pdb without suffix": ("model", PDB, "model", ""),
    "coordinate ?": ("a.cif", cif_text(change=at(3, Cartn_y="?")).encode(), "model", "MOD_COORDS"),
    "coordinate nan": (
        "a.cif",
        cif_text(change=at(3, Cartn_y="nan")).encode(),
        "model",
        "MOD_COORDS",
    ),
    "coordinate abc": (
        "a.cif",
        cif_text(change=at(3, Cartn_z="abc")).encode(),
        "model",
        "MOD_COORDS",
    ),
    "coordinate far": ("a.cif", DISTANT, "model", "MOD_COORD_RANGE"),
    "coordinates blank": (
        "a.pdb",
        pdb_text([line[:30] + " " * 24 + line[54:] for line in pdb_atoms()]).encode(),
        "model",
        "MOD_COORDS",
    ),
    "coordinates starred": (
        "a.pdb",
        pdb_text([line[:38] + "********" + line[46:] for line in pdb_atoms()]).encode(),
        "model",
        "MOD_COORDS",
    ),
    "columns shifted right": (
        "a.pdb",
        pdb_text(shifted(pdb_atoms(), 2)).encode(),
        "model",
        "MOD_COORDS",
    ),
    "columns shifted left": (
        "a.pdb",
        pdb_text([line[:26] + line[28:] for line in pdb_atoms()]).encode(),
        "model",
        "MOD_COORDS",
    ),
    "lines cut at 40": (
        "a.pdb",
        pdb_text([line[:40] for line in pdb_atoms()]).encode(),
        "model",
        "MOD_COORDS",
    ),
    "cut in the last line": (
        "a.pdb",
        pdb_text().split("TER")[0].rstrip()[:-40].encode(),
        "model",
        "MOD_TRUNCATED",
    ),
    "no z column": ("a.cif", cif_text(drop=["Cartn_z"]).encode(), "model", "MOD_COLUMNS"),
    "no atom names": ("a.cif", cif_text(drop=["label_atom_id"]).encode(), "model", "MOD_COLUMNS"),
    "no elements": ("a.cif", cif_text(drop=["type_symbol"]).encode(), "model", ""),
    "no ids": ("a.cif", cif_text(drop=["id", "label_alt_id"]).encode(), "model", ""),
    "label columns only": (
        "a.cif",
        cif_text(drop=["auth_seq_id", "auth_asym_id"]).encode(),
        "model",
        "",
    ),
    "capital tags": ("a.cif", CIF.replace(b"_atom_site", b"_ATOM_SITE"), "model", ""),
    "no atom_site": ("a.cif", b"data_9ZZZ\n_entry.id 9ZZZ\n", "model", "MOD_NO_ATOMS"),
    "empty loop": ("a.cif", cif_text(rows=[], end="").encode(), "model", "MOD_NO_ATOMS"),
    "header only": (
        "a.pdb",
        b"HEADER    PROTEIN                                 01-JAN-20   9ZZZ\nEND\n",
        "model",
        "MOD_NO_ATOMS",
    ),
    "obsolete": (
        "a.pdb",
        b"HEADER    PROTEIN                                 01-JAN-20   9ZZZ\n"
        b"OBSLTE     01-JAN-21 9ZZZ      9ZZY\n",
        "model",
        "MOD_NO_ATOMS",
    ),
    "structure factors": (
        "a.cif",
        b"data_r9zzzsf\nloop_\n_refln.index_h\n_refln.index_k\n1 2\n3 4\n",
        "model",
        "MOD_NO_ATOMS",
    ),
    "atoms in two blocks": (
        "a.cif",
        (cif_text() + cif_text(name="OTHER")).encode(),
        "model",
        "MOD_MULTI_BLOCK",
    ),
    "atoms in the second block": (
        "a.cif",
        b"data_first\n_cell.length_a 1\n" + CIF,
        "model",
        "",
    ),
    "block name twice": ("a.cif", CIF + CIF, "model", "MOD_SYNTAX"),
    "ragged loop": ("a.cif", cif_text(end="1 2 3\n#\n").encode(), "model", "MOD_SYNTAX"),
    "open quote": ("a.cif", cif_text(end="_entry.x 'open\n#\n").encode(), "model", "MOD_SYNTAX"),
    "open text field": ("a.cif", cif_text(end="_entry.x\n;open\n").encode(), "model", "MOD_SYNTAX"),
    "tag twice": (
        "a.cif",
        CIF.replace(b"_entry.id 9ZZZ", b"_entry.id 9ZZZ\n_entry.id 9ZZZ"),
        "model",
        "MOD_SYNTAX",
    ),
    "no data_ line": ("a.cif", CIF.split(b"\n", 1)[1], "model", "MOD_SYNTAX"),
    "cut in a row": ("a.cif", CIF[:-60], "model", "MOD_TRUNCATED"),
    "text after END": (
        "a.pdb",
        (pdb_text() + "\n".join(pdb_atoms()) + "\n").encode(),
        "model",
        "",
    ),
    "one point": ("a.pdb", pdb_text(pdb_atoms(5, step=0.0)).encode(), "model", "MOD_DEGENERATE"),
    "no occupancy": (
        "a.pdb",
        pdb_text(pdb_atoms(occupancy=0.0)).encode(),
        "model",
        "MOD_OCCUPANCY",
    ),
    "atoms three times": ("a.pdb", pdb_text(pdb_atoms() * 3).encode(), "model", "MOD_DUPLICATES"),
    "ligand only": (
        "a.pdb",
        pdb_text(pdb_atoms(residue="GOL")).encode(),
        "model",
        "MOD_NO_POLYMER",
    ),
    "unknown elements": (
        "a.cif",
        cif_text(change=lambda _: {"type_symbol": "X"}).encode(),
        "model",
        "MOD_ELEMENT",
    ),
    "two models": (
        "a.pdb",
        "\n".join(
            ["MODEL        7", *pdb_atoms(), "ENDMDL", "MODEL        8", *pdb_atoms(), "ENDMDL"]
        ).encode(),
        "model",
        "",
    ),
    "seqres first": (
        "a.pdb",
        (b"SEQRES   1 A    4  ALA ALA ALA ALA\n" * 300) + PDB,
        "model",
        "",
    ),
}
