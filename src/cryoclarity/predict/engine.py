"""One tiler for both networks: cut boxes, run them in batches, blend, in bounded memory.

Beside the array it reads, it holds a sum as thick as a box, of which finished sections are handed
on, and two batches: the next is cut while a GPU runs the last. Windows are products and starts form
a lattice, so the weights by which the sum is divided are three vectors. Boxes are added in a fixed
order, whatever the batch size.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from cryoclarity.boxes.blend import weight_sum, window
from cryoclarity.boxes.tiling import axis_starts, cut_box, overlap
from cryoclarity.errors import ResourceError
from cryoclarity.predict.captured import Captured
from cryoclarity.predict.onednn import prefer_onednn
from cryoclarity.predict.passes import STRAIGHT, Pass, turned, turned_back

LOGGER = logging.getLogger(__name__)
GPU_BATCH = 16
# Measured on one core: boxes of 24 and more fill the cache alone (a full-width box costs 1.2 x as
# much in fours, a narrow one too), while those of 16 take half the time in fours.
CPU_BATCH = 4
CPU_ALONE = 24
# Working memory of a forward pass in units of (voxels of the box x channels of the first layer).
ACTIVATION_COPIES = 24
PROGRESS_STEPS = 10
# Measured on 512-cubes: 2.3 arrays of the network's grid.
ARRAYS = 2.5

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
    captured : bool
        Run batches of one size through :class:`cryoclarity.predict.captured.Captured`.
    """

    def __init__(
        self, network: nn.Module, device: torch.device, batch_size: int, captured: bool = False
    ):
        if device.type == "cpu":
            prefer_onednn(network)
        self.network = network.to(device).eval()
        self.device = device
        self.batch_size = batch_size
        self.captured = Captured(self.network, device) if captured else None

    def __call__(self, boxes: np.ndarray) -> np.ndarray:
        """Return the network's output of boxes, both (n, b, b, b) float32.

        Raises
        ------
        ResourceError
            PRED_MEMORY when a single box does not fit.
        """
        return fetched(self.launch(boxes))

    def launch(self, boxes: np.ndarray) -> list[Tensor]:
        """Start the network on boxes; a GPU goes on by itself until :func:`fetched` waits for it.

        Raises
        ------
        ResourceError
            As for a call.
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
        return parts

    def _forward(self, boxes: np.ndarray) -> Tensor:
        # Without these a GPU rounds convolutions to 10 bits and picks kernels by timing.
        exact = torch.backends.cudnn.flags(benchmark=False, deterministic=True, allow_tf32=False)
        with torch.inference_mode(), exact:
            given = torch.from_numpy(boxes)[:, None]
            if self.captured is not None:
                return self.captured(given, self.batch_size)[:, 0].float()
            return self.network(given.to(self.device))[:, 0].float()

    def _halve(self, shape: tuple[int, ...]) -> None:
        if self.batch_size == 1:
            raise ResourceError(
                f"one box of {shape} does not fit the memory of {self.device}",
                code="PRED_MEMORY",
                remedy="use another device or a smaller network",
            )
        self.batch_size //= 2
        if self.captured is not None:
            self.captured.forget()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        LOGGER.warning("out of memory: going on with batches of %d", self.batch_size)


def fetched(parts: list[Tensor]) -> np.ndarray:
    """Return what :meth:`Runner.launch` started, on the host."""
    return np.concatenate([part.cpu().numpy() for part in parts])


def default_batch(device: torch.device, box: int) -> int:
    """Return how many boxes at a time suit a device."""
    if device.type != "cpu":
        return GPU_BATCH
    return 1 if box >= CPU_ALONE else CPU_BATCH


def _out_of_memory(error: Exception) -> bool:
    """Tell an exhausted memory from other runtime errors; CPU and mps have no type for it."""
    words = ("allocate memory", "MPS backend out of memory")
    typed = isinstance(error, torch.OutOfMemoryError | MemoryError)
    return typed or any(text in str(error) for text in words)


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
    result = np.empty(density.shape, dtype=np.float32)
    count = TileCount()
    first = 0
    for part in predict_sections(runner, density, tiling, prepare, wanted, count):
        result[first : first + len(part)] = part
        first += len(part)
    return result, count


def predict_sections(
    runner: Runner,
    density: np.ndarray,
    tiling: Tiling,
    prepare: Callable[[np.ndarray], np.ndarray],
    wanted: Callable[[np.ndarray, Start], bool],
    count: TileCount,
    look: Pass = STRAIGHT,
) -> Iterator[np.ndarray]:
    """Yield the blended prediction in finished sections along the first axis, from the first on.

    Parameters
    ----------
    runner, density, tiling, prepare, wanted
        As for :func:`predict_tiles`; a start may be negative where `look` moves the lattice.
    count : TileCount
        Is counted up.
    look : Pass
        Moves the lattice of boxes towards the first voxel, and turns every box on its way in.
    """
    box, offset = tiling.box, look.offset
    shape = tuple(n + offset for n in density.shape)
    z_starts, y_starts, x_starts = (axis_starts(n, box, tiling.stride) for n in shape)
    weights = window(box, tiling.blend)
    cube = weights[:, None, None] * weights[:, None] * weights
    z, y, x = (weight_sum(n, box, tiling.stride, tiling.blend) for n in shape)
    plane = (y[:, None] * x)[offset : shape[1], offset : shape[2]]
    total = np.zeros((box, *density.shape[1:]), dtype=np.float32)
    layer = [(j, i) for j in y_starts for i in x_starts]
    progress = Progress(len(z_starts) * len(layer), count)
    for number, first in enumerate(z_starts):
        starts = (tuple(n - offset for n in (first, j, i)) for j, i in layer)
        for start, answer in _answers(
            runner, density, (starts, box), prepare, wanted, progress, look
        ):
            (_, *in_plane), in_box = overlap((0, *start[1:]), box, total.shape)
            total[(slice(None), *in_plane)] += (cube * answer)[in_box]
        following = z_starts[number + 1] if number + 1 < len(z_starts) else shape[0]
        done = following - first
        begin = max(offset - first, 0)
        if begin < done:
            finished = total[begin:done]
            finished /= z[first + begin : first + done, None, None] * plane
            yield finished
        total[: box - done] = total[done:]
        total[max(box - done, 0) :] = 0


class Progress:
    """Counts boxes, and says from time to time how many are left and for how long."""

    def __init__(self, total: int, count: TileCount):
        self.count, self.seen, self.total = count, 0, total
        self.step = max(total // PROGRESS_STEPS, 1)
        self.began = time.monotonic()
        count.total += total

    def one(self, predicted: bool) -> None:
        """Note one box."""
        self.seen += 1
        self.count.predicted += predicted
        if self.seen % self.step == 0:
            left = (time.monotonic() - self.began) / self.seen * (self.total - self.seen)
            LOGGER.info("boxes %d/%d, %.0f s left", self.seen, self.total, left)


def _answers(
    runner: Runner,
    density: np.ndarray,
    places: tuple[Iterable[Start], int],
    prepare,
    wanted,
    progress: Progress,
    look: Pass,
) -> Iterator[tuple[Start, np.ndarray]]:
    """Yield start and answer of the wanted boxes; one batch runs while the next one is cut."""
    running = None
    for starts, boxes in _batches(runner, density, places, prepare, wanted, progress, look):
        launched = starts, runner.launch(boxes)
        if running is not None:
            yield from _turned_back(*running, look)
        running = launched
    if running is not None:
        yield from _turned_back(*running, look)


def _turned_back(
    starts: list[Start], parts: list[Tensor], look: Pass
) -> Iterator[tuple[Start, np.ndarray]]:
    for start, answer in zip(starts, fetched(parts), strict=True):
        yield start, turned_back(answer, look)


def _batches(
    runner: Runner, density, places, prepare, wanted, progress: Progress, look: Pass
) -> Iterator[tuple[list[Start], np.ndarray]]:
    starts: list[Start] = []
    boxes: list[np.ndarray] = []
    places, box = places
    for start in places:
        cut = cut_box(density, start, box)
        chosen = wanted(cut, start)
        progress.one(chosen)
        if chosen:
            starts.append(start)
            boxes.append(turned(prepare(cut), look))
        if len(boxes) >= runner.batch_size:
            yield starts, np.stack(boxes)
            starts, boxes = [], []
    if boxes:
        yield starts, np.stack(boxes)


def memory_bytes(
    voxels: int, network_voxels: int, box: int, channels: int, batch: int, arrays: float = ARRAYS
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
    arrays : float
        Arrays of the network's grid that are held together.
    """
    held = voxels + arrays * network_voxels
    return int(4 * (held + batch * box**3 * channels * ACTIVATION_COPIES))


def batch_within(
    limit: int | None, wanted: int, sizes: tuple[int, int, int, int], arrays: float = ARRAYS
) -> int:
    """Return the largest batch up to `wanted` that keeps within a memory limit in bytes.

    Parameters
    ----------
    limit : bytes, or None
    wanted : int
    sizes : voxels, network voxels, box and channels of :func:`memory_bytes`
    arrays : float

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
