"""Local resolution by band powers: frame, tiles, limits, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from cryoclarity.errors import ConfigError, InputError, ResourceError
from cryoclarity.grid import Grid, Volume
from cryoclarity.nets.registry import build_network, network_description
from cryoclarity.predict import bands
from cryoclarity.predict.common import PredictSettings
from cryoclarity.predict.doctor import try_weights
from cryoclarity.predict.estimate import estimate
from cryoclarity.predict.model import Model, load_model, weights_path
from cryoclarity.predict.region import Region
from cryoclarity.predict.resolution import local_resolution
from cryoclarity.predict.shipped import shipped_weights
from tests.density.test_bands import case

CPU = PredictSettings(device="cpu")
LABELS = {"kind": "log2", "mean": 2.2, "std": 0.3, "minimum": 2.5, "maximum": 12.0}


def model(seed: int = 1, name: str = "bands") -> Model:
    """A random network whose answers vary; narrow, so that its tests are quick."""
    torch.manual_seed(seed)
    settings = {"name": name} | ({"channels": [4, 4, 4]} if name == "bands" else {})
    network = build_network(settings).eval()
    for layer in network.modules():
        if isinstance(layer, torch.nn.Conv3d):
            torch.nn.init.kaiming_normal_(layer.weight)
    card = {
        "task": "resolution",
        "network": network_description(settings),
        "voxel_size": 1.0,
        "box": 16,
        "normalisation": {"rule": "solvent"},
        "labels": LABELS,
    }
    return Model(network, card, "0" * 64)


def volume(voxel: float = 1.0, shape=(40, 36, 44), noise: float = 0.2) -> Volume:
    density, _ = case(shape, noise)
    return Volume(density.astype(np.float32), Grid(shape, (voxel,) * 3, (-4.0, 3.0, 11.0)))


@pytest.mark.parametrize("name", ["bands", "bands-voxelwise"])
@pytest.mark.parametrize("voxel", [0.9, 1.0, 1.7])
def test_values_on_the_grid_of_the_input(name, voxel):
    given = volume(voxel)
    found = local_resolution(given, model(name=name), CPU)
    inside = found.density > 0
    assert found.density.shape == given.density.shape and found.density.dtype == np.float32
    assert found.density[inside].min() >= np.float32(max(2 * voxel, 2.5)) * (1 - 1e-6)
    assert found.density.max() <= 12 and np.ptp(found.density[inside]) > 0.1
    assert 0.01 < inside.mean() < 0.5 and not inside[0].any()
    assert found.facts["mask"] == {"kind": "molecule"}
    assert found.facts["voxels_inside"] == inside.sum()


def test_tiles_give_what_one_pass_gives(monkeypatch):
    given, network = volume(shape=(84, 28, 22)), model()
    found = bands.band_input(given.density, given.grid, network, None)
    whole, facts = bands.band_resolution(found, given.grid, network, CPU)
    monkeypatch.setattr(bands, "TILE", 8)
    parts, tiled = bands.band_resolution(found, given.grid, network, CPU)
    assert (facts["tiles"], tiled["tiles"]) == (1, 6 * 2 * 2)
    assert np.abs(whole - parts).max() < 1e-3


def test_a_memory_limit_makes_tiles_smaller_and_then_refuses():
    given = volume()
    shape = (200, 200, 200)
    free = bands.memory_bytes(given.grid.size, given.grid.size, shape)
    assert bands.tile_within(None, given.grid.size, given.grid.size, shape) == bands.TILE
    assert bands.tile_within(free // 2, given.grid.size, given.grid.size, shape) < bands.TILE
    with pytest.raises(ResourceError) as caught:
        local_resolution(given, model(), PredictSettings(device="cpu", max_memory=1_000_000))
    assert caught.value.code == "PRED_MEMORY"


@pytest.mark.parametrize("factor", [1.0, 250.0])
def test_neither_scale_nor_offset_of_the_input_counts(factor):
    given = volume()
    changed = given.with_density(factor * given.density + 3 * factor)
    one, other = (local_resolution(v, model(), CPU).density for v in (given, changed))
    assert ((one > 0) == (other > 0)).mean() > 0.999
    both = (one > 0) & (other > 0)
    assert np.abs(one - other)[both].max() < 2e-2


def test_a_mask_decides_where_there_are_values():
    given = volume()
    mask = np.zeros(given.grid.shape, np.float32)
    mask[14:26, 12:24, 16:28] = 1
    found = local_resolution(given, model(), CPU, Region(mask=given.with_density(mask)))
    assert np.array_equal(found.density > 0, mask > 0)
    assert found.facts["mask"]["kind"] == "map"


def test_a_map_outside_the_trained_range_is_told():
    network = model()
    network.card["labels"] = LABELS | {"mean": 20.0}
    found = local_resolution(volume(), network, CPU)
    assert found.facts["share_at_limits"] == 1
    assert "W_PRED_UNTRAINED" in [code for code, _ in found.warnings]


def test_refusals():
    flat = Volume(np.zeros((20, 20, 20), np.float32), Grid((20,) * 3, (1.0,) * 3))
    with pytest.raises(InputError) as caught:
        local_resolution(flat, model(), CPU)
    assert caught.value.code == "PRED_NO_SIGNAL"
    with pytest.raises(ConfigError, match="dropout"):
        local_resolution(volume(), model(), PredictSettings(device="cpu", passes=3))


def test_an_estimate_counts_tiles():
    found = estimate(volume(), model(), CPU, None, "resolution")
    assert (found.boxes, found.boxes_predicted, found.passes) == (1, 1, 1)
    assert found.seconds > 0 and found.memory_bytes > 4 * 40 * 36 * 44


def test_shipped_weights_load_and_answer():
    folder = shipped_weights("resolution_1.0")
    assert folder is not None and folder.name == "resolution_1.0"
    assert weights_path(folder.parent, "resolution", volume().grid) == folder
    shipped = load_model(folder, "resolution")
    assert sum(path.stat().st_size for path in folder.iterdir()) < 3_000_000
    for key in ("licence", "limits", "not_for", "results", "training"):
        assert shipped.card[key], key
    found = local_resolution(volume(), shipped, CPU)
    assert 2 < found.facts["median_a"] < 20
    assert try_weights(folder, "cpu")[0]["works"]


def test_no_shipped_weights_is_none(tmp_path):
    assert shipped_weights("enhance_1.0", tmp_path) is None
