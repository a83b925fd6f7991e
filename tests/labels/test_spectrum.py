"""Real transforms against plain complex ones in float64."""

from __future__ import annotations

import numpy as np
import pytest

from cryoclarity.errors import InputError
from cryoclarity.labels.prewhiten import Whitening, apply_whitening
from cryoclarity.labels.spectrum import (
    bin_count,
    grid_axis,
    hamming_window,
    radial_spectrum,
    radius_squared,
)

SIZES = [24, 25, 47]


def full_radius(size: int) -> np.ndarray:
    axis = np.linspace(np.floor(-size / 2), np.floor(size / 2), size)
    return np.sqrt(radius_squared(axis, axis, axis)).astype(np.float32)


@pytest.mark.parametrize(("size", "expected"), [(47, 22), (57, 28), (64, 31), (168, 83)])
def test_number_of_bins_rounds_halves_to_even(size: int, expected: int) -> None:
    assert bin_count(size) == expected


def test_the_grid_is_off_centre() -> None:
    np.testing.assert_allclose(grid_axis(4), [-2, -2 / 3, 2 / 3, 2])
    np.testing.assert_allclose(grid_axis(5), [-3, -1.75, -0.5, 0.75, 2])


@pytest.mark.parametrize("size", SIZES)
def test_spectrum_equals_the_plain_full_transform(size: int) -> None:
    volume = np.random.default_rng(size).normal(size=(size,) * 3).astype(np.float32)
    amplitude = np.abs(np.fft.fftshift(np.fft.fftn(volume.astype(np.float64))))
    amplitude -= amplitude.min()
    power = (amplitude / amplitude.max()) ** 2
    bins = bin_count(size)
    place = np.digitize(full_radius(size), np.linspace(0, bins, bins)) - 1
    expected = [power[place == index].mean() + 1e-10 for index in range(bins)]
    np.testing.assert_allclose(radial_spectrum(volume), expected, rtol=2e-3)


def test_high_frequencies_vanish_beside_a_float32_running_sum() -> None:
    x = np.arange(32) / 32
    wave = np.cos(2 * np.pi * x)[:, None, None] * np.ones((32, 32, 32))
    noise = np.random.default_rng(1).normal(size=wave.shape)
    spectrum = radial_spectrum((wave + 1e-7 * noise).astype(np.float32))
    assert np.all(spectrum[5:] == 1e-10)


@pytest.mark.parametrize("size", SIZES)
def test_whitening_equals_the_real_part_of_the_plain_filter(size: int) -> None:
    volume = np.random.default_rng(size).normal(size=(size,) * 3)
    filter_ = Whitening(np.array([-2.0, -0.1, 0.004]), 3, bin_count(size), 0.9)
    radius = np.clip(full_radius(size).astype(np.float64), filter_.lower, filter_.upper) * 0.9
    gain = np.exp(2.0 + 0.1 * radius - 0.004 * radius**2)
    spectrum = gain * np.fft.fftshift(np.fft.fftn(volume))
    expected = np.fft.ifftn(np.fft.ifftshift(spectrum)).real
    (found,) = apply_whitening([volume.astype(np.float32)], filter_)
    assert np.abs(found - expected).max() < 1e-5 * expected.std()


def test_window_squares_its_first_axis() -> None:
    window = hamming_window(9)
    np.testing.assert_allclose(window[:, 4, 4], np.hamming(9) ** 2)
    np.testing.assert_allclose(window[4, :, 4], np.hamming(9))


def test_constant_volume_has_no_spectrum() -> None:
    with pytest.raises(InputError) as caught:
        radial_spectrum(np.zeros((16, 16, 16), np.float32))
    assert caught.value.code == "VAL_CONSTANT"
