"""Structural similarity of two maps in three dimensions (Wang et al., IEEE TIP 13:600, 2004)."""

from __future__ import annotations

import math

import numpy as np
from scipy.ndimage import gaussian_filter

SIGMA = 1.5  # voxels
TRUNCATE = 3.5  # standard deviations, which makes a window of 11 voxels
RADIUS = int(TRUNCATE * SIGMA + 0.5)
C1 = (0.01 * 1.0) ** 2
C2 = (0.03 * 1.0) ** 2
SLAB = 48  # planes worked on at a time: keeps the float64 intermediates small


def scale_to_percentile(density: np.ndarray, percentile: float = 99.9) -> np.ndarray:
    """Bring a map to [0, 1]: divide by a percentile of all its voxels, cut below 0 and above 1.

    Parameters
    ----------
    density : (nz, ny, nx)
    percentile : float

    Returns
    -------
    (nz, ny, nx) float64
        All zero when the percentile is not positive: such a map has no density to compare.
    """
    level = float(np.percentile(density, percentile))
    if level <= 0:
        return np.zeros(density.shape, dtype=np.float64)
    return np.clip(density.astype(np.float64) / level, 0.0, 1.0)


def ssim_map(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Structural similarity at every voxel of two maps with data range 1.

    Gaussian window with a standard deviation of 1.5 voxels and 11 voxels wide, K1 = 0.01,
    K2 = 0.03, population covariances, maps mirrored at the faces of the box.

    Parameters
    ----------
    first, second : (nz, ny, nx)
        Values in [0, 1].

    Returns
    -------
    (nz, ny, nx) float32
    """
    result = np.empty(first.shape, dtype=np.float32)
    n_planes = first.shape[0]
    for start in range(0, n_planes, SLAB):
        stop = min(start + SLAB, n_planes)
        low, high = max(start - RADIUS, 0), min(stop + RADIUS, n_planes)
        values = _ssim_of_block(
            first[low:high].astype(np.float64), second[low:high].astype(np.float64)
        )
        result[start:stop] = values[start - low : stop - low]
    return result


def _ssim_of_block(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    def window_mean(values: np.ndarray) -> np.ndarray:
        return gaussian_filter(values, SIGMA, truncate=TRUNCATE)

    mean_x, mean_y = window_mean(x), window_mean(y)
    variance_x = window_mean(x * x) - mean_x**2
    variance_y = window_mean(y * y) - mean_y**2
    covariance = window_mean(x * y) - mean_x * mean_y
    luminance = (2 * mean_x * mean_y + C1) / (mean_x**2 + mean_y**2 + C1)
    structure = (2 * covariance + C2) / (variance_x + variance_y + C2)
    return luminance * structure


def ssim_scores(density: np.ndarray, target: np.ndarray, inside: np.ndarray) -> dict[str, float]:
    """SSIM of a map to a target over the box and over the molecular mask.

    Parameters
    ----------
    density, target : (nz, ny, nx)
        On any scale; each is divided by its own 99.9th percentile and cut to [0, 1].
    inside : (nz, ny, nx) bool

    Returns
    -------
    dict
        ``SSIM``: mean over the voxels whose whole window lies inside the box (NaN for a box that
        has none); ``SSIM_mask``: mean over the mask. Empty background makes the first large.
    """
    values = ssim_map(scale_to_percentile(density), scale_to_percentile(target))
    core = values[RADIUS:-RADIUS, RADIUS:-RADIUS, RADIUS:-RADIUS]
    return {
        "SSIM": float(core.mean(dtype=np.float64)) if core.size else math.nan,
        "SSIM_mask": float(values[inside].mean(dtype=np.float64)) if inside.any() else math.nan,
    }
