"""Noise of the engine ``resmap-exact``: whitening, variance with its error, null distribution."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import scipy.fft
from scipy import ndimage
from scipy.interpolate import PchipInterpolator

from cryoclarity.errors import InputError
from cryoclarity.labels.region import BLUR_SHARE
from cryoclarity.labels.statistic import LevelBasis

__all__ = ["NoiseVariance", "fdr_threshold", "noise_variance", "survival", "whiten"]

ELBOW = 10.0
_MOST_WINDOWS = 2000
_CHUNK = 256
_STEP = 0.2
_NODES = 300
_SMALLEST_SURVIVAL = 1e-12
_KNOTS = 96


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


def shell_frequencies(shape: tuple[int, int, int], voxel_size: float) -> np.ndarray:
    """Length of the frequency vector of a real transform, float32, 1/angstrom."""
    z, y = (np.fft.fftfreq(n, voxel_size) for n in shape[:2])
    x = np.fft.rfftfreq(shape[2], voxel_size)
    return np.sqrt(z[:, None, None] ** 2 + y[:, None] ** 2 + x**2).astype(np.float32)


def shell_power(
    transform: np.ndarray, radius: np.ndarray, width: float
) -> tuple[np.ndarray, np.ndarray]:
    """Mean power per shell of `width` 1/angstrom and number of terms, float64."""
    shell = np.rint(radius / width).astype(np.int32).ravel()
    counts = np.bincount(shell)
    power = np.square(np.abs(transform)).astype(np.float64).ravel()
    return np.bincount(shell, power) / np.maximum(counts, 1), counts


def whiten(
    density: np.ndarray,
    difference: np.ndarray | None,
    mask: np.ndarray,
    voxel_size: float,
    threads: int = 1,
) -> tuple[list[np.ndarray], np.ndarray]:
    """Divide by the amplitude of the noise, a quadratic in frequency on a log scale.

    The noise is the half difference, or the background of a single map. The fit takes the shells
    from 10 angstrom to the Nyquist limit, weighted by their size; below 10 angstrom the filter
    keeps its value there, because the background of a single map holds traces of the particle.

    Returns
    -------
    volumes : list of (z, y, x) float32
        Whitened density, and the difference where there is one.
    coefficients : (3,) float64
        Of the log amplitude, in powers of frequency times voxel size.

    Raises
    ------
    InputError
        VAL_CONSTANT where there is no noise.
    """
    radius = shell_frequencies(density.shape, voxel_size)
    if difference is None:
        grown = ndimage.maximum_filter(mask.view(np.uint8), size=7) > 0
        width = [BLUR_SHARE * edge for edge in density.shape]
        source = density * ndimage.gaussian_filter((~grown).astype(np.float32), width)
    else:
        source = difference
    step = 1 / (max(density.shape) * voxel_size)
    power, counts = shell_power(scipy.fft.rfftn(source, workers=threads), radius, step)
    shells = np.arange(len(power)) * step
    limit = 0.5 / voxel_size
    used = (shells >= min(1 / ELBOW, 0.5 * limit)) & (shells <= limit) & (power > 0)
    if used.sum() < 3:
        raise InputError(
            "the noise region has no spectrum",
            code="VAL_CONSTANT",
            remedy="give a map whose background was not set to one value",
        )
    log_amplitude = 0.5 * np.log(power[used])
    coefficients = np.polynomial.polynomial.polyfit(
        shells[used] * voxel_size, log_amplitude, 2, w=np.sqrt(counts[used])
    )
    scaled = np.clip(radius, shells[used][0], limit) * np.float32(voxel_size)
    gain = np.exp(-np.polynomial.polynomial.polyval(scaled, coefficients)).astype(np.float32)
    volumes = [density] if difference is None else [density, difference]
    return [
        scipy.fft.irfftn(
            scipy.fft.rfftn(v, workers=threads) * gain, s=v.shape, workers=threads
        ).astype(np.float32, copy=False)
        for v in volumes
    ], coefficients


def noise_variance(noise: np.ndarray, region: np.ndarray, basis: LevelBasis) -> NoiseVariance:
    """Noise variance from overlapping windows that lie wholly in the noise region, float64."""
    width = 2 * basis.radius + 1
    stride = basis.radius + 1
    whole = ndimage.minimum_filter(region.view(np.uint8), size=width, mode="constant", cval=0)
    grid = (slice(basis.radius, None, stride),) * 3
    places = np.argwhere(whole[grid]) * stride
    count = len(places)
    if count == 0:
        return NoiseVariance(0.0, 0, 0.0, math.inf)
    independent = min(float(count), count * (stride / width) ** 3 + 1)
    places = places[:: -(-count // _MOST_WINDOWS)]
    independent = min(independent, float(len(places)))
    views = np.lib.stride_tricks.sliding_window_view(noise, (width,) * 3)
    root, contrast = basis.root_weight, basis.contrast
    energies = []
    for start in range(0, len(places), _CHUNK):
        chosen = tuple(places[start : start + _CHUNK].T)
        values = views[chosen].reshape(len(chosen[0]), -1).astype(np.float64)
        values = (values - values.mean(axis=1, keepdims=True)) * root
        explained = values @ contrast
        energies.append(np.sum(values**2, axis=1) - np.sum(explained**2, axis=1))
    found = np.concatenate(energies) / basis.trace
    mean = float(found.mean())
    spread = float(found.std(ddof=1)) if len(found) > 1 else mean
    error = spread / (mean * math.sqrt(independent)) if mean > 0 else math.inf
    return NoiseVariance(mean, len(places), independent, error)


def survival(weights: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Probability that ``sum(weights * chi2(1))`` exceeds each point.

    Inversion of the moment generating function along the vertical line through the saddle of
    the integrand (Rice, SIAM J. Sci. Statist. Comput. 1:438, 1980): the trapezoidal rule
    converges fast there and small probabilities keep their digits.

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
    step = _STEP / np.sqrt(curvature)
    place = saddle + 1j * step * (np.arange(_NODES) + 0.5)
    exponent = -place * points[:, None]
    # Symmetry makes most weights equal in groups; one logarithm serves a group.
    for weight, count in zip(*np.unique(np.round(weights, 10), return_counts=True), strict=True):
        exponent -= 0.5 * count * np.log(1 - 2 * weight * place)
    return np.sum((np.exp(exponent) / place).real, axis=1) * step[:, 0] / math.pi


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
    if len(values) == 0:
        return math.inf
    ordered = np.sort(values)[::-1].astype(np.float64)
    upper = float(np.sum(weights))
    while survival(weights, np.array([upper]))[0] > _SMALLEST_SURVIVAL:
        upper *= 1.5
    knots = np.linspace(upper / 1000, upper, _KNOTS)
    table = np.log(np.maximum(survival(weights, knots), 1e-300))
    chance = np.exp(PchipInterpolator(knots, table)(np.clip(ordered, knots[0], upper)))
    count = len(ordered)
    harmonic = float(np.sum(1.0 / np.arange(1, count + 1)))
    passed = np.flatnonzero(chance <= np.arange(1, count + 1) * p_value / (count * harmonic))
    return float(ordered[passed[-1]]) if len(passed) else math.inf
