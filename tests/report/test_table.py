"""Verdicts and rows of the summary tables."""

import pytest

from cryoclarity.report.table import (
    enhance_verdict,
    mean_metrics,
    resolution_rows,
    resolution_verdict,
    summary_rows,
)

BASE = {"CC_mask": 0.70, "mean_fsc_model": 0.60, "Q_mean": 0.50}


def rows(enhanced=None, clipped=None, radial_filter=None):
    return {
        "input": dict(BASE),
        "roundtrip": dict(BASE),
        "clipped": BASE | (clipped or {"CC_mask": 0.72}),
        "radial_filter": BASE | (radial_filter or {"mean_fsc_model": 0.61}),
        "enhanced": BASE | {"CC_mask": 0.75, "mean_fsc_model": 0.65} | (enhanced or {}),
    }


def result(name, split="test", local=None, **versions):
    return {
        "emdb_id": name,
        "split": split,
        "resolution": 3.0,
        "rows": rows(**versions),
        "local_resolution": local,
    }


def test_improved_when_everything_is_better():
    assert enhance_verdict([result("EMD-1"), result("EMD-2")]).word == "improved"


@pytest.mark.parametrize(
    "enhanced",
    [
        {"CC_mask": 0.719},  # above the input, below clipping
        {"mean_fsc_model": 0.605},  # below the filter
        {"Q_mean": 0.499},  # Q fell
        {"Q_mean": None},
        {"CC_mask": None},
    ],
)
def test_no_skill_when_one_condition_fails(enhanced):
    verdict = enhance_verdict([result("EMD-1", enhanced=enhanced)])
    assert verdict.word == "no skill yet"


def test_a_large_gain_on_a_minority_is_no_skill():
    results = [
        result("EMD-1", enhanced={"CC_mask": 0.99, "mean_fsc_model": 0.99}),
        result("EMD-2", enhanced={"CC_mask": 0.71}),
    ]
    means = mean_metrics(results, "enhanced")
    assert means["CC_mask"] > 0.72 and means["mean_fsc_model"] > 0.61
    verdict = enhance_verdict(results)
    assert verdict.word == "no skill yet" and "1 of 2" in verdict.reason


def test_only_held_out_maps_count():
    results = [result("EMD-1", split="train")]
    assert enhance_verdict(results).word == "no verdict"
    assert enhance_verdict([]).word == "no verdict"
    rows = summary_rows(results, enhance_verdict(results))
    assert [row["emdb_id"] for row in rows] == ["EMD-1"] * 5


def test_summary_sets_the_improved_map_beside_the_others():
    results = [result("EMD-1"), result("EMD-2", enhanced={"CC_mask": 0.1, "Q_mean": None})]
    table = summary_rows(results, enhance_verdict(results))
    assert [row["row"] for row in table[:5]] == list(rows())
    assert table[4]["verdict"] == "ahead" and table[9]["verdict"] == "not ahead"
    assert table[9]["Q_mean"] == ""
    assert table[-1]["emdb_id"] == "mean" and table[-1]["verdict"] == "no skill yet"
    assert table[10]["CC_mask"] == "0.7000"


def local(mae, training=1.0, oracle=0.8, n=100):
    keys = ("mae", "mae_training_median", "mae_oracle_median", "n_labelled", "n_maps")
    return dict(zip(keys, (mae, training, oracle, n, 1), strict=True))


@pytest.mark.parametrize(
    ("mae", "word"), [(0.7, "skill"), (0.9, "no skill yet"), (0.8, "no skill yet")]
)
def test_resolution_needs_to_beat_both_constants(mae, word):
    results = [result("EMD-1", local=local(mae))]
    assert resolution_verdict(results, local(mae)).word == word
    table = resolution_rows(results, local(mae), resolution_verdict(results, local(mae)))
    assert table[-1]["emdb_id"] == "pooled" and table[-1]["verdict"] == word


def test_resolution_without_training_median_or_labels():
    results = [result("EMD-1", local=local(0.1, training=None))]
    assert resolution_verdict(results, local(0.1, training=None)).word == "no skill yet"
    empty = [result("EMD-1", local=local(None, n=0)), result("EMD-2")]
    assert resolution_verdict(empty, {"n_maps": 0, "n_labelled": 0}).word == "no verdict"
