"""A resolution that varies: every voxel cut at its own frequency."""

from __future__ import annotations

from cryoclarity.degrade.spectrum import Frequencies

__all__ = ["CUTS", "local_low_pass"]

# Angstrom; mixing neighbours leaves at most 13 % between them.
CUTS = (2.0, 2.25, 2.5, 2.8, 3.2, 3.6, 4.1, 4.6, 5.2, 5.9, 6.7, 7.6, 8.6, 9.8, 11.2, 12.8, 14.6,
        16.6, 19.0)  # fmt: skip
EDGE = 0.08


def local_low_pass(arrays, frequencies: Frequencies, spectrum, resolution):
    """Return a map in which voxel x holds nothing finer than `resolution` at x.

    Copies low-passed at CUTS (cosine edge from 0.92 to 1.08 of the frequency) are mixed, at each
    voxel the two next to its resolution, with weights linear in frequency.

    Parameters
    ----------
    arrays : NumpyArrays or its twin
    frequencies : Frequencies
    spectrum : transform of the density
    resolution : (nz, ny, nx) angstrom
        Beyond the ends of CUTS the end serves.

    Returns
    -------
    (nz, ny, nx) float32
    """
    xp = arrays.xp
    knots = [1.0 / cut for cut in CUTS]
    wanted = 1.0 / xp.clip(resolution, CUTS[0], CUTS[-1])
    highest, lowest = float(wanted.max()), float(wanted.min())
    mixed = arrays.zeros(frequencies.shape)
    for index, knot in enumerate(knots):
        higher = knots[index - 1] if index else knot
        lower = knots[index + 1] if index + 1 < len(knots) else knot
        if (lower > highest and knot > highest) or (higher < lowest and knot < lowest):
            continue
        rising = _ramp(xp, wanted, lower, knot)
        falling = _ramp(xp, wanted, higher, knot)
        weight = xp.clip(xp.where(wanted <= knot, rising, falling), 0.0, 1.0)
        copy = arrays.irfftn(spectrum * frequencies.low_pass(1.0 / knot, EDGE), frequencies.shape)
        mixed = mixed + weight * copy
    return mixed


def _ramp(xp, wanted, zero: float, one: float):
    """0 at one frequency, 1 at another; 1 at the end of the list."""
    if zero == one:
        return xp.ones_like(wanted)
    return (wanted - zero) / (one - zero)
