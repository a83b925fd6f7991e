"""Down-sampling and the way back, against scipy's own resampling and brute force."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from cryoclarity.labels.lowpass import (
    downsample,
    pure_mask,
    round_away,
    upsample_levels,
    upsample_nearest,
)


@pytest.mark.parametrize(("value", "expected"), [(2.5, 3), (3.5, 4), (-2.5, -3), (2.49, 2)])
def test_halves_round_away_from_zero(value: float, expected: int) -> None:
    assert round_away(value) == expected


@pytest.mark.parametrize(("old", "new"), [(30, 19), (31, 20)])
def test_downsampling_is_the_mirrored_cubic_spline(old: int, new: int) -> None:
    volume = np.random.default_rng(old).normal(size=(old,) * 3).astype(np.float32)
    expected = ndimage.zoom(volume.astype(np.float64), new / old, order=3, mode="mirror")
    np.testing.assert_allclose(downsample(volume, new), expected, atol=1e-6)


def test_upsampling_is_trilinear() -> None:
    values = np.random.default_rng(7).normal(size=(13,) * 3)
    expected = ndimage.zoom(values, 22 / 13, order=1, mode="nearest")
    np.testing.assert_allclose(upsample_levels(values, 22), expected, atol=1e-6)


def test_pure_voxels_have_equal_neighbours() -> None:
    coarse = (np.random.default_rng(8).random((7, 7, 7)) < 0.15).astype(np.uint8)
    fine = upsample_levels(coarse.astype(float), 13)
    pure = pure_mask(coarse, 13)
    # Between two equal values interpolation returns that value, and only there.
    assert np.array_equal(pure, (np.abs(fine) < 1e-6) | (np.abs(fine - 1) < 1e-6))
    assert np.array_equal(upsample_nearest(coarse, 13)[::2, ::2, ::2], coarse)
