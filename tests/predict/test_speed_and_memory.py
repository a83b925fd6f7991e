"""What a run promises: the memory it was estimated at, and one answer however boxes are batched."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch

from cryoclarity.nets.registry import build_network
from cryoclarity.predict.common import PredictSettings, total_arrays
from cryoclarity.predict.engine import Runner, TileCount, Tiling, memory_bytes, predict_sections
from cryoclarity.predict.enhance import enhance
from cryoclarity.predict.estimate import estimate
from tests.predict.tiny import Smooth, blob_volume, model_of

CPU = torch.device("cpu")
# In a process of its own, whose peak never falls: prints bytes said, used, and of the map.
MEASURE = """
import resource, sys
import numpy as np, torch
from cryoclarity.grid import Grid, Volume
from cryoclarity.predict.common import PredictSettings
from cryoclarity.predict.enhance import enhance
from cryoclarity.predict.estimate import estimate
from tests.predict.tiny import Smooth, model_of

def peak():
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

def now():
    return resource.getpagesize() * int(open("/proc/self/statm").read().split()[1])

def ball(edge):
    axis = np.arange(edge, dtype=np.float32) - edge / 2
    plane = axis[:, None] ** 2 + axis ** 2
    density = np.empty((edge,) * 3, np.float32)
    generator = np.random.default_rng(0)
    for z, section in zip(axis, density, strict=True):
        section[:] = plane + z * z < (0.35 * edge) ** 2
        section += np.float32(0.02) * generator.standard_normal((edge, edge), dtype=np.float32)
    return Volume(density, Grid(density.shape, (1.01,) * 3))

model = model_of(Smooth(), box=24)
settings = PredictSettings(device="cpu", trust=sys.argv[1] == "trust", stride=24)
enhance(ball(30), model, settings)
volume = ball(144)
base = now() - 4 * volume.density.size
found = estimate(volume, model, settings, None, "enhance").memory_bytes
enhance(volume, model, settings)
print(found, peak() - base, 4 * volume.density.size)
"""


@pytest.mark.long
@pytest.mark.parametrize("kind", ["plain", "trust"])
def test_the_memory_of_a_run_is_as_estimated(kind, root):
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, kind], cwd=root, capture_output=True, text=True, check=True
    )
    said, used, array = (int(word) for word in done.stdout.split())
    # The blocks of local statistics weigh more in a small map than in the 512^3 of the estimate.
    assert 0.3 * said < used < 1.25 * said + 48e6, (said, used, array)
    assert said < 6 * array


def test_the_estimate_counts_arrays_by_what_is_asked():
    plain, trust, halves = (
        total_arrays(PredictSettings(trust=trust), halves)
        for trust, halves in ((False, False), (True, False), (True, True))
    )
    assert plain < trust < halves == trust + 2
    volume = blob_volume((40, 40, 40), voxel=1.0)
    model = model_of(Smooth(), box=24)
    found = estimate(volume, model, PredictSettings(device="cpu", trust=True), None, "enhance")
    assert found.passes == 3
    assert found.memory_bytes == memory_bytes(64000, 64000, 24, 1, found.batch_size, trust)


def test_captured_batches_give_what_free_ones_give():
    torch.manual_seed(0)
    network = build_network({"name": "scunet", "dim": 8, "head_dim": 4, "config": [1] * 7}).eval()
    boxes = np.random.default_rng(0).random((5, 24, 24, 24), dtype=np.float32)
    free = Runner(network, CPU, 5)(boxes)
    runner = Runner(network, CPU, 2, captured=True)
    # The last batch is short, and what the one before left beside it must not matter.
    assert np.abs(runner(boxes) - free).max() < 1e-5 * np.abs(free).max()
    assert runner.captured.given.shape == (2, 1, 24, 24, 24)
    assert np.array_equal(runner(boxes[4:]), runner(boxes[4:]))
    volume = blob_volume((30, 26, 28))
    one, other = (
        enhance(volume, model_of(Smooth(), box=24), PredictSettings(device="cpu", **more)).density
        for more in ({}, {"captured": True, "batch_size": 3})
    )
    assert np.abs(one - other).max() < 1e-5


class Tight(Smooth):
    """Has memory for two boxes only, as captured buffers would find out too."""

    def forward(self, x):
        if len(x) > 2:
            raise torch.OutOfMemoryError("allocate")
        return super().forward(x)


def test_captured_batches_shrink_when_memory_runs_out():
    boxes = np.random.default_rng(0).random((7, 12, 12, 12), dtype=np.float32)
    runner = Runner(Tight(), CPU, 8, captured=True)
    assert np.abs(runner(boxes) - Runner(Smooth(), CPU, 1)(boxes)).max() < 1e-6
    assert runner.batch_size == 2 and len(runner.captured.given) == 2


@pytest.mark.parametrize("batch", [1, 3, 50])
def test_sections_come_in_order_and_whatever_the_batch(batch):
    density = np.random.default_rng(0).standard_normal((31, 14, 17)).astype(np.float32)
    count, runner = TileCount(), Runner(Smooth(), CPU, batch)
    parts = [
        part.copy()
        for part in predict_sections(
            runner, density, Tiling(12, 5), lambda cut: cut, lambda cut, start: True, count
        )
    ]
    assert [len(part) for part in parts] == [5, 5, 5, 4, 12]
    assert count.total == count.predicted == 5 * 2 * 2
    whole = np.concatenate(parts)
    first = Runner(Smooth(), CPU, 1)
    sections = predict_sections(
        first, density, Tiling(12, 5), lambda cut: cut, lambda cut, start: True, TileCount()
    )
    assert np.abs(whole - np.concatenate([part.copy() for part in sections])).max() < 1e-6


def test_a_second_batch_starts_before_the_first_is_fetched(monkeypatch):
    """A GPU must not wait for blending."""
    from cryoclarity.predict import engine

    order = []
    forward, fetch = Runner._forward, engine.fetched

    def noted(self, boxes):
        order.append("launch")
        return forward(self, boxes)

    def waited(parts):
        order.append("fetch")
        return fetch(parts)

    monkeypatch.setattr(Runner, "_forward", noted)
    monkeypatch.setattr(engine, "fetched", waited)
    density = np.ones((12, 12, 40), np.float32)
    engine.predict_tiles(
        Runner(Smooth(), CPU, 1), density, Tiling(12, 12), lambda cut: cut, lambda c, s: True
    )
    assert order == ["launch", "launch", "fetch", "launch", "fetch", "launch", "fetch", "fetch"]
