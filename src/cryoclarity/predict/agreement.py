"""How well two densities agree around each voxel."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from scipy.ndimage import gaussian_filter

# A Gaussian of this many resolutions falls to 1/e at the resolution: 1 / (pi sqrt 2).
LOW_PASS = 0.225
TRUNCATE = 4.0  # Gaussians end at this many sigma
VARIANCE_FLOOR = 0.02  # of the overall variance
SLAB_SECTIONS = 32
SLAB_ROWS = 96


def reach(sigma: float) -> int:
    """Return how many voxels a Gaussian of `sigma` voxels looks ahead."""
    return int(TRUNCATE * sigma + 0.5)


def by_slabs(
    function: Callable[..., np.ndarray],
    margin: int,
    arrays: Sequence[np.ndarray],
    result: np.ndarray | None = None,
) -> np.ndarray:
    """Apply a local function block by block, so that its temporaries stay small.

    Parameters
    ----------
    function : callable of as many arrays as given
        Its value at a voxel depends on no voxel further than `margin` along any axis.
    margin : int
    arrays : arrays of one shape
    result : array of this shape, optional
        May be one of `arrays`: a slab is written when the next one has been computed.
    """
    if result is None:
        result = np.empty(arrays[0].shape, dtype=np.float32)
    depth = max(SLAB_SECTIONS, margin)
    waiting = None
    for first in range(0, len(result), depth):
        slab = np.empty_like(result[first : first + depth])
        for row in range(0, slab.shape[1], SLAB_ROWS):
            start, top = max(first - margin, 0), max(row - margin, 0)
            where = slice(start, first + depth + margin), slice(top, row + SLAB_ROWS + margin)
            part = function(*(array[where] for array in arrays))[first - start :, row - top :]
            slab[:, row : row + SLAB_ROWS] = part[:depth, :SLAB_ROWS]
        if waiting is not None:
            result[waiting[0] : waiting[0] + depth] = waiting[1]
        waiting = first, slab
    result[waiting[0] :] = waiting[1]
    return result


def mean_and_variance(density: np.ndarray) -> tuple[float, float]:
    """Return overall mean and variance, section by section in float64."""
    mean = float(density.mean(dtype=np.float64))
    squares = sum(float(np.square(s - np.float64(mean)).sum()) for s in density)
    return mean, squares / density.size


def low_pass_sigma(resolution: float, spacing: float) -> float:
    """Return the Gaussian, in voxels, that removes the detail beyond a resolution (angstrom)."""
    return LOW_PASS * resolution / spacing


def local_correlation(
    first: np.ndarray, second: np.ndarray, sigma: float, before: float = 0.0
) -> np.ndarray:
    """Return the correlation of two densities in a Gaussian window around each voxel.

    Parameters
    ----------
    first, second : (nz, ny, nx)
    sigma : float, voxels
    before : float, voxels
        Sigma of a Gaussian by which both are smoothed first; 0 leaves them as they are.

    Returns
    -------
    (nz, ny, nx) float32 in [-1, 1]
        Tends to 0 where either density hardly varies: below 2 % of its overall variance.
    """
    moments = [mean_and_variance(array) for array in (first, second)]
    if not all(variance > 0 for _, variance in moments):
        return np.zeros(first.shape, dtype=np.float32)

    def correlate(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return correlation_within((a, b), moments, sigma, before)

    return by_slabs(correlate, reach(sigma) + reach(before), (first, second))


def correlation_within(
    pair: tuple[np.ndarray, np.ndarray],
    moments: Sequence[tuple[float, float]],
    sigma: float,
    before: float = 0.0,
) -> np.ndarray:
    """Return :func:`local_correlation` of a block, given overall mean and variance of both."""
    # Around the overall mean, so that squares lose no precision.
    a, b = (
        smooth(values.astype(np.float32, copy=False) - np.float32(mean), before)
        for values, (mean, _) in zip(pair, moments, strict=True)
    )
    local_a, local_b = smooth(a, sigma), smooth(b, sigma)
    shared = smooth(a * b, sigma)
    shared -= local_a * local_b
    for values, local, (_, overall) in ((a, local_a, moments[0]), (b, local_b, moments[1])):
        np.square(local, out=local)
        variance = smooth(np.square(values), sigma)
        variance -= local
        np.maximum(variance, 0, out=variance)
        variance += np.float32(VARIANCE_FLOOR * overall)
        shared /= np.sqrt(variance, out=variance)
    return np.clip(shared, -1, 1, out=shared)


def smooth(values: np.ndarray, sigma: float) -> np.ndarray:
    """Return a Gaussian mean with edges continued."""
    return gaussian_filter(values, sigma, mode="nearest", truncate=TRUNCATE)
