"""Structural similarity against scikit-image."""

import numpy as np
import pytest

from cryoclarity.evaluate.ssim import scale_to_percentile, ssim_map, ssim_scores


@pytest.fixture
def pair():
    rng = np.random.default_rng(8)
    first = rng.random((70, 20, 24)).astype(np.float32)
    second = np.clip(first + 0.2 * rng.normal(size=first.shape), 0, 1).astype(np.float32)
    return first, second


def test_equals_scikit_image_across_slabs(pair):
    metrics = pytest.importorskip("skimage.metrics")
    first, second = pair
    mean, full = metrics.structural_similarity(
        first.astype(float),
        second.astype(float),
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
        data_range=1.0,
        full=True,
    )
    ours = ssim_map(first, second)
    np.testing.assert_allclose(ours, full, atol=1e-6)
    assert ours[5:-5, 5:-5, 5:-5].mean(dtype=float) == pytest.approx(mean, abs=1e-7)


def test_scores_do_not_depend_on_scale(pair):
    first, second = pair
    inside = first > 0.5
    expected = ssim_scores(first, second, inside)
    scaled = ssim_scores(40 * first, 0.01 * second, inside)
    assert scaled == pytest.approx(expected, abs=1e-5)


def test_identical_maps_score_one_and_empty_background_flatters():
    first = np.zeros((30, 30, 30), dtype=np.float32)
    second = first.copy()
    first[14:17, 14:17, 10:20] = 1.0
    second[10:20, 14:17, 14:17] = 1.0
    inside = (first + second) > 0
    scores = ssim_scores(first, second, inside)
    assert scores["SSIM"] > 0.7 > 0.4 > scores["SSIM_mask"]
    assert ssim_scores(first, first, inside) == pytest.approx({"SSIM": 1.0, "SSIM_mask": 1.0})


def test_box_smaller_than_the_window_and_map_without_density():
    small = np.ones((8, 8, 8), dtype=np.float32)
    assert np.isnan(ssim_scores(small, small, small > 0)["SSIM"])
    assert not scale_to_percentile(-small).any()
