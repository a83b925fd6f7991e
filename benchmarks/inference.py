#!/usr/bin/env python
"""Speed of the improvement, side by side with a straightforward form of the published pipeline.

Published: batches of 10, float32, stride 12 from one stride before the map, plain mean, network as
usually written (channels first, convolutions as they come, masks built in every forward). Both run
in turns in one process; medians and ratios of process time are printed as JSON lines.

``--part box``: one box at equal stride. ``--part map``: a whole map, default settings against
published ones, on a grid of ``--edge`` and extrapolated to 200 by the number of boxes.
"""

import argparse
import itertools
import json
import math
import statistics
import time

import numpy as np
import torch
import torch.nn.functional as functional
from torch import nn

from cryoclarity.grid import Grid, Volume
from cryoclarity.nets.device import choose_device
from cryoclarity.nets.registry import build_network
from cryoclarity.predict.common import PredictSettings
from cryoclarity.predict.engine import Runner, default_batch
from cryoclarity.predict.enhance import enhance
from cryoclarity.predict.model import Model

BOX, STRIDE, BATCH, HEAD = 48, 12, 10, 16


def frn(p, name, x):
    power = x.pow(2).mean(dim=(2, 3, 4), keepdim=True)
    x = x * torch.rsqrt(power + p[f"{name}.eps"].abs())
    return torch.max(p[f"{name}.gamma"] * x + p[f"{name}.beta"], p[f"{name}.tau"])


def shift_mask(windows):
    mask = torch.zeros(*windows, 3, 3, 3, 3, 3, 3, dtype=torch.bool)
    mask[-1, :, :, :2, :, :, 2:] = mask[-1, :, :, 2:, :, :, :2] = True
    mask[:, -1, :, :, :2, :, :, 2:] = mask[:, -1, :, :, 2:, :, :, :2] = True
    mask[:, :, -1, :, :, :2, :, :, 2:] = mask[:, :, -1, :, :, 2:, :, :, :2] = True
    return mask.reshape(-1, 27, 27)


def attention(p, name, x, shifted, head):
    if shifted:
        x = torch.roll(x, (-1, -1, -1), (1, 2, 3))
    b, z, y, w, c = x.shape
    n = (z // 3, y // 3, w // 3)
    x = x.reshape(b, n[0], 3, n[1], 3, n[2], 3, c).permute(0, 1, 3, 5, 2, 4, 6, 7)
    x = x.reshape(b, -1, 27, c)
    qkv = functional.linear(
        x, p[f"{name}.embedding_layer.weight"], p[f"{name}.embedding_layer.bias"]
    )
    q, k, v = qkv.reshape(b, -1, 27, 3, c // head, head).permute(3, 4, 0, 1, 2, 5)
    sim = torch.einsum("hbwpc,hbwqc->hbwpq", q, k) * head**-0.5
    cord = torch.tensor(list(itertools.product(range(3), repeat=3)), device=x.device)
    relation = cord[:, None] - cord[None] + 2
    table = p[f"{name}.relative_position_params"]
    bias = table[:, relation[..., 0], relation[..., 1], relation[..., 2]]
    sim = sim + bias[:, None, None]
    if shifted:
        sim = sim.masked_fill(shift_mask(n).to(x.device)[None, None], float("-inf"))
    out = torch.einsum("hbwij,hbwjc->hbwic", torch.softmax(sim, -1), v)
    out = out.permute(1, 2, 3, 0, 4).reshape(b, -1, 27, c)
    out = functional.linear(out, p[f"{name}.linear.weight"], p[f"{name}.linear.bias"])
    out = out.reshape(b, *n, 3, 3, 3, c).permute(0, 1, 4, 2, 5, 3, 6, 7).reshape(b, z, y, w, c)
    return torch.roll(out, (1, 1, 1), (1, 2, 3)) if shifted else out


def norm(p, name, x):
    return functional.layer_norm(x, x.shape[-1:], p[f"{name}.weight"], p[f"{name}.bias"])


def block(p, name, x, shifted, head):
    both = functional.conv3d(x, p[f"{name}.conv1_1.weight"], p[f"{name}.conv1_1.bias"])
    a, b = both.chunk(2, 1)
    inner = functional.conv3d(a, p[f"{name}.conv_block.0.weight"], padding=1)
    inner = frn(p, f"{name}.conv_block.1", inner)
    inner = functional.conv3d(inner, p[f"{name}.conv_block.2.weight"], padding=1)
    a = frn(p, f"{name}.conv_block.3", inner) + a
    t, b = f"{name}.trans_block", b.permute(0, 2, 3, 4, 1)
    b = b + attention(p, f"{t}.msa", norm(p, f"{t}.ln1", b), shifted, head)
    hidden = functional.linear(norm(p, f"{t}.ln2", b), p[f"{t}.mlp.0.weight"], p[f"{t}.mlp.0.bias"])
    hidden = functional.linear(
        functional.gelu(hidden), p[f"{t}.mlp.2.weight"], p[f"{t}.mlp.2.bias"]
    )
    b = (b + hidden).permute(0, 4, 1, 2, 3)
    merged = functional.conv3d(
        torch.cat((a, b), 1), p[f"{name}.conv1_2.weight"], p[f"{name}.conv1_2.bias"]
    )
    return x + merged


class Straightforward(nn.Module):
    """The network as usually written, with the parameters of one of ours."""

    def __init__(self, network, config, head):
        super().__init__()
        self.kernel = nn.Parameter(torch.zeros(1, 1, 1, 1, 1))
        self.p = {k: v.detach() for k, v in network.state_dict().items()}
        self.p |= {k: v for k, v in network.named_parameters()}
        self.config, self.head = config, head

    def stage(self, name, first, number, x):
        for k in range(number):
            x = block(self.p, f"{name}.{first + k}", x, bool(k % 2), self.head)
        return x

    def forward(self, x):
        p, n = self.p, self.config
        skips = [functional.conv3d(x, p["m_head.0.weight"], padding=1)]
        for k in (1, 2, 3):
            y = self.stage(f"m_down{k}", 0, n[k - 1], skips[-1])
            skips.append(functional.conv3d(y, p[f"m_down{k}.{n[k - 1]}.weight"], stride=2))
        y = self.stage("m_body", 0, n[3], skips[3])
        for k, number in zip((3, 2, 1), n[4:], strict=True):
            y = y + skips[k]
            y = functional.conv_transpose3d(y, p[f"m_up{k}.0.weight"], stride=2)
            y = self.stage(f"m_up{k}", 1, number, y)
        return functional.conv3d(y + skips[0], p["m_tail.0.weight"], padding=1)


def published_map(network, density, device):
    """Cut, run and average as the published program does; float32 arrays of full size."""
    starts = [
        range(-STRIDE, math.ceil(n / STRIDE) * STRIDE - STRIDE, STRIDE) for n in density.shape
    ]
    padded = np.pad(density, [(BOX, BOX)] * 3)
    total, count = np.zeros_like(padded), np.zeros_like(padded)
    scale = np.percentile(density[density > 0], 99.999)
    boxes = []
    for start in itertools.product(*starts):
        place = tuple(slice(s + BOX, s + 2 * BOX) for s in start)
        if padded[place].max() > 0:
            boxes.append(place)
    for first in range(0, len(boxes), BATCH):
        places = boxes[first : first + BATCH]
        batch = np.stack([np.clip(padded[q], 0, scale) / scale for q in places])
        with torch.inference_mode():
            tensor = torch.from_numpy(batch.astype(np.float32))[:, None].to(device)
            output = network(tensor).cpu().numpy()[:, 0]
        for place, answer in zip(places, output, strict=True):
            total[place] += answer
            count[place] += 1
    return (total / np.maximum(count, 1))[BOX:-BOX, BOX:-BOX, BOX:-BOX], len(boxes)


def clock(function, device, wall):
    if device.type == "cuda":
        torch.cuda.synchronize()
    now = time.perf_counter if wall or device.type == "cuda" else time.process_time
    began = now()
    function()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return now() - began


def interleaved(functions, repeats, device):
    """Return the times of each function, run in turns."""
    times = {name: [] for name in functions}
    for _ in range(repeats):
        for name, function in functions.items():
            times[name].append(clock(function, device, wall=False))
    return times


def report(kind, times, ours, theirs, **facts):
    medians = {name: statistics.median(values) for name, values in times.items()}
    ratios = [b / a for a, b in zip(times[ours], times[theirs], strict=True)]
    line = {"part": kind, "ratio": medians[theirs] / medians[ours], "ratios": ratios}
    line |= {f"median_s_{name}": value for name, value in medians.items()} | facts
    print(json.dumps({k: _rounded(v) for k, v in line.items()}), flush=True)


def _rounded(value):
    if isinstance(value, list):
        return [_rounded(v) for v in value]
    return round(value, 4) if isinstance(value, float) else value


def part_box(ours, theirs, device, repeats):
    """Time per box: ours at its default batch, the other at the published batch of 10."""
    batch = default_batch(device, BOX)
    runner = Runner(ours, device, batch)
    few = np.random.default_rng(0).random((batch, BOX, BOX, BOX), dtype=np.float32)
    ten = np.random.default_rng(0).random((BATCH, BOX, BOX, BOX), dtype=np.float32)

    def plain():
        with torch.inference_mode():
            return theirs(torch.from_numpy(ten)[:, None].to(device)).cpu().numpy()

    difference = np.abs(plain()[: len(few), 0] - runner(few[:BATCH])[:BATCH]).max()
    times = interleaved({"ours": lambda: runner(few), "published": plain}, repeats, device)
    times["ours"] = [t / batch for t in times["ours"]]
    times["published"] = [t / BATCH for t in times["published"]]
    report("box", times, "ours", "published", batch=batch, difference=f"{difference:.1e}")


def part_map(ours, theirs, device, repeats, edge):
    """A whole map with noise everywhere, so that no box is skipped."""
    generator = np.random.default_rng(0)
    density = generator.standard_normal((edge,) * 3).astype(np.float32)
    volume = Volume(density, Grid(density.shape, (1.0,) * 3))
    card = {"voxel_size": 1.0, "box": BOX, "network": {}, "normalisation": {"rule": "percentile"}}
    model = Model(ours, card, "0" * 64)
    counts = {}

    def default():
        found = enhance(volume, model, PredictSettings(device=str(device), amplitude="network"))
        counts["ours"] = found.facts["boxes_predicted"]

    def published():
        counts["published"] = published_map(theirs, density, device)[1]

    times = interleaved({"ours": default, "published": published}, repeats, device)
    per_box = {name: statistics.median(v) / counts[name] for name, v in times.items()}
    at_200 = {"ours": len(range(0, 152, 24)) + 1, "published": math.ceil(200 / STRIDE)}
    seconds = {name: per_box[name] * at_200[name] ** 3 for name in per_box}
    report(
        "map",
        times,
        "ours",
        "published",
        edge=edge,
        boxes=counts,
        boxes_at_200={name: n**3 for name, n in at_200.items()},
        seconds_at_200=seconds,
        ratio_at_200=seconds["published"] / seconds["ours"],
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--part", choices=("box", "map", "both"), default="both")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--edge", type=int, default=72)
    parser.add_argument("--dim", type=int, default=32, help="32: the published width")
    parser.add_argument("--blocks", type=int, default=2, help="per stage; 2 as published")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    device = choose_device(arguments.device)
    head = min(HEAD, arguments.dim // 2)
    config = [arguments.blocks] * 7
    description = {"name": "scunet", "dim": arguments.dim, "head_dim": head, "config": config}
    ours = build_network(description).eval().to(device)
    theirs = Straightforward(ours, config, head)
    if arguments.part != "map":
        part_box(ours, theirs, device, arguments.repeats)
    if arguments.part != "box":
        part_map(ours, theirs, device, arguments.repeats, arguments.edge)


if __name__ == "__main__":
    main()
