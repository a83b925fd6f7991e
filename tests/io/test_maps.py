"""Maps are read the same whatever their axis order, and written back in their own frame."""

import itertools

import gemmi
import mrcfile
import numpy as np
import pytest

from cryoclarity.errors import InputError
from cryoclarity.grid import Grid, Volume
from cryoclarity.io.maps import ValueStatistics, canonical_position, read_map, write_map

SHAPE = (9, 10, 11)  # z, y, x
VOXEL = (1.1, 1.2, 1.3)  # x, y, z


def density():
    return np.random.default_rng(1).normal(size=SHAPE).astype(np.float32)


def write_stored(path, axes=(1, 2, 3), start=(0, 0, 0), origin=(0, 0, 0), dtype=np.float32):
    """Write a map through mrcfile with stored axes (columns, rows, sections) = `axes`."""
    column, row, section = axes
    stored = np.transpose(density(), [3 - section, 3 - row, 3 - column])
    with mrcfile.new(path, overwrite=True) as file:
        file.set_data(np.ascontiguousarray(stored.astype(dtype)))
        words = file.header
        words.mapc, words.mapr, words.maps = axes
        words.mx, words.my, words.mz = SHAPE[::-1]
        words.cella.x, words.cella.y, words.cella.z = (
            n * v for n, v in zip(SHAPE[::-1], VOXEL, strict=True)
        )
        words.nxstart, words.nystart, words.nzstart = (start[axis - 1] for axis in axes)
        words.origin.x, words.origin.y, words.origin.z = origin


@pytest.mark.parametrize("axes", list(itertools.permutations((1, 2, 3))))
def test_axis_orders_give_one_array_and_one_frame(tmp_path, axes):
    path = tmp_path / "map.mrc"
    write_stored(path, axes, start=(-3, 4, 7))
    volume = read_map(path)
    assert np.array_equal(volume.density, density())
    assert np.allclose(volume.grid.voxel_size, VOXEL)
    assert np.allclose(volume.grid.origin, np.array((-3, 4, 7)) * VOXEL, atol=1e-5)


@pytest.mark.parametrize("axes", list(itertools.permutations((1, 2, 3))))
def test_gemmi_sees_the_written_map_at_the_same_place(tmp_path, axes):
    path, out = tmp_path / "map.mrc", tmp_path / "out.mrc"
    write_stored(path, axes, start=(-3, 4, 7))
    volume = read_map(path)
    write_map(out, volume)
    grid = gemmi.read_ccp4_map(str(out), setup=False).grid
    assert np.array_equal(np.array(grid.array).transpose(2, 1, 0), density())
    with mrcfile.open(out) as file:
        words = file.header
        assert [int(words[f"n{a}start"]) for a in "xyz"] == [-3, 4, 7]
    assert read_map(out).grid == volume.grid
    assert mrcfile.validate(str(out))


@pytest.mark.parametrize(
    ("start", "origin", "expected"),
    [
        ((5, 0, 0), (0, 0, 0), (5.5, 0, 0)),
        ((0, 0, 0), (7, 8, 9), (7, 8, 9)),
        ((5, 6, 7), (5.5, 7.2, 9.1), (5.5, 7.2, 9.1)),  # both, agreeing: never the sum
        ((-5, -5, -5), (3, 3, 3), (3, 3, 3)),  # both, disagreeing: ORIGIN
    ],
)
def test_origin_wins_and_is_never_added_to_nstart(tmp_path, start, origin, expected):
    path, out = tmp_path / "map.mrc", tmp_path / "out.mrc"
    write_stored(path, start=start, origin=origin)
    volume = read_map(path)
    assert np.allclose(volume.grid.origin, expected, atol=1e-5)
    write_map(out, volume.with_density(volume.density * 2))
    with mrcfile.open(path) as before, mrcfile.open(out) as after:
        for word in ("nxstart", "nystart", "nzstart", "origin", "cella", "mx", "my", "mz"):
            assert before.header[word] == after.header[word]


@pytest.mark.parametrize("dtype", [np.int8, np.int16, np.uint16, np.float16, np.float32])
def test_modes_are_read_by_value(tmp_path, dtype):
    path = tmp_path / "map.mrc"
    values = np.arange(np.prod(SHAPE)).reshape(SHAPE) % 100
    with mrcfile.new(path) as file:
        file.set_data(values.astype(dtype))
        file.voxel_size = 1.0
    assert np.array_equal(read_map(path).density, values.astype(np.float32))


def test_big_endian_and_zero_stamp(tmp_path):
    path = tmp_path / "map.mrc"
    write_stored(path)
    raw = path.read_bytes()
    swapped = bytearray(raw)
    header = np.frombuffer(raw[:1024], "<u4").byteswap().tobytes()
    swapped[:208], swapped[212:216] = header[:208], b"\0\0\0\0"
    swapped[216:224] = header[216:224]
    swapped[1024:] = np.frombuffer(raw[1024:], "<f4").byteswap().tobytes()
    path.write_bytes(swapped)
    volume = read_map(path)
    assert np.array_equal(volume.density, density())
    assert "W_STAMP" in [code for code, _ in volume.warnings]


def test_written_bytes_are_the_same_on_every_run(tmp_path):
    volume = Volume(density(), Grid(SHAPE, VOXEL, (1.0, 2.0, 3.0)))
    for name in ("a.mrc", "b.mrc", "a.mrc.gz", "b.mrc.gz"):
        write_map(tmp_path / name, volume)
    assert (tmp_path / "a.mrc").read_bytes() == (tmp_path / "b.mrc").read_bytes()
    assert (tmp_path / "a.mrc.gz").read_bytes() == (tmp_path / "b.mrc.gz").read_bytes()
    assert np.array_equal(read_map(tmp_path / "a.mrc.gz").density, volume.density)
    assert not list(tmp_path.glob(".tmp*"))


def test_canonical_position_prefers_whole_voxels():
    whole = Grid(SHAPE, (1.5, 1.5, 1.5), (3.0, -4.5, 0.0))
    assert canonical_position(whole) == ((2, -3, 0), (0.0, 0.0, 0.0))
    odd = Grid(SHAPE, (1.5, 1.5, 1.5), (3.1, 0.0, 0.0))
    assert canonical_position(odd) == ((2, 0, 0), (3.1, 0.0, 0.0))


@pytest.mark.parametrize(
    ("offset", "value", "code"),
    [
        (12, 4, "HDR_MODE_COMPLEX"),
        (12, 7, "HDR_MODE"),
        (0, -1, "HDR_DIMENSIONS"),
        (0, 99_999, "FILE_TRUNCATED"),
        (8, 1, "HDR_NOT_3D"),
        (0, 4, "HDR_DIM_SMALL"),
        (28, 0, "HDR_SAMPLING"),
        (40, 0, "HDR_CELL"),
        (60, np.float32(120).view("i4"), "HDR_CELL_ANGLES"),
        (40, np.float32(1e4).view("i4"), "HDR_VOXEL_RANGE"),
        (40, np.float32(30).view("i4"), "HDR_ANISOTROPY"),
        (64, 2, "HDR_AXES"),
        (16, 2**30, "HDR_ORIGIN"),
        (196, np.float32(np.nan).view("i4"), "HDR_ORIGIN"),
        (92, -4, "HDR_NSYMBT"),
        (92, 2**31 - 1, "HDR_NSYMBT"),
        (88, 19, "HDR_SPACEGROUP"),
        (208, 0, "HDR_MAGIC"),
        (1024, np.float32(np.inf).view("i4"), "VAL_NONFINITE"),
    ],
)
def test_a_bad_word_gives_its_own_code(tmp_path, offset, value, code):
    path = tmp_path / "map.mrc"
    write_stored(path)
    raw = bytearray(path.read_bytes())
    raw[offset : offset + 4] = np.int32(value).tobytes()
    path.write_bytes(raw)
    with pytest.raises(InputError) as caught:
        read_map(path)
    assert caught.value.code == code


def test_cell_zero_can_be_overridden(tmp_path):
    path = tmp_path / "map.mrc"
    write_stored(path)
    raw = bytearray(path.read_bytes())
    raw[40:52] = bytes(12)
    path.write_bytes(raw)
    assert read_map(path, voxel_size=VOXEL).grid.voxel_size == pytest.approx(VOXEL)


@pytest.mark.parametrize("offset", [0.0, 1e6])
def test_statistics_survive_a_large_offset(offset):
    values = np.random.default_rng(2).normal(offset, 1.0, 50_000)
    statistics = ValueStatistics()
    for block in np.array_split(values, 7):
        statistics.update(block)
    assert statistics.standard_deviation == pytest.approx(values.std(), rel=1e-6)
    assert statistics.mean == pytest.approx(values.mean(), rel=1e-12)


def test_archive_frames_follow_the_catalogue(shared):
    """Every readable map of the archive has the grid and the voxel size of its catalogue."""
    import csv

    with (shared / "archive" / "manifest.tsv").open() as handle:
        rows = list(csv.DictReader(handle, delimiter="\t"))
    read = 0
    for row in rows:
        path = shared / "archive" / row["map_path"]
        if row["emdb_id"] in ("EMD-8216", "EMD-3001"):
            with pytest.raises(InputError, match="HDR_CELL_ANGLES"):
                read_map(path)
            continue
        grid = read_map(path).grid
        assert "x".join(str(n) for n in grid.shape[::-1]) == row["grid"]
        assert grid.voxel_size[0] == pytest.approx(float(row["voxel_A"]), abs=2e-4)
        read += 1
    assert read >= 18


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"<!DOCTYPE html><html></html>", "FILE_HTML"),
        (b"PK\x03\x04" + bytes(2000), "FILE_COMPRESSION"),
        (b"ATOM      1  N   ALA A   1       1.000   2.000   3.000\n" * 30, "FILE_TEXT"),
    ],
)
def test_what_is_no_map_is_named_by_what_it_is(tmp_path, content, code):
    path = tmp_path / "map.mrc"
    path.write_bytes(content)
    with pytest.raises(InputError) as caught:
        read_map(path)
    assert caught.value.code == code
    assert caught.value.remedy
