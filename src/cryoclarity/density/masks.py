"""Masks: where the molecule is, from a map, from a mask map, from atoms."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from scipy.ndimage import distance_transform_edt, gaussian_filter

from cryoclarity.grid import Grid

AUTOMATIC_BLUR = 0.02  # of the longest axis
AUTOMATIC_SHARE = 0.05  # of the blurred maximum
BINARY_TOLERANCE = 1e-6
EDGE_VOXELS = 3.0
CONTOUR_BINS = 512
SLAB_SECTIONS = 32


def automatic_mask(density: np.ndarray) -> np.ndarray:
    """Return where the blurred density exceeds 5 % of its maximum, (z, y, x) bool.

    The rule by which ResMap (Kucukelbir et al. 2014) finds the particle when no mask is given:
    Gaussian of 2 % of the edge, cut at 4 sigma.
    """
    sigma = AUTOMATIC_BLUR * max(density.shape)
    blurred = gaussian_filter(density.astype(np.float32, copy=False), sigma, truncate=4.0)
    return blurred > AUTOMATIC_SHARE * blurred.max()


def default_contour(mask: np.ndarray) -> float | None:
    """Return half of the maximum of a mask with values from 0 to 1 or with two values only.

    Returns
    -------
    float or None
        None when the map is no mask (a density): its contour cannot be guessed.
    """
    low, high = float(mask.min()), float(mask.max())
    span = high - low
    near = np.abs(mask - low) <= BINARY_TOLERANCE * span
    near |= np.abs(mask - high) <= BINARY_TOLERANCE * span
    binary = bool(near.all())
    soft = low >= 0 and math.isclose(high, 1.0, rel_tol=1e-3)
    if not (binary or soft) or high <= 0:
        return None
    return 0.5 * high


def soft_edge(inside: np.ndarray, width: float = EDGE_VOXELS) -> np.ndarray:
    """Return 1 inside and a raised cosine down to 0 over `width` voxels outside, float32.

    A sharp edge would put the mask's outline into the statistics of every box.
    """
    if inside.all():
        return np.ones(inside.shape, dtype=np.float32)
    edge = np.zeros(inside.shape, dtype=np.float32)
    margin = math.ceil(width)
    for first in range(0, len(inside), SLAB_SECTIONS):
        # The distance transform takes 40 bytes per voxel, hence slabs.
        start = max(first - margin, 0)
        slab = inside[start : first + SLAB_SECTIONS + margin]
        if slab.any():
            phase = np.minimum(distance_transform_edt(~slab) / width, 1.0)
            part = 0.5 * (1.0 + np.cos(np.pi * phase))
            edge[first : first + SLAB_SECTIONS] = part[first - start :][:SLAB_SECTIONS]
    return edge


def zone_mask(positions: np.ndarray, grid: Grid, radius: float) -> np.ndarray:
    """Return the voxels whose centre is nearer than `radius` to an atom.

    Parameters
    ----------
    positions : (n, 3) float64, angstrom
        Atoms (x, y, z); those outside the box count where they reach it.
    grid : Grid
    radius : float, angstrom
        Strict: a voxel at exactly this distance is outside.

    Returns
    -------
    (nz, ny, nx) bool
    """
    inside = np.zeros(grid.shape, dtype=bool)
    for box, squared in squared_distances(positions, grid, radius):
        inside[box] |= squared < radius**2
    return inside


def squared_distances(
    positions: np.ndarray, grid: Grid, reach: float
) -> Iterator[tuple[tuple[slice, ...], np.ndarray]]:
    """Yield for each atom the box of voxels within reach and their squared distances.

    Parameters
    ----------
    positions : (n, 3) float64, angstrom
        Atoms (x, y, z); those whose box lies outside the grid are left out.
    grid : Grid
    reach : float, angstrom

    Yields
    ------
    box : three slices (z, y, x) into an array on the grid
    squared : float64, shape of the box, angstrom^2
    """
    voxel = np.asarray(grid.voxel_size_zyx)
    shape = np.asarray(grid.shape)
    index = grid.index_of(positions)
    low = np.maximum(np.ceil(index - reach / voxel), 0).astype(int)
    high = np.minimum(np.floor(index + reach / voxel) + 1, shape).astype(int)
    for atom in np.flatnonzero((low < high).all(axis=1)):
        z, y, x = (
            np.square((np.arange(low[atom, a], high[atom, a]) - index[atom, a]) * voxel[a])
            for a in range(3)
        )
        box = tuple(slice(low[atom, a], high[atom, a]) for a in range(3))
        yield box, z[:, None, None] + (y[:, None] + x)[None]


def suggest_contour(density: np.ndarray) -> float:
    """Return a contour level for viewing: the split of the positive voxels of largest contrast.

    N. Otsu's criterion (IEEE Trans. SMC 9, 62, 1979) on the square root of the positive density,
    because the many weak voxels would otherwise hide the molecule. A density without positive
    voxels gives 0, one whose positive voxels hardly differ gives their value.
    """
    positive = density[density > 0]
    if not positive.size:
        return 0.0
    if np.ptp(positive) < 1e-6 * positive.max():
        return float(positive.max())
    np.sqrt(positive, out=positive)
    counts, edges = np.histogram(positive, CONTOUR_BINS)
    centres = 0.5 * (edges[:-1] + edges[1:])
    below = np.cumsum(counts)[:-1]
    above = below[-1] + counts[-1] - below
    total = np.cumsum(counts * centres)
    with np.errstate(divide="ignore", invalid="ignore"):
        contrast = total[:-1] / below - (total[-1] - total[:-1]) / above
        between = np.nan_to_num(below * above * contrast**2)
    return float(edges[1 + int(between.argmax())] ** 2)
