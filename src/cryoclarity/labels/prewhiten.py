"""Pre-whitening: the noise spectrum, its quadratic fit, and the ramp filter made from it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.fft
from scipy import ndimage

from cryoclarity.errors import InputError
from cryoclarity.labels.banded import in_threads
from cryoclarity.labels.lowpass import LARGE_BOX
from cryoclarity.labels.spectrum import (
    bin_count,
    frequency_axes,
    grid_axis,
    hamming_window,
    radial_spectrum,
    radius_squared,
)
from cryoclarity.labels.statistic import mask_bounds

__all__ = [
    "NoiseSpectrum",
    "Whitening",
    "apply_whitening",
    "fit_whitening",
    "gaussian_filter",
    "noise_spectrum",
    "sphere_mask",
]

_SMALLEST_CUBE = 4


@dataclass(frozen=True)
class NoiseSpectrum:
    """Radial noise spectrum; `cube` is the edge of the noise cube in voxels (0 = whole volume)."""

    spectrum: np.ndarray
    cube: int = 0
    inside: tuple[int, int, int] | None = None
    outside: tuple[int, int, int] | None = None


@dataclass(frozen=True)
class Whitening:
    """Filter ``exp(-(c0 + c1 R + c2 R^2))``, R = clamp(radius, lower, upper) * scale."""

    coefficients: np.ndarray
    lower: float
    upper: float
    scale: float


def gaussian_filter(volume: np.ndarray, width: float, threads: int = 1) -> np.ndarray:
    """``scipy.ndimage.gaussian_filter`` of a float32 volume to the last bit, in threads.

    Masks end where the blurred map crosses a limit, so a faster blur that differs in the last
    digit is not the same.
    """
    for axis in range(volume.ndim):
        across = 1 if axis == 0 else 0
        parts = np.array_split(volume, threads, across)

        def blur(part: np.ndarray, axis: int = axis) -> np.ndarray:
            return ndimage.gaussian_filter1d(part, width, axis)

        found = in_threads(blur, parts, threads)
        volume = found[0] if threads == 1 else np.concatenate(found, across)
    return volume


def sphere_mask(size: int, radius: float) -> np.ndarray:
    """Voxels of a cube nearer to the grid's centre than `radius` voxels, bool."""
    axis = grid_axis(size)
    mask = np.zeros((size, size, size), bool)
    for z in np.flatnonzero(np.abs(axis) <= radius):
        plane = np.sqrt(radius_squared(axis[z : z + 1], axis, axis)).astype(np.float32)
        mask[z] = plane[0] < radius
    return mask


def noise_spectrum(
    density: np.ndarray,
    difference: np.ndarray | None,
    mask: np.ndarray,
    sphere: np.ndarray,
    threads: int = 1,
) -> NoiseSpectrum:
    """Spectrum of the noise: of the half difference, or of the background of a single map.

    Parameters
    ----------
    density : (n, n, n) float32
    difference : (n, n, n) float32 or None
        Half of (half map 1 - half map 2).
    mask : (n, n, n) bool
        Particle before it is cut to the sphere or cube.
    sphere : (n, n, n) bool
    threads : int
    """
    if density.shape[0] > LARGE_BOX:
        return _cube_spectrum(density, difference, mask, sphere, threads)
    if difference is not None:
        return NoiseSpectrum(radial_spectrum(difference, threads))
    grown = ndimage.maximum_filter(mask.view(np.uint8), size=13, mode="constant", cval=0)
    background = (~((grown > 0) & sphere)).astype(np.float32)
    weight = gaussian_filter(background, 0.02 * density.shape[0], threads)
    return NoiseSpectrum(radial_spectrum(density * weight, threads))


def _depth(region: np.ndarray) -> tuple[int, tuple[int, int, int]]:
    """Largest taxicab distance to the outside of a region, and where it is reached first."""
    if region.all():
        raise InputError(
            "the particle mask fills the whole box",
            code="LABEL_NO_NOISE_BLOCKS",
            remedy="give a mask of the particle, or a larger box",
        )
    if not region.any():
        return 0, (0, 0, 0)
    # The layer around the box of the region is outside, so nothing beyond it is nearer.
    low, high = mask_bounds(region)
    starts = [max(0, first - 1) for first in low]
    box = tuple(slice(first, last + 1) for first, last in zip(starts, high, strict=True))
    distance = ndimage.distance_transform_cdt(region[box], metric="taxicab")
    place = np.unravel_index(int(np.argmax(distance)), distance.shape)
    z, y, x = (int(i) + first for i, first in zip(place, starts, strict=True))
    return int(distance[place]), (z, y, x)


def _cube_spectrum(
    density: np.ndarray,
    difference: np.ndarray | None,
    mask: np.ndarray,
    sphere: np.ndarray,
    threads: int,
) -> NoiseSpectrum:
    """Noise spectrum of a large box, from one windowed cube of noise."""
    size = density.shape[0]
    depth_inside, inside = _depth(mask)
    depth_outside, outside = _depth(~mask & sphere)
    depth = depth_inside if difference is not None else min(depth_inside, depth_outside)
    edge = 2 * (depth // 2)
    inside = tuple(min(max(i, edge), size - edge) for i in inside)
    centre, source = (inside, difference) if difference is not None else (outside, density)
    starts = [i - edge // 2 for i in centre]
    if edge < _SMALLEST_CUBE or min(starts) < 0 or max(starts) + edge > size:
        raise InputError(
            f"no cube of noise of useful size fits (edge {edge} voxels at {centre})",
            code="LABEL_NO_NOISE_BLOCKS",
            remedy="give half maps or a box with more background",
        )
    cut = tuple(slice(start, start + edge) for start in starts)
    spectrum = radial_spectrum(source[cut] * hamming_window(edge), threads)
    return NoiseSpectrum(spectrum, edge, inside, outside)


def fit_whitening(noise: NoiseSpectrum, size: int, voxel_size: float) -> Whitening:
    """Quadratic fit of the log amplitude of the noise beyond the elbow at max(10 A, 2.1 voxels)."""
    elbow = max(10.0, 2.1 * voxel_size)
    bins = len(noise.spectrum)
    fit_from, ramp_from = _elbow_indices(bins, voxel_size, elbow)
    x = np.arange(1, bins + 1)
    weights = np.where(x > fit_from, 1.0, np.where(x > ramp_from, 0.5, 0.0))
    weights[x >= bins] = 0.0
    log_amplitude = 0.5 * np.log(noise.spectrum)
    # Coarse maps leave fewer than three bins beyond the elbow; least squares then gives the
    # smallest coefficients, as the program does, and `full` keeps it from warning.
    coefficients, _ = np.polynomial.polynomial.polyfit(x, log_amplitude, 2, w=weights, full=True)
    if noise.cube == 0:
        return Whitening(coefficients, ramp_from, bins, 1.0)
    full_bins = bin_count(size)
    _, full_ramp = _elbow_indices(full_bins, voxel_size, elbow)
    return Whitening(coefficients, full_ramp, full_bins, (noise.cube - 1) / size)


def _elbow_indices(bins: int, voxel_size: float, elbow: float) -> tuple[int, int]:
    """0-based bins of the elbow and of the start of the ramp, 5 % before it in wavelength."""
    wavelength = 2 * voxel_size / np.linspace(1e-10, 1, bins)
    fit_from = int(np.argmin((wavelength - elbow) ** 2))
    ramp_from = int(np.argmin((wavelength - 1.05 * elbow) ** 2))
    return fit_from, ramp_from


def apply_whitening(
    volumes: list[np.ndarray], whitening: Whitening, threads: int = 1
) -> list[np.ndarray]:
    """Filter cubes with the real part of the program's (not quite symmetric) filter.

    Parameters
    ----------
    volumes : list of (n, n, n) float32
    whitening : Whitening
    threads : int

    Returns
    -------
    list of (n, n, n) float32
        ``Re IFFT(W FFT u)``, done with real transforms and ``(W(k) + W(-k)) / 2``.
    """
    size = volumes[0].shape[0]
    positive, negative = (axis.astype(np.float32) for axis in frequency_axes(size))
    half = size // 2 + 1
    kernel = np.empty((size, size, half), np.float32)

    def plane(z: int) -> None:
        both = [_gain(a[z], a, a[:half], whitening) for a in (positive, negative)]
        kernel[z] = 0.5 * (both[0] + both[1])

    in_threads(plane, range(size), threads)
    found = []
    for volume in volumes:
        transform = scipy.fft.rfftn(volume, workers=threads)
        transform *= kernel
        found.append(scipy.fft.irfftn(transform, s=volume.shape, workers=threads))
    return found


def _gain(z: float, axis_y: np.ndarray, axis_x: np.ndarray, whitening: Whitening) -> np.ndarray:
    """Filter value on one z plane."""
    radius = np.sqrt(z * z + axis_y[:, None] ** 2 + axis_x[None, :] ** 2)
    radius = np.clip(radius, whitening.lower, whitening.upper) * np.float32(whitening.scale)
    c0, c1, c2 = whitening.coefficients.astype(np.float32)
    return np.exp(-(c0 + radius * (c1 + radius * c2)))
