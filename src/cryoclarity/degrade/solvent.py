"""Envelope of the molecule, displaced solvent, soft masks."""

from __future__ import annotations

import numpy as np

from cryoclarity.degrade.fields import gaussian_sum
from cryoclarity.degrade.spectrum import Frequencies

__all__ = ["dilated", "displace_solvent", "envelope", "soft"]

ENVELOPE_WIDTH = 2.0  # angstrom
ENVELOPE_LEVEL = 0.010  # atoms per cubic angstrom after blurring


def envelope(arrays, position, shape: tuple[int, int, int], voxel_size: float):
    """Return where atom counts blurred by 2 A exceed 0.010 per cubic angstrom, bool."""
    count = position.shape[0]
    width = arrays.floats(np.full(count, ENVELOPE_WIDTH / voxel_size))
    weight = arrays.floats(np.full(count, voxel_size**-3.0))
    return gaussian_sum(arrays, position, weight, width, shape) > ENVELOPE_LEVEL


def soft(arrays, frequencies: Frequencies, inside, width: float):
    """Return a mask blurred by a Gaussian of standard deviation `width` in angstrom, 0 to 1."""
    spectrum = arrays.rfftn(arrays.floats(inside)) * frequencies.gaussian(width)
    return arrays.xp.clip(arrays.irfftn(spectrum, frequencies.shape), 0.0, 1.0)


def dilated(arrays, frequencies: Frequencies, inside, radius: float):
    """Return a mask grown by a ball of a radius in angstrom, bool; the box is periodic."""
    square = 0.0
    for axis, n in enumerate(frequencies.shape):
        line = np.minimum(np.arange(n), n - np.arange(n)) * frequencies.voxel_size
        square = square + np.square(line).reshape([-1 if a == axis else 1 for a in range(3)])
    ball = arrays.floats(square <= radius**2 + 1e-6)
    product = arrays.rfftn(arrays.floats(inside)) * arrays.rfftn(ball)
    return arrays.irfftn(product, frequencies.shape) > 0.5


def displace_solvent(arrays, density, inside, soft_envelope, share: float):
    """Return the density minus `share` of its mean inside, spread over the soft envelope.

    A molecule is seen against the solvent that it displaces, not against vacuum.
    """
    return density - share * density[inside].mean() * soft_envelope
