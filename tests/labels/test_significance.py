"""The series against numerical inversion, the threshold against the rule written as a loop."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.integrate import quad

from cryoclarity.labels.significance import (
    ChiSquareMixture,
    false_discovery_threshold,
    kept_eigenvalues,
    uncorrected_threshold,
)

SIX = np.array([0.20632571, 0.0377, 0.0377, 0.0377, 0.03563, 0.03563], np.float32)
SIXTEEN = np.array(
    [0.2769, *[0.2537] * 3, *[0.1175] * 2, *[0.0754] * 3, *[0.0536] * 3, 0.0344, *[0.0336] * 3],
    np.float32,
)


def imhof(weights: np.ndarray, point: float) -> float:
    """P(sum of weights * chi2(1) < point) by inversion (Imhof, Biometrika 48:419, 1961)."""
    scale = weights.astype(np.float64) / weights.max()
    point = point / float(weights.max())

    def integrand(u: float) -> float:
        angle = 0.5 * np.sum(np.arctan(scale * u)) - 0.5 * point * u
        return np.sin(angle) / (u * np.prod((1 + (scale * u) ** 2) ** 0.25))

    parts = [quad(integrand, a, a + 20, limit=200)[0] for a in np.arange(1e-12, 2000, 20)]
    return 0.5 - sum(parts) / np.pi


@pytest.mark.parametrize("weights", [SIX, SIXTEEN], ids=["six", "sixteen"])
@pytest.mark.parametrize("quantile", [0.5, 1.0, 2.5, 5.0])
def test_series_lies_at_most_1e5_below_the_truth(weights: np.ndarray, quantile: float) -> None:
    point = quantile * float(weights.sum())
    found = ChiSquareMixture(weights).cdf(np.array([point]))[0]
    assert -1e-7 < imhof(weights, point) - found < 1.2e-5


def test_equal_weights_are_a_chi_square() -> None:
    found = ChiSquareMixture(np.full(4, 0.5, np.float32)).cdf(np.array([0.0, 1.0, 3.0]))
    expected = [1 - math.exp(-c) * (1 + c) for c in (0.0, 1.0, 3.0)]
    np.testing.assert_allclose(found, expected, atol=1e-12)


def test_many_points_equal_one_at_a_time() -> None:
    points = np.linspace(0.01, 12, 40)
    together = ChiSquareMixture(SIXTEEN).cdf(points)
    alone = [ChiSquareMixture(SIXTEEN).cdf(np.array([point]))[0] for point in points]
    assert np.array_equal(together, alone)


def test_small_weights_are_dropped() -> None:
    assert len(kept_eigenvalues(np.array([1.0, 0.11, 0.1, 0.05]))) == 2


@pytest.mark.parametrize("p_value", [0.05, 0.01, 0.001])
def test_uncorrected_threshold_is_the_quantile(p_value: float) -> None:
    point = uncorrected_threshold(SIX, p_value)
    found = ChiSquareMixture(SIX).cdf(np.array([point]))[0]
    assert found == pytest.approx(1 - p_value, abs=1e-9)


def plain_rule(values: np.ndarray, weights: np.ndarray, p_value: float) -> float:
    """The threshold as the rule reads, one candidate at a time."""
    ordered = np.sort(values)
    tested = len(values)
    count = int(np.sum(values > uncorrected_threshold(weights, p_value)))
    harmonic = sum(1 / j for j in range(1, tested))
    stride = math.ceil(count / min(500, count))
    mixture = ChiSquareMixture(weights)
    threshold = math.inf
    for k in range(1, count, stride):
        threshold = float(ordered[tested - count + k])
        reached = mixture.cdf(np.array([threshold]))[0]
        if reached > 1 - p_value * (count - k) / (tested * harmonic):
            break
    return threshold


@pytest.mark.parametrize("signal", [0.0, 0.02, 0.5])
def test_threshold_follows_the_rule(signal: float) -> None:
    random = np.random.default_rng(5)
    noise = random.chisquare(1, size=(4000, len(SIX))) @ SIX
    values = (noise * np.where(random.random(4000) < signal, 8, 1)).astype(np.float32)
    threshold, _, count = false_discovery_threshold(values, SIX, 0.05, math.inf)
    assert count == np.sum(values > uncorrected_threshold(SIX, 0.05))
    assert threshold == plain_rule(values, SIX, 0.05)


def test_no_or_one_candidate() -> None:
    low = np.full(100, 0.1, np.float32)
    assert false_discovery_threshold(low, SIX, 0.05, 3.0)[0] == math.inf
    low[3] = 50
    assert false_discovery_threshold(low, SIX, 0.05, 3.0)[0] == 3.0
