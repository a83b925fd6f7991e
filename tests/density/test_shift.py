"""The shift between two maps, against maps that were moved by a known amount."""

import numpy as np
import pytest
from scipy import fft, ndimage

from cryoclarity.density.shift import coarse_shift, relative_shift


def smooth_map(seed=0, shape=(30, 27, 32)):
    return ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=shape), 2, mode="wrap")


def moved(density, shift):
    frequencies = np.meshgrid(*(fft.fftfreq(n) for n in density.shape), indexing="ij")
    ramp = sum(f * s for f, s in zip(frequencies, shift, strict=True))
    return fft.ifftn(fft.fftn(density) * np.exp(-2j * np.pi * ramp)).real


@pytest.mark.parametrize("shift", [(0, 0, 0), (0.004, -0.02, 0.3), (1.0, 0, -2.0)])
def test_known_shift_is_found(shift):
    density = smooth_map()
    assert relative_shift(density, moved(density, shift)) == pytest.approx(shift, abs=1e-4)


def test_sharpening_and_noise_are_no_shift():
    density = smooth_map()
    sharper = density - 0.5 * ndimage.gaussian_filter(density, 1.5, mode="wrap")
    noisy = sharper + 0.02 * density.std() * np.random.default_rng(1).normal(size=density.shape)
    assert np.abs(relative_shift(density, noisy)).max() < 0.005


def test_empty_maps_have_no_shift():
    empty = np.zeros((8, 8, 8))
    assert relative_shift(empty, empty).tolist() == [0, 0, 0]


@pytest.mark.parametrize("shift", [(0, 0, 0), (0.004, -0.02, 0.3)])
def test_the_coarse_answer_is_the_same(shift):
    density = smooth_map(shape=(40, 37, 44))
    assert coarse_shift(density, moved(density, shift)) == pytest.approx(shift, abs=2e-3)
