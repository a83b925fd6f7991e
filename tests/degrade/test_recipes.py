"""Both recipes as wholes: what they promise of their maps, and the torch twin."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import scipy.fft
from scipy.stats import spearmanr

from cryoclarity.degrade.arrays import NumpyArrays
from cryoclarity.degrade.improvement import simulate_pair
from cryoclarity.degrade.parameters import ImprovementRanges, ResolutionRanges
from cryoclarity.degrade.placement import place, seed_of
from cryoclarity.degrade.resolution import simulate_map
from cryoclarity.degrade.spectrum import Frequencies
from cryoclarity.grid import Grid
from cryoclarity.model.density import gaussian_density
from cryoclarity.targets.kernels import kernel_width
from tests.degrade.models import SMALL_BOX, small_model

WHOLE = ImprovementRanges(zone_probability=0.0)


def test_a_seed_gives_the_same_bytes() -> None:
    first, second = (
        simulate_map(small_model(), seed_of(1, "m", 0), box=SMALL_BOX) for _ in range(2)
    )
    assert np.array_equal(first.map, second.map)
    assert np.array_equal(first.truth, second.truth)
    other = simulate_map(small_model(), seed_of(1, "m", 1), box=SMALL_BOX)
    assert other.drawn != first.drawn
    pairs = [simulate_pair(small_model(), [1, 2], box=SMALL_BOX) for _ in range(2)]
    assert np.array_equal(pairs[0].input, pairs[1].input)


@pytest.mark.parametrize("ranges", [ResolutionRanges(), ResolutionRanges.wide()], ids=["", "wide"])
def test_simulated_map(ranges) -> None:
    for draw in range(3):
        made = simulate_map(small_model(), [7, draw], box=SMALL_BOX, ranges=ranges)
        inside = made.truth[made.mask]
        finest = max(2.0, 2 * made.drawn.original_voxel, made.drawn.best * made.drawn.low_pass)
        assert not made.truth[~made.mask].any()
        assert inside.min() >= max(finest, made.drawn.best) - 1e-4
        assert inside.max() <= max(finest, made.drawn.best + made.drawn.spread) + 1e-4
        np.testing.assert_allclose(
            made.map, 0.5 * (made.half_map_1 + made.half_map_2), atol=1e-5 * np.ptp(made.map)
        )
        assert np.array_equal(made.masked_map, made.map * made.soft_mask)
        assert made.soft_mask[made.mask].min() > 0.5
        assert made.soft_mask.min() < 1e-3
        assert np.isfinite(made.map).all()
        assert {made.map.dtype, made.truth.dtype, made.masked_map.dtype} == {np.dtype("f4")}
        assert np.corrcoef(made.half_map_1[~made.mask], made.half_map_2[~made.mask])[0, 1] < 0.7


def test_the_truth_is_spread_evenly() -> None:
    made = simulate_map(small_model(), 3, box=SMALL_BOX)
    share = (made.truth[made.mask] - made.drawn.best) / made.drawn.spread
    assert np.quantile(share, [0.25, 0.5, 0.75]) == pytest.approx([0.25, 0.5, 0.75], abs=0.12)


def test_the_blur_is_where_the_truth_says() -> None:
    """Without noise, the share of power beyond 1/4 A falls with the true resolution."""
    ranges = ResolutionRanges(
        snr=(1e6, 1e6), best=(3.0, 3.0), spread=(4.0, 4.0), field_width=(8.0, 8.0),
        b_factor=(20.0, 20.0), low_pass=(0.8, 0.8),
    )  # fmt: skip
    made = simulate_map(small_model(), 11, box=SMALL_BOX, ranges=ranges)
    frequencies = Frequencies(NumpyArrays(), made.map.shape, 1.0)
    spectrum = scipy.fft.rfftn(made.map)
    fine = scipy.fft.irfftn(spectrum * (frequencies.square > 4.0**-2), s=made.map.shape) ** 2
    coarse = scipy.fft.irfftn(
        spectrum * ((frequencies.square < 5.5**-2) & (frequencies.square > 15.0**-2)),
        s=made.map.shape,
    ) ** 2  # fmt: skip
    blur = frequencies.gaussian(3.0)
    fine, coarse = (scipy.fft.irfftn(scipy.fft.rfftn(v) * blur, s=v.shape) for v in (fine, coarse))
    assert spearmanr((fine / coarse)[made.mask], made.truth[made.mask]).statistic < -0.8


def test_signal_to_noise_at_the_best_resolution() -> None:
    ratios = []
    for draw in range(4):
        ranges = ResolutionRanges(spread=(1e-3, 1e-3), snr=(10.0, 10.0), low_pass=(0.7, 0.7))
        made = simulate_map(small_model(), [5, draw], box=SMALL_BOX, ranges=ranges)
        frequencies = Frequencies(NumpyArrays(), made.map.shape, 1.0)
        share = made.mask.mean()
        # Mean and half difference hold the same noise; the mean's band ends at 1/best.
        noise = frequencies.amplitude(scipy.fft.rfftn(0.5 * (made.half_map_1 - made.half_map_2)))
        total = frequencies.amplitude(scipy.fft.rfftn(made.map * made.mask))
        near = np.abs(frequencies.frequency * made.drawn.best - 0.85) < 0.06
        power = np.mean(total[near] ** 2) / share - np.mean(noise[near] ** 2)
        ratios.append(power / np.mean(noise[near] ** 2))
    # A little inside 1/best, where the signal is still whole, it is more than at 1/best.
    assert 8 < np.median(ratios) < 40


@pytest.mark.parametrize("draw", range(3))
def test_a_pair_has_the_wanted_spectrum_and_correlation(draw) -> None:
    pair = simulate_pair(small_model(), [6, draw], box=SMALL_BOX, ranges=WHOLE, halves=True)
    frequencies = Frequencies(NumpyArrays(), pair.map.shape, 1.0)
    spectrum, target = scipy.fft.rfftn(pair.map), scipy.fft.rfftn(pair.target)
    shells = slice(2, int(0.45 * max(pair.map.shape)))
    found = frequencies.amplitude(spectrum)[shells]
    # Signal and noise add up in power on average only.
    ratio = found / pair.wanted_amplitude[shells]
    assert np.median(np.abs(np.log(ratio))) < 0.05
    assert np.abs(np.log(ratio)).max() < 0.4
    correlation = frequencies.fsc(spectrum, target)[shells]
    assert (correlation < pair.wanted_fsc[shells] + 0.15).all()
    np.testing.assert_allclose(
        pair.map, 0.5 * (pair.half_map_1 + pair.half_map_2), atol=1e-5 * np.ptp(pair.map)
    )


def test_correlation_reaches_the_wanted_one_where_the_signal_allows_it() -> None:
    exact = replace(WHOLE, shift=(0.0, 0.0), jitter=(0.0, 0.0), fsc_top=(0.8, 0.8),
                    solvent=(0.0, 0.0), fsc_place=(1.0, 1.0))  # fmt: skip
    pair = simulate_pair(small_model(), 4, resolution=3.5, box=SMALL_BOX, ranges=exact)
    frequencies = Frequencies(NumpyArrays(), pair.map.shape, 1.0)
    found = frequencies.fsc(scipy.fft.rfftn(pair.map), scipy.fft.rfftn(pair.target))
    near = (frequencies.frequency > 1 / 10) & (frequencies.frequency < 1 / 3)
    assert np.abs(found - pair.wanted_fsc)[near].mean() < 0.06


def test_the_target_is_the_kernels_density() -> None:
    flat = replace(WHOLE, spread=(0.0, 0.0))
    placed = place(small_model(), np.random.default_rng(1), SMALL_BOX)
    pair = simulate_pair(placed, 8, resolution=3.0, ranges=flat)
    width = kernel_width(np.full(len(placed.weight), 3.0), "dimaio")
    grid = Grid(placed.shape, (1.0, 1.0, 1.0))
    wanted = gaussian_density(placed.atoms.xyz, placed.weight, width, grid)
    scale = np.percentile(wanted[wanted > 0], 99.999)
    np.testing.assert_allclose(pair.target, np.clip(wanted / scale, 0, 1), atol=1e-3)
    assert pair.local_resolution[pair.mask] == pytest.approx(3.0, abs=1e-4)


def test_uneven_views_weaken_one_direction() -> None:
    ranges = replace(WHOLE, anisotropy=(300.0, 300.0), fsc_top=(1.0, 1.0), fsc_place=(3.0, 3.0))
    pair = simulate_pair(small_model(), 14, resolution=3.0, box=SMALL_BOX, ranges=ranges)
    power = np.abs(np.fft.fftn(pair.map)) ** 2
    lines = np.meshgrid(*(np.fft.fftfreq(n) for n in power.shape), indexing="ij")
    s = np.sqrt(sum(line**2 for line in lines))
    shell = (s > 0.15) & (s < 0.25)
    moments = [[np.sum((power * a * b)[shell]) for a in lines] for b in lines]
    values = np.linalg.eigvalsh(np.array(moments) / np.sum((power * s**2)[shell]))
    assert values[0] < 0.2 and values[2] > 0.33


def test_a_zone_leaves_exact_zeros() -> None:
    ranges = ImprovementRanges(zone_probability=1.0, zone_radii=(3.0,), zone_share=(0.6, 0.6))
    pair = simulate_pair(small_model(), 9, box=SMALL_BOX, ranges=ranges)
    assert (pair.map == 0).mean() > 0.6
    assert not pair.map[(pair.target == 0)].any()
    assert pair.input.min() == 0.0 and pair.input.max() == 1.0
    assert not (pair.mask & (pair.map == 0)).any()


@pytest.mark.parametrize("recipe", ["resolution", "improvement"])
def test_the_torch_twin_computes_the_same(recipe) -> None:
    from cryoclarity.degrade.arrays_torch import TorchArrays

    arrays = TorchArrays("cpu", host_noise=True)
    if recipe == "resolution":
        names = ("map", "half_map_2", "truth", "masked_map")
        ours = simulate_map(small_model(), 12, box=SMALL_BOX)
        twin = simulate_map(small_model(), 12, box=SMALL_BOX, arrays=arrays)
    else:
        names = ("map", "input", "target", "local_resolution", "half_map_1")
        ours = simulate_pair(small_model(), 12, box=SMALL_BOX, halves=True)
        twin = simulate_pair(small_model(), 12, box=SMALL_BOX, halves=True, arrays=arrays)
    assert np.mean(ours.mask != twin.mask.numpy()) < 1e-4
    for name in names:
        first, second = getattr(ours, name), getattr(twin, name).numpy()
        assert np.abs(first - second).max() < 1e-4 * np.abs(first).max(), name


def test_the_twins_own_numbers_follow_the_same_law() -> None:
    from cryoclarity.degrade.arrays_torch import TorchArrays

    arrays = TorchArrays("cpu")
    made = [simulate_map(small_model(), 13, box=SMALL_BOX, arrays=arrays) for _ in range(2)]
    assert np.array_equal(made[0].map.numpy(), made[1].map.numpy())
    ours = simulate_map(small_model(), 13, box=SMALL_BOX)
    assert ours.drawn == made[0].drawn
    outside = ~ours.mask
    spreads = [float(m[outside].std()) for m in (ours.map, made[0].map.numpy())]
    assert spreads[0] == pytest.approx(spreads[1], rel=0.15)
