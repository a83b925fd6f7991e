#!/usr/bin/env python
"""Peak host memory of a prediction, with a network of one layer, in arrays of the map's size.

Example: ``benchmarks/inference_memory.py --edge 512 --task enhance --trust``. One run per process,
because the peak of a process never falls.
"""

import argparse
import json
import resource
import time

import numpy as np
import torch
from torch import nn

from cryoclarity.grid import Grid, Volume
from cryoclarity.nets.label_transform import LabelTransform
from cryoclarity.predict.common import PredictSettings
from cryoclarity.predict.enhance import enhance
from cryoclarity.predict.model import Model
from cryoclarity.predict.resolution import local_resolution

KIBIBYTE = 1024


def one_layer(task, box):
    """Return a model of one 3x3x3 convolution with a dropout layer behind it."""
    torch.manual_seed(0)
    card = {
        "task": task,
        "voxel_size": 1.0,
        "box": box,
        "network": {"name": "one layer"},
        "normalisation": {"rule": "percentile" if task == "enhance" else "solvent"},
        "labels": LabelTransform("angstrom", 6.0, 1.0, 2.0, 12.0).to_dict(),
    }
    layers = nn.Sequential(nn.Conv3d(1, 1, 3, padding=1), nn.Dropout3d(0.25))
    return Model(layers.eval(), card, "0" * 64)


def map_of(edge, voxel):
    """Return a ball with noise, made section by section."""
    generator = np.random.default_rng(0)
    axis = np.arange(edge, dtype=np.float32) - edge / 2
    plane = axis[:, None] ** 2 + axis**2
    density = np.empty((edge,) * 3, dtype=np.float32)
    for z, section in zip(axis, density, strict=True):
        section[:] = (plane + z * z < (0.3 * edge) ** 2).astype(np.float32)
        section += 0.1 * generator.standard_normal((edge, edge), dtype=np.float32)
    return Volume(density, Grid(density.shape, (voxel,) * 3))


def peak():
    """Return the largest resident size so far in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * KIBIBYTE


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--edge", type=int, default=512)
    parser.add_argument("--voxel", type=float, default=1.01, help="angstrom; the network's is 1")
    parser.add_argument("--task", choices=("enhance", "resolution"), default="enhance")
    parser.add_argument("--trust", action="store_true")
    parser.add_argument("--passes", type=int)
    arguments = parser.parse_args()
    box = 48 if arguments.task == "enhance" else 16
    model = one_layer(arguments.task, box)
    predict = enhance if arguments.task == "enhance" else local_resolution
    settings = PredictSettings(
        device="cpu", stride=box, trust=arguments.trust, passes=arguments.passes
    )
    predict(map_of(48, arguments.voxel), model, PredictSettings(device="cpu"))  # loads everything
    idle = peak()
    volume = map_of(arguments.edge, arguments.voxel)
    began = time.perf_counter()
    found = predict(volume, model, settings)
    array = 4 * np.prod(found.facts["network_grid"]["shape_zyx"])
    used = peak() - idle
    report = {
        "task": arguments.task,
        "edge": arguments.edge,
        "trust": arguments.trust,
        "passes": arguments.passes,
        "seconds": round(time.perf_counter() - began, 1),
        "input_gb": round(volume.density.nbytes / 1e9, 3),
        "idle_gb": round(idle / 1e9, 3),
        "peak_gb": round(used / 1e9, 3),
        "arrays_beside_input": round((used - volume.density.nbytes) / array, 2),
    }
    print(json.dumps(report))


if __name__ == "__main__":
    main()
