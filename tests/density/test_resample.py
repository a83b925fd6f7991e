"""Resampling: the published kernel against its reference, the default one against Gaussians."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cryoclarity.density.resample import (
    network_grid,
    resample,
    resample_linear,
    resample_published,
)
from cryoclarity.grid import Grid


def gaussian(grid: Grid, centre_xyz, sd: float) -> np.ndarray:
    axes = [
        np.exp(-0.5 * ((np.arange(n) * v + o - c) / sd) ** 2)
        for n, v, o, c in zip(
            grid.shape, grid.voxel_size_zyx, grid.origin_zyx, centre_xyz[::-1], strict=True
        )
    ]
    return (axes[0][:, None, None] * axes[1][:, None] * axes[2]).astype(np.float32)


def centre_of_mass(density: np.ndarray, grid: Grid) -> np.ndarray:
    index = np.indices(density.shape).reshape(3, -1)
    weight = density.ravel().astype(np.float64)
    return grid.position_of((index * weight).sum(axis=1)[None] / weight.sum())[0]


def test_published_kernel_reproduces_the_reference(shared):
    folder = shared / "reference" / "networks"
    arrays = np.load(folder / "interp_cases.npz")
    source = arrays["map_in"].astype(np.float32)
    for case in json.loads((folder / "interp_cases.json").read_text()):
        voxel, grid = case["voxel_zyx"], (case["grid"],) * 3
        before, after = (voxel, grid) if case["kind"] == "forward" else (grid, voxel)
        density = arrays[case["input"]] if "input" in case else source
        found = resample_published(density, before, after, case["shift_zyx"], case["out_shape"])
        assert np.abs(found - arrays[case["key"]]).max() < 1e-5, case["key"]


@pytest.mark.parametrize("published", [True, False])
def test_only_the_published_rule_loses_the_last_plane(published):
    grid = Grid((20, 20, 20), (1.0,) * 3)
    ones = np.ones(grid.shape, np.float32)
    if published:
        found = resample_published(ones, (1.0,) * 3, (1.0,) * 3, (0.0,) * 3, grid.shape)
        assert not found[-1].any() and found[:-1, :-1, :-1].all()
    else:
        fine = network_grid(grid, 0.7)
        assert np.allclose(resample(resample(ones, grid, fine), fine, grid), 1, atol=1e-5)


@pytest.mark.parametrize("published", [True, False])
def test_only_the_published_rule_aliases(published):
    """A wave beyond the Nyquist frequency of the coarse grid must not come back as a slow one."""
    grid = Grid((81, 9, 9), (0.5,) * 3)
    wave = np.cos(2 * np.pi * 0.8 * np.arange(81) * 0.5).astype(np.float32)
    density = np.broadcast_to(wave[:, None, None], grid.shape)
    coarse = network_grid(grid, 1.0)
    if published:
        found = resample_published(density, (0.5,) * 3, (1.0,) * 3, (0.0,) * 3, (40, 4, 4))
        assert np.abs(found).max() > 0.5
    else:
        assert np.abs(resample(density, grid, coarse)[5:-5]).max() < 1e-3


@pytest.mark.parametrize(("voxel", "spacing"), [(1.31, 1.0), (0.83, 0.5), (0.66, 1.0), (0.9, 1.0)])
def test_gaussians_keep_place_and_height(voxel, spacing):
    coarser = max(voxel, spacing)
    sd = 1.5 * coarser
    extent = 24 * coarser
    grid = Grid((int(extent / voxel),) * 3, (voxel,) * 3, (-7.3, 2.1, 5.9))
    centre = np.asarray(grid.origin) + extent / 2 + np.array([0.13, -0.27, 0.41]) * coarser
    target = network_grid(grid, spacing)
    found = resample(gaussian(grid, centre, sd), grid, target)
    expected = gaussian(target, centre, sd)
    assert np.abs(found - expected).max() < 0.005
    assert np.abs(centre_of_mass(found, target) - centre).max() < 0.02 * coarser


@pytest.mark.parametrize(
    ("voxel", "spacing"),
    [
        ((1.31, 1.31, 1.31), (0.5, 0.5, 0.5)),
        ((0.66, 0.66, 0.66), (1.32, 1.32, 1.32)),
        ((0.7, 1.0, 1.3), (1.0, 1.0, 1.0)),
        ((1.0, 1.0, 1.0), (0.9, 1.2, 1.5)),
    ],
)
def test_gaussians_on_uneven_grids_there_and_back(voxel, spacing):
    """Place within 0.02 voxel and height within 0.5 % on the way, place within 0.01 at home."""
    coarser = max(*voxel, *spacing)
    extent = 26 * coarser
    source = Grid([int(extent / v) for v in voxel[::-1]], voxel, (-7.3, 2.1, 50.9))
    start = tuple(o + 0.37 * s for o, s in zip(source.origin, spacing, strict=True))
    target = Grid([int(extent / s) - 2 for s in spacing[::-1]], spacing, start)
    centre = np.asarray(source.origin) + extent / 2 + np.array([0.13, -0.27, 0.41]) * coarser
    density = gaussian(source, centre, 1.5 * coarser)
    found = resample(density, source, target)
    assert np.abs(found - gaussian(target, centre, 1.5 * coarser)).max() < 0.005
    assert np.abs(centre_of_mass(found, target) - centre).max() < 0.02 * coarser
    back = resample(found, target, source)
    shift = centre_of_mass(back, source) - centre_of_mass(density, source)
    assert np.abs(shift / voxel).max() < 0.01


@given(
    size=st.integers(20, 28),
    voxel=st.floats(0.6, 2.0),
    ratio=st.floats(0.3, 1.0),
    seed=st.integers(0, 2**31),
)
@settings(max_examples=15, deadline=None)
def test_a_finer_grid_and_back_is_the_identity(size, voxel, ratio, seed):
    """For a map that fades towards the faces, with noise up to about 0.9 of Nyquist."""
    grid = Grid((size, size + 1, size + 3), (voxel, 1.1 * voxel, voxel), (3.3, -1.0, 0.2))
    noise = np.fft.rfftn(np.random.default_rng(seed).standard_normal(grid.shape))
    for axis, n in enumerate(grid.shape):
        steps = np.fft.rfftfreq(n) if axis == 2 else np.fft.fftfreq(n)
        keep = (np.abs(steps) < 0.35).reshape([-1 if a == axis else 1 for a in range(3)])
        noise = noise * keep
    fade = [np.hanning(n) ** 2 for n in grid.shape]
    noise = np.fft.irfftn(noise, grid.shape, axes=(0, 1, 2))
    noise = noise * fade[0][:, None, None] * fade[1][:, None] * fade[2]
    fine = network_grid(grid, voxel * ratio)
    assert np.abs(resample(resample(noise, grid, fine), fine, grid) - noise).max() < 0.01


@given(st.integers(8, 700), st.floats(0.3, 4.0), st.sampled_from([0.5, 1.0]))
def test_the_network_grid_covers_the_map(size, voxel, spacing):
    voxel = float(np.float32(voxel))
    grid = Grid((size,) * 3, (voxel,) * 3)
    found = network_grid(grid, spacing)
    assert (found.shape[0] - 1) * spacing >= (size - 1) * voxel - 1e-3
    assert (found.shape[0] - 2) * spacing < (size - 1) * voxel


def test_masks_are_placed_by_position_without_overshoot():
    source = Grid((12, 12, 12), (1.0,) * 3, (10.0, 0.0, 0.0))
    target = Grid((24, 24, 40), (0.5,) * 3, (4.0, 0.0, 0.0))
    found = resample_linear(np.ones(source.shape, np.float32), source, target)
    assert found.min() == 0 and found.max() == 1
    assert not found[:, :, :12].any() and found[:23, :23, 12:34].all()
