"""Errors over labelled voxels and the constants beside them."""

import math

import numpy as np
import pytest

from cryoclarity.evaluate.local_resolution import (
    labelled_voxels,
    map_metrics,
    pooled_metrics,
    published_cube_voxels,
    quantisation_floor,
)


def case(seed=0, shape=(16, 32, 16), offset=0.0):
    rng = np.random.default_rng(seed)
    label = np.full(shape, 100.0, dtype=np.float32)
    valid = np.zeros(shape, dtype=bool)
    valid[4:12, 4:20, 4:12] = True
    label[valid] = rng.choice([3.0, 4.0, 5.0], size=int(valid.sum()))
    prediction = np.where(valid, label + offset + 0.1 * rng.normal(size=shape), 0.0)
    density = rng.normal(size=shape).astype(np.float32)
    return labelled_voxels(prediction, label, valid, density)


def test_only_labelled_voxels_count():
    voxels = case(offset=0.5)
    metrics = map_metrics(voxels, training_median=6.0)
    difference = voxels.prediction - voxels.label
    assert metrics["n_labelled"] == 8 * 16 * 8
    assert metrics["mae"] == pytest.approx(np.abs(difference).mean())
    assert metrics["rmse"] == pytest.approx(math.sqrt((difference**2).mean()))
    assert metrics["mae_training_median"] == pytest.approx((6.0 - voxels.label).mean())
    own = np.median(voxels.label)
    assert metrics["mae_oracle_median"] == pytest.approx(np.abs(voxels.label - own).mean())
    assert metrics["label_median"] == own


def test_published_convention_is_diluted_by_the_labelled_share():
    metrics = map_metrics(case(offset=0.5), training_median=None)
    assert metrics["labelled_share"] == pytest.approx(1024 / (16 * 32 * 16))
    assert metrics["mae_published_convention"] == pytest.approx(
        metrics["mae"] * metrics["labelled_share"]
    )
    assert math.isnan(metrics["mae_training_median"])


def test_cubes_at_the_map_minimum_are_dropped():
    density = np.zeros((16, 16, 40), dtype=np.float32)
    density[8, 8, 3] = 1.0
    density[8, 8, 39] = 1.0
    assert published_cube_voxels(density) == 2 * 16**3
    assert published_cube_voxels(np.zeros((8, 8, 8))) == 0


def test_voxels_without_prediction_are_left_out_and_reported():
    label = np.full((16, 16, 16), 4.0)
    prediction = np.zeros_like(label)
    prediction[:4] = 5.0
    density = np.random.default_rng(0).normal(size=label.shape)
    voxels = labelled_voxels(prediction, label, label > 0, density)
    assert voxels.predicted_share == pytest.approx(0.25)
    assert map_metrics(voxels, 4.0)["mae"] == pytest.approx(1.0)


def test_quantisation_floor_of_even_levels_is_a_quarter_step():
    assert quantisation_floor(np.repeat([3.0, 4.0, 5.0], 10)) == pytest.approx(0.25)
    assert quantisation_floor(np.full(10, 3.0)) == 0.0
    # A predictor that knows the unrounded truth misses the rounded label by just that much.
    truth = np.linspace(2.5, 8.5, 60001)
    label = np.round(truth)
    assert quantisation_floor(label) == pytest.approx(np.abs(truth - label).mean(), abs=1e-3)


def test_pooling_equals_one_list_of_voxels():
    cases = [case(1, offset=0.4), case(2, shape=(16, 32, 32), offset=-1.0)]
    rows = [map_metrics(voxels, 4.0) for voxels in cases]
    pooled = pooled_metrics(rows)
    difference = np.concatenate([v.prediction - v.label for v in cases])
    assert pooled["n_maps"] == 2
    assert pooled["mae"] == pytest.approx(np.abs(difference).mean())
    assert pooled["rmse"] == pytest.approx(math.sqrt((difference**2).mean()))
    total = sum(v.cube_voxels for v in cases)
    assert pooled["mae_published_convention"] == pytest.approx(np.abs(difference).sum() / total)
    assert pooled["spearman"] == pytest.approx(np.mean([row["spearman"] for row in rows]))


def test_no_labels_gives_no_numbers_and_no_crash():
    empty = labelled_voxels(
        np.zeros((4, 4, 4)), np.zeros((4, 4, 4)), np.zeros((4, 4, 4), bool), np.zeros((4, 4, 4))
    )
    row = map_metrics(empty, 4.0)
    assert row["n_labelled"] == 0 and math.isnan(row["mae"])
    assert pooled_metrics([row]) == {"n_maps": 0, "n_labelled": 0}
