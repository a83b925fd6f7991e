"""Low-pass test, down-sampling of filtered maps, and the way back to the input grid."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy import ndimage
from scipy.signal import find_peaks_cwt

from cryoclarity.labels.spectrum import hamming_window, radial_spectrum

__all__ = [
    "LARGE_BOX",
    "LowPass",
    "detect_low_pass",
    "downsample",
    "pure_mask",
    "round_away",
    "upsample_levels",
    "upsample_nearest",
]

LARGE_BOX = 160
"""Largest edge (voxels) whose spectra are taken from the whole volume."""

_FLAT = 1e-4


@dataclass(frozen=True)
class LowPass:
    """Outcome of the low-pass test: `factor` is 0 for a map that is not filtered."""

    factor: float
    raw_factor: float
    spectrum: np.ndarray


def round_away(value: float) -> int:
    """Nearest integer, halves away from zero (Python 2's ``round``)."""
    return int(math.copysign(math.floor(abs(value) + 0.5), value))


def detect_low_pass(density: np.ndarray, threads: int = 1) -> LowPass:
    """Decide whether a map was low-pass filtered, from the fall of its log spectrum.

    Parameters
    ----------
    density : (n, n, n) float32
    threads : int

    Returns
    -------
    LowPass
        `factor` is the share of the grid to keep, in steps of 0.01.
    """
    size = density.shape[0]
    if size > LARGE_BOX:
        start = size // 2 - LARGE_BOX // 2
        cut = slice(start, start + LARGE_BOX)
        spectrum = radial_spectrum(density[cut, cut, cut] * hamming_window(LARGE_BOX), threads)
    else:
        spectrum = radial_spectrum(density, threads)
    slope = np.diff(np.log(spectrum))
    # A spectrum that is flat but for rounding has ridges without noise beside them.
    with np.errstate(divide="ignore", invalid="ignore"):
        peaks = find_peaks_cwt(-slope, np.arange(1, 10), min_snr=2)
    if len(peaks) == 0:
        return LowPass(0.0, 0.0, spectrum)
    peak = int(np.max(peaks))
    if peak >= len(spectrum) - 3:
        return LowPass(0.0, 0.0, spectrum)
    tail = slope[peak + 2 :]
    if not (abs(tail.mean()) < _FLAT and tail.var() < _FLAT):
        return LowPass(0.0, 0.0, spectrum)
    raw = (peak - 1) / len(spectrum)
    return LowPass(round_away(raw / 0.01) * 0.01, raw, spectrum)


def _along_all_axes(matrix: np.ndarray, volume: np.ndarray) -> np.ndarray:
    """Apply one (out, in) matrix along each axis of a cube."""
    result = np.tensordot(volume, matrix, axes=(2, 1))
    result = np.matmul(matrix, result)
    return np.tensordot(matrix, result, axes=(1, 0))


def downsample(volume: np.ndarray, size: int) -> np.ndarray:
    """Resample a cube to `size` voxels per edge by an interpolating cubic spline.

    Samples lie at ``i * (n - 1) / (size - 1)``; prefilter and evaluation mirror at the borders.
    The operation is linear and separable, so the spline is run once on the unit vectors and
    applied as a matrix: the same numbers as interpolating the volume, several times faster.
    """
    old = volume.shape[0]
    unit = np.eye(old)
    positions = np.arange(size) * ((old - 1) / (size - 1))
    matrix = np.stack(
        [ndimage.map_coordinates(row, [positions], order=3, mode="mirror") for row in unit],
        axis=1,
    )
    return _along_all_axes(matrix, volume.astype(np.float64)).astype(np.float32)


def _back_positions(old: int, size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Lower neighbour, upper neighbour and fraction of the fine samples on the coarse grid."""
    position = np.arange(size) * ((old - 1) / (size - 1))
    near = np.rint(position)
    position = np.where(np.abs(position - near) < 1e-9, near, position)
    lower = np.minimum(np.floor(position).astype(int), old - 1)
    fraction = position - lower
    upper = np.where(fraction > 0, np.minimum(lower + 1, old - 1), lower)
    return lower, upper, fraction


def upsample_levels(values: np.ndarray, size: int) -> np.ndarray:
    """Trilinear interpolation of a coarse cube back to `size` voxels per edge, float32."""
    lower, upper, fraction = _back_positions(values.shape[0], size)
    matrix = np.zeros((size, values.shape[0]))
    rows = np.arange(size)
    matrix[rows, lower] += 1 - fraction
    matrix[rows, upper] += fraction
    return _along_all_axes(matrix, values.astype(np.float64)).astype(np.float32)


def pure_mask(codes: np.ndarray, size: int) -> np.ndarray:
    """True where all coarse neighbours of a fine voxel carry the same value, (size,)*3 bool."""
    lower, upper, _ = _back_positions(codes.shape[0], size)
    low = high = codes
    for axis in range(3):
        low = np.minimum(low.take(lower, axis), low.take(upper, axis))
        high = np.maximum(high.take(lower, axis), high.take(upper, axis))
    return low == high


def upsample_nearest(values: np.ndarray, size: int) -> np.ndarray:
    """Nearest coarse value of every fine voxel, (size,)*3 of the input's type."""
    nearest = np.rint(np.arange(size) * ((values.shape[0] - 1) / (size - 1))).astype(int)
    return values[np.ix_(nearest, nearest, nearest)]
