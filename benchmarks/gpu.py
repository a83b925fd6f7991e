#!/usr/bin/env python
"""Where the time of an improvement goes on a GPU: forward ways, a whole map, idle share.

Prints JSON lines: microseconds per box of the forward pass as it is, captured as a graph, compiled,
and in bf16, each with its deviation from float32 on the CPU; then a cube of 200 A at 1.0 A from
host array to host array after a warm-up, with the share of that time in which the GPU ran kernels;
then the costliest kernels. The traffic floor of a box is 81 us on an H200.

Without a GPU it says so and ends with status 5; ``--device cpu --dim 4 --blocks 1 --edge 48
--batches 1`` tries the script itself.
"""

import argparse
import json
import sys
import time

import numpy as np
import torch

from cryoclarity.grid import Grid, Volume
from cryoclarity.nets.device import choose_device
from cryoclarity.nets.registry import build_network
from cryoclarity.predict.captured import Captured
from cryoclarity.predict.common import PredictSettings
from cryoclarity.predict.enhance import enhance
from cryoclarity.predict.model import Model

BOX = 48
FLOOR_US = 81.0
KERNELS = 12


def synchronise(device):
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def seconds(function, device, repeats):
    """Return the median time of a call after three for warm-up."""
    for _ in range(3):
        function()
    times = []
    for _ in range(repeats):
        synchronise(device)
        began = time.perf_counter()
        function()
        synchronise(device)
        times.append(time.perf_counter() - began)
    return float(np.median(times))


def ways(network, device, boxes, compiled):
    """Return the forward passes by name, each a function without arguments."""
    given = boxes.to(device)
    captured = Captured(network, device)

    def half():
        with torch.autocast(device.type, dtype=torch.bfloat16):
            return network(given).float()

    found = {
        "eager": lambda: network(given),
        "captured": lambda: captured(given, len(given)),
        "bf16": half,
    }
    if compiled:
        fused = torch.compile(network, mode="max-autotune-no-cudagraphs")
        found["compiled"] = lambda: fused(given)
        in_graph = torch.compile(network, mode="reduce-overhead")

        def fused_half():
            with torch.autocast(device.type, dtype=torch.bfloat16):
                return in_graph(given).float()

        found["compiled, graph, bf16"] = fused_half
    return found


def part_forward(network, device, arguments):
    """One line per way and batch."""
    generator = torch.Generator().manual_seed(0)
    for batch in arguments.batches:
        boxes = torch.rand(batch, 1, BOX, BOX, BOX, generator=generator)
        exact = network.cpu()(boxes[:1])
        network.to(device)
        for name, function in ways(network, device, boxes, arguments.compile).items():
            each = seconds(function, device, arguments.repeats) / batch
            off = function()[:1].cpu() - exact
            line = {
                "part": "forward",
                "way": name,
                "batch": batch,
                "us_per_box": round(each * 1e6, 1),
                "times_the_floor": round(each * 1e6 / FLOOR_US, 2),
                "relative_rms": float(f"{off.square().mean().sqrt() / exact.std():.2g}"),
            }
            print(json.dumps(line), flush=True)


def part_map(network, device, arguments):
    """A whole map with noise everywhere, captured and not; the second run of each is timed."""
    density = np.random.default_rng(0).random((arguments.edge,) * 3, dtype=np.float32)
    volume = Volume(density, Grid(density.shape, (1.0,) * 3))
    card = {"voxel_size": 1.0, "box": BOX, "network": {}, "normalisation": {"rule": "percentile"}}
    model = Model(network, card, "0" * 64)
    for captured in (False, True):
        settings = PredictSettings(
            device=str(device), amplitude="network", captured=captured, batch_size=arguments.batch
        )
        enhance(volume, model, settings)
        synchronise(device)
        began = time.perf_counter()
        found = enhance(volume, model, settings)
        synchronise(device)
        total = time.perf_counter() - began
        line = {"part": "map", "edge": arguments.edge, "captured": captured}
        line |= {"boxes": found.facts["boxes_predicted"], "seconds": round(total, 3)}
        if device.type == "cuda":
            line |= busy(lambda s=settings: enhance(volume, model, s))
        print(json.dumps(line), flush=True)


def busy(function):
    """Return the share of a run in which kernels ran, and the costliest of them."""
    activities = [torch.profiler.ProfilerActivity.CUDA]
    began = time.perf_counter()
    with torch.profiler.profile(activities=activities) as profile:
        function()
        torch.cuda.synchronize()
    total = (time.perf_counter() - began) * 1e6
    table = sorted(profile.key_averages(), key=lambda row: -row.self_device_time_total)
    kernels = sum(row.self_device_time_total for row in table)
    top = {row.key[:60]: round(row.self_device_time_total / kernels, 3) for row in table[:KERNELS]}
    return {"gpu_busy_under_profiler": round(kernels / total, 3), "kernels": top}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--dim", type=int, default=32, help="32: the published width")
    parser.add_argument("--blocks", type=int, default=2, help="per stage; 2 as published")
    parser.add_argument("--edge", type=int, default=200)
    parser.add_argument("--batch", type=int, default=16, help="of the whole map")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 4, 16, 64])
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--compile", action="store_true", help="torch.compile too: needs minutes")
    arguments = parser.parse_args()
    if arguments.device.startswith("cuda") and not torch.cuda.is_available():
        sys.stderr.write("no GPU on this machine: nothing measured\n")
        return 5
    device = choose_device(arguments.device)
    torch.manual_seed(0)
    head = min(16, arguments.dim // 2)
    layout = {"dim": arguments.dim, "head_dim": head, "config": [arguments.blocks] * 7}
    network = build_network({"name": "scunet"} | layout)
    with torch.inference_mode():
        part_forward(network.eval(), device, arguments)
        part_map(network.eval(), device, arguments)
    return 0


if __name__ == "__main__":
    sys.exit(main())
