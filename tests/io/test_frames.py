"""Map and model stay together through every operation, whatever the file's dress."""

import itertools
import logging

import gemmi
import mrcfile
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cryoclarity.density.resample import network_grid, resample
from cryoclarity.grid import Grid, Volume
from cryoclarity.io.maps import read_header, read_map, reframe_map, write_map
from tests.gates.zoo import map_bytes

AXES = list(itertools.permutations((1, 2, 3)))
ATOM = np.array([2.6, -1.3, 3.1])  # offset of the atom from the box's centre, angstrom


def blob(grid, centre, sd):
    """An analytic Gaussian atom on a grid, float64."""
    parts = [
        np.exp(-0.5 * ((np.arange(n) * v + o - c) / sd) ** 2)
        for n, v, o, c in zip(
            grid.shape, grid.voxel_size_zyx, grid.origin_zyx, centre[::-1], strict=True
        )
    ]
    return parts[0][:, None, None] * parts[1][:, None] * parts[2]


def fitted_centre(density, grid):
    """Position of the maximum by a parabola through the logarithm, (x, y, z)."""
    peak = np.unravel_index(np.argmax(density), density.shape)
    index = []
    for axis, at in enumerate(peak):
        line = [
            np.log(density[tuple(p + (d if a == axis else 0) for a, p in enumerate(peak))])
            for d in (-1, 0, 1)
        ]
        index.append(at + 0.5 * (line[0] - line[2]) / (line[0] - 2 * line[1] + line[2]))
    return grid.position_of(np.array([index]))[0]


def written(density, grid, axes, order, kind, m_factor):
    """The bytes of a map in any dress; `kind` says which words give its place."""
    column, row, section = axes
    stored = np.ascontiguousarray(density.transpose([3 - section, 3 - row, 3 - column]))
    whole = [round(o / v) for o, v in zip(grid.origin, grid.voxel_size, strict=True)]
    n = grid.shape[::-1]
    return map_bytes(
        stored.astype(np.float32),
        order=order,
        stamp=b"DA\0\0" if order == "<" else b"\x11\x11\0\0",
        axes=axes,
        m=tuple(k * m_factor for k in n),
        cell=tuple(k * m_factor * v for k, v in zip(n, grid.voxel_size, strict=True)),
        start=tuple(whole[a - 1] for a in axes) if kind in ("nstart", "both") else (0, 0, 0),
        origin=grid.origin if kind in ("origin", "both") else (0.0, 0.0, 0.0),
        statistics=(0.0, 1.0, 0.1),
    )


dresses = st.fixed_dictionaries(
    {
        "axes": st.sampled_from(AXES),
        "order": st.sampled_from("<>"),
        "kind": st.sampled_from(["origin", "nstart", "both"]),
        "m_factor": st.sampled_from([1, 2]),
    }
)
steps = st.tuples(*[st.integers(-40, 40)] * 3)


@given(dress=dresses, start=steps, stretch=st.tuples(*[st.sampled_from([1.0, 1.1, 1.3])] * 3))
@settings(max_examples=20, deadline=None)
def test_map_and_model_move_together(tmp_path_factory, dress, start, stretch):
    folder = tmp_path_factory.mktemp("frames")
    voxel = tuple(float(np.float32(0.9 * s)) for s in stretch)
    origin = tuple(k * v for k, v in zip(start, voxel, strict=True))
    grid = Grid((26, 27, 29), voxel, origin)
    atom = grid.position_of(np.array(grid.shape) / 2.0) + ATOM
    sd = 1.8 * max(voxel)
    density = blob(grid, atom, sd)
    source = folder / "a.mrc"
    source.write_bytes(written(density, grid, **dress))

    volume = read_map(source)
    assert np.allclose(volume.grid.voxel_size, voxel, rtol=1e-6)
    assert np.allclose(volume.grid.origin, origin, atol=1e-4)
    assert np.array_equal(volume.density, density.astype(np.float32))
    near = pytest.approx(atom, abs=0.02 * max(voxel))
    assert fitted_centre(volume.density, volume.grid) == near

    other = network_grid(volume.grid, 1.0)
    moved = Volume(resample(volume.density, volume.grid, other), other)
    cropped = Volume(
        np.ascontiguousarray(moved.density[2:-1, 3:, 1:-2]),
        Grid(
            (other.shape[0] - 3, other.shape[1] - 3, other.shape[2] - 3),
            other.voxel_size,
            tuple(other.position_of(np.array([2, 3, 1]))),
        ),
    )
    padded = Volume(np.pad(cropped.density, ((2, 1), (3, 0), (1, 2)), mode="edge"), moved.grid)
    for number, step in enumerate((moved, cropped, padded)):
        assert fitted_centre(step.density, step.grid) == near
        for canonical in (False, True):
            path = folder / f"{number}{canonical}.mrc.gz"
            write_map(path, step, canonical=canonical)
            back = read_map(path)
            assert np.array_equal(back.density, step.density)
            assert np.allclose(back.grid.origin, step.grid.origin, atol=2e-3)
            assert fitted_centre(back.density, back.grid) == near
    home = volume.with_density(resample(padded.density, padded.grid, volume.grid))
    out = folder / "out.mrc"
    write_map(out, home)
    assert mrcfile.validate(str(out))
    back = read_map(out)
    assert back.header.start_index == volume.header.start_index
    assert back.header.origin_words == volume.header.origin_words
    shift = fitted_centre(back.density, back.grid) - fitted_centre(volume.density, volume.grid)
    assert np.abs(shift / voxel).max() < 0.01


@pytest.mark.parametrize("kind", ["origin", "nstart", "both"])
@pytest.mark.parametrize("voxel", [(1.0, 1.0, 1.0), (1.1, 0.9, 1.3)])
@pytest.mark.parametrize("axes", AXES)
def test_other_readers_see_canonical_files_at_the_same_place(tmp_path, axes, voxel, kind):
    """NSTART alone: gemmi and mrcfile find the value at a point of space where it was."""
    voxel = tuple(float(np.float32(v)) for v in voxel)
    grid = Grid((9, 10, 11), voxel, tuple(k * v for k, v in zip((-3, 4, 7), voxel, strict=True)))
    density = np.random.default_rng(1).normal(size=grid.shape).astype(np.float32)
    source, out = tmp_path / "a.mrc", tmp_path / "b.mrc"
    source.write_bytes(written(density, grid, axes, "<", kind, 1))
    write_map(out, read_map(source), canonical=True)
    assert mrcfile.validate(str(out))
    with mrcfile.open(out) as file:
        start = [int(file.header[f"n{a}start"]) for a in "xyz"]
        assert start == [-3, 4, 7]
        assert not any(float(file.header.origin[a]) for a in "xyz")
        assert np.array_equal(file.data, density)
        assert np.allclose([float(file.voxel_size[a]) for a in "xyz"], voxel, rtol=1e-6)
    raw = gemmi.read_ccp4_map(str(out), setup=False)
    assert [raw.header_i32(5 + k) for k in range(3)] == [-3, 4, 7]
    assert np.array_equal(np.array(raw.grid.array).transpose(2, 1, 0), density)


def test_canonical_files_off_whole_voxels_say_both_and_warn(tmp_path, caplog):
    grid = Grid((9, 10, 11), (1.5, 1.5, 1.5), (3.2, -4.4, 0.7))
    volume = Volume(np.random.default_rng(1).normal(size=grid.shape).astype(np.float32), grid)
    with caplog.at_level(logging.WARNING):
        write_map(tmp_path / "a.mrc", volume, canonical=True)
    assert "NSTART and ORIGIN" in caplog.text
    header = read_header(tmp_path / "a.mrc")
    assert header.start_index == (2, -3, 0)
    assert header.origin == pytest.approx(grid.origin, abs=1e-6)


@pytest.mark.parametrize(
    ("frame", "place"),
    [("origin", (30.0, 31.0, 32.0)), ("nstart", (-7.5, -6.0, 4.5)), ("zero", (0.0, 0.0, 0.0))],
)
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("name", ["out.map", "out.map.gz"])
def test_a_copy_in_one_frame(tmp_path, frame, place, order, name):
    source = tmp_path / "a.map"
    stamp = b"DD\0\0" if order == "<" else b"\x11\x11\0\0"
    content = map_bytes(order=order, stamp=stamp, start=(-5, -4, 3), origin=(30.0, 31.0, 32.0))
    source.write_bytes(content)
    reframe_map(source, tmp_path / name, frame)
    assert read_header(tmp_path / name).origin == pytest.approx(place)
    copy = read_map(tmp_path / name)
    assert np.array_equal(copy.density, read_map(source).density)
    assert "W_FRAME_DISAGREE" not in [code for code, _ in copy.warnings]
    assert source.read_bytes() == content
    first = (tmp_path / name).read_bytes()
    reframe_map(source, tmp_path / name, frame)
    assert (tmp_path / name).read_bytes() == first


def test_voxel_size_stands_in_for_a_zero_cell(tmp_path):
    path = tmp_path / "mask.mrc"
    path.write_bytes(map_bytes(cell=(0.0, 0.0, 0.0), m=(0, 0, 0), start=(2, 0, 0)))
    header = read_header(path, voxel_size=(1.5, 1.5, 1.5))
    assert header.voxel_size == pytest.approx((1.5, 1.5, 1.5))
    assert read_map(path, voxel_size=(2.0, 2.0, 2.0)).grid.origin == (4.0, 0.0, 0.0)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_none_can_be_asked_for(tmp_path, value):
    path = tmp_path / "labels.mrc"
    data = np.random.default_rng(3).normal(size=(9, 10, 11)).astype(np.float32)
    data[2, 3, 4] = value
    path.write_bytes(map_bytes(data))
    volume = read_map(path, nonfinite_ok=True)
    assert np.array_equal(volume.density, data, equal_nan=True)
    assert "VAL_NONFINITE" in [code for code, _ in volume.warnings]


@pytest.mark.parametrize("axes", AXES)
@pytest.mark.parametrize("dress", [{}, {"start": (-9, 4, 0)}, {"origin": (1.5, 2.5, -3.5)}])
def test_every_written_map_is_valid(tmp_path, axes, dress):
    """Also where the input itself would not pass: M, cell, statistics and stamp are odd."""
    source = tmp_path / "a.map"
    n = tuple((11, 10, 9)[a - 1] for a in (1, 2, 3))
    stored = np.random.default_rng(2).normal(size=(9, 10, 11)).astype(np.float32)
    column, row, section = axes
    source.write_bytes(
        map_bytes(
            np.ascontiguousarray(stored.transpose([3 - section, 3 - row, 3 - column])),
            axes=axes,
            m=tuple(2 * k for k in n),
            cell=tuple(2.2 * k for k in n),
            stamp=bytes(4),
            ispg=0,
            statistics=(5.0, 6.0, 7.0),
            **dress,
        )
    )
    volume = read_map(source)
    for name, canonical in (("b.mrc", False), ("c.mrc", True), ("d.mrc.gz", False)):
        write_map(tmp_path / name, volume.with_density(volume.density * 2 - 1), canonical=canonical)
        assert mrcfile.validate(str(tmp_path / name)), name
        assert np.array_equal(read_map(tmp_path / name).density, stored * 2 - 1)
