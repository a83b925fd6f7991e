"""How well two densities agree around each voxel."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter

# A Gaussian of this many resolutions falls to 1/e at the resolution: 1 / (pi sqrt 2).
LOW_PASS = 0.225
VARIANCE_FLOOR = 1e-3  # of the largest local variance


def low_pass(density: np.ndarray, resolution: float, spacing: float) -> np.ndarray:
    """Return a density without the detail beyond a resolution (angstrom), float32."""
    sigma = LOW_PASS * resolution / spacing
    return gaussian_filter(density.astype(np.float32, copy=False), sigma, mode="nearest")


def local_correlation(first: np.ndarray, second: np.ndarray, sigma: float) -> np.ndarray:
    """Return the correlation of two densities in a Gaussian window around each voxel.

    Parameters
    ----------
    first, second : (nz, ny, nx)
    sigma : float, voxels

    Returns
    -------
    (nz, ny, nx) float32 in [-1, 1]
        Tends to 0 where either density hardly varies: below 1e-3 of its largest local variance.
    """

    def mean(values: np.ndarray) -> np.ndarray:
        return gaussian_filter(values, sigma, mode="nearest")

    # Around the overall means, so that squares lose no precision.
    a = first.astype(np.float32, copy=False) - np.float32(first.mean(dtype=np.float64))
    b = second.astype(np.float32, copy=False) - np.float32(second.mean(dtype=np.float64))
    mean_a, mean_b = mean(a), mean(b)
    shared = mean(a * b) - mean_a * mean_b
    both = np.ones((), dtype=np.float32)
    for values, average in ((a, mean_a), (b, mean_b)):
        variance = np.maximum(mean(np.square(values)) - np.square(average), 0)
        top = float(variance.max())
        if top == 0:
            return np.zeros(a.shape, dtype=np.float32)
        both = both * np.sqrt(variance + np.float32(VARIANCE_FLOOR * top))
    return np.clip(shared / both, -1, 1)
