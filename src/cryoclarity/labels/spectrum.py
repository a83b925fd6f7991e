"""Radial spectra on ResMap's one odd grid.

The published program measures every radius on a grid of ``n`` points that runs from
``floor(-n/2)`` to ``floor(n/2)`` with both ends included, so its centre lies half a voxel off the
zero frequency. Spectra, masks and filters share that grid; the functions here keep it.
Algorithm: Kucukelbir, Sigworth, Tagare, Nature Methods 11:63 (2014), program version 1.1.5.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import scipy.fft

from cryoclarity.errors import InputError

__all__ = [
    "bin_count",
    "frequency_axes",
    "grid_axis",
    "hamming_window",
    "radial_spectrum",
    "radius_squared",
]

_SPECTRUM_FLOOR = 1e-10


def grid_axis(size: int) -> np.ndarray:
    """Coordinates of the radius grid along one axis, (size,) float64, voxels."""
    return np.linspace(np.floor(-size / 2), np.floor(size / 2), size)


def radius_squared(axis_z: np.ndarray, axis_y: np.ndarray, axis_x: np.ndarray) -> np.ndarray:
    """Squared radius of every grid point from three coordinate axes, (z, y, x) float64."""
    return axis_z[:, None, None] ** 2 + axis_y[None, :, None] ** 2 + axis_x[None, None, :] ** 2


def frequency_axes(size: int) -> tuple[np.ndarray, np.ndarray]:
    """Grid coordinates of the frequencies +k and -k in FFT order, two (size,) arrays.

    A real transform stores only half of the frequencies. Because the grid is not symmetric about
    zero frequency, k and -k have different radii, and both are needed.
    """
    positive = np.roll(grid_axis(size), -(size // 2))
    negative = positive[-np.arange(size) % size]
    return positive, negative


def bin_count(size: int) -> int:
    """Number of radial bins of a cube with `size` voxels per edge (halves round to even)."""
    return round(size / 2 - 1)


def hamming_window(size: int) -> np.ndarray:
    """Window of the sub-volumes, (size, size, size) float64.

    The first axis carries the square of the Hamming window: the program multiplies it in twice.
    """
    taper = np.hamming(size)
    return (taper**2)[:, None, None] * taper[None, :, None] * taper[None, None, :]


def _bins_of(axis_z: np.ndarray, axis_y: np.ndarray, axis_x: np.ndarray, bins: int) -> np.ndarray:
    """Radial bin per point: index of the last edge not above the radius, uint16."""
    edges = np.linspace(0, bins, bins)
    radius = np.sqrt(radius_squared(axis_z, axis_y, axis_x)).astype(np.float32)
    return (np.searchsorted(edges, radius.ravel(), side="right") - 1).astype(np.uint16)


@lru_cache(maxsize=2)
def _sorted_by_bin(size: int) -> tuple[np.ndarray, np.ndarray]:
    """Half-spectrum index of every full-spectrum voxel sorted by bin, and the bin sizes.

    Columns 0 and (for even sizes) size/2 of the half spectrum hold their own conjugates; every
    other column stands for two voxels of the full spectrum, at k and at -k.
    """
    bins = bin_count(size)
    positive, negative = frequency_axes(size)
    half = size // 2 + 1
    own = _bins_of(positive, positive, positive[:half], bins)
    paired = slice(1, (size + 1) // 2)
    mirrored = _bins_of(negative, negative, negative[paired], bins)
    index = np.arange(own.size, dtype=np.int32).reshape(size, size, half)
    source = np.concatenate([index.ravel(), index[:, :, paired].ravel()])
    all_bins = np.concatenate([own, mirrored])
    order = np.argsort(all_bins, kind="stable")
    return source[order], np.bincount(all_bins, minlength=bins)


def radial_spectrum(volume: np.ndarray, threads: int = 1) -> np.ndarray:
    """Normalised radial power spectrum of a cube.

    Parameters
    ----------
    volume : (n, n, n) float32 or float64
        float32 is transformed in single precision; float64 in double, then cast.
    threads : int
        Of the transform.

    Returns
    -------
    (bin_count(n),) float64
        Mean of ((|U| - min|U|) / max)^2 per radial bin, plus 1e-10.

    Raises
    ------
    InputError
        VAL_CONSTANT when the volume has no spectral variation at all.
    """
    size = volume.shape[0]
    amplitude = np.abs(scipy.fft.rfftn(volume, workers=threads).astype(np.complex64, copy=False))
    amplitude -= amplitude.min()
    peak = amplitude.max()
    if not peak > 0:
        raise InputError(
            "the volume or its noise region is constant, so it has no spectrum",
            code="VAL_CONSTANT",
            remedy="give a map with density and noise",
        )
    amplitude /= peak
    power = np.square(amplitude, out=amplitude).ravel()
    source, counts = _sorted_by_bin(size)
    # One float32 running sum over all voxels, differenced per bin: bins whose values vanish
    # beside the running sum come out as exactly zero, and the low-pass test depends on it.
    running = np.cumsum(power[source], dtype=np.float32)
    ends = running[np.maximum(np.cumsum(counts) - 1, 0)]
    sums = np.diff(ends, prepend=np.float32(0))
    with np.errstate(invalid="ignore"):
        means = np.where(counts > 0, sums / np.maximum(counts, 1), 0.0)
    return means + _SPECTRUM_FLOOR
