"""More odd files: what real programs, broken disks and hurried hands leave behind."""

from __future__ import annotations

import bz2
import gzip
import itertools
import pickle

import numpy as np

from tests.gates.zoo import (
    CIF,
    GOOD,
    HTML,
    NOISE,
    PDB,
    SHAPE,
    at,
    cif_rows,
    cif_text,
    gz,
    map_bytes,
    pdb_atoms,
    pdb_text,
    values,
    with_value,
)

BIG_STAMP = b"\x11\x11\0\0"
N = SHAPE[::-1]


def stored(axes):
    """The zoo's map with its axes stored in another order: same grid, same values."""
    column, row, section = axes
    return values().transpose([3 - section, 3 - row, 3 - column])


def map_case(code="", name="a.map", **words):
    data = words.pop("data", None)
    return (name, map_bytes(data, **words), "map", code)


def patched(raw, word, value):
    """Set one 4-byte word (counted from 1) of a map."""
    start = 4 * (word - 1)
    return raw[:start] + np.int32(value).tobytes() + raw[start + 4 :]


def members(data, size):
    return b"".join(gz(data[i : i + size]) for i in range(0, len(data), size))


def header_flags(flags, extra):
    """A gzip stream with optional header fields."""
    plain = gz(GOOD)
    return plain[:3] + bytes([flags]) + plain[4:10] + extra + plain[10:]


INTEGERS = {0: "i1", 1: "i2", 6: "u2"}
MORE_MAPS = {
    **{
        f"axes {''.join(map(str, axes))}": map_case(
            data=np.ascontiguousarray(stored(axes)), axes=axes, m=N, cell=tuple(1.5 * n for n in N)
        )
        for axes in itertools.permutations((1, 2, 3))
    },
    **{
        f"mode {mode}, {order} endian": map_case(
            data=np.abs(values()) * 25,
            mode=mode,
            dtype=kind,
            order=sign,
            stamp=stamp,
        )
        for mode, kind in (INTEGERS | {2: "f4", 12: "f2"}).items()
        for order, sign, stamp in (("little", "<", b"DA\0\0"), ("big", ">", BIG_STAMP))
    },
    **{
        f"stamp {stamp.hex()}": map_case(stamp=stamp)
        for stamp in (b"DA\0\0", b"D\xb8\0\0", b"MA\0\0", b"    ", b"\x11\x44\0\0", b"\xff" * 4)
    },
    "stamp lies, big endian": map_case(order=">", stamp=b"DD\0\0"),
    "unsigned bytes": map_case(
        data=np.abs(values()) * 80, mode=0, dtype="u1", imod=0, statistics=(0.0, 255.0, 60.0)
    ),
    "signed bytes, stamped by IMOD": map_case(data=values() * 30, mode=0, dtype="i1", imod=1),
    "m larger": map_case(m=(22, 20, 18), cell=(33.0, 30.0, 27.0)),
    "m smaller": map_case(m=(8, 8, 8), cell=(12.0, 12.0, 12.0)),
    "m of ones": map_case(m=(1, 1, 1), cell=(1.5, 1.5, 1.5)),
    "nstart": map_case(start=(-5, 3, 100)),
    "nstart and origin agree": map_case(start=(10, 10, 10), origin=(15.0, 15.0, 15.0)),
    "origin 9e4": map_case(origin=(9e4, 0.0, 0.0)),
    "nstart far, origin set": map_case(start=(10**6, 0, 0), origin=(3.0, 3.0, 3.0)),
    "version 0, labels 99": (
        "a.map",
        patched(patched(GOOD, 28, 0), 56, 99),
        "map",
        "",
    ),
    "labels negative": ("a.map", patched(GOOD, 56, -3), "map", ""),
    "extended header of 80": map_case(nsymbt=80),
    "extended header of 333": map_case(nsymbt=333, symmetry=b"x" * 333),
    "statistics NaN": map_case(statistics=(np.nan, np.nan, np.nan)),
    "ispg 0": map_case(ispg=0),
    "ispg 90000": map_case(ispg=90000),
    "ispg 230": map_case("HDR_SPACEGROUP", ispg=230),
    "ispg negative": map_case(ispg=-1),
    "stack, cell of the whole stack": map_case(
        "HDR_STACK", data=values((27, 10, 11)), ispg=401, m=(11, 10, 9), cell=(16.5, 15.0, 40.5)
    ),
    "stack, M of one": map_case(
        "HDR_STACK", data=values((18, 10, 11)), ispg=402, m=(11, 10, 1), cell=(16.5, 15.0, 1.5)
    ),
    "stack of images, cell of the whole": map_case(
        "HDR_NOT_3D", data=values((40, 10, 11)), ispg=0, m=(11, 10, 1), cell=(16.5, 15.0, 60.0)
    ),
    "angles 90.05": map_case(angles=(90.05, 90.0, 89.95)),
    "angle 89": map_case("HDR_CELL_ANGLES", angles=(90.0, 89.0, 90.0)),
    "angles partly unset": map_case("HDR_CELL_ANGLES", angles=(0.0, 90.0, 90.0)),
    "voxel 0.05": map_case("HDR_VOXEL_RANGE", cell=(0.55, 0.5, 0.45)),
    "voxel 19.9": map_case(cell=(11 * 19.9, 10 * 19.9, 9 * 19.9)),
    "voxel twice as long": map_case(cell=(11.0, 10.0, 17.9)),
    "cell denormal": map_case("HDR_VOXEL_RANGE", cell=(1e-40, 1e-40, 1e-40)),
    "cell one zero": map_case("HDR_CELL", cell=(16.5, 0.0, 13.5)),
    "m 2^31": map_case("HDR_VOXEL_RANGE", m=(2**31 - 1,) * 3),
    "axes negative": map_case("HDR_AXES", axes=(-1, -2, -3)),
    "axes 0,1,2": map_case("HDR_AXES", axes=(0, 1, 2)),
    "origin infinite": map_case("HDR_ORIGIN", origin=(0.0, 0.0, np.inf)),
    "origin -2e5": map_case("HDR_ORIGIN", origin=(-2e5, 0.0, 0.0)),
    "nstart -111": map_case("HDR_ORIGIN", start=(-111, 0, 0)),
    "mode 7": map_case("HDR_MODE", mode=7),
    "mode 16": map_case("HDR_MODE", mode=16),
    "mode 2^30": map_case("HDR_MODE", mode=2**30),
    "mode complex, big endian": map_case("HDR_MODE_COMPLEX", mode=4, order=">", stamp=BIG_STAMP),
    "sizes zero": map_case("HDR_DIMENSIONS", sizes=(0, 0, 0)),
    "size 99999": map_case("FILE_TRUNCATED", sizes=(11, 10, 99_999)),
    "one long axis": map_case("HDR_DIM_LIMIT", sizes=(2**31 - 1, 10, 9)),
    "2 x 2 x 2": map_case("HDR_DIM_SMALL", data=values((2, 2, 2))),
    "7 columns": map_case("HDR_DIM_SMALL", data=values((9, 9, 7))),
    "nsymbt beyond the data": map_case("HDR_NSYMBT", nsymbt=10**6, symmetry=b""),
    "nsymbt eats the data": map_case("FILE_TRUNCATED", nsymbt=400, symmetry=b""),
    "NaN in the last voxel": map_case("VAL_NONFINITE", data=with_value(np.nan, (8, 9, 10))),
    "NaN everywhere": map_case("VAL_NONFINITE", data=values() * np.nan),
    "minus infinity": map_case("VAL_NONFINITE", data=with_value(-np.inf)),
    "NaN, big endian": map_case(
        "VAL_NONFINITE", data=with_value(np.nan), order=">", stamp=BIG_STAMP
    ),
    "half NaN": map_case("VAL_NONFINITE", data=with_value(np.nan), mode=12, dtype="f2"),
    "NaN in gzip": ("a.map.gz", gz(map_bytes(with_value(np.nan))), "map", "VAL_NONFINITE"),
    "all zero": map_case("VAL_CONSTANT", data=values() * 0),
    "constant bytes": map_case("VAL_CONSTANT", data=values() * 0 + 7, mode=0, dtype="i1"),
    "minus 2e30": map_case("VAL_RANGE", data=with_value(-2e30)),
    "spread 1e-32": map_case("VAL_RANGE", data=values() * np.float32(1e-33)),
    "two values": map_case(data=(values() > 2).astype(np.float32)),
    "offset 1e6": map_case(data=values() + 1_000_000),
    "many gzip members": ("a.map.gz", members(GOOD, 7), "map", ""),
    "empty gzip members between": (
        "a.map.gz",
        gz(b"") * 3000 + gz(GOOD[:900]) + gz(b"") * 3000 + gz(GOOD[900:]),
        "map",
        "",
    ),
    "gzip with a name": ("a.map.gz", header_flags(8, b"other.map\0"), "map", ""),
    "gzip with extra field": ("a.map.gz", header_flags(4, b"\4\0abcd"), "map", ""),
    "gzip reserved flag": ("a.map.gz", header_flags(0x80, b""), "map", "FILE_GZ_CORRUPT"),
    "gzip magic only": ("a.map.gz", b"\x1f\x8b", "map", "FILE_GZ_TRUNCATED"),
    "gzip header only": ("a.map.gz", gz(GOOD)[:10], "map", "FILE_GZ_TRUNCATED"),
    "gzip wrong length": ("a.map.gz", gz(GOOD)[:-4] + b"\1\2\3\4", "map", "FILE_GZ_CORRUPT"),
    "gzip three deep": ("a.map.gz", gz(gz(gz(GOOD))), "map", "FILE_GZ_NESTED"),
    "gzip member cut": ("a.map.gz", gz(GOOD) + gz(b"more")[:-3], "map", "FILE_GZ_TRUNCATED"),
    "gzip of a second volume": ("a.map.gz", gz(GOOD) + gz(GOOD), "map", "FILE_GZ_CAP"),
    "gzip of a short map": ("a.map.gz", gz(GOOD[:-50]), "map", "FILE_TRUNCATED"),
    "gzip of bzip2": ("a.map.gz", gz(bz2.compress(GOOD)), "map", "FILE_COMPRESSION"),
    "gzip of text": ("a.map.gz", gz(b"not found\n"), "map", "FILE_TEXT"),
    "1023 extra bytes": ("a.map", GOOD + bytes(1023), "map", ""),
    "one byte": ("a.map", b"\0", "map", "FILE_NOT_MAP"),
    "one letter": ("a.map", b"x", "map", "FILE_TEXT"),
    "page in capitals": ("a.map", b"<HTML><HEAD><TITLE>404</TITLE></HEAD>", "map", "FILE_HTML"),
    "page after a mark": ("a.map", b"\xef\xbb\xbf\n" + HTML, "map", "FILE_HTML"),
    "annex pointer": (
        "a.map",
        b"/annex/objects/MD5E-s3--abc.map\n",
        "map",
        "FILE_LFS_POINTER",
    ),
    "json list": ("a.map", b'[{"code": 404}]', "map", "FILE_TEXT"),
    "xml without a line": ("a.map", b"<Error><Code>NoSuchKey</Code></Error>", "map", "FILE_TEXT"),
    "utf-16 text": ("a.map", "no map".encode("utf-16"), "map", "FILE_TEXT"),
    "jpeg": (
        "a.mrc",
        b"\xff\xd8\xff\xe0\0\x10JFIF\0" + NOISE,
        "map",
        "FILE_NOT_MAP",
    ),
    "mtz": ("a.map", b"MTZ \x15\0\0\0" + b"DA\0\0" + bytes(4000), "map", "FILE_NOT_MAP"),
    "spider": ("a.map", np.full(600, 1.0, ">f4").tobytes(), "map", "FILE_NOT_MAP"),
    "pickle": ("a.map", pickle.dumps(values()), "map", "FILE_NOT_MAP"),
    "tar": ("a.map", b"a.map" + bytes(252) + b"ustar" + bytes(2000), "map", "FILE_NOT_MAP"),
    "all ones": ("a.map", b"\xff" * 5000, "map", "FILE_NOT_MAP"),
    "zeros with the word": (
        "a.map",
        bytes(208) + b"MAP " + bytes(3000),
        "map",
        "HDR_DIMENSIONS",
    ),
    "old map, big endian": map_case("HDR_MAGIC", word=bytes(4), order=">", stamp=bytes(4)),
    "map without suffix": ("map", GOOD, "map", ""),
    "map under cif": ("a.cif.gz", gz(GOOD), "map", ""),
    "unicode name": ("κάρτα ü 图.map", GOOD, "map", ""),
    "name with blanks": (" a  b.map ", GOOD, "map", ""),
}


def pdb_case(lines, code="", name="a.pdb"):
    return (name, pdb_text(lines).encode(), "model", code)


def cif_case(code="", name="a.cif", **changes):
    return (name, cif_text(**changes).encode(), "model", code)


def columns(start, text):
    """Write a text into columns of every atom record."""
    return [line[:start] + text + line[start + len(text) :] for line in pdb_atoms()]


def anisou():
    return list(itertools.chain(*((line, "ANISOU" + line[6:70]) for line in pdb_atoms())))


def quoted_rows():
    names = ("N", '"C5\'"', "C", "O", "'C B'")
    return [row | {"label_atom_id": names[i % 5]} for i, row in enumerate(cif_rows())]


def multiline_rows():
    """A text field stands in a row of the table."""
    rows = list(cif_rows())
    rows[7] |= {"label_atom_id": "\n;CA\n;\n"}
    return rows


def numbered(form):
    """Give every residue a number, columns 23-27."""
    return [f"{x[:22]}{form(i // 5):5s}{x[27:]}" for i, x in enumerate(pdb_atoms())]


def alternates():
    lines = [x[:16] + "AB"[i % 2] + x[17:] for i, x in enumerate(pdb_atoms())]
    return [*pdb_atoms(10), *lines[10:]]


def crowded():
    places = (f"{i * 0.01:8.3f}   4.000   5.000" for i in range(20))
    return [x[:30] + place + x[54:] for x, place in zip(pdb_atoms(), places, strict=True)]


UNUSED = "loop_\n_citation.id\n_citation.title\n1 'A map of \"maps\"'\n2\n;long\ntitle ; of\n;\n#\n"
MORE_MODELS = {
    **{
        f"coordinate {text}": cif_case("MOD_COORDS", change=at(3, Cartn_y=text))
        for text in ("inf", "-Inf", "1e999", "1_0", "1,5", "1.5(3)", ".", "0x10", "'x'")
    },
    "coordinate quoted": cif_case(change=at(3, Cartn_y="'1.0'")),
    "coordinate in other digits": cif_case("MOD_SYNTAX", change=at(3, Cartn_y="\u0661")),
    "coordinate exponent": cif_case(change=at(3, Cartn_y="4.0E+00")),
    "coordinate 1e5": cif_case("MOD_COORD_RANGE", change=at(0, Cartn_x="-100001")),
    "coordinate far, pdb": pdb_case(
        [line[:30] + "9e7".rjust(8) + line[38:] for line in pdb_atoms()], "MOD_COORD_RANGE"
    ),
    "coordinates nan, pdb": pdb_case(columns(30, "     nan"), "MOD_COORDS"),
    "one coordinate blank": pdb_case(
        [*pdb_atoms()[:7], pdb_atoms()[7][:46] + " " * 8 + pdb_atoms()[7][54:], *pdb_atoms()[8:]],
        "MOD_COORDS",
    ),
    "comma for point": pdb_case(columns(30, "   3,000"), "MOD_COORDS"),
    "residue number a word": cif_case("MOD_SYNTAX", change=at(3, auth_seq_id="abc")),
    "residue numbers unknown": cif_case(change=lambda _: {"auth_seq_id": "?"}),
    "occupancy unknown": cif_case(change=lambda _: {"occupancy": "?"}),
    "occupancy blank, pdb": pdb_case(columns(54, "      ")),
    "occupancy a word, pdb": pdb_case(columns(54, "  full")),
    "occupancy below zero": pdb_case(columns(54, " -1.00"), "MOD_OCCUPANCY"),
    "temperature unknown": cif_case(change=lambda _: {"B_iso_or_equiv": "?"}),
    "temperature blank, pdb": pdb_case(columns(60, "      ")),
    "lines end at the coordinates": pdb_case([line[:54] for line in pdb_atoms()]),
    "charge odd": pdb_case([line[:78] + "1x" for line in pdb_atoms()], "MOD_SYNTAX"),
    "elements small": pdb_case([line[:76] + line[76:].lower() for line in pdb_atoms()]),
    "elements blank": pdb_case([line[:76] for line in pdb_atoms()]),
    "elements unknown, pdb": pdb_case(columns(76, " X"), "MOD_ELEMENT"),
    "deuterium": pdb_case(columns(76, " D")),
    "chain blank": pdb_case(columns(21, " ")),
    "numbers negative": pdb_case(numbered(lambda n: f"{n - 9:4d}")),
    "numbers hybrid": pdb_case(numbered(lambda n: f"A00{n}")),
    "insertion codes": pdb_case(numbered(lambda n: f"   1{'ABCD'[n]}")),
    "serial starred": pdb_case(columns(6, "*****")),
    "serial blank": pdb_case(columns(6, "     ")),
    "hetatm only": pdb_case(columns(0, "HETATM")),
    "anisou between": pdb_case(anisou()),
    "old nucleotides": pdb_case(columns(17, "  A")),
    "altlocs": pdb_case(alternates()),
    "two atoms twice": pdb_case([*pdb_atoms(18), *pdb_atoms(2)]),
    "three atoms twice": pdb_case([*pdb_atoms(17), *pdb_atoms(3)], "MOD_DUPLICATES"),
    "all within 0.4 A": pdb_case(crowded(), "MOD_DEGENERATE"),
    "water only": pdb_case(columns(17, "HOH"), "MOD_NO_POLYMER"),
    "END first": ("a.pdb", b"END\n" + PDB, "model", "MOD_NO_ATOMS"),
    "no END": ("a.pdb", PDB.replace(b"END\n", b""), "model", ""),
    "END in small letters follows": ("a.pdb", PDB + b"end\n", "model", ""),
    "empty first model": (
        "a.pdb",
        "\n".join(["MODEL 1", "ENDMDL", "MODEL 2", *pdb_atoms(), "ENDMDL", ""]).encode(),
        "model",
        "",
    ),
    "model not closed": (
        "a.pdb",
        "\n".join(["MODEL 1", *pdb_atoms(), "MODEL 2", *pdb_atoms(), "ENDMDL", ""]).encode(),
        "model",
        "MOD_SYNTAX",
    ),
    "model number twice": (
        "a.pdb",
        "\n".join(["MODEL 1", *pdb_atoms(), "ENDMDL"] * 2 + [""]).encode(),
        "model",
        "MOD_SYNTAX",
    ),
    "atoms after ENDMDL": (
        "a.pdb",
        "\n".join(["MODEL 1", *pdb_atoms(), "ENDMDL", *pdb_atoms(), ""]).encode(),
        "model",
        "MOD_SYNTAX",
    ),
    "records in small letters": ("a.pdb", PDB.lower(), "model", "MOD_FORMAT"),
    "tabs in a pdb": ("a.pdb", PDB.split(b"ATOM")[0] + b"ATOM\t1\tN\n", "model", "MOD_NO_ATOMS"),
    "bom before pdb": ("a.pdb", b"\xef\xbb\xbf" + PDB, "model", ""),
    "utf-32": ("a.pdb", pdb_text().encode("utf-32"), "model", "MOD_ENCODING"),
    "utf-16 cif": ("a.cif", cif_text().encode("utf-16-be"), "model", "MOD_ENCODING"),
    "NUL at the end": ("a.pdb", PDB + b"\0", "model", "MOD_ENCODING"),
    "control bytes": ("a.cif", CIF[:300] + b"\x01\x02" + CIF[300:], "model", "MOD_FORMAT"),
    "blank lines first": ("a.pdb", b"\n" * 200 + PDB, "model", ""),
    "cif, crlf": ("a.cif", CIF.replace(b"\n", b"\r\n"), "model", ""),
    "cif, cr only": ("a.cif", CIF.replace(b"\n", b"\r"), "model", ""),
    "cif, tabs": ("a.cif", CIF.replace(b" ", b"\t"), "model", ""),
    "cif, comments first": ("a.cif", b"# made by hand\n\n" + CIF, "model", ""),
    "cif, comment in the table": (
        "a.cif",
        CIF.replace(b"\nATOM 9 ", b"\n# half way\nATOM 9 "),
        "model",
        "",
    ),
    "cif, quoted cells": cif_case(rows=quoted_rows()),
    "cif, text field in a row": cif_case(rows=multiline_rows()),
    "cif, other tables": ("a.cif", CIF + UNUSED.encode(), "model", ""),
    "cif, other table first": (
        "a.cif",
        CIF.replace(b"loop_\n", UNUSED.encode() + b"loop_\n", 1),
        "model",
        "",
    ),
    "cif, rows over lines": ("a.cif", CIF.replace(b" ALA ", b"\nALA "), "model", ""),
    "cif, all in one line": (
        "a.cif",
        b"data_x\nloop_ " + b" ".join(CIF.split(b"loop_\n")[1].replace(b"#", b"").split()) + b"\n",
        "model",
        "",
    ),
    "cif, no final line end": ("a.cif", cif_text(end="").rstrip().encode(), "model", ""),
    "cif, no chain": cif_case("MOD_COLUMNS", drop=["auth_asym_id", "label_asym_id"]),
    "cif, no residue name": cif_case("MOD_COLUMNS", drop=["label_comp_id"]),
    "cif, no x": cif_case("MOD_COLUMNS", drop=["Cartn_x"]),
    "cif, no coordinates": cif_case("MOD_COLUMNS", drop=["Cartn_x", "Cartn_y", "Cartn_z"]),
    "cif, few columns": cif_case(
        drop=["id", "label_alt_id", "occupancy", "B_iso_or_equiv", "pdbx_PDB_ins_code"]
    ),
    "cif, no model number": cif_case(drop=["pdbx_PDB_model_num"]),
    "cif, save frame": ("a.cif", b"data_x\nsave_y\n_a.b 1\nsave_\n", "model", "MOD_NO_ATOMS"),
    "cif, block alone": ("a.cif", b"data_9ZZZ\n", "model", "MOD_NO_ATOMS"),
    "monomer": (
        "a.cif",
        b"data_ALA\nloop_\n_chem_comp_atom.atom_id\nN\nCA\n",
        "model",
        "MOD_NO_ATOMS",
    ),
    "small molecule": (
        "a.cif",
        b"data_I\nloop_\n_atom_site_label\n_atom_site_fract_x\nC1 0.1\nC2 0.2\n",
        "model",
        "MOD_NO_ATOMS",
    ),
    "cif ends in a tag": ("a.cif", CIF + b"_entry.title", "model", "MOD_TRUNCATED"),
    "cif ends in a quote": ("a.cif", CIF + b"_entry.title 'abc", "model", "MOD_TRUNCATED"),
    "loop without tags": ("a.cif", CIF + b"loop_\n1 2 3\n", "model", "MOD_SYNTAX"),
    "value without tag": ("a.cif", CIF + b"stray\n", "model", "MOD_SYNTAX"),
    "gzip in gzip, model": ("a.cif.gz", gz(gz(CIF)), "model", "FILE_GZ_NESTED"),
    "gzip of blanks": ("a.cif.gz", gz(b" " * 1000), "model", "MOD_NO_ATOMS"),
    "gzip wrong CRC, model": ("a.pdb.gz", gz(PDB)[:-8] + bytes(8), "model", "FILE_GZ_CORRUPT"),
    "gzip then garbage, model": ("a.pdb.gz", gz(PDB) + b"xy", "model", "FILE_GZ_TRAILING"),
    "gzip of nothing, model": ("a.cif.gz", gz(b""), "model", "FILE_EMPTY"),
    "mmtf": ("a.cif", b"\xde\x00\x1e\xabmmtfVersion" + bytes(range(200)), "model", "MOD_FORMAT"),
    "markdown": ("a.pdb", b"# Model\n\nsee paper\n", "model", "MOD_FORMAT"),
    "fasta": ("a.ent", b">9ZZZ_1\nMKLV\n", "model", "MOD_FORMAT"),
    "csv": ("a.cif", b"x,y,z\n1,2,3\n", "model", "MOD_FORMAT"),
    "pdb under a map's name": ("a.mrc", PDB, "map", "FILE_TEXT"),
    "cif under txt": ("a.txt", CIF, "model", ""),
    "gzip.compress level 0": ("a.cif.gz", gzip.compress(CIF, 0, mtime=0), "model", ""),
    "unicode name": ("модель.cif", CIF, "model", ""),
}
