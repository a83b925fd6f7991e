"""Masks, input scales and radial filters against plain formulas."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import distance_transform_edt

from cryoclarity.density.masks import (
    automatic_mask,
    default_contour,
    soft_edge,
    suggest_contour,
    zone_mask,
)
from cryoclarity.density.normalise import (
    percentile_scale,
    scale_to_unit,
    solvent_standardise,
    solvent_statistics,
)
from cryoclarity.density.radial import apply_radial_filter
from cryoclarity.grid import Grid


@given(st.integers(1, 200), st.floats(1, 100))
@settings(max_examples=30)
def test_the_scale_interpolates_between_sorted_positive_voxels(size, percentile):
    values = np.random.default_rng(size).standard_normal(size).astype(np.float32)
    positive = np.sort(values[values > 0]).astype(np.float64)
    found = percentile_scale(values, percentile)
    if not positive.size:
        assert found is None
        return
    place = percentile / 100 * (len(positive) - 1)
    low = int(place)
    high = min(low + 1, len(positive) - 1)
    expected = positive[low] + (place - low) * (positive[high] - positive[low])
    assert found == pytest.approx(expected, rel=1e-5)


def test_scaled_values_lie_between_zero_and_one():
    values = np.array([-1.0, 0.0, 0.5, 2.0, 9.0], np.float32)
    assert scale_to_unit(values, 2.0).tolist() == [0.0, 0.0, 0.25, 1.0, 1.0]


def test_solvent_scale_is_median_outside_and_deviation_inside():
    generator = np.random.default_rng(0)
    density = generator.standard_normal((12, 12, 12)).astype(np.float32) + 1000
    mask = np.zeros(density.shape, bool)
    mask[3:8, 2:9, 4:10] = True
    density[mask] *= 2
    median, deviation = solvent_statistics(density, mask)
    assert median == pytest.approx(np.median(density[~mask]), rel=1e-7)
    assert deviation == pytest.approx(density[mask].astype(np.float64).std(), rel=1e-6)
    scaled = solvent_standardise(density, median, deviation)
    assert scaled.min() >= -3 and scaled.max() <= 6
    assert solvent_statistics(density, ~np.zeros_like(mask))[0] == pytest.approx(
        np.median(density), rel=1e-7
    )


def test_soft_edges_fall_to_zero_over_their_width():
    generator = np.random.default_rng(1)
    inside = np.zeros((80, 20, 22), bool)
    inside[10:30, 5:12, 6:15] = True
    inside[60:66] = generator.random((6, 20, 22)) > 0.98
    distance = distance_transform_edt(~inside)
    expected = 0.5 * (1 + np.cos(np.pi * np.minimum(distance / 3.0, 1)))
    assert np.abs(soft_edge(inside) - expected).max() < 1e-6
    assert soft_edge(np.ones((4, 4, 4), bool)).min() == 1


def test_zones_are_strict_and_reach_in_from_outside():
    grid = Grid((20, 22, 24), (1.1, 0.9, 1.3), (-5.0, 2.0, 7.0))
    atoms = np.array([[3.0, 9.0, 15.0], [-6.0, 2.0, 7.0], [500.0, 0.0, 0.0]])
    index = np.indices(grid.shape).reshape(3, -1).T
    centre = grid.position_of(index)
    nearest = np.linalg.norm(centre[:, None] - atoms, axis=2).min(axis=1)
    expected = (nearest < 4.0).reshape(grid.shape)
    assert np.array_equal(zone_mask(atoms, grid, 4.0), expected)
    on_voxel = grid.position_of(np.array([[5, 5, 5]]))
    assert zone_mask(on_voxel, grid, 0.9).sum() == 1


def test_contours_are_guessed_for_masks_only():
    soft = np.linspace(0, 1, 50)
    assert default_contour(soft) == 0.5
    assert default_contour(np.array([0.0, 0.0, 7.0])) == 3.5
    assert default_contour(np.array([-1.0, 0.3, 7.0])) is None


def test_the_automatic_mask_finds_the_blob():
    index = np.indices((40, 40, 40))
    density = np.exp(-((index - 20) ** 2).sum(axis=0) / 50).astype(np.float32)
    mask = automatic_mask(density)
    assert mask[20, 20, 20] and not mask[2, 2, 2]


def test_a_radial_filter_scales_each_wave_by_its_gain():
    x = np.arange(32) * 0.8
    wave = np.cos(2 * np.pi * 4 / (32 * 0.8) * x)
    density = np.broadcast_to(wave, (8, 8, 32)).astype(np.float32)
    frequency = np.array([0.0, 0.5])
    found = apply_radial_filter(density, (0.8, 1.0, 1.0), frequency, np.array([1.0, 0.0]))
    gain = 1 - 4 / (32 * 0.8) / 0.5
    assert np.abs(found - gain * density).max() < 1e-6


def test_the_contour_of_a_flat_density_is_its_value():
    density = np.zeros((8, 8, 8), np.float32)
    density[2:4] = 0.25
    assert suggest_contour(density) == pytest.approx(0.25)


@pytest.mark.parametrize("size", [5, 6])
@pytest.mark.parametrize("kind", ["any", "zeros", "negative", "flat"])
def test_the_solvent_median_is_exact_without_a_copy(size, kind):
    generator = np.random.default_rng(0)
    density = generator.standard_normal((size,) * 3).astype(np.float32)
    if kind == "zeros":
        density[density < 0] = 0
    elif kind == "negative":
        density = -np.abs(density)
    elif kind == "flat":
        density[:] = 1.5
        density[0, 0, 0] = 2
    mask = generator.random(density.shape) < 0.4
    assert solvent_statistics(density, mask)[0] == np.median(density[~mask])
    assert solvent_statistics(density, np.ones_like(mask))[0] == np.median(density)
