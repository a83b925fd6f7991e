"""The engine resmap-exact: its noise, its thresholds, shapes that the program refuses."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import chi2, spearmanr

from cryoclarity.errors import InputError
from cryoclarity.labels.exact import ExactParameters, exact_resolution
from cryoclarity.labels.exact_noise import fdr_threshold, noise_variance, survival
from cryoclarity.labels.region import density_mask, silent_share
from cryoclarity.labels.significance import ChiSquareMixture
from cryoclarity.labels.statistic import level_basis, statistic_map
from tests.labels.generator import filtered, half_maps, radial_frequency


@pytest.fixture(scope="module")
def halves() -> tuple[np.ndarray, np.ndarray]:
    return half_maps(
        n=52, seed=3, vx=1.1, R=16, bands=[2.6, 3.6, 5.0], c=1.0, colour=1.0, sigma=0.3
    )


def test_survival_of_equal_weights_is_a_chi_square() -> None:
    points = np.array([0.1, 1.0, 3.0, 8.0, 16.0, 40.0])
    expected = chi2.sf(points / 0.3, 6)
    np.testing.assert_allclose(survival(np.full(6, 0.3), points), expected, rtol=1e-8)


def test_survival_agrees_with_the_series_where_it_holds() -> None:
    weights = level_basis(4.2, 1.0).eigenvalues
    points = weights.sum() * np.array([0.3, 1.0, 2.0, 3.0])
    series = 1 - ChiSquareMixture(weights).cdf(points)
    assert np.all(np.abs(series - survival(weights, points)) < 1.2e-5)


def test_threshold_is_the_step_up_rule() -> None:
    weights = level_basis(3.2, 1.0).eigenvalues
    random = np.random.default_rng(5)
    values = (random.chisquare(1, size=(2000, 16)) @ weights).astype(np.float32)
    values[:150] *= 12
    ordered = np.sort(values)[::-1].astype(float)
    chance = survival(weights, ordered)
    harmonic = sum(1 / j for j in range(1, 2001))
    accepted = [k for k in range(1, 2001) if chance[k - 1] <= k * 0.05 / (2000 * harmonic)]
    assert fdr_threshold(values, weights, 0.05) == ordered[accepted[-1] - 1]
    assert fdr_threshold(values[150:], weights, 0.05) == math.inf


def test_variance_of_white_noise_and_its_error() -> None:
    noise = np.random.default_rng(2).normal(scale=3.0, size=(40, 44, 36)).astype(np.float32)
    basis = level_basis(4.0, 1.0)
    found = noise_variance(noise, np.ones(noise.shape, bool), basis)
    assert abs(found.value / 9 - 1) < 4 * found.relative_error < 0.2
    corner = np.zeros(noise.shape, bool)
    corner[:7, :7, :7] = True
    weak = noise_variance(noise, corner, basis)
    assert weak.independent < 3
    assert noise_variance(noise, np.zeros(noise.shape, bool), basis).windows == 0


def test_white_noise_gets_few_labels() -> None:
    """A false-discovery rate of 5 % over noise alone: most runs label nothing."""
    random = np.random.default_rng(8)
    pair = tuple(random.normal(size=(40, 40, 40)).astype(np.float32) for _ in range(2))
    result = exact_resolution(pair, (1.0,) * 3, ExactParameters(max_res=5.0), np.ones((40,) * 3))
    assert np.count_nonzero(result.codes == 1) < 0.005 * result.codes.size
    assert all(level.noise.relative_error < 0.1 for level in result.levels)


def test_order_of_the_slabs_in_a_box_of_unequal_edges(halves) -> None:
    cut = tuple(np.ascontiguousarray(h[:, 3:-2, 5:]) for h in halves)
    result = exact_resolution(cut, (1.1,) * 3, ExactParameters(step_res=0.25))
    assert result.resolution.shape == (52, 47, 47)
    assert np.array_equal(result.codes == 1, result.resolution > 0)
    planes = [result.resolution[z][result.codes[z] == 1].mean() for z in (16, 26, 36)]
    assert planes[0] < planes[1] < planes[2]
    levels = [level.resolution for level in result.levels]
    assert np.allclose(np.diff(levels), 0.25) and levels[0] == pytest.approx(2.5)


def test_filtered_maps_have_no_mixtures(halves) -> None:
    keep = radial_frequency(52, 1.1) <= 1 / 4.0
    pair = tuple(filtered(h.astype(np.float64), keep).astype(np.float32) for h in halves)
    result = exact_resolution(pair, (1.1,) * 3, ExactParameters(max_res=6.0))
    assert 0.5 < result.factor < 0.75
    assert result.codes.shape == pair[0].shape
    values = np.unique(result.resolution[result.codes == 1])
    assert np.abs(values[:, None] - [level.resolution for level in result.levels]).min(1).max() < (
        1e-5
    )


def test_threads_do_not_change_values(halves) -> None:
    basis = level_basis(4.0, 1.1)
    mask = density_mask(halves[0])
    mask[:4] = mask[-4:] = False
    one, two = (statistic_map(halves[0], mask, basis, threads) for threads in (1, 2))
    assert np.array_equal(one, two)


def test_masked_backgrounds_are_silent(halves) -> None:
    place = np.indices(halves[0].shape) - 25.5
    soft = 1 / (1 + np.exp(np.sqrt(np.sum(place**2, axis=0)) - 17))
    inside = soft > 0.5
    assert silent_share(halves, inside) < 0.01
    assert silent_share(tuple((h * soft).astype(np.float32) for h in halves), inside) > 0.2
    assert silent_share((halves[0] * inside,), inside) > 0.9
    hard = tuple(h * inside for h in halves)
    with pytest.raises(InputError) as caught:
        exact_resolution(hard, (1.1,) * 3, ExactParameters(max_zero_share=0.2))
    assert caught.value.code == "LABEL_ZERO_BACKGROUND"


def test_refusals(halves) -> None:
    for arguments, code in (
        (((halves[0], halves[1][1:]), (1.1,) * 3), "LABEL_HALVES_DIFFER"),
        ((halves, (1.1, 1.1, 1.3)), "HDR_ANISOTROPY"),
        ((halves, (1.1,) * 3, ExactParameters(min_res=16)), "LABEL_LEVEL_RANGE"),
        ((halves, (1.1,) * 3, ExactParameters(min_noise_windows=1e6)), "LABEL_NO_NOISE_BLOCKS"),
    ):
        with pytest.raises(InputError) as caught:
            exact_resolution(*arguments)
        assert caught.value.code == code


def test_labels_follow_those_of_the_parity_engine(halves) -> None:
    from cryoclarity.labels.resmap import ResmapParameters, local_resolution

    exact = exact_resolution(halves, (1.1,) * 3, ExactParameters(max_res=5.0))
    parity = local_resolution(halves, 1.1, ResmapParameters(max_res=5.0, step_res=0.5))
    both = (exact.codes == 1) & (parity.codes == 1)
    assert spearmanr(exact.resolution[both], parity.resolution[both])[0] > 0.85


def test_density_cut_off_at_a_face_gives_no_more_fine_labels_there() -> None:
    pair = half_maps(n=60, seed=5, vx=1.0, R=18, bands=[4.5], c=3.0, colour=30.0, sigma=0.1)
    cut = tuple(np.ascontiguousarray(half[28:]) for half in pair)
    result = exact_resolution(cut, (1.0,) * 3)
    finest = result.levels[0].resolution + 0.1
    shares = [
        np.mean(plane[code == 1] < finest)
        for plane, code in zip(result.resolution[:12], result.codes[:12], strict=True)
        if np.any(code == 1)
    ]
    assert len(shares) >= 6
    assert shares[0] < 1.2 * np.mean(shares[1:])
