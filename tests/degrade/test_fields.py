"""Smooth fields, sampling and sums of Gaussians beside float64 oracles."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from cryoclarity.degrade.amplitudes import deblurred_sum
from cryoclarity.degrade.arrays import NumpyArrays
from cryoclarity.degrade.fields import (
    gaussian_sum,
    radius_from_centre,
    sample,
    smooth_field,
    standardised,
)
from cryoclarity.degrade.spectrum import Frequencies
from cryoclarity.grid import Grid
from cryoclarity.model.density import gaussian_density

ARRAYS = NumpyArrays()
SHAPE = (20, 24, 28)


@pytest.fixture
def atoms():
    rng = np.random.default_rng(3)
    position = rng.uniform(4, 16, (300, 3))
    return position, rng.uniform(1, 20, 300), rng.uniform(0.8, 2.0, 300)


def test_gaussian_sum_is_the_direct_sum(atoms) -> None:
    position, weight, width = atoms
    z, y, x = np.indices(SHAPE, dtype=np.float64)
    direct = np.zeros(SHAPE)
    for (pz, py, px), w, s in zip(position, weight, width, strict=True):
        square = (z - pz) ** 2 + (y - py) ** 2 + (x - px) ** 2
        direct += w * (2 * np.pi * s**2) ** -1.5 * np.exp(-0.5 * square / s**2)
    ours = gaussian_sum(ARRAYS, *(np.float32(a) for a in atoms), SHAPE)
    assert ours.dtype == np.float32
    assert np.abs(ours - direct).max() < 2e-6 * direct.max()


def test_gaussian_sum_is_that_of_the_targets(atoms) -> None:
    position, weight, width = atoms
    grid = Grid(SHAPE, (1.0, 1.0, 1.0))
    targets = gaussian_density(position[:, ::-1], weight, width, grid)
    ours = gaussian_sum(ARRAYS, *(np.float32(a) for a in atoms), SHAPE)
    assert np.abs(ours - targets).max() < 1e-4 * targets.max()


def test_atoms_beyond_the_box_do_not_come_in_on_the_other_side() -> None:
    position = np.float32([[-2.0, 10, 10], [21.0, 10, 10], [-60.0, 10, 10]])
    ours = gaussian_sum(ARRAYS, position, np.ones(3, "f4"), np.ones(3, "f4"), SHAPE)
    assert ours[0, 10, 10] == pytest.approx((2 * np.pi) ** -1.5 * np.exp(-2), rel=1e-5)
    assert ours[10].max() < 1e-9


@pytest.mark.parametrize("voxel_size", [1.0, 1.4])
def test_deblurred_sum_is_the_transform_of_the_atoms(atoms, voxel_size) -> None:
    position, weight, _ = atoms
    variance = np.random.default_rng(4).uniform(0.2, 2.0, 300) * voxel_size**2
    frequencies = Frequencies(ARRAYS, SHAPE, voxel_size)
    ours = deblurred_sum(ARRAYS, frequencies, position, weight, variance)
    rng = np.random.default_rng(5)
    k = np.stack([rng.integers(-n // 2 + 1, n // 2, 60) for n in SHAPE], axis=1)
    k[:, 2] = np.abs(k[:, 2])
    s = k / (np.array(SHAPE) * voxel_size)
    square = np.sum(s**2, axis=1)
    near = square < (0.75 * frequencies.nyquist) ** 2
    for index, frequency, s2 in zip(k[near], s[near], square[near], strict=True):
        phase = np.exp(-2j * np.pi * position @ (frequency * voxel_size))
        exact = np.sum(weight * np.exp(-2 * np.pi**2 * variance * s2) * phase)
        assert abs(ours[tuple(index)] - exact) < 0.01 * np.sqrt(np.sum(weight**2))
    corner = frequencies.square > frequencies.nyquist**2
    assert not ours[corner].any()


def test_sampling_is_linear_interpolation(atoms) -> None:
    field = np.random.default_rng(6).normal(size=SHAPE).astype(np.float32)
    position = np.random.default_rng(7).uniform(0, 18.9, (200, 3)).astype(np.float32)
    wanted = ndimage.map_coordinates(field.astype(np.float64), position.T, order=1)
    np.testing.assert_allclose(sample(ARRAYS, field, position), wanted, atol=1e-5)
    assert np.isfinite(sample(ARRAYS, field, np.float32([[-5, 30, 30]]))).all()


def test_a_smooth_field_has_unit_variance_and_the_blurs_correlation() -> None:
    width, voxel_size, shape = 4.0, 1.5, (48, 48, 48)
    frequencies = Frequencies(ARRAYS, shape, voxel_size)
    rng = np.random.default_rng(8)
    fields = [smooth_field(ARRAYS, rng, frequencies, width) for _ in range(12)]
    assert all(f.dtype == np.float32 for f in fields)
    assert all(abs(f.mean()) < 1e-5 and abs(f.var() - 1) < 1e-4 for f in fields)
    for lag in (1, 3, 5):
        found = np.mean([np.mean(f * np.roll(f, lag, axis=a)) for f in fields for a in range(3)])
        assert found == pytest.approx(np.exp(-((lag * voxel_size / width) ** 2) / 4), abs=0.05)


def test_standardised_and_radius() -> None:
    inside = np.zeros(SHAPE, bool)
    inside[3:9, 5:12, 7:20] = True
    values = np.random.default_rng(9).normal(3, 2, SHAPE).astype(np.float32)
    scaled = standardised(ARRAYS, values, inside)
    assert scaled[inside].mean() == pytest.approx(0, abs=1e-5)
    assert scaled[inside].std() == pytest.approx(1, abs=1e-5)
    z, y, x = np.indices(SHAPE, dtype=np.float64)
    wanted = np.sqrt((z - 5.5) ** 2 + (y - 8) ** 2 + (x - 13) ** 2)
    np.testing.assert_allclose(radius_from_centre(ARRAYS, inside), wanted, atol=1e-4)
