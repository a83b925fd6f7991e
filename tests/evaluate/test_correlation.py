"""Correlations against sums written out from their definition."""

import math

import numpy as np
import pytest

from cryoclarity.evaluate.correlation import (
    pearson,
    region_correlations,
    spearman,
    strongest_points,
)


def oracle(x, y):
    x, y = [float(v) for v in x], [float(v) for v in y]
    mx, my = math.fsum(x) / len(x), math.fsum(y) / len(y)
    top = math.fsum((a - mx) * (b - my) for a, b in zip(x, y, strict=True))
    xx = math.fsum((a - mx) ** 2 for a in x)
    yy = math.fsum((b - my) ** 2 for b in y)
    return top / math.sqrt(xx * yy)


@pytest.fixture
def maps():
    rng = np.random.default_rng(5)
    first = rng.normal(size=(9, 7, 8)).astype(np.float32)
    second = (first + rng.normal(size=first.shape)).astype(np.float32)
    inside = np.zeros(first.shape, dtype=bool)
    inside[2:6, 1:5, 3:7] = True
    return first, second, inside


def test_pearson_is_the_formula(maps):
    first, second, _ = maps
    assert pearson(first, second) == pytest.approx(oracle(first.flat, second.flat), abs=1e-14)


def test_pearson_ignores_scale_and_offset_even_with_a_large_mean(maps):
    first, second, _ = maps
    expected = pearson(first, second)
    assert pearson(3.0 * first.astype(float) + 1e6, second) == pytest.approx(expected, abs=1e-9)
    assert pearson(-first, second) == pytest.approx(-expected, abs=1e-12)


def test_pearson_is_undefined_for_a_constant():
    assert math.isnan(pearson(np.ones(5), np.arange(5)))
    assert math.isnan(pearson(np.array([1.0]), np.array([2.0])))


def test_spearman_sees_only_the_order():
    x = np.array([1.0, 2.0, 5.0, 9.0])
    assert spearman(x, np.exp(x)) == pytest.approx(1.0)
    assert math.isnan(spearman(np.empty(0), np.empty(0)))


def test_regions_follow_their_definition(maps):
    first, second, inside = maps
    result = region_correlations(first, second, inside)
    n = int(inside.sum())
    by_model = second >= np.sort(second.ravel())[::-1][n]
    by_map = first >= np.sort(first.ravel())[::-1][n]
    assert by_model.sum() == n + 1
    union = by_model | by_map
    assert result["n_inside"] == n
    assert result["CC_box"] == pytest.approx(oracle(first.flat, second.flat), abs=1e-12)
    assert result["CC_mask"] == pytest.approx(oracle(first[inside], second[inside]), abs=1e-12)
    assert result["CC_volume"] == pytest.approx(
        oracle(first[by_model], second[by_model]), abs=1e-12
    )
    assert result["CC_peaks"] == pytest.approx(oracle(first[union], second[union]), abs=1e-12)
    assert result["cc_peaks_degenerate"] is False


def test_a_plateau_of_zeros_is_reported(maps):
    first, second, inside = maps
    masked = np.where(first > 2.0, first, 0.0).astype(np.float32)
    result = region_correlations(masked, second, inside)
    assert result["cc_peaks_degenerate"] is True
    assert result["CC_peaks"] == pytest.approx(result["CC_box"], abs=1e-12)


def test_more_points_than_voxels_selects_all():
    density = np.arange(8.0).reshape(2, 2, 2)
    assert strongest_points(density, 100).all()
