"""Noise: coloured for half maps, and of a wanted share of a map's power."""

from __future__ import annotations

import numpy as np

from cryoclarity.degrade.spectrum import Frequencies

__all__ = ["coloured_noise", "noise_level", "noise_to_signal"]

COLOUR_SCALE = 0.08  # 1/angstrom: noise rises towards frequencies below this times the colour
LARGEST_RATIO = 400.0
BAND = 0.1  # shells within 10 % of a frequency


def coloured_noise(
    arrays, rng: np.random.Generator, frequencies: Frequencies, b_factor: float, colour: float
):
    """Return the transform of white noise times exp(-B s^2/4) sqrt(1 + (0.08 colour / s)^2).

    F(000) is 0.
    """
    xp = arrays.xp
    white = arrays.rfftn(arrays.normal(rng, frequencies.shape))
    lowest = 0.5 / (max(frequencies.shape) * frequencies.voxel_size)
    square = xp.clip(frequencies.square, lowest**2, None)
    growth = xp.sqrt(1.0 + (COLOUR_SCALE * colour) ** 2 / square)
    return white * (frequencies.b_decay(b_factor) * growth * (frequencies.square > 0))


def noise_level(
    frequencies: Frequencies, signal, noise, *, at: float, ratio: float, mask_share: float
) -> float:
    """Return the factor of the noise at which signal power over noise power is `ratio` there.

    Parameters
    ----------
    frequencies : Frequencies
    signal : transform of the density inside the mask, before any blur
    noise : transform of the noise of the mean map, all over the box
    at : float, 1/angstrom
        Shells within 10 % count.
    ratio : float
    mask_share : float
        Of the box: the signal's power is that of the mask alone.
    """
    near = np.abs(frequencies.frequency / at - 1.0) <= BAND
    if not near.any():
        near = np.abs(frequencies.frequency - at) == np.abs(frequencies.frequency - at).min()
    signal_power = np.mean(frequencies.amplitude(signal)[near] ** 2) / mask_share
    noise_power = np.mean(frequencies.amplitude(noise)[near] ** 2)
    return float(np.sqrt(signal_power / (ratio * noise_power)))


def noise_to_signal(present: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Return the noise-to-signal power per shell that lowers a correlation to the wanted one.

    A signal of correlation f with a target, plus independent noise of n times its power, has
    correlation f / sqrt(1 + n). Where the correlation is too low already nothing is added.
    """
    return np.clip((present / np.maximum(wanted, 1e-6)) ** 2 - 1.0, 0.0, LARGEST_RATIO)
