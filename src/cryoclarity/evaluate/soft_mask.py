"""Soft mask around the heavy atoms of a model, for map-model Fourier shell correlation."""

from __future__ import annotations

import numpy as np

from cryoclarity.density.masks import squared_distances
from cryoclarity.grid import Grid

# The mask is 1 up to the first distance and 0 from the second on, in angstrom.
INNER_DISTANCE = 3.0
OUTER_DISTANCE = 9.0


def squared_distance_to_atoms(positions: np.ndarray, grid: Grid, limit: float) -> np.ndarray:
    """Squared distance from each voxel to the nearest atom, as far as it matters.

    Parameters
    ----------
    positions : (n, 3) float64, angstrom
    grid : Grid
    limit : float
        Largest distance of interest in angstrom; atoms may lie outside the box.

    Returns
    -------
    (nz, ny, nx) float32
        ``limit ** 2`` where no atom is nearer.
    """
    nearest = np.full(grid.shape, limit**2, dtype=np.float32)
    for box, squared in squared_distances(positions, grid, limit):
        np.minimum(nearest[box], squared, out=nearest[box], casting="same_kind")
    return nearest


def soft_mask(positions: np.ndarray, grid: Grid) -> np.ndarray:
    """1 within 3 angstrom of an atom, a raised cosine to 0 at 9 angstrom.

    Parameters
    ----------
    positions : (n, 3) float64, angstrom
        Heavy atoms.
    grid : Grid

    Returns
    -------
    (nz, ny, nx) float32 in [0, 1]
    """
    distance = np.sqrt(squared_distance_to_atoms(positions, grid, OUTER_DISTANCE))
    span = OUTER_DISTANCE - INNER_DISTANCE
    phase = np.clip((distance - INNER_DISTANCE) / span, 0.0, 1.0)
    return 0.5 * (1.0 + np.cos(np.pi * phase))
