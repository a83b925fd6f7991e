"""Filters that depend on spatial frequency alone."""

from __future__ import annotations

import numpy as np

from cryoclarity.grid import squared_frequency


def apply_radial_filter(
    density: np.ndarray,
    voxel_size: tuple[float, float, float],
    frequency: np.ndarray,
    gain: np.ndarray,
) -> np.ndarray:
    """Multiply the Fourier transform of a density by a radial gain.

    Parameters
    ----------
    density : (nz, ny, nx)
    voxel_size : (x, y, z) angstrom
    frequency : (n,) 1/angstrom, rising
    gain : (n,)
        Interpolated linearly; the end values hold beyond the ends.

    Returns
    -------
    (nz, ny, nx) float32
    """
    radius = np.sqrt(squared_frequency(density.shape, voxel_size[::-1]))
    factor = np.interp(radius, frequency, gain)
    spectrum = np.fft.rfftn(density) * factor
    return np.fft.irfftn(spectrum, density.shape, axes=(0, 1, 2)).astype(np.float32)
