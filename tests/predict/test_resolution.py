"""Local resolution in default mode: what the published program ignores."""

from __future__ import annotations

import numpy as np
import pytest

from cryoclarity.errors import ConfigError, InputError
from cryoclarity.grid import Grid, Volume
from cryoclarity.predict.enhance import PredictSettings
from cryoclarity.predict.model import load_model
from cryoclarity.predict.region import Region
from cryoclarity.predict.resolution import local_resolution
from tests.predict.tiny import Identity, Smooth, blob_volume, model_of

CPU = PredictSettings(device="cpu")


def model(network):
    return model_of(network, "resolution", box=16)


def test_values_lie_between_nyquist_and_the_largest_label():
    volume = blob_volume(voxel=1.4)
    found = local_resolution(volume, model(Smooth()), CPU)
    inside = found.density > 0
    assert found.density.shape == volume.density.shape
    assert found.density[inside].min() >= np.float32(2.8)
    assert found.density.max() <= 12
    assert found.facts["voxels_inside"] == inside.sum()
    assert not found.density[:3].any()


def test_the_voxel_size_counts():
    """The published program gives a map and its magnified copy the same answer."""
    small, large = blob_volume(voxel=1.0), blob_volume(voxel=2.0)
    means = [
        local_resolution(volume, model(Smooth()), CPU).facts["median_a"]
        for volume in (small, large)
    ]
    assert means[1] >= 4.0 > means[0]


@pytest.mark.parametrize("factor", [1.0, 250.0])
def test_neither_scale_nor_offset_of_the_input_counts(factor):
    volume = blob_volume()
    changed = volume.with_density(factor * volume.density)
    one = local_resolution(volume, model(Smooth()), CPU).density
    other = local_resolution(changed, model(Smooth()), CPU).density
    assert np.abs(one - other).max() < 1e-2


def test_the_result_moves_with_the_map():
    volume = blob_volume((40, 40, 40), voxel=1.0)
    moved = volume.with_density(np.roll(volume.density, (3, 5, 7), axis=(0, 1, 2)))
    network = Smooth()
    with_offset = model(network)
    network.conv.bias.data += 6  # within the limits, so that the clip hides nothing
    one = local_resolution(volume, with_offset, CPU).density
    other = np.roll(local_resolution(moved, with_offset, CPU).density, (-3, -5, -7), (0, 1, 2))
    both = (one > 0) & (other > 0)
    assert both.sum() > 0.95 * (one > 0).sum()
    assert np.median(np.abs(one - other)[both]) < 0.1


def test_a_mask_decides_where_there_are_values():
    volume = blob_volume()
    mask = np.zeros(volume.grid.shape, np.float32)
    mask[10:20, 8:18, 9:19] = 1
    found = local_resolution(volume, model(Smooth()), CPU, Region(mask=volume.with_density(mask)))
    share = np.count_nonzero((found.density > 0) == (mask > 0)) / mask.size
    assert share > 0.97
    assert found.facts["boxes_predicted"] <= found.facts["boxes"]


def test_nothing_inside_the_mask_is_refused():
    flat = Volume(np.zeros((20, 20, 20), np.float32), Grid((20,) * 3, (1.0,) * 3))
    with pytest.raises(InputError) as caught:
        local_resolution(flat, model(Identity()), CPU)
    assert caught.value.code == "PRED_NO_SIGNAL"


def test_bare_weights_need_the_published_mode(tmp_path):
    import torch

    from cryoclarity.nets.registry import build_network

    network = build_network({"name": "unet3d", "channels": [2, 2, 2, 2, 2]})
    torch.save(network.state_dict(), tmp_path / "bare.pth")
    with pytest.raises(ConfigError) as caught:
        load_model(tmp_path / "bare.pth", "resolution")
    assert "published" in str(caught.value)
