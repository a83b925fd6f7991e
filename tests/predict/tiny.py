"""Tiny networks, maps and weights for the prediction tests."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from cryoclarity.grid import Grid, Volume
from cryoclarity.io.files import write_json
from cryoclarity.nets.label_transform import LabelTransform
from cryoclarity.nets.registry import network_description
from cryoclarity.predict.model import Model
from cryoclarity.train.radial_filter import write_radial_filter
from cryoclarity.train.weights import save_weights


class Identity(nn.Module):
    """Gives back its input; has the one 5-D parameter that tells the channels."""

    def __init__(self):
        super().__init__()
        self.kernel = nn.Parameter(torch.ones(1, 1, 1, 1, 1))

    def forward(self, x):
        return x * self.kernel


class Smooth(nn.Module):
    """A fixed random convolution."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv3d(1, 1, 3, padding=1)
        generator = torch.Generator().manual_seed(3)
        with torch.no_grad():
            self.conv.weight.copy_(torch.rand(1, 1, 3, 3, 3, generator=generator) / 13)
            self.conv.bias.zero_()

    def forward(self, x):
        return self.conv(x)


def model_of(network, task="enhance", spacing=1.0, box=12) -> Model:
    labels = LabelTransform("angstrom", 0.0, 1.0, 2.0, 12.0).to_dict()
    rule = {"enhance": "percentile", "resolution": "solvent"}[task]
    card = {
        "task": task,
        "voxel_size": spacing,
        "box": box,
        "network": {"name": "test"},
        "normalisation": {"rule": rule},
        "labels": labels,
    }
    return Model(network.eval(), card, "0" * 64)


def blob_volume(shape=(30, 26, 28), voxel=1.1, origin=(0.0, 0.0, 0.0), header=None) -> Volume:
    """Some Gaussians of sd 2.5 voxels in the middle, on weak noise."""
    generator = np.random.default_rng(5)
    index = np.indices(shape)
    density = 0.002 * generator.standard_normal(shape)
    for _ in range(6):
        centre = np.asarray(shape) / 2 + generator.uniform(-4, 4, 3)
        square = sum((i - c) ** 2 for i, c in zip(index, centre, strict=True))
        density += np.exp(-0.5 * square / 2.5**2)
    return Volume(density.astype(np.float32), Grid(shape, (voxel,) * 3, origin), header)


def write_weights(folder, task, spacing=1.0, status="ok", box=None):
    """A folder as training leaves it, with a very small network at its initial values."""
    from cryoclarity.nets.registry import build_network

    torch.manual_seed(1)
    if task == "enhance":
        network = network_description(
            {
                "name": "scunet",
                "dim": 16,
                "head_dim": 8,
                "config": [1, 1, 1, 1, 1, 1, 1],
                "drop_path_rate": 0.0,
            }
        )
        box = box or 24
    else:
        network = network_description({"name": "unet3d", "channels": [2, 2, 2, 2, 2]})
        box = box or 16
    folder.mkdir(parents=True)
    state = build_network(network).state_dict() if status == "ok" else {}
    card = model_of(Identity(), task, spacing, box).card | {
        "status": status,
        "network": network,
        "weights_sha256": save_weights(folder / "weights.safetensors", state),
    }
    if task == "enhance":
        write_radial_filter(
            folder / "radial_filter.tsv", np.linspace(0, 0.5, 6), np.linspace(1, 0.1, 6)
        )
    write_json(folder / "card.json", card)
    return folder
