"""The published improvement on its fine grid, against a second implementation of its steps.

The oracle is written from the description of the steps alone: 64 taps in float64 instead of one
matrix per axis, boxes by plain loops, and none of the package's functions.
"""

from __future__ import annotations

import itertools
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from cryoclarity.grid import Grid, Volume
from cryoclarity.predict.engine import Runner
from cryoclarity.predict.published import PublishedSettings, published_enhance, run_published
from tests.predict.tiny import Smooth, blob_volume

CPU = torch.device("cpu")
BOX = 48


def stored(shape, voxel, start, origin=(0.0, 0.0, 0.0), density=None):
    """A volume with header words (x, y, z) as a file has them."""
    cell = tuple(float(np.float32(n * voxel)) for n in shape[::-1])
    words = SimpleNamespace(
        cell=cell, intervals=shape[::-1], start_index=start, origin_words=origin, labels=()
    )
    values = blob_volume(shape, voxel).density if density is None else density
    return Volume(values, Grid(shape, (voxel,) * 3), words)


def taps(distance):
    d = np.abs(distance)
    near = 1.5 * d**3 - 2.5 * d**2 + 1
    far = -0.5 * d**3 + 2.5 * d**2 - 4 * d + 2
    weight = np.where(d <= 1, near, np.where(d <= 2, far, 0.0))
    return weight.astype(np.float32).astype(np.float64)


def interpolate(density, voxel, step, shift, shape):
    """Cubic convolution at (i step + shift) / voxel, 64 taps, zero outside."""
    padded = np.pad(density.astype(np.float64), 3)
    points = [(np.arange(n) * step[a] + shift[a]) / voxel[a] for a, n in enumerate(shape)]
    first = [np.floor(u).astype(int) for u in points]
    result = np.zeros(shape)
    for k, j, i in itertools.product((-1, 0, 1, 2), repeat=3):
        index, weight = [], []
        for axis, tap in enumerate((k, j, i)):
            column = first[axis] + tap
            index.append(np.clip(column, -3, density.shape[axis] + 2) + 3)
            weight.append(taps(points[axis] - column))
        product = weight[0][:, None, None] * weight[1][:, None] * weight[2]
        result += padded[np.ix_(*index)] * product
    for axis in range(3):
        lost = (first[axis] < 0) | (first[axis] + 1 >= density.shape[axis])
        np.moveaxis(result, axis, 0)[lost] = 0
    return result.astype(np.float32)


def on_grid(volume, g):
    """Steps 1, 3 and 4: frame in float32, resampled with the origin on the grid."""
    words = volume.header
    voxel = (np.float32(words.cell) / np.float32(words.intervals))[::-1]
    place = (np.float32(words.origin_words)[::-1]) + np.float32(words.start_index[::-1]) * voxel
    steps = place / np.float32(g)
    shift = np.where(abs(np.round(steps) - steps) >= 1e-4, (np.round(steps) - steps) * g, 0)
    shape = [
        math.floor(float(v) * (n - 1) / g) + 1
        for v, n in zip(voxel, volume.density.shape, strict=True)
    ]
    voxel = [float(v) for v in voxel]
    if voxel == [g] * 3 and not shift.any():
        return volume.density, np.round(steps).astype(int), voxel
    density = interpolate(volume.density, voxel, [g] * 3, shift, shape)
    return density, np.round(steps).astype(int), voxel


def oracle(volume, network, stride, mask=None, contour=0.0):
    """Return the written density, its NSTART (z, y, x) and the number of boxes run."""
    words = volume.header
    g = 1.0 if min(np.float32(words.cell) / np.float32(words.intervals)) >= 1 else 0.5
    density, start, voxel = on_grid(volume, g)
    if mask is not None:
        inner, inner_start, _ = on_grid(mask, g)
        whole = np.zeros_like(density)
        z, y, x = inner_start - start
        whole[z : z + inner.shape[0], y : y + inner.shape[1], x : x + inner.shape[2]] = inner
        density = np.where(whole >= contour, density, 0)
    ordered = np.sort(density[density > 0].astype(np.float64))
    where = 0.99999 * (len(ordered) - 1)
    below = math.floor(where)
    scale = ordered[below] + (where - below) * (ordered[below + 1] - ordered[below])
    padded = np.pad(density, BOX)
    total, count, boxes = np.zeros_like(padded), np.zeros_like(padded), 0
    numbers = [math.ceil(n / stride) for n in density.shape]
    for x, y, z in itertools.product(*(range(n) for n in numbers[::-1])):
        place = tuple(
            slice(BOX - stride + k * stride, 2 * BOX - stride + k * stride) for k in (z, y, x)
        )
        if padded[place].max() <= 0:
            continue
        box = np.clip(padded[place], 0, np.float32(scale)) / np.float32(scale) * 100
        with torch.no_grad():
            answer = network(torch.from_numpy(box)[None, None])[0, 0].numpy()
        total[place] += answer
        count[place] += 1
        boxes += 1
    blended = (total / np.maximum(count, 1))[BOX:-BOX, BOX:-BOX, BOX:-BOX]
    place = start * g
    steps = place / np.array(voxel)
    shift = (np.round(steps) - steps) * voxel
    if not (abs(np.round(steps) - steps) >= 1e-3).any():
        shift = np.zeros(3)
    shape = [math.ceil(g * (n - 1) / v) + 1 for n, v in zip(density.shape, voxel, strict=True)]
    written = interpolate(blended, [g] * 3, voxel, shift, shape)
    return written, np.round((place + shift) / voxel).astype(int), boxes


@pytest.mark.parametrize(
    ("voxel", "start", "origin"),
    [
        (0.83, (7, -5, 3), (0.0, 0.0, 0.0)),
        (0.7, (0, 0, 0), (3.21, -1.7, 0.4)),
        (1.25, (4, 2, -9), (1.5, 0.0, 0.0)),
    ],
)
@pytest.mark.parametrize("masked", [False, True])
def test_both_grids_equal_a_second_implementation(voxel, start, origin, masked):
    shape, network = (24, 20, 22), Smooth().eval()
    volume = stored(shape, voxel, start, origin)
    mask = None
    if masked:
        small = (14, 12, 13)
        inside = np.linalg.norm(np.indices(small) - np.reshape((7, 6, 6), (3, 1, 1, 1)), axis=0) < 5
        mask = stored(small, voxel, tuple(s + 4 for s in start), origin, inside.astype(np.float32))
    settings = PublishedSettings(device="cpu", stride=24, mask_contour=0.5)
    wanted, first, boxes = oracle(volume, network, 24, mask, 0.5)
    found, facts = published_enhance(volume, Runner(network, CPU, 3), settings, mask)
    assert facts["network_grid"]["voxel_size"] == (0.5 if voxel < 1 else 1.0)
    assert facts["boxes_predicted"] == boxes
    assert found.density.shape == wanted.shape
    assert np.abs(found.density - wanted).max() < 1e-4
    steps = np.array(found.grid.origin[::-1]) / found.grid.voxel_size[::-1]
    assert np.allclose(steps, first, atol=1e-4)


def test_a_bare_state_dict_takes_its_grid_from_the_voxel(tmp_path):
    from cryoclarity.nets.registry import build_network

    torch.manual_seed(0)
    network = build_network(
        {"name": "scunet", "dim": 4, "head_dim": 2, "config": [1] * 7, "drop_path_rate": 0.0}
    ).eval()
    torch.save({"epoch": 3, "state_dict": network.state_dict()}, tmp_path / "bare.pth")
    settings = PublishedSettings(device="cpu", stride=24)
    for voxel, grid in ((0.9999, 0.5), (1.0, 1.0)):
        volume = stored((12, 12, 12), voxel, (0, 0, 0))
        result, facts = run_published("enhance", tmp_path / "bare.pth", volume, settings)
        assert facts["network_grid"]["voxel_size"] == grid
        wanted, _, _ = oracle(volume, network, 24)
        assert np.abs(result.density - wanted).max() < 1e-3 * np.abs(wanted).max()
