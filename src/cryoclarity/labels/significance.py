"""Null distribution of the statistic and the two thresholds of a level.

Under white noise the statistic over its variance is a weighted sum of independent chi-square
variables. Its distribution is evaluated by Ruben's series in the form of Farebrother,
algorithm AS 204, Appl. Statist. 33:332 (1984), with the stopping rule of the published program:
the truncated series lies up to 1e-5 below the true value, and the labels depend on that.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from scipy.optimize import brentq
from scipy.special import gammainc, gammaln

__all__ = [
    "ChiSquareMixture",
    "false_discovery_threshold",
    "kept_eigenvalues",
    "uncorrected_threshold",
]

_TOLERANCE = 1e-5
_MOST_TERMS = 20000
_INVALID = 1e10
_MOST_CANDIDATES = 500


def kept_eigenvalues(eigenvalues: np.ndarray) -> np.ndarray:
    """Eigenvalues above a tenth of the largest, float32, as the published program keeps them."""
    values = np.asarray(eigenvalues, np.float32)
    return values[values > 0.1 * values.max()]


class ChiSquareMixture:
    """Distribution function of ``sum(weights * chi2(1))`` by the truncated series of AS 204.

    Parameters
    ----------
    weights : (nu,) float32
        Positive weights; the expansion uses the smallest as its scale.
    """

    def __init__(self, weights: np.ndarray) -> None:
        values = np.asarray(weights, np.float32).astype(np.float64)
        self.scale = float(values.min())
        self.degrees = len(values)
        ratio = self.scale / values
        self._leading = float(np.sqrt(np.prod(ratio)))
        self._gamma = (1 - ratio).astype(np.float32)
        self._power = np.ones_like(self._gamma)
        self._b: list[float] = [0.0]
        self._a: list[float] = [1.0]
        self._rest: list[float] = [1 / self._leading - 1]

    def _extend(self) -> None:
        """Append the next coefficient of the series and the sum still missing."""
        self._power = self._power * self._gamma
        term = 0.5 * float(np.sum(self._power, dtype=np.float64))
        self._b.append(term)
        order = len(self._a)
        b = np.array(self._b[1:order])
        a = np.array(self._a[1:order])
        self._a.append((term + float(b @ a[::-1])) / order)
        self._rest.append(self._rest[-1] - self._a[-1])

    def cdf(self, points: np.ndarray) -> np.ndarray:
        """Probability that the mixture is below each point, (m,) float64.

        Values that the truncation throws outside [0, 1] are returned as 1e10.
        """
        half = np.atleast_1d(np.asarray(points, np.float64)) / self.scale / 2
        result = np.zeros_like(half)
        positive = half > 0
        result[positive] = self._series(half[positive])
        return np.where((result < 0) | (result > 1), _INVALID, result)

    def _series(self, half: np.ndarray) -> np.ndarray:
        shape = self.degrees / 2
        central = gammainc(shape, half)
        log_half = np.log(half)
        total = central.copy()
        active = np.arange(len(half))
        small = _TOLERANCE / self._leading
        for order in range(1, _MOST_TERMS):
            if order == len(self._a):
                self._extend()
            h = half[active]
            central = central - np.exp(shape * log_half[active] - h - gammaln(shape + 1))
            shape += 1
            total[active] += self._a[order] * central
            done = (np.abs(central * self._rest[order]) < _TOLERANCE) & (
                np.abs(central * self._a[order]) < small
            )
            active, central = active[~done], central[~done]
            if len(active) == 0:
                break
        return self._leading * total


@lru_cache(maxsize=256)
def _root(weights: tuple[float, ...], p_value: float) -> float:
    mixture = ChiSquareMixture(np.array(weights, np.float32))

    def excess(point: float) -> float:
        return float(mixture.cdf(np.array([point]))[0]) - (1 - p_value)

    upper = float(np.sum(weights))
    while excess(upper) < 0:
        upper *= 2
    return float(brentq(excess, 0.0, upper, xtol=1e-12, rtol=1e-12))


def uncorrected_threshold(weights: np.ndarray, p_value: float) -> float:
    """Point that noise alone passes with probability `p_value`."""
    return _root(tuple(float(w) for w in weights), float(p_value))


def false_discovery_threshold(
    values: np.ndarray, weights: np.ndarray, p_value: float, previous: float
) -> tuple[float, float, int]:
    """Threshold of a level under false-discovery control (Benjamini and Yekutieli 2001).

    Parameters
    ----------
    values : (m,) float32
        Statistic over variance at every voxel under test.
    weights : (nu,) float32
        Weights of the null distribution.
    p_value : float
    previous : float
        Threshold of the level before, kept when a single voxel leaves no candidate.

    Returns
    -------
    threshold, uncorrected threshold, count of voxels above the uncorrected one
    """
    base = uncorrected_threshold(weights, p_value)
    above = np.sort(values[values > base])
    count = len(above)
    if count == 0:
        return math.inf, base, 0
    if count == 1:
        return previous, base, 1
    tested = len(values)
    harmonic = float(np.sum(1.0 / np.arange(1, tested)))
    stride = math.ceil(count / min(_MOST_CANDIDATES, count))
    order = np.arange(1, count, stride)
    candidates = above[order]
    limit = 1 - p_value * (count - order) / (tested * harmonic)
    passed = np.flatnonzero(ChiSquareMixture(weights).cdf(candidates) > limit)
    chosen = passed[0] if len(passed) else len(candidates) - 1
    return float(candidates[chosen]), base, count
