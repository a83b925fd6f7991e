"""Blend the input back where the network took density away: ligands, lipids, glycans."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter

from cryoclarity.density.masks import soft_edge, suggest_contour

NEIGHBOURHOOD = 1.5  # angstrom
# Density counts as taken away where less than this share of the smoothed input is left.
LEAST_SHARE = 0.35


def missing_support(
    density: np.ndarray, result: np.ndarray, voxel_size_zyx, zero: float = 0.0
) -> np.ndarray:
    """Return where the input has density that the result lacks: 1 there, with a soft edge.

    Parameters
    ----------
    density, result : (nz, ny, nx), of one amplitude
    voxel_size_zyx : angstrom
    zero : float
        What the result holds where the network sees nothing: the offset of its amplitude.
    """
    sigma = [NEIGHBOURHOOD / voxel for voxel in voxel_size_zyx]
    smooth = gaussian_filter(density.astype(np.float32, copy=False), sigma)
    level = suggest_contour(smooth)
    if level <= 0:
        return np.zeros(density.shape, dtype=np.float32)
    lost = smooth > level
    lost &= gaussian_filter(result, sigma) - np.float32(zero) < LEAST_SHARE * smooth
    return soft_edge(lost)


def keep_input(result: np.ndarray, density: np.ndarray, voxel_size_zyx, zero: float = 0.0) -> float:
    """Blend the input into a result of the same amplitude, in place.

    Returns
    -------
    float
        Share of the voxels that took more than half from the input.
    """
    weight = missing_support(density, result, voxel_size_zyx, zero)
    result += weight * (density - result)
    return float(np.mean(weight > 0.5))
