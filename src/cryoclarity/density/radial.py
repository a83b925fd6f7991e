"""Filters that depend on spatial frequency alone."""

from __future__ import annotations

import numpy as np


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
    spacing_z, spacing_y, spacing_x = voxel_size[::-1]
    nz, ny, nx = density.shape
    z = np.fft.fftfreq(nz, spacing_z)[:, None, None]
    y = np.fft.fftfreq(ny, spacing_y)[:, None]
    x = np.fft.rfftfreq(nx, spacing_x)
    factor = np.interp(np.sqrt(z * z + y * y + x * x), frequency, gain)
    spectrum = np.fft.rfftn(density) * factor
    return np.fft.irfftn(spectrum, density.shape, axes=(0, 1, 2)).astype(np.float32)
