"""Smooth random fields, their values at atoms, and sums of Gaussians at atoms."""

from __future__ import annotations

import numpy as np

from cryoclarity.degrade.spectrum import Frequencies

__all__ = ["gaussian_sum", "radius_from_centre", "sample", "smooth_field", "standardised"]

ATOMS_PER_BLOCK = 256
# Exponent below which a Gaussian's profile counts as 0: keeps subnormal numbers out.
LEAST_EXPONENT = -40.0


def smooth_field(arrays, rng: np.random.Generator, frequencies: Frequencies, width: float):
    """Return white noise blurred by a Gaussian and brought to mean 0 and variance 1.

    Parameters
    ----------
    arrays : NumpyArrays or its twin
    rng : Generator
    frequencies : Frequencies
        Of the box, which is periodic.
    width : float, angstrom
        Standard deviation of the blur.

    Returns
    -------
    (nz, ny, nx) float32
    """
    spectrum = arrays.rfftn(arrays.normal(rng, frequencies.shape))
    spectrum = spectrum * frequencies.gaussian(width)
    field = arrays.irfftn(spectrum, frequencies.shape)
    field = field - field.mean()
    return field / arrays.xp.sqrt((field * field).mean())


def sample(arrays, field, position):
    """Return a field at fractional voxels (n, 3), linearly interpolated; clamped at the faces."""
    xp = arrays.xp
    total = 0.0
    low, shares = [], []
    for axis, n in enumerate(field.shape):
        place = xp.clip(position[:, axis], 0.0, n - 1.001)
        floor = xp.floor(place)
        low.append(arrays.integers(floor))
        shares.append(place - floor)
    for corner in np.ndindex(2, 2, 2):
        weight = 1.0
        for share, step in zip(shares, corner, strict=True):
            weight = weight * (share if step else 1.0 - share)
        z, y, x = (index + step for index, step in zip(low, corner, strict=True))
        total = total + weight * field[z, y, x]
    return total


def gaussian_sum(arrays, position, weight, width, shape: tuple[int, int, int]):
    """Return a sum of normalised Gaussians sampled at the voxels, without periodic images.

    A Gaussian is a product over the axes, so a block of atoms is one matrix product; atoms are
    taken in the order of z, so that a block fills a slab only.

    Parameters
    ----------
    arrays : NumpyArrays or its twin
    position : (n, 3) voxels (z, y, x)
    weight : (n,)
        Integral of each, in voxels.
    width : (n,) voxels
        Standard deviations.
    shape : (nz, ny, nx)

    Returns
    -------
    (nz, ny, nx) float32
    """
    xp = arrays.xp
    total = arrays.zeros(shape)
    height = arrays.host(position)[:, 0]
    reach = np.sqrt(-2.0 * LEAST_EXPONENT) * arrays.host(width)
    order = np.argsort(height, kind="stable")
    for block in np.array_split(order, max(1, -(-len(order) // ATOMS_PER_BLOCK))):
        first = max(0, int(np.floor((height[block] - reach[block]).min())))
        last = min(shape[0], int(np.ceil((height[block] + reach[block]).max())) + 1)
        if first >= last:
            continue
        chosen = arrays.integers(block)
        scale = 1.0 / width[chosen]
        profiles = []
        for axis, (start, stop) in enumerate(((first, last), (0, shape[1]), (0, shape[2]))):
            voxels = arrays.floats(np.arange(start, stop))
            distance = (voxels[None] - position[chosen, axis][:, None]) * scale[:, None]
            exponent = -0.5 * distance * distance
            profile = xp.exp(xp.clip(exponent, LEAST_EXPONENT, None)) * (exponent > LEAST_EXPONENT)
            profiles.append(profile * (scale * (2.0 * np.pi) ** -0.5)[:, None])
        z, y, x = profiles
        total[first:last] += arrays.outer_sum(z * weight[chosen][:, None], y, x)
    return total


def standardised(arrays, values, inside=None):
    """Return values minus their mean over their standard deviation, both taken inside a mask."""
    chosen = values if inside is None else values[inside]
    deviation = arrays.xp.sqrt(((chosen - chosen.mean()) ** 2).mean())
    return (values - chosen.mean()) / arrays.xp.clip(deviation, 1e-6, None)


def radius_from_centre(arrays, inside):
    """Return each voxel's distance in voxels from the centre of mass of a mask."""
    share = arrays.floats(inside)
    total = share.sum()
    square = 0.0
    for axis, n in enumerate(inside.shape):
        line = arrays.floats(np.arange(n)).reshape([-1 if a == axis else 1 for a in range(3)])
        middle = (share * line).sum() / total
        square = square + (line - middle) ** 2
    return arrays.xp.sqrt(square)
