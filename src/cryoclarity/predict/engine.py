"""One tiler for both networks: cut boxes, run them in batches, blend, in bounded memory.

Beside the array it reads, it holds one sum of the same size and one batch. Windows are products
and starts form a lattice, so the weights by which the sum is divided are three vectors. Boxes are
added in a fixed order, whatever the batch size.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from cryoclarity.boxes.blend import weight_sum, window
from cryoclarity.boxes.tiling import box_starts, count_boxes, cut_box
from cryoclarity.errors import ResourceError
from cryoclarity.predict.onednn import prefer_onednn

LOGGER = logging.getLogger(__name__)
GPU_BATCH = 16
# Measured on one core: boxes of 24 and more fill the cache alone (a full-width box costs 1.2 x as
# much in fours, a narrow one too), while those of 16 take half the time in fours.
CPU_BATCH = 4
CPU_ALONE = 24
# Working memory of a forward pass in units of (voxels of the box x channels of the first layer).
ACTIVATION_COPIES = 24
PROGRESS_STEPS = 10
# Measured on 400-cubes: 2.3 arrays of the network's grid to improve a map, 2.8 for resolution.
ARRAYS = 3

Start = tuple[int, int, int]


@dataclass(frozen=True)
class Tiling:
    """How an array is cut and put together.

    Attributes
    ----------
    box, stride : int, voxels
    blend : 'gaussian', 'hann' or 'uniform'
    """

    box: int
    stride: int
    blend: str = "gaussian"


@dataclass
class TileCount:
    """How many boxes there were, and how many the network saw."""

    total: int = 0
    predicted: int = 0


class Runner:
    """A network on its device, fed batch by batch; an exhausted memory halves the batch.

    Parameters
    ----------
    network : torch.nn.Module
    device : torch.device
    batch_size : int
    """

    def __init__(self, network: nn.Module, device: torch.device, batch_size: int):
        if device.type == "cpu":
            prefer_onednn(network)
        self.network = network.to(device).eval()
        self.device = device
        self.batch_size = batch_size

    def __call__(self, boxes: np.ndarray) -> np.ndarray:
        """Return the network's output of boxes, both (n, b, b, b) float32.

        Raises
        ------
        ResourceError
            PRED_MEMORY when a single box does not fit.
        """
        parts = []
        first = 0
        while first < len(boxes):
            part = boxes[first : first + self.batch_size]
            try:
                parts.append(self._forward(part))
            except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
                if not _out_of_memory(error):
                    raise
                self._halve(boxes.shape[1:])
                continue
            first += len(part)
        return np.concatenate(parts)

    def _forward(self, boxes: np.ndarray) -> np.ndarray:
        # Without these a GPU rounds convolutions to 10 bits and picks kernels by timing.
        exact = torch.backends.cudnn.flags(benchmark=False, deterministic=True, allow_tf32=False)
        with torch.inference_mode(), exact:
            output = self.network(torch.from_numpy(boxes)[:, None].to(self.device))
        return output[:, 0].float().cpu().numpy()

    def _halve(self, shape: tuple[int, ...]) -> None:
        if self.batch_size == 1:
            raise ResourceError(
                f"one box of {shape} does not fit the memory of {self.device}",
                code="PRED_MEMORY",
                remedy="use another device or a smaller network",
            )
        self.batch_size //= 2
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        LOGGER.warning("out of memory: going on with batches of %d", self.batch_size)


def default_batch(device: torch.device, box: int) -> int:
    """Return how many boxes at a time suit a device."""
    if device.type != "cpu":
        return GPU_BATCH
    return 1 if box >= CPU_ALONE else CPU_BATCH


def _out_of_memory(error: Exception) -> bool:
    """Tell an exhausted memory from other runtime errors; the CPU allocator has no type for it."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "allocate memory" in str(
        error
    )


def predict_tiles(
    runner: Runner,
    density: np.ndarray,
    tiling: Tiling,
    prepare: Callable[[np.ndarray], np.ndarray],
    wanted: Callable[[np.ndarray, Start], bool],
) -> tuple[np.ndarray, TileCount]:
    """Run a network over an array and blend.

    Parameters
    ----------
    runner : Runner
    density : (nz, ny, nx) float32
        May be smaller than a box: zeros are added behind.
    tiling : Tiling
    prepare : callable
        Turns a box as cut into the network's input, float32.
    wanted : callable (box as cut, start)
        False skips a box; its prediction counts as 0.

    Returns
    -------
    prediction : (nz, ny, nx) float32
    count : TileCount
    """
    shape, box = density.shape, tiling.box
    total = np.zeros([max(n, box) for n in shape], dtype=np.float32)
    weights = window(box, tiling.blend)
    cube = weights[:, None, None] * weights[:, None] * weights
    count = TileCount(total=count_boxes(shape, box, tiling.stride))
    for starts, boxes in _batches(runner, density, tiling, prepare, wanted, count.total):
        for start, output in zip(starts, runner(boxes), strict=True):
            total[tuple(slice(s, s + box) for s in start)] += cube * output
        count.predicted += len(starts)
    z, y, x = (weight_sum(n, box, tiling.stride, tiling.blend) for n in shape)
    plane = y[:, None] * x
    for section, weight in zip(total, z, strict=True):
        section /= weight * plane
    return total[tuple(slice(n) for n in shape)], count


def _batches(
    runner: Runner, density, tiling: Tiling, prepare, wanted, total: int
) -> Iterator[tuple[list[Start], np.ndarray]]:
    starts: list[Start] = []
    boxes: list[np.ndarray] = []
    step = max(total // PROGRESS_STEPS, 1)
    for number, start in enumerate(box_starts(density.shape, tiling.box, tiling.stride), start=1):
        cut = cut_box(density, start, tiling.box)
        if wanted(cut, start):
            starts.append(start)
            boxes.append(prepare(cut))
        if number % step == 0:
            LOGGER.info("boxes %d/%d", number, total)
        if len(boxes) >= runner.batch_size:
            yield starts, np.stack(boxes)
            starts, boxes = [], []
    if boxes:
        yield starts, np.stack(boxes)


def memory_bytes(
    voxels: int, network_voxels: int, box: int, channels: int, batch: int, arrays: int = ARRAYS
) -> int:
    """Return the host memory of a prediction: input, arrays of the network's grid, a batch.

    Parameters
    ----------
    voxels, network_voxels : int
        Of the input and of the network's grid.
    box : int
    channels : int
        Of the network's first layer.
    batch : int
    arrays : int
        Arrays of the network's grid that are held together.
    """
    held = voxels + arrays * network_voxels
    return 4 * (held + batch * box**3 * channels * ACTIVATION_COPIES)


def batch_within(
    limit: int | None, wanted: int, sizes: tuple[int, int, int, int], arrays: int = ARRAYS
) -> int:
    """Return the largest batch up to `wanted` that keeps within a memory limit in bytes.

    Parameters
    ----------
    limit : bytes, or None
    wanted : int
    sizes : voxels, network voxels, box and channels of :func:`memory_bytes`
    arrays : int

    Raises
    ------
    ResourceError
        PRED_MEMORY when one box is too much.
    """
    batch = wanted
    while limit is not None and memory_bytes(*sizes, batch, arrays) > limit:
        if batch == 1:
            need = memory_bytes(*sizes, 1, arrays)
            raise ResourceError(
                f"needs {need / 1e9:.2f} GB with one box, the limit is {limit / 1e9:.2f} GB",
                code="PRED_MEMORY",
                remedy="raise --max-memory, leave out the trust map, or cut the map",
            )
        batch //= 2
    return batch
