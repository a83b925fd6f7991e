"""Each gate refuses or flags what it is there for."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from cryoclarity.labels.gates import LabelGates, LabelSummary, judge, summarise

GOOD = LabelSummary(
    box=100_000,
    tested=20_000,
    labelled=12_000,
    mixtures=0,
    levels={3.0: 3000, 4.0: 5000, 5.0: 4000},
    median=4.0,
    noise_blocks={3.0: 200, 4.0: 200, 5.0: 80},
    zero_share=0.0,
    low_pass_factor=0.0,
)


def codes(summary: LabelSummary, reported: float | None = 4.0) -> list[str]:
    return [finding.code for finding in judge(summary, LabelGates(), reported)]


def test_good_labels_pass() -> None:
    assert codes(GOOD) == []


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"zero_share": 0.3}, ["LABEL_ZERO_BACKGROUND"]),
        ({"labelled": 0, "levels": {}, "median": None}, ["LABEL_EMPTY"]),
        ({"levels": {3.0: 11_000, 4.0: 600, 5.0: 400}}, ["LABEL_SINGLE_LEVEL"]),
        ({"labelled": 3000, "levels": {3.0: 1000, 4.0: 1000, 5.0: 1000}}, ["LABEL_FEW"]),
        ({"tested": 1000, "labelled": 900, "levels": {3.0: 300, 4.0: 600}}, ["LABEL_FEW"]),
        ({"levels": {3.0: 6000, 4.0: 6000}}, ["LABEL_FEW"]),
        ({"noise_blocks": {3.0: 200, 4.0: 5}}, ["W_LABEL_FEW_BLOCKS"]),
        ({"low_pass_factor": 0.59}, ["W_LABEL_LOWPASS"]),
        ({"median": 12.0}, ["W_LABEL_OFF_GLOBAL"]),
        ({"median": 2.0}, ["W_LABEL_OFF_GLOBAL"]),
    ],
)
def test_each_gate_has_its_code(change: dict, expected: list[str]) -> None:
    assert codes(replace(GOOD, **change)) == expected


def test_a_map_of_mixtures_only_has_few_labels() -> None:
    summary = replace(GOOD, labelled=0, mixtures=500, levels={}, median=None)
    assert codes(summary) == ["LABEL_FEW"]


def test_without_a_reported_resolution_the_median_is_not_judged() -> None:
    assert codes(replace(GOOD, median=50.0), None) == []


def test_summary_counts_true_labels_only() -> None:
    resolution = np.array([[[3, 3, 3.4, 100, 100, 4]]], np.float32)
    kinds = np.array([[[1, 1, 3, 2, 0, 1]]], np.uint8)
    summary = summarise(resolution, kinds, noise_blocks={}, zero_share=0.1, low_pass_factor=0.5)
    assert (summary.tested, summary.labelled, summary.mixtures) == (5, 3, 1)
    assert summary.levels == {3.0: 2, 4.0: 1}
    assert summary.labelled_share == pytest.approx(0.6)
