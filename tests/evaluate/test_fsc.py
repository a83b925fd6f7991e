"""Fourier shell correlation: shells, weights, crossings and the soft mask."""

import math

import numpy as np
import pytest

from cryoclarity.evaluate.fsc import FscCurve, crossing, fsc

VOXEL = (1.0, 1.1, 0.9)


def direct_fsc(first, second, voxel):
    """All coefficients of the full transform, one by one."""
    f1, f2 = np.fft.fftn(first), np.fft.fftn(second)
    axes = [np.fft.fftfreq(n, v) for n, v in zip(first.shape, voxel, strict=True)]
    edge = max(n * v for n, v in zip(first.shape, voxel, strict=True))
    last = int(edge / (2 * max(voxel)))
    sums = {}
    for index in np.ndindex(first.shape):
        s = math.sqrt(sum(axes[a][index[a]] ** 2 for a in range(3)))
        k = round(s * edge)
        if 1 <= k <= last:
            entry = sums.setdefault(k, [0.0, 0.0, 0.0, 0.0, 0])
            entry[0] += (f1[index] * f2[index].conjugate()).real
            entry[1] += abs(f1[index]) ** 2
            entry[2] += abs(f2[index]) ** 2
            entry[3] += s
            entry[4] += 1
    shells = sorted(sums)
    values = [sums[k][0] / math.sqrt(sums[k][1] * sums[k][2]) for k in shells]
    return [sums[k][3] / sums[k][4] for k in shells], values


@pytest.mark.parametrize("shape", [(10, 8, 12), (9, 12, 7)])
def test_half_transform_equals_the_full_one(shape):
    rng = np.random.default_rng(1)
    first = rng.normal(size=shape)
    second = first + 0.7 * rng.normal(size=shape)
    curve = fsc(first, second, VOXEL)
    frequency, values = direct_fsc(first, second, VOXEL)
    np.testing.assert_allclose(curve.frequency, frequency, rtol=1e-6)
    np.testing.assert_allclose(curve.correlation, values, atol=1e-6)


def test_identical_scaled_and_inverted_maps():
    rng = np.random.default_rng(2)
    density = rng.normal(size=(12, 12, 12)).astype(np.float32)
    np.testing.assert_allclose(fsc(density, density, VOXEL).correlation, 1.0, atol=1e-6)
    np.testing.assert_allclose(fsc(density, 5 * density + 3, VOXEL).correlation, 1, atol=1e-5)
    np.testing.assert_allclose(fsc(density, -density, VOXEL).correlation, -1.0, atol=1e-6)


def test_low_pass_does_not_change_the_curve():
    rng = np.random.default_rng(3)
    first = rng.normal(size=(16, 16, 16))
    second = first + rng.normal(size=first.shape)
    axes = np.meshgrid(*(np.fft.fftfreq(16),) * 3, indexing="ij")
    radius = np.sqrt(sum(a**2 for a in axes))
    blurred = np.fft.ifftn(np.fft.fftn(first) * np.exp(-20 * radius**2)).real
    # Shells have a width, so a radial filter moves the curve a little.
    voxel = (1.0, 1.0, 1.0)
    np.testing.assert_allclose(
        fsc(first, second, voxel).correlation, fsc(blurred, second, voxel).correlation, atol=0.12
    )


def curve_of(values):
    values = np.asarray(values, dtype=float)
    return FscCurve(0.05 * np.arange(1, values.size + 1), values)


def test_crossing_is_linear_in_frequency():
    resolution, at_nyquist = crossing(curve_of([1.0, 0.9, 0.4, 0.6, 0.1]), 0.5)
    assert resolution == pytest.approx(1 / (0.10 + 0.05 * 0.4 / 0.5))
    assert not at_nyquist


def test_crossing_at_the_ends():
    assert crossing(curve_of([0.4, 0.9]), 0.5) == (None, False)
    assert crossing(curve_of([0.9, 0.8]), 0.5) == (pytest.approx(10.0), True)
    assert crossing(curve_of([]), 0.5) == (None, False)
    assert crossing(curve_of([np.nan, np.nan]), 0.5) == (None, False)


def test_mean_up_to_the_stated_resolution():
    curve = curve_of([1.0, 0.8, 0.2, -0.5])
    assert curve.mean_up_to(1 / 0.16) == pytest.approx(2.0 / 3)
    assert math.isnan(curve.mean_up_to(100.0))
