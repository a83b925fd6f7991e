"""Shells, wanted profiles, noise and the local low-pass beside plain formulas."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.fft

from cryoclarity.degrade.arrays import NumpyArrays
from cryoclarity.degrade.local_lowpass import CUTS, EDGE, local_low_pass
from cryoclarity.degrade.noise import coloured_noise, noise_level, noise_to_signal
from cryoclarity.degrade.spectrum import (
    KNOTS,
    Frequencies,
    logistic,
    wanted_amplitude,
    wanted_fsc,
)
from cryoclarity.evaluate.fsc import fsc

ARRAYS = NumpyArrays()
SHAPE, VOXEL = (36, 40, 32), 1.25


@pytest.fixture
def frequencies() -> Frequencies:
    return Frequencies(ARRAYS, SHAPE, VOXEL)


@pytest.fixture
def volumes() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(1)
    first = rng.normal(size=SHAPE).astype(np.float32)
    return first, (first + rng.normal(size=SHAPE)).astype(np.float32)


def test_correlation_is_that_of_evaluation(frequencies, volumes) -> None:
    curve = fsc(*volumes, (VOXEL,) * 3)
    ours = frequencies.fsc(*(scipy.fft.rfftn(v) for v in volumes))
    count = len(curve.correlation)
    np.testing.assert_allclose(ours[1 : count + 1], curve.correlation, atol=2e-3)
    np.testing.assert_allclose(frequencies.frequency[1 : count + 1], curve.frequency, rtol=1e-3)


def test_amplitudes_hold_the_power(frequencies, volumes) -> None:
    amplitude = frequencies.amplitude(scipy.fft.rfftn(volumes[0]))
    power = np.sum(amplitude**2 * frequencies._counts)
    assert power == pytest.approx(np.sum(volumes[0].astype(np.float64) ** 2) * math.prod(SHAPE))


def test_a_shaped_map_has_the_amplitude_and_its_phases(frequencies, volumes) -> None:
    wanted = np.exp(-5 * frequencies.frequency)
    spectrum = scipy.fft.rfftn(volumes[0])
    shaped = frequencies.shaped(spectrum, wanted)
    np.testing.assert_allclose(frequencies.amplitude(shaped), wanted, rtol=1e-5)
    assert np.abs(np.angle(shaped / spectrum)).max() < 1e-5


def test_shells_without_power_stay_empty(frequencies, volumes) -> None:
    low = scipy.fft.rfftn(volumes[0]) * (frequencies.square < 0.2**2)
    shaped = frequencies.shaped(low, np.ones(frequencies.n_shells))
    assert not shaped[frequencies.square > 0.25**2].any()


def test_transfer_functions(frequencies) -> None:
    s = np.sqrt(frequencies.square.astype(np.float64))
    np.testing.assert_allclose(
        frequencies.gaussian(1.7), np.exp(-2 * np.pi**2 * 1.7**2 * s**2), atol=1e-6
    )
    np.testing.assert_allclose(frequencies.b_decay(90.0), np.exp(-90 * s**2 / 4), atol=1e-6)
    low_pass = frequencies.low_pass(5.0, 0.1)
    assert (low_pass[s < 0.9 / 5 - 1e-6] == 1).all()
    assert np.abs(low_pass[s > 1.1 / 5 + 1e-6]).max() < 1e-6
    between = (s > 0.9 / 5) & (s < 1.1 / 5)
    wanted = 0.5 + 0.5 * np.cos(np.pi * (5 * s[between] - 0.9) / 0.2)
    np.testing.assert_allclose(low_pass[between], wanted, atol=1e-4)


def test_directional_decay(frequencies) -> None:
    direction = np.array([0.6, -0.48, 0.64])
    z, y = (np.fft.fftfreq(n, VOXEL) for n in SHAPE[:2])
    x = np.fft.rfftfreq(SHAPE[2], VOXEL)
    along = 0.6 * z[:, None, None] - 0.48 * y[:, None] + 0.64 * x
    wanted = np.exp(-50 * along**2 / 4)
    np.testing.assert_allclose(frequencies.directional_decay(direction, 50.0), wanted, atol=1e-6)


def test_wanted_amplitude_is_the_formula() -> None:
    frequency = np.linspace(0, 0.8, 41)
    target = np.exp(-6 * frequency)
    gain = (-1.0, -0.7, -0.2, 0.0, 0.3, 0.4, 0.9)
    ours = wanted_amplitude(
        frequency, target, gain, resolution=3.0, tail=0.6, edge=0.4, edge_width=0.02
    )
    at_limit = float(
        np.interp(1 / 3, frequency, target * np.exp(np.interp(frequency, KNOTS, gain)))
    )
    for s, t, value in zip(frequency, target, ours, strict=True):
        wanted = t * math.exp(float(np.interp(s, KNOTS, gain)))
        if s > 1 / 3:
            wanted = max(wanted, 0.6 * at_limit)
        assert value == pytest.approx(wanted / (1 + math.exp((s - 0.4) / 0.02)))


def test_wanted_fsc_and_logistic() -> None:
    assert logistic(np.array([0.0, 0.3, 99.0]), 0.3, 0.01)[1:] == pytest.approx([0.5, 0], abs=1e-12)
    assert wanted_fsc(np.array([0.25]), 0.9, 0.25, 0.02)[0] == pytest.approx(0.45)


def test_noise_to_signal_brings_the_correlation_about() -> None:
    rng = np.random.default_rng(2)
    target, other, noise = rng.normal(size=(3, 200_000))
    signal = 0.8 * target + 0.6 * other
    ratio = noise_to_signal(np.array([0.8]), np.array([0.5]))[0]
    mixed = signal + np.sqrt(ratio) * noise
    assert np.corrcoef(mixed, target)[0, 1] == pytest.approx(0.5, abs=0.01)
    assert noise_to_signal(np.array([0.3, 0.9]), np.array([0.5, 0.0])).tolist() == [0, 400]


def test_coloured_noise_has_its_spectrum(frequencies) -> None:
    rng = np.random.default_rng(3)
    b_factor, colour = 60.0, 1.1
    runs = [coloured_noise(ARRAYS, rng, frequencies, b_factor, colour) for _ in range(6)]
    assert all(run[0, 0, 0] == 0 for run in runs)
    found = np.sqrt(np.mean([frequencies.amplitude(run) ** 2 for run in runs], axis=0))
    s = frequencies.frequency
    wanted = np.exp(-b_factor * s**2 / 4) * np.sqrt(1 + (0.08 * colour / np.maximum(s, 1e-9)) ** 2)
    wanted *= np.sqrt(math.prod(SHAPE))
    near = slice(3, 20)
    np.testing.assert_allclose(found[near], wanted[near], rtol=0.12)


def test_noise_level_gives_the_ratio(frequencies, volumes) -> None:
    inside = np.zeros(SHAPE, np.float32)
    inside[8:28, 10:30, 8:24] = 1
    signal = scipy.fft.rfftn(volumes[0] * inside)
    noise = scipy.fft.rfftn(volumes[1])
    share = float(inside.mean())
    level = noise_level(frequencies, signal, noise, at=0.2, ratio=9.0, mask_share=share)
    s = np.sqrt(frequencies.square)
    near = (s > 0.18) & (s < 0.22)
    found = np.mean(np.abs(signal[near]) ** 2) / share
    found /= level**2 * np.mean(np.abs(noise[near]) ** 2)
    assert found == pytest.approx(9.0, rel=0.15)


def test_local_low_pass_at_one_resolution_is_a_low_pass(frequencies, volumes) -> None:
    spectrum = scipy.fft.rfftn(volumes[0])
    even = np.full(SHAPE, CUTS[7], np.float32)
    wanted = scipy.fft.irfftn(spectrum * frequencies.low_pass(CUTS[7], EDGE), s=SHAPE)
    np.testing.assert_allclose(
        local_low_pass(ARRAYS, frequencies, spectrum, even), wanted, atol=1e-5
    )


def test_local_low_pass_mixes_the_two_next_copies(frequencies, volumes) -> None:
    spectrum = scipy.fft.rfftn(volumes[0])
    resolution = np.random.default_rng(4).uniform(1.5, 22, SHAPE).astype(np.float32)
    ours = local_low_pass(ARRAYS, frequencies, spectrum, resolution)
    assert ours.dtype == np.float32
    copies = [scipy.fft.irfftn(spectrum * frequencies.low_pass(cut, EDGE), s=SHAPE) for cut in CUTS]
    knots = 1 / np.array(CUTS[::-1])
    for place in np.random.default_rng(5).integers(0, 32, (200, 3)):
        at = tuple(place)
        values = [copy[at] for copy in copies[::-1]]
        assert ours[at] == pytest.approx(np.interp(1 / resolution[at], knots, values), abs=1e-4)
