"""The engine fsc against a plain windowed correlation, the truth, and its torch twin."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.stats import spearmanr

from cryoclarity.errors import InputError
from cryoclarity.labels.local_fsc import LocalFscParameters, global_fsc, local_fsc
from tests.labels.generator import half_maps


@pytest.fixture(scope="module")
def small() -> tuple[np.ndarray, np.ndarray]:
    return half_maps(n=40, seed=4, vx=1.2, R=13, bands=[2.8, 4.4], c=1.0, colour=1.0, sigma=0.3)


@pytest.fixture(scope="module")
def slabs(shared: Path):
    folder = shared / "reference" / "resmap"
    stored = np.load(folder / "syn64half_input.npz")
    truth = np.load(folder / "syn64half_truth.npz")
    pair = tuple((stored[name] / 1024).astype(np.float32) for name in ("half1", "half2"))
    return pair, truth["region"], truth["resolution_A"][truth["region"]]


@pytest.mark.parametrize(("threshold", "least"), [(0.5, 0.92), (0.143, 0.90)])
@pytest.mark.parametrize("randomise", [False, True])
def test_truth_of_the_slabs(slabs, threshold: float, least: float, randomise: bool) -> None:
    pair, region, truth = slabs
    result = local_fsc(
        pair, (1.0,) * 3, LocalFscParameters(threshold=threshold, randomise=randomise)
    )
    # Voxels without a value count as worse than the coarsest band.
    values = np.where(result.codes == 1, result.resolution, 15.0)
    inside = truth > 0
    assert spearmanr(values[inside], truth[inside])[0] >= least
    medians = [np.median(values[region == index]) for index in (1, 2, 3, 4)]
    assert medians == sorted(medians) and len(set(medians)) == 4
    assert (result.randomised_from is not None) == randomise


def plain_correlation(
    pair, place: tuple[int, int, int], window: float, frequency: float, width: float
) -> float:
    """FSC of the half maps under a window around one voxel, by its own Fourier transforms."""
    size = pair[0].shape[0]
    axis = [np.arange(size) - p for p in place]
    squares = axis[0][:, None, None] ** 2 + axis[1][:, None] ** 2 + axis[2] ** 2
    weight = np.exp(-squares / (4 * window**2))
    radius = np.sqrt(
        sum(np.meshgrid(*[np.fft.fftfreq(size) ** 2] * 3, indexing="ij")),
    )
    band = np.exp(-(((radius - frequency) / width) ** 2))
    one, two = (np.fft.fftn(h.astype(float) * weight) for h in pair)
    cross = np.sum(band * (one * two.conj()).real)
    return cross / np.sqrt(np.sum(band * abs(one) ** 2) * np.sum(band * abs(two) ** 2))


def test_crossing_is_that_of_the_plain_correlation(small) -> None:
    window = 4.0
    result = local_fsc(small, (1.0,) * 3, LocalFscParameters(window=window))
    differences = []
    for place in ((14, 20, 20), (17, 16, 22), (20, 20, 20), (24, 22, 18), (27, 20, 19)):
        assert result.codes[place] == 1
        values = [
            plain_correlation(small, place, window, f, result.band_width)
            for f in result.frequencies
        ]
        below = next((i for i, v in enumerate(values) if v < 0.5), len(values))
        f = result.frequencies
        if below == len(values):
            crossing = 0.5
        else:
            before, after = values[below - 1] - 0.5, values[below] - 0.5
            crossing = f[below - 1] + (f[below] - f[below - 1]) * before / (before - after)
        differences.append(1 / result.resolution[place] - crossing)
    # The two differ by leakage between bands: less than the width of a band.
    assert np.abs(differences).max() < 1.5 * result.band_width
    assert np.abs(np.mean(differences)) < result.band_width


def test_torch_agrees(small) -> None:
    pytest.importorskip("torch")
    from cryoclarity.labels.local_fsc_torch import TorchEngine

    parameters = LocalFscParameters(randomise=True)
    cpu = local_fsc(small, (1.2,) * 3, parameters)
    torch = local_fsc(small, (1.2,) * 3, parameters, engine=TorchEngine("cpu"))
    assert np.array_equal(cpu.codes, torch.codes)
    valued = cpu.codes == 1
    relative = np.abs(torch.resolution[valued] / cpu.resolution[valued] - 1)
    assert np.median(relative) < 1e-6 and np.quantile(relative, 0.999) < 1e-5


def test_statistic_on_torch_agrees(small) -> None:
    pytest.importorskip("torch")
    from cryoclarity.labels.statistic import level_basis, statistic_map
    from cryoclarity.labels.statistic_torch import TorchStatistic

    mask = np.zeros(small[0].shape, bool)
    mask[8:31, 9:28, 7:33] = np.random.default_rng(1).random((23, 19, 26)) < 0.6
    for level in (2.7, 5.0, 9.0):
        basis = level_basis(level, 1.2)
        cpu = statistic_map(small[0], mask, basis)
        torch = TorchStatistic("cpu")(small[0], mask, basis)
        assert np.abs(torch - cpu).max() <= 1e-5 * cpu.mean()


def test_global_correlation_is_that_of_its_definition(small) -> None:
    frequency, found = global_fsc(*small, (1.2,) * 3)
    one, two = (np.fft.fftn(h.astype(float)) for h in small)
    index = np.fft.fftfreq(40, 1 / 40)
    radius = np.rint(np.sqrt(sum(np.meshgrid(*[index**2] * 3, indexing="ij"))))
    for shell in (1, 7, 15):
        at = radius == shell
        cross = np.sum((one * two.conj()).real[at])
        expected = cross / np.sqrt(np.sum(abs(one[at]) ** 2) * np.sum(abs(two[at]) ** 2))
        assert found[shell] == pytest.approx(expected, abs=1e-5)
        assert frequency[shell] == pytest.approx(shell / 48.0)


def test_boxes_of_unequal_edges_and_a_mask(small) -> None:
    cut = tuple(np.ascontiguousarray(h[2:-1, :, 4:]) for h in small)
    mask = np.zeros(cut[0].shape)
    mask[10:25, 12:28, 9:25] = 1
    result = local_fsc(cut, (1.2, 1.2, 1.2), mask=mask)
    assert np.array_equal(result.codes > 0, mask > 0)
    assert np.array_equal(result.codes == 1, result.resolution > 0)


def test_few_samples_raise_the_threshold(small) -> None:
    result = local_fsc(small, (1.2,) * 3, LocalFscParameters(threshold=0.143, window=3.0))
    assert result.thresholds[0] > 0.143
    assert np.all(np.diff(result.thresholds) <= 0)


def test_noise_has_no_resolution() -> None:
    random = np.random.default_rng(3)
    pair = tuple(random.normal(size=(40, 40, 40)).astype(np.float32) for _ in range(2))
    result = local_fsc(pair, (1.0,) * 3, mask=np.ones((40, 40, 40)))
    assert np.mean(result.codes == 1) < 0.05


def test_refusals(small) -> None:
    with pytest.raises(InputError) as caught:
        local_fsc((small[0], small[0]), (1.2,) * 3)
    assert caught.value.code == "PAIR_HALF_SAME"
    with pytest.raises(InputError) as caught:
        local_fsc((small[0], small[1][1:]), (1.2,) * 3)
    assert caught.value.code == "LABEL_HALVES_DIFFER"
