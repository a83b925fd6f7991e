"""How well two densities agree around each voxel."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from scipy.ndimage import gaussian_filter

# A Gaussian of this many resolutions falls to 1/e at the resolution: 1 / (pi sqrt 2).
LOW_PASS = 0.225
TRUNCATE = 4.0  # Gaussians end at this many sigma
VARIANCE_FLOOR = 0.02  # of the overall variance
SLAB_SECTIONS = 64


def reach(sigma: float) -> int:
    """Return how many voxels a Gaussian of `sigma` voxels looks ahead."""
    return int(TRUNCATE * sigma + 0.5)


def by_slabs(
    function: Callable[..., np.ndarray], margin: int, arrays: Sequence[np.ndarray]
) -> np.ndarray:
    """Apply a local function slab by slab, so that its temporaries stay small.

    Parameters
    ----------
    function : callable of as many arrays as given
        Its value at a voxel depends on no voxel further than `margin` along the first axis.
    margin : int
    arrays : arrays of one shape
    """
    result = np.empty(arrays[0].shape, dtype=np.float32)
    for first in range(0, len(result), SLAB_SECTIONS):
        start = max(first - margin, 0)
        cuts = [array[start : first + SLAB_SECTIONS + margin] for array in arrays]
        part = function(*cuts)[first - start :]
        result[first : first + SLAB_SECTIONS] = part[:SLAB_SECTIONS]
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
    (mean_a, variance_a), (mean_b, variance_b) = (
        mean_and_variance(array) for array in (first, second)
    )
    if variance_a == 0 or variance_b == 0:
        return np.zeros(first.shape, dtype=np.float32)

    def window(values: np.ndarray) -> np.ndarray:
        return gaussian_filter(values, sigma, mode="nearest", truncate=TRUNCATE)

    def centred(values: np.ndarray, mean: float) -> np.ndarray:
        # Around the overall mean, so that squares lose no precision.
        values = values.astype(np.float32, copy=False) - np.float32(mean)
        return gaussian_filter(values, before, mode="nearest", truncate=TRUNCATE)

    def correlate(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        a, b = centred(a, mean_a), centred(b, mean_b)
        local_a, local_b = window(a), window(b)
        shared = window(a * b) - local_a * local_b
        for values, local, overall in ((a, local_a, variance_a), (b, local_b, variance_b)):
            variance = np.maximum(window(np.square(values)) - np.square(local), 0)
            shared /= np.sqrt(variance + np.float32(VARIANCE_FLOOR * overall))
        return np.clip(shared, -1, 1)

    return by_slabs(correlate, reach(sigma) + reach(before), (first, second))
