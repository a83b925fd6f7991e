"""The networks of band powers: sizes, reach, and independence of the tile."""

from __future__ import annotations

import pytest
import torch

from cryoclarity.density.bands import CHANNELS
from cryoclarity.errors import ConfigError
from cryoclarity.nets.bands import HALO, BandUNet, BandVoxelwise
from cryoclarity.nets.registry import box_layout, box_multiple, build_network


def test_by_name():
    network = build_network({"name": "bands"})
    assert isinstance(network, BandUNet)
    assert sum(p.numel() for p in network.parameters()) == 294_929
    small = build_network({"name": "bands-voxelwise"})
    assert isinstance(small, BandVoxelwise)
    assert sum(p.numel() for p in small.parameters()) == 4_081
    assert (box_multiple("bands"), box_multiple("bands-voxelwise")) == (4, 1)
    assert box_layout("bands") == box_layout("bands-voxelwise") == "bands"
    assert box_layout("unet3d") == "voxels"


@pytest.mark.parametrize("name", ["bands", "bands-voxelwise"])
def test_shapes_and_quiet_start(name):
    torch.manual_seed(1)
    answer = build_network({"name": name})(torch.randn(2, CHANNELS, 8, 12, 16))
    assert answer.shape == (2, 1, 8, 12, 16)
    assert answer.detach().abs().max() < 0.5


def test_wrong_sizes_are_refused():
    with pytest.raises(ValueError, match="multiple of 4"):
        BandUNet()(torch.zeros(1, CHANNELS, 8, 8, 6))
    with pytest.raises(ConfigError, match="levels"):
        build_network({"name": "bands", "channels": [4, 8]})


def test_nothing_beyond_the_halo_counts():
    torch.manual_seed(1)
    network = BandUNet(in_channels=2, channels=(2, 2, 2)).double().eval()
    for layer in network.modules():
        if isinstance(layer, torch.nn.Conv3d):
            torch.nn.init.uniform_(layer.weight, 0.05, 0.1)  # positive: nothing cancels
    length = 3 * HALO
    x = torch.rand(1, 2, 4, 4, length, dtype=torch.float64)
    centre = HALO // 4 * 4 + 12
    with torch.no_grad():
        before = network(x)
        reach = []
        for far in range(length):
            changed = x.clone()
            changed[..., far] += 1.0
            if (network(changed) - before)[..., centre : centre + 4].abs().max() > 0:
                reach.append(max(centre - far, far - centre - 3))
    assert max(reach) <= HALO
