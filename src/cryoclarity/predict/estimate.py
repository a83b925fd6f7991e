"""Time and memory of a prediction, from one box run twice."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

from cryoclarity.boxes.tiling import box_starts, count_boxes, cut_box
from cryoclarity.grid import Volume
from cryoclarity.predict.engine import Runner, memory_bytes
from cryoclarity.predict.enhance import (
    EMPTY_SHARE,
    PredictSettings,
    bounded_grid,
    make_runner,
    make_tiling,
    on_network,
    total_arrays,
    trust_passes,
)
from cryoclarity.predict.model import Model
from cryoclarity.predict.region import Region
from cryoclarity.predict.resolution import standardised


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


def _seconds_per_box(runner: Runner, boxes: np.ndarray) -> float:
    """Time a batch after a warm-up that fills caches and chooses kernels."""
    runner(boxes)
    began = time.perf_counter()
    runner(boxes)
    return (time.perf_counter() - began) / len(boxes)
