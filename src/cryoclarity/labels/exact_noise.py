"""Noise of the engine ``resmap-exact``: whitening, variance with its error, null distribution."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import scipy.fft
from numpy.lib.stride_tricks import sliding_window_view
from scipy import ndimage
from scipy.interpolate import PchipInterpolator

from cryoclarity.errors import InputError
from cryoclarity.labels.banded import gaussian_blur, in_threads
from cryoclarity.labels.region import BLUR_SHARE
from cryoclarity.labels.statistic import LevelBasis

__all__ = [
    "NoiseVariance",
    "NoiseWindows",
    "Spectrum",
    "fdr_threshold",
    "noise_variance",
    "survival",
    "whiten",
]

ELBOW = 10.0
_MOST_WINDOWS = 2000
_CHUNK = 64
_STEP = 0.15
_NODES = 40
_SMALLEST_SURVIVAL = 1e-12
_KNOTS = 72
_PLANES = 8


@dataclass(frozen=True)
class NoiseVariance:
    """Variance of white noise, and how well it is known.

    independent : windows used, corrected for their overlap; relative_error : standard error of
    the variance over its value.
    """

    value: float
    windows: int
    independent: float
    relative_error: float


class Spectrum:
    """Lengths of the frequency vectors of a box and its shells, one over the longest edge wide.

    shape : (z, y, x); voxel_size : angstrom. `radius` is (z, y, x // 2 + 1) float32, 1/angstrom,
    `step` the width of a shell, `counts` the terms of the half transform in each.
    """

    def __init__(self, shape: tuple[int, int, int], voxel_size: float, threads: int = 1) -> None:
        self.shape, self.voxel_size, self.threads = shape, voxel_size, threads
        z, y = (np.fft.fftfreq(n, voxel_size).astype(np.float32) for n in shape[:2])
        x = np.fft.rfftfreq(shape[2], voxel_size).astype(np.float32)
        self.radius = z[:, None, None] ** 2 + (y[:, None] ** 2 + x**2)
        np.sqrt(self.radius, out=self.radius)
        self.step = 1 / (max(shape) * voxel_size)
        self.counts = self._per_shell(lambda place: None)

    def forward(self, volume: np.ndarray) -> np.ndarray:
        """Real transform of a volume."""
        return scipy.fft.rfftn(volume, workers=self.threads)

    def back(self, transform: np.ndarray) -> np.ndarray:
        """Volume of a transform, float32."""
        volume = scipy.fft.irfftn(transform, s=self.shape, workers=self.threads, overwrite_x=True)
        return volume.astype(np.float32, copy=False)

    def power(self, transform: np.ndarray) -> np.ndarray:
        """Mean power per shell, float64."""

        def power_of(place: slice) -> np.ndarray:
            part = transform[place]
            return (np.square(part.real) + np.square(part.imag)).ravel()

        return self._per_shell(power_of) / np.maximum(self.counts, 1)

    def _per_shell(self, values: Callable[[slice], np.ndarray | None]) -> np.ndarray:
        """Sum over each shell of what a function returns for some planes; counts for None."""
        shells = int(float(self.radius.max()) / self.step + 0.5) + 2

        def planes(start: int) -> np.ndarray:
            place = slice(start, start + _PLANES)
            shell = np.rint(self.radius[place] * np.float32(1 / self.step)).astype(np.int64)
            return np.bincount(shell.ravel(), values(place), minlength=shells)

        return sum(in_threads(planes, range(0, self.shape[0], _PLANES), self.threads))


def whiten(
    density: np.ndarray,
    difference: np.ndarray | None,
    mask: np.ndarray,
    spectrum: Spectrum,
    transform: np.ndarray,
) -> tuple[list[np.ndarray], np.ndarray]:
    """Divide by the amplitude of the noise, a quadratic in frequency on a log scale.

    The noise is the half difference, or the background of a single map. The fit takes the shells
    from 10 angstrom to the Nyquist limit, weighted by their size; below 10 angstrom the filter
    keeps its value there, because the background of a single map holds traces of the particle.

    Parameters
    ----------
    density : (z, y, x) float32
    difference : (z, y, x) float32 or None
    mask : (z, y, x) bool
    spectrum : Spectrum
    transform : of the density; overwritten.

    Returns
    -------
    volumes : list of (z, y, x) float32
        Whitened density, and the difference where there is one.
    coefficients : (3,) float64
        Of the log amplitude, in powers of frequency times voxel size.

    Raises
    ------
    InputError
        LABEL_NO_NOISE_BLOCKS where the mask fills the box of a single map, VAL_CONSTANT where the
        background is constant.
    """
    if difference is None:
        grown = ndimage.maximum_filter(mask.view(np.uint8), size=7)
        if grown.all():
            raise InputError(
                "the particle mask leaves no background for the noise",
                code="LABEL_NO_NOISE_BLOCKS",
                remedy="give half maps, a mask of the particle, or a larger box",
            )
        width = [BLUR_SHARE * edge for edge in density.shape]
        weight = gaussian_blur((grown == 0).astype(np.float32), width, spectrum.threads)
        source = spectrum.forward(density * weight)
    else:
        source = spectrum.forward(difference)
    coefficients, lowest = _fit(spectrum, source)
    transforms = [transform] if difference is None else [transform, source]
    powers = coefficients.astype(np.float32)

    def planes(start: int) -> None:
        place = slice(start, start + _PLANES)
        scaled = np.clip(spectrum.radius[place], lowest, 0.5 / spectrum.voxel_size)
        scaled *= np.float32(spectrum.voxel_size)
        gain = np.exp(-(powers[0] + scaled * (powers[1] + scaled * powers[2])))
        for values in transforms:
            values[place] *= gain

    in_threads(planes, range(0, len(transform), _PLANES), spectrum.threads)
    return [spectrum.back(values) for values in transforms], coefficients


def _fit(spectrum: Spectrum, source: np.ndarray) -> tuple[np.ndarray, float]:
    """Coefficients of the log amplitude of the noise, and the lowest frequency of the fit."""
    power = spectrum.power(source)
    shells = np.arange(len(power)) * spectrum.step
    limit = 0.5 / spectrum.voxel_size
    used = (shells >= min(1 / ELBOW, 0.5 * limit)) & (shells <= limit) & (power > 0)
    if used.sum() < 3:
        raise InputError(
            "the noise region has no spectrum",
            code="VAL_CONSTANT",
            remedy="give a map whose background was not set to one value",
        )
    log_amplitude = 0.5 * np.log(power[used])
    coefficients = np.polynomial.polynomial.polyfit(
        shells[used] * spectrum.voxel_size, log_amplitude, 2, w=np.sqrt(spectrum.counts[used])
    )
    return coefficients, float(shells[used][0])


class NoiseWindows:
    """Noise variance from overlapping windows that lie wholly in the noise region.

    Parameters
    ----------
    noise : (z, y, x) float32
    region : (z, y, x) bool
    """

    def __init__(self, noise: np.ndarray, region: np.ndarray) -> None:
        self.noise = noise
        # Chessboard distance: a cube of half width r fits where it is larger than r.
        self.room = (
            np.full(region.shape, max(region.shape))
            if region.all()
            else ndimage.distance_transform_cdt(region, metric="chessboard")
        )

    def variance(self, basis: LevelBasis) -> NoiseVariance:
        """Variance of white noise under one level's model."""
        radius, stride = basis.radius, basis.radius + 1
        width = 2 * radius + 1
        grid = tuple(slice(radius, max(radius, n - radius), stride) for n in self.noise.shape)
        places = np.argwhere(self.room[grid] > radius) * stride
        count = len(places)
        if count == 0:
            return NoiseVariance(0.0, 0, 0.0, math.inf)
        independent = min(float(count), count * (stride / width) ** 3 + 1)
        places = places[:: -(-count // _MOST_WINDOWS)]
        independent = min(independent, float(len(places)))
        found = self._energies(places, basis) / basis.trace
        mean = float(found.mean())
        spread = float(found.std(ddof=1)) if len(found) > 1 else mean
        error = spread / (mean * math.sqrt(independent)) if mean > 0 else math.inf
        return NoiseVariance(mean, len(places), independent, error)

    def _energies(self, places: np.ndarray, basis: LevelBasis) -> np.ndarray:
        """Weighted energy of each window that the model leaves, without the plain mean."""
        views = sliding_window_view(self.noise, (2 * basis.radius + 1,) * 3)
        weight = (basis.root_weight**2).astype(np.float32)
        contrast = (basis.root_weight[:, None] * basis.contrast).astype(np.float32)
        # One product gives the plain mean, the weighted mean and the explained parts.
        mean = np.full(len(weight), 1 / len(weight), np.float32)
        columns = np.column_stack([mean, weight, contrast])
        total = weight.sum(dtype=np.float64)
        constant = contrast.sum(axis=0, dtype=np.float64)
        energies = []
        for start in range(0, len(places), _CHUNK):
            chosen = tuple(places[start : start + _CHUNK].T)
            values = views[chosen].reshape(len(chosen[0]), -1)
            product = (values @ columns).astype(np.float64)
            mean, weighted = product[:, 0], product[:, 1]
            explained = product[:, 2:] - mean[:, None] * constant
            energy = (np.square(values, out=values) @ weight).astype(np.float64)
            energy += mean * (mean * total - 2 * weighted)
            energies.append(energy - np.einsum("ij,ij->i", explained, explained))
        return np.concatenate(energies)


def noise_variance(noise: np.ndarray, region: np.ndarray, basis: LevelBasis) -> NoiseVariance:
    """Noise variance of one level; see :class:`NoiseWindows`."""
    return NoiseWindows(noise, region).variance(basis)


def survival(weights: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Probability that ``sum(weights * chi2(1))`` exceeds each point.

    Inversion of the moment generating function (Rice, SIAM J. Sci. Statist. Comput. 1:438, 1980)
    along a hyperbola through the saddle of the integrand that bends around its branch cut: the
    trapezoidal rule converges geometrically there, and small probabilities keep their digits.

    Parameters
    ----------
    weights : (nu,) float64, positive
    points : (m,) float64, positive
    """
    weights = np.asarray(weights, np.float64)
    points = np.asarray(points, np.float64)
    low, high = np.zeros_like(points), np.full_like(points, 0.5 / weights.max())
    for _ in range(60):
        middle = 0.5 * (low + high)
        slope = np.sum(weights / (1 - 2 * weights * middle[:, None]), axis=1) - 1 / middle
        low, high = np.where(slope < points, middle, low), np.where(slope < points, high, middle)
    saddle = 0.5 * (low + high)[:, None]
    curvature = np.sum(2 * (weights / (1 - 2 * weights * saddle)) ** 2, axis=1)[:, None]
    curvature = curvature + saddle**-2
    scale = 1 / np.sqrt(curvature)
    angle = _STEP * (np.arange(_NODES) + 0.5)
    place = saddle + scale * (np.cosh(angle) - 1 + 1j * np.sinh(angle))
    along = np.sinh(angle) + 1j * np.cosh(angle)
    values = np.exp(-place * points[:, None]) / place * (scale * along)
    # Symmetry makes most weights equal in groups; an even number of them needs no root.
    for weight, count in zip(*np.unique(np.round(weights, 10), return_counts=True), strict=True):
        factor = 1 / (1 - 2 * weight * place)
        if count % 2:
            values *= np.sqrt(factor)
        for _ in range(count // 2):
            values *= factor
    return np.sum(values.imag, axis=1) * _STEP / math.pi


def fdr_threshold(values: np.ndarray, weights: np.ndarray, p_value: float) -> float:
    """Smallest value that false-discovery control accepts, infinite when none.

    The step-up rule of Benjamini and Yekutieli (Ann. Statist. 29:1165, 2001) over every value:
    the largest k with p_(k) <= k * p / (m * H_m).

    Parameters
    ----------
    values : (m,) float32
        Statistic over variance.
    weights : (16,) float64
        Eigenvalues of the null distribution.
    p_value : float
    """
    count = len(values)
    if count == 0:
        return math.inf
    knots, chance = _tail(tuple(float(weight) for weight in weights), p_value)
    harmonic = float(np.sum(1.0 / np.arange(1, count + 1)))
    # Values below the first knot are more likely than any limit of the rule.
    ordered = np.sort(values[values >= knots[0]])[::-1].astype(np.float64)
    log_chance = PchipInterpolator(knots, chance)(np.minimum(ordered, knots[-1]))
    limits = np.log(np.arange(1, len(ordered) + 1) * (p_value / (count * harmonic)))
    passed = np.flatnonzero(log_chance <= limits)
    return float(ordered[passed[-1]]) if len(passed) else math.inf


@lru_cache(maxsize=256)
def _tail(weights: tuple[float, ...], p_value: float) -> tuple[np.ndarray, np.ndarray]:
    """Knots from a chance of `p_value` downwards, and the log chance of a larger value."""
    values = np.array(weights)
    ladder = values.sum() * 1.25 ** np.arange(-6, 24)
    chances = survival(values, ladder)
    first = ladder[max(0, int(np.argmax(chances < p_value)) - 1)]
    last = ladder[int(np.argmax(chances < _SMALLEST_SURVIVAL))]
    knots = np.linspace(first, last, _KNOTS)
    return knots, np.log(np.maximum(survival(values, knots), 1e-300))
