"""Blend the input back where the network took density away: ligands, lipids, glycans."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter

from cryoclarity.density.masks import soft_edge, suggest_contour

NEIGHBOURHOOD = 1.5  # angstrom
# Share of the input's smoothed density that the prediction keeps: all of the input is blended
# back at the first value and below, none at the second and above.
LOST, KEPT = 0.25, 0.5


def missing_support(density: np.ndarray, result: np.ndarray, voxel_size_zyx) -> np.ndarray:
    """Return where the input has density that the result lacks, float32 in [0, 1].

    Parameters
    ----------
    density, result : (nz, ny, nx), of one amplitude
    voxel_size_zyx : angstrom
    """
    sigma = [NEIGHBOURHOOD / voxel for voxel in voxel_size_zyx]
    smooth = gaussian_filter(density.astype(np.float32, copy=False), sigma)
    level = suggest_contour(smooth)
    present = smooth > level
    if level <= 0 or not present.any():
        return np.zeros(density.shape, dtype=np.float32)
    share = gaussian_filter(result, sigma)
    share /= np.maximum(smooth, np.float32(level))
    missing = np.clip((KEPT - share) / (KEPT - LOST), 0, 1)
    missing *= soft_edge(present)
    return missing


def keep_input(result: np.ndarray, density: np.ndarray, voxel_size_zyx) -> float:
    """Blend the input into a result of the same amplitude, in place.

    Returns
    -------
    float
        Share of the voxels that took more than half from the input.
    """
    weight = missing_support(density, result, voxel_size_zyx)
    result += weight * (density - result)
    return float(np.mean(weight > 0.5))
