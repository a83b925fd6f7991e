"""Time and memory of a prediction, from one box run twice."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

import numpy as np

from cryoclarity.boxes.tiling import box_starts, count_boxes, cut_box
from cryoclarity.density.bands import CHANNELS
from cryoclarity.grid import Volume
from cryoclarity.nets.device import choose_device
from cryoclarity.nets.registry import BAND_LAYOUT, box_layout
from cryoclarity.predict.bands import band_input, run_features, tile_within, tiles
from cryoclarity.predict.bands import memory_bytes as memory_bytes_of_bands
from cryoclarity.predict.common import (
    PredictSettings,
    bounded_grid,
    make_runner,
    make_tiling,
    total_arrays,
    trust_passes,
)
from cryoclarity.predict.engine import Runner, memory_bytes
from cryoclarity.predict.enhance import EMPTY_SHARE, on_network
from cryoclarity.predict.model import Model
from cryoclarity.predict.region import Region
from cryoclarity.predict.resolution import standardised

TIMED_BLOCK = 24  # features per axis


@dataclass(frozen=True)
class Estimate:
    """What a prediction will take.

    Attributes
    ----------
    boxes, boxes_predicted : of one pass
    passes : int
    seconds : float
    seconds_per_box : float, measured
    memory_bytes : int, of the host
    device : str
    batch_size : int
    """

    boxes: int
    boxes_predicted: int
    passes: int
    seconds: float
    seconds_per_box: float
    memory_bytes: int
    device: str
    batch_size: int


def estimate(
    volume: Volume, model: Model, settings: PredictSettings, region: Region | None, task: str
) -> Estimate:
    """Measure one batch, count the boxes that will be run, and multiply.

    The resampling is done once and counted twice. Writing files is left out.

    Raises
    ------
    InputError, ResourceError, ConfigError
        As the prediction itself: what cannot be predicted is refused here already.
    """
    if box_layout(model.card["network"]["name"]) == BAND_LAYOUT:
        return _estimate_bands(volume, model, settings, region)
    began = time.perf_counter()
    grid = bounded_grid(volume.grid, model)
    runner = make_runner(model, settings, volume.grid, grid)
    tiling = make_tiling(model, settings)
    density = -volume.density if settings.invert else volume.density
    if task == "enhance":
        work = on_network(density, volume.grid, model, region)
        array, seen, floor = work.density, work.density, EMPTY_SHARE * work.scale
        passes = 1 + (trust_passes(settings, runner.device) if settings.trust else 0)
    else:
        work = standardised(density, volume.grid, model, region)
        array, seen, floor = work.density, work.mask, 0
        passes = 1 + (settings.passes or 0)
    starts = box_starts(grid.shape, tiling.box, tiling.stride)
    wanted = [start for start in starts if cut_box(seen, start, tiling.box).max() > floor]
    around = 2 * (time.perf_counter() - began)
    batch = [cut_box(array, start, tiling.box) for start in wanted[: runner.batch_size]]
    each = _seconds_per_box(runner, np.stack(batch).astype(np.float32)) if batch else 0.0
    memory = memory_bytes(
        volume.grid.size,
        grid.size,
        tiling.box,
        model.channels,
        runner.batch_size,
        total_arrays(settings),
    )
    return Estimate(
        boxes=count_boxes(grid.shape, tiling.box, tiling.stride),
        boxes_predicted=len(wanted),
        passes=passes,
        seconds=passes * len(wanted) * each + around,
        seconds_per_box=each,
        memory_bytes=memory,
        device=str(runner.device),
        batch_size=runner.batch_size,
    )


def _estimate_bands(
    volume: Volume, model: Model, settings: PredictSettings, region: Region | None
) -> Estimate:
    """As `estimate`: band powers are computed once and counted twice, a small block is timed."""
    began = time.perf_counter()
    density = -volume.density if settings.invert else volume.density
    found = band_input(density, volume.grid, model, region)
    around = 2 * (time.perf_counter() - began)
    sizes = (volume.grid.size, found.map_grid.size, found.bands.shape)
    tile = tile_within(settings.max_memory, *sizes)
    parts = [seen for _, seen in tiles(found.bands.shape, tile)]
    device = choose_device(settings.device)
    network = model.network.to(device).eval()
    block = np.zeros((CHANNELS, *[TIMED_BLOCK] * 3), dtype=np.float32)
    run_features(network, device, block)
    began = time.perf_counter()
    run_features(network, device, block)
    each = (time.perf_counter() - began) / block[0].size
    seen = sum(math.prod(s.stop - s.start for s in part) for part in parts)
    return Estimate(
        boxes=len(parts),
        boxes_predicted=len(parts),
        passes=1,
        seconds=each * seen + around,
        seconds_per_box=each * seen / len(parts),
        memory_bytes=memory_bytes_of_bands(*sizes, tile),
        device=str(device),
        batch_size=1,
    )


def _seconds_per_box(runner: Runner, boxes: np.ndarray) -> float:
    """Time a batch after a warm-up that fills caches and chooses kernels."""
    runner(boxes)
    began = time.perf_counter()
    runner(boxes)
    return (time.perf_counter() - began) / len(boxes)
