"""Atoms as a measurement sees them: how strong, how wide, how far from where the model says."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cryoclarity.degrade.fields import gaussian_sum, sample, smooth_field
from cryoclarity.degrade.placement import Placed
from cryoclarity.degrade.spectrum import Frequencies

__all__ = [
    "AtomDraw",
    "atom_resolution",
    "deblurred_sum",
    "displaced",
    "scattering",
    "uneven_views",
]

RESOLUTION_RANGE = (1.5, 9.0)  # angstrom
RESOLUTION_FIELD = 10.0  # angstrom, on which resolution varies
RANDOM_WEIGHT, RADIAL_WEIGHT = 0.7, 0.5
STRENGTH_FIELD, STRENGTH_SPREAD, STRENGTH_JITTER = 5.0, 0.35, 0.15
SHIFT_FIELD, SHIFT_SCALE = 6.0, 1.7
INTRINSIC_WIDTH = 0.3  # angstrom, of an atom at B = 0
GROWTH_POWER = 1.3
# Sampled without aliasing, in voxels^2: the neighbouring order's share is 0.4 % at 0.8 Nyquist.
SAMPLED_VARIANCE = 1.2
VARIANCE_PER_B = 1.0 / (8.0 * np.pi**2)


@dataclass(frozen=True)
class AtomDraw:
    """Values of one map; see :class:`cryoclarity.degrade.parameters.ImprovementRanges`."""

    carboxyl: float
    shift: float
    jitter: float
    b_factor: float
    b_growth: float


def at_atoms(arrays, rng, frequencies: Frequencies, placed: Placed, width: float) -> np.ndarray:
    """Return a unit-variance smooth field at the atoms, (n,) float64 on the host."""
    field = smooth_field(arrays, rng, frequencies, width)
    values = sample(arrays, field, arrays.floats(placed.position))
    return arrays.host(values).astype(np.float64)


def atom_resolution(
    arrays, rng, frequencies: Frequencies, placed: Placed, resolution: float, spread: float
) -> np.ndarray:
    """Return a resolution per atom, (n,) angstrom: d + spread (0.7 field + 0.5 radius)."""
    centred = placed.position - placed.position.mean(axis=0)
    radius = np.linalg.norm(centred.astype(np.float64), axis=1)
    outwards = (radius - radius.mean()) / max(float(radius.std()), 1e-6)
    field = at_atoms(arrays, rng, frequencies, placed, RESOLUTION_FIELD)
    local = resolution + spread * (RANDOM_WEIGHT * field + RADIAL_WEIGHT * outwards)
    return np.clip(local, *RESOLUTION_RANGE)


def scattering(
    arrays, rng, frequencies: Frequencies, placed: Placed, draw: AtomDraw, local: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return strength (n,) and variance (n,) in square angstrom of each atom.

    Strength: atomic number times exp(0.35 field + 0.15 normal), carboxyls weaker. Variance:
    0.3^2 + b / (8 pi^2), b growing with the 1.3rd power of the resolution's excess.
    """
    field = at_atoms(arrays, rng, frequencies, placed, STRENGTH_FIELD)
    exponent = STRENGTH_SPREAD * field + STRENGTH_JITTER * rng.standard_normal(len(local))
    weight = placed.weight * np.exp(exponent) * np.where(placed.carboxyl, draw.carboxyl, 1.0)
    b_factor = draw.b_factor + draw.b_growth * (local - local.min()) ** GROWTH_POWER
    return weight, INTRINSIC_WIDTH**2 + VARIANCE_PER_B * b_factor


def displaced(arrays, rng, frequencies: Frequencies, placed: Placed, draw: AtomDraw) -> np.ndarray:
    """Return positions (n, 3) in voxels: neighbourhoods moved together, atoms each a little."""
    together = [at_atoms(arrays, rng, frequencies, placed, SHIFT_FIELD) for _ in range(3)]
    step = draw.shift / SHIFT_SCALE * np.stack(together, axis=1)
    step = step + draw.jitter * rng.standard_normal(step.shape)
    return placed.position + step / placed.voxel_size


def deblurred_sum(arrays, frequencies: Frequencies, position, weight, variance):
    """Return the transform of a sum of Gaussians narrower than a voxel, without aliasing.

    The atoms are sampled with a common extra blur, which is divided out of the transform;
    beyond Nyquist nothing is left.

    Parameters
    ----------
    position : (n, 3) voxels (z, y, x)
    weight : (n,)
    variance : (n,) square angstrom
    """
    voxel = frequencies.voxel_size
    extra = max(0.0, SAMPLED_VARIANCE * voxel**2 - float(np.min(variance)))
    width = np.sqrt(variance + extra) / voxel
    density = gaussian_sum(
        arrays,
        arrays.floats(position),
        arrays.floats(weight),
        arrays.floats(width),
        frequencies.shape,
    )
    within = frequencies.square <= frequencies.nyquist**2
    sharpen = arrays.xp.exp(
        (2.0 * np.pi**2 * extra) * arrays.xp.clip(frequencies.square, None, frequencies.nyquist**2)
    )
    return arrays.rfftn(density) * (sharpen * within)


def uneven_views(rng, frequencies: Frequencies, spectrum, b_factor: float):
    """Return a transform weakened along a random direction; itself where there is nothing to do."""
    if not b_factor:
        return spectrum
    direction = rng.standard_normal(3)
    unit = direction / np.linalg.norm(direction)
    return spectrum * frequencies.directional_decay(unit, b_factor)
