"""Inputs that an honest network must not answer with structure of its own."""

from __future__ import annotations

import numpy as np
from scipy import fft

from cryoclarity.density.masks import soft_edge, zone_mask
from cryoclarity.grid import Grid

HOLE_RADIUS = 3.0  # angstrom around deleted atoms
# What is left of the model keeps its density up to here.
KEPT_RADIUS = 4.0


def randomise_phases(
    density: np.ndarray, voxel_size_zyx: tuple[float, float, float], beyond: float, seed: int
) -> np.ndarray:
    """Give all Fourier coefficients beyond a resolution random phases, amplitudes kept.

    Chen, McMullan, Faruqi et al., Ultramicroscopy 135, 24 (2013).

    Parameters
    ----------
    density : (nz, ny, nx)
    voxel_size_zyx : angstrom
    beyond : float, angstrom
        Infinity randomises everything but the mean: noise with the spectrum of the map.
    seed : int

    Returns
    -------
    (nz, ny, nx) float32
    """
    spectrum = fft.rfftn(density.astype(np.float32, copy=False))
    z = np.fft.fftfreq(density.shape[0], voxel_size_zyx[0])[:, None, None]
    y = np.fft.fftfreq(density.shape[1], voxel_size_zyx[1])[:, None]
    x = np.fft.rfftfreq(density.shape[2], voxel_size_zyx[2])
    changed = z * z + y * y + x * x > (0.0 if np.isinf(beyond) else beyond**-2.0)
    # The phases of white noise are uniform and have the symmetry that a real map needs.
    generator = np.random.default_rng(seed)
    noise = fft.rfftn(generator.standard_normal(density.shape, dtype=np.float32))
    spectrum[changed] = np.abs(spectrum[changed]) * np.exp(1j * np.angle(noise[changed]))
    return fft.irfftn(spectrum, density.shape).astype(np.float32)


def hole_around(positions: np.ndarray, kept: np.ndarray, grid: Grid) -> np.ndarray:
    """Return the voxels near deleted atoms and away from those that stay, bool.

    Parameters
    ----------
    positions, kept : (n, 3) float64, angstrom
    grid : Grid
    """
    hole = zone_mask(positions, grid, HOLE_RADIUS)
    return hole & ~zone_mask(kept, grid, KEPT_RADIUS) if len(kept) else hole


def hole_in_middle(inside: np.ndarray, grid: Grid) -> np.ndarray:
    """Return a ball of a tenth of a mask's volume about the mask's point next to its centre."""
    points = np.argwhere(inside)
    middle = points[np.argmin(np.square(points - points.mean(axis=0)).sum(axis=1))]
    volume = len(points) * float(np.prod(grid.voxel_size)) / 10
    radius = (3 * volume / (4 * np.pi)) ** (1 / 3)
    return zone_mask(grid.position_of(middle[None].astype(float)), grid, radius)


def fill_hole(density: np.ndarray, hole: np.ndarray, inside: np.ndarray, seed: int) -> np.ndarray:
    """Replace density in a hole, with a soft edge, by noise like that outside a mask.

    Parameters
    ----------
    density : (nz, ny, nx)
    hole, inside : bool, same shape
    seed : int
    """
    outside = density[~inside] if not inside.all() else density.ravel()
    generator = np.random.default_rng(seed)
    noise = generator.standard_normal(density.shape, dtype=np.float32)
    noise *= np.float32(outside.std())
    noise += np.float32(np.median(outside))
    return density + soft_edge(hole) * (noise - density)


def mirrored(density: np.ndarray) -> np.ndarray:
    """Return the other hand of a density; its own inverse."""
    return np.ascontiguousarray(density[:, :, ::-1])
