"""What makes the engines fast must not change what they say: tiles, threads, devices."""

from __future__ import annotations

import builtins
from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from cryoclarity.errors import ConfigError
from cryoclarity.grid import Grid
from cryoclarity.labels import prewhiten
from cryoclarity.labels.banded import gaussian_band, gaussian_blur
from cryoclarity.labels.exact import ExactParameters, exact_resolution
from cryoclarity.labels.local_fsc import LocalFscParameters, local_fsc
from cryoclarity.labels.region import density_mask
from cryoclarity.labels.resmap import ResmapParameters, local_resolution
from cryoclarity.labels.statistic import level_basis, whole_blocks
from cryoclarity.stages.label_engines import ENGINES, LabelSettings, check_settings
from tests.labels.generator import half_maps
from tests.labels.plain_statistic import PlainLevel


@pytest.fixture(scope="module")
def halves() -> tuple[np.ndarray, np.ndarray]:
    return half_maps(n=47, seed=6, vx=1.1, R=14, bands=[2.6, 4.0], c=1.0, colour=1.0, sigma=0.3)


@pytest.mark.parametrize("shape", [(70, 33, 41), (9, 64, 5)])
def test_blur_is_that_of_scipy(shape) -> None:
    volume = np.random.default_rng(1).normal(size=shape).astype(np.float32)
    widths = [0.05 * shape[0], 2.3, 0.1]
    expected = ndimage.gaussian_filter(volume, widths)
    found = gaussian_blur(volume, widths)
    assert np.abs(found - expected).max() < 1e-5 * expected.std()
    assert np.array_equal(found, gaussian_blur(volume, widths, 2))
    exact = prewhiten.gaussian_filter(volume, 1.7)
    assert np.array_equal(exact, ndimage.gaussian_filter(volume, 1.7))
    assert np.array_equal(exact, prewhiten.gaussian_filter(volume, 1.7, 3))


@pytest.mark.parametrize("spread", [3.5, 4.4, 5.3, 9.0])
def test_average_on_a_coarse_grid_is_the_average(spread: float) -> None:
    factor = int(spread / 1.75)
    each = spread / np.sqrt(2)
    first, second = int(4.5 * each) + 1, factor * (int(4.5 * each / factor) + 1)
    values = np.random.default_rng(2).random((1, 400)).astype(np.float32) ** 2
    down = gaussian_band(each, first, 16, step_out=factor)
    up = gaussian_band(each, second, 16 * factor, step_in=factor)
    count = (400 - 2 * first - 1) // factor + 1
    coarse = down.apply(values, np.empty((1, count), np.float32), -1)
    length = factor * (count - 1) - 2 * second + 1
    found = up.apply(coarse, np.empty((1, length), np.float32), -1)[0]
    direct = ndimage.gaussian_filter1d(values[0].astype(float), spread, truncate=6.5)
    expected = direct[first + second :][:length]
    inner = slice(40, -40)
    assert np.abs(found[inner] / expected[inner] - 1).max() < 3e-5


def test_blocks_of_the_noise_region() -> None:
    region = np.random.default_rng(3).random((23, 20, 31)) < 0.95
    found = whole_blocks(region, 3)
    assert found.shape == (7, 6, 10)
    for z, y, x in np.ndindex(found.shape):
        cut = region[3 * z : 3 * z + 3, 3 * y : 3 * y + 3, 3 * x : 3 * x + 3]
        assert found[z, y, x] == cut.all()


def test_statistic_on_scattered_voxels_is_that_of_the_definition(halves) -> None:
    from cryoclarity.labels.statistic import statistic_map

    mask = np.zeros(halves[0].shape, bool)
    for place in ((9, 9, 9), (9, 37, 10), (20, 21, 22), (36, 9, 30), (37, 37, 37)):
        mask[place] = True
    basis, plain = level_basis(6.3, 1.1), PlainLevel(6.3, 1.1)
    expected = plain.statistics(halves[0].astype(np.float64), mask)
    np.testing.assert_allclose(statistic_map(halves[0], mask, basis), expected, rtol=2e-5)


def test_labels_do_not_depend_on_threads(halves) -> None:
    single = (np.float32(0.5) * (halves[0] + halves[1]),)
    voxel = (1.1,) * 3
    for maps in (single, halves):
        one, two = (
            local_resolution(maps, 1.1, ResmapParameters(max_res=4.0, threads=n)) for n in (1, 2)
        )
        assert np.array_equal(one.resolution, two.resolution)
        assert np.array_equal(one.whitened, two.whitened) and one.levels == two.levels
        one, two = (
            exact_resolution(maps, voxel, ExactParameters(max_res=6.0, threads=n)) for n in (1, 2)
        )
        assert np.array_equal(one.resolution, two.resolution) and one.levels == two.levels
    settings = LocalFscParameters(randomise=True)
    one, two = (local_fsc(halves, voxel, replace(settings, threads=n)) for n in (1, 2))
    assert np.array_equal(one.resolution, two.resolution)


def test_exact_engine_on_torch(halves) -> None:
    pytest.importorskip("torch")
    from cryoclarity.labels.statistic_torch import TorchStatistic

    given = (halves, (1.1,) * 3, ExactParameters(max_res=6.0))
    cpu = exact_resolution(*given)
    torch = exact_resolution(*given, statistic=TorchStatistic("cpu"))
    assert np.mean(cpu.codes == torch.codes) > 0.9999
    assert np.mean(cpu.resolution == torch.resolution) > 0.9999
    for ours, theirs in zip(cpu.levels, torch.levels, strict=True):
        assert theirs.threshold == pytest.approx(ours.threshold, rel=1e-4)


@pytest.mark.parametrize("engine", ["resmap-exact", "fsc"])
def test_a_gpu_needs_torch_and_auto_does_not(engine: str, halves, monkeypatch) -> None:
    importing = builtins.__import__

    def without_torch(name, *arguments):
        if name == "torch" or name.startswith("cryoclarity.nets"):
            raise ImportError(name)
        return importing(name, *arguments)

    monkeypatch.setattr(builtins, "__import__", without_torch)
    grid = Grid(halves[0].shape, (1.1,) * 3, (0.0,) * 3)
    settings = LabelSettings(engine=engine, parameters=ResmapParameters(max_res=6.0))
    with pytest.raises(ConfigError, match="torch"):
        ENGINES[engine](halves, grid, replace(settings, device="cuda"), None)
    found = ENGINES[engine](halves, grid, replace(settings, device="auto"), None)
    assert np.count_nonzero(found.codes == 1) > 1000


def test_usage_of_devices_and_half_maps() -> None:
    with pytest.raises(ConfigError, match="device"):
        check_settings(LabelSettings(device="tpu"))
    with pytest.raises(ConfigError, match="half maps"):
        check_settings(LabelSettings(engine="fsc"), maps=1)
    check_settings(LabelSettings(engine="fsc"), maps=2)


def test_a_smooth_halo_is_no_particle() -> None:
    random = np.random.default_rng(4)
    axis = np.arange(64) - 31.5
    radius = np.sqrt(axis[:, None] ** 2 + axis**2) + np.zeros((64, 1, 1))
    noise = 0.2 * random.normal(size=(64,) * 3)
    detail = ndimage.gaussian_filter(random.normal(size=(64,) * 3), 1.0)
    rod = (radius < 8) * (1.5 + 5 * detail)
    halo = 0.5 * np.exp(-0.5 * ((radius - 22) / 2.5) ** 2)
    mask = density_mask((rod + halo + noise).astype(np.float32))
    assert mask[radius < 7].mean() > 0.9
    assert mask[radius > 15].mean() < 0.02


@pytest.mark.parametrize("strength", [0.2, 0.5])
def test_the_foot_of_a_halo_is_left_out_where_it_touches_the_particle(strength: float) -> None:
    half_1, half_2 = half_maps(
        n=72, seed=2, vx=1.0, R=14, bands=[3.0, 5.0], c=1.0, colour=1.0, sigma=0.1
    )
    axis = np.arange(72) - 35.5
    radius = np.sqrt(axis[:, None, None] ** 2 + axis[:, None] ** 2 + axis**2)
    plateau = strength / ((1 + np.exp(radius - 26)) * (1 + np.exp(17 - radius)))
    mask = density_mask((0.5 * (half_1 + half_2) + plateau).astype(np.float32))
    assert mask[radius < 14].mean() > 0.95
    assert mask[(radius > 21) & (radius < 25)].mean() < 0.01
