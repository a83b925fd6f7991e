"""Scores of local resolution against hand-made cases and scipy."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import spearmanr

from cryoclarity.evaluate.resolution_skill import rank_correlation, skill, summary


def test_rank_correlation_is_spearmans():
    rng = np.random.default_rng(2)
    a = np.round(rng.normal(size=200), 1)
    b = a + rng.normal(size=200)
    assert rank_correlation(a, b) == pytest.approx(spearmanr(a, b).statistic, abs=1e-12)
    assert rank_correlation(a, np.ones(200)) == 0


def test_errors_count_where_both_have_a_value():
    truth = np.array([0.0, 3.0, 4.0, 5.0, 6.0])
    estimate = np.array([9.0, 3.5, 4.5, 6.0, 0.0])
    found = skill(estimate, truth, training_median=5.0)
    assert found["rank_correlation"] == pytest.approx(1)
    assert found["mae_a"] == pytest.approx(2 / 3) == found["bias_a"]
    assert found["training_median_mae_a"] == pytest.approx(1)
    assert found["map_median_mae_a"] == pytest.approx(2 / 3)
    assert found["covered_share"] == pytest.approx(0.75)
    assert skill(np.zeros(5), truth, 5.0) == {"rank_correlation": 0.0, "covered_share": 0.0}


def test_summary_takes_means_and_the_worst():
    row = {"network": "bands", "ranges": "default", "version": "noise", "mae_a": 1.0}
    rows = [row | {"entry": str(k), "rank_correlation": r} for k, r in enumerate((0.2, 0.8))]
    (mean,) = summary(rows)
    assert (mean["maps"], mean["rank_correlation"], mean["worst_rank_correlation"]) == (
        "2",
        "0.500",
        "0.200",
    )
