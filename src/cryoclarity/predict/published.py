"""The published programs, step by step and with their faults: for parity, not for use.

Improvement: EMReady 1.3 (He, Li, Huang, Nat. Commun. 14, 3217, 2023), sections named by what they
do. Local resolution: the 3-D U-Net program. Frames follow the original's rules here and nowhere
else: ORIGIN and NSTART are added, and the output lattice is snapped to multiples of the voxel.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cryoclarity.boxes.tiling import cut_box, overlap
from cryoclarity.density.masks import zone_mask
from cryoclarity.density.normalise import percentile_scale
from cryoclarity.density.resample import resample_published
from cryoclarity.errors import InputError
from cryoclarity.grid import Grid, Volume
from cryoclarity.io.atoms import Atoms
from cryoclarity.nets.device import choose_device
from cryoclarity.predict.engine import Runner
from cryoclarity.predict.model import weights_hash
from cryoclarity.train.weights import load_weights

BOX = 48
STRIDE = 12
BATCH = 10
INPUT_SCALE = 100.0
FORWARD_TOLERANCE = 1e-4
BACK_TOLERANCE = 1e-3
CUBE = 16
CUBE_BATCH = 400
NO_VALUE = 100.0

Triple = tuple[float, float, float]


@dataclass(frozen=True)
class PublishedSettings:
    """Options of the published programs; None takes their defaults.

    Attributes
    ----------
    stride : int, voxels
    batch_size : int
    device : str
    mask_contour : float
        The default 0 keeps all of a 0/1 mask: fault D1.
    mask_radius : float, angstrom
    mask_invert : bool
    seed : int or None
        Of the coin tosses that pad odd sizes before or behind; None pads behind.
    """

    stride: int | None = None
    batch_size: int | None = None
    device: str = "auto"
    mask_contour: float = 0.0
    mask_radius: float = 4.0
    mask_invert: bool = False
    seed: int | None = None


@dataclass(frozen=True)
class OnGrid:
    """A map on the published network grid.

    Attributes
    ----------
    density : (nz, ny, nx) float32
    start : first voxel in steps of the grid (z, y, x)
    shift : angstrom (z, y, x), by which the lattice was moved
    """

    density: np.ndarray
    start: tuple[int, int, int]
    shift: Triple


def run_published(
    task: str,
    weights: str | Path,
    volume: Volume,
    settings: PublishedSettings,
    mask: Volume | None = None,
    atoms: Atoms | None = None,
) -> tuple[Volume, dict[str, object]]:
    """Run a published program with published weights.

    Parameters
    ----------
    task : 'enhance' or 'resolution'
    weights : bare state dict, or weights with a card
        The folder of a trained network is taken too; its card's scale is not used.
    volume : Volume
    settings : PublishedSettings
    mask, atoms : of the improvement only

    Returns
    -------
    volume, facts

    Raises
    ------
    InputError
        WEIGHTS_FORMAT, WEIGHTS_MISMATCH, PRED_NO_SIGNAL or PRED_MASK.
    """
    network, card = load_weights(weights)
    if card["task"] != task:
        raise InputError(
            f"weights are for {card['task']!r}, asked for {task!r}",
            code="WEIGHTS_MISMATCH",
            file=weights,
        )
    default = BATCH if task == "enhance" else CUBE_BATCH
    batch = settings.batch_size or default
    runner = Runner(network, choose_device(settings.device), batch)
    if task == "enhance":
        result, facts = published_enhance(volume, runner, settings, mask, atoms)
    else:
        toss = coin_toss(settings.seed)
        result, _ = published_resolution(volume.density, runner, toss)
        # The program writes no frame at all; the voxel size is kept to make the file readable.
        result = Volume(result, Grid(result.shape, volume.grid.voxel_size))
        facts = {"padded_before": list(toss)}
    return result, facts | {"weights_sha256": weights_hash(weights), "network": card["network"]}


def published_enhance(
    volume: Volume,
    runner: Runner,
    settings: PublishedSettings,
    mask: Volume | None = None,
    atoms: Atoms | None = None,
) -> tuple[Volume, dict[str, object]]:
    """Improve a map by the published steps; see :func:`run_published`."""
    voxel, origin = published_frame(volume)
    spacing = 1.0 if min(voxel) >= 1.0 else 0.5
    work = to_grid(volume.density, voxel, origin, spacing)
    density = work.density
    if mask is not None:
        density = np.where(_mask_map(mask, work, spacing, settings), density, np.float32(0))
    elif atoms is not None:
        density = np.where(_zone(atoms, work, spacing, settings), density, np.float32(0))
    scale = percentile_scale(density)
    if scale is None:
        raise InputError("no positive density", code="PRED_NO_SIGNAL", remedy="check the mask")
    starts = list(published_starts(density.shape, settings.stride or STRIDE))
    kept = [s for s in starts if cut_box(density, s, BOX).max() > 0]
    prediction = blend_uniform(density, kept, runner, scale)
    result = back_to_voxel(prediction, work.start, spacing, voxel)
    facts = {
        "network_grid": {"voxel_size": spacing, "shape_zyx": list(density.shape)},
        "network_start_zyx": list(work.start),
        "shift_zyx": list(work.shift),
        "input_scale": scale,
        "stride": settings.stride or STRIDE,
        "boxes": len(starts),
        "boxes_predicted": len(kept),
    }
    return result, facts


def published_frame(volume: Volume) -> tuple[Triple, Triple]:
    """Return voxel size and position (z, y, x) by the original's float32 arithmetic.

    ORIGIN and NSTART times voxel are added, although most programs mean the same by both.
    """
    if volume.header is None:
        return volume.grid.voxel_size_zyx, volume.grid.origin_zyx
    header = volume.header
    cell = np.array(header.cell, dtype=np.float32)
    voxel = cell / np.array(header.intervals, dtype=np.float32)
    start = np.array(header.start_index, dtype=np.float32)
    origin = np.array(header.origin_words, dtype=np.float32) + start * voxel
    return tuple(float(v) for v in voxel[::-1]), tuple(float(o) for o in origin[::-1])


def to_grid(density: np.ndarray, voxel: Triple, origin: Triple, spacing: float) -> OnGrid:
    """Resample to the network's spacing with the lattice through the absolute zero."""
    step = np.float32(spacing)
    place = np.array(origin, dtype=np.float32)
    nearest = np.round(place / step)
    shift = (nearest - place / step) * step
    # Unlike the way back, axes that lie on the lattice but for rounding are left alone.
    shift[np.abs(nearest - place / step) < FORWARD_TOLERANCE] = 0
    start = tuple(int(n) for n in nearest)
    if all(v == spacing for v in voxel) and not shift.any():
        return OnGrid(density.astype(np.float32), start, (0.0, 0.0, 0.0))
    shape = tuple(
        math.floor(v * (n - 1) / spacing) + 1 for n, v in zip(density.shape, voxel, strict=True)
    )
    moved = tuple(float(s) for s in shift)
    found = resample_published(density, voxel, (spacing,) * 3, moved, shape)
    return OnGrid(found, start, moved)


def _mask_map(
    mask: Volume, work: OnGrid, spacing: float, settings: PublishedSettings
) -> np.ndarray:
    """Threshold of the resampled mask, placed by NSTART unless the sizes are equal."""
    found = to_grid(mask.density, *published_frame(mask), spacing)
    placed = found.density
    if placed.shape != work.density.shape:
        offset = tuple(a - b for a, b in zip(found.start, work.start, strict=True))
        too_large = any(n > m for n, m in zip(placed.shape, work.density.shape, strict=True))
        outside = any(
            o < 0 or o + n > m
            for o, n, m in zip(offset, placed.shape, work.density.shape, strict=True)
        )
        if too_large or outside:
            raise InputError(
                f"mask of {placed.shape} at {offset} does not lie within the map",
                code="PRED_MASK",
                remedy="use --mode default, which places masks by position",
            )
        whole = np.zeros_like(work.density)
        whole[tuple(slice(o, o + n) for o, n in zip(offset, placed.shape, strict=True))] = placed
        placed = whole
    if settings.mask_invert:
        return placed < settings.mask_contour
    return placed >= settings.mask_contour


def _zone(atoms: Atoms, work: OnGrid, spacing: float, settings: PublishedSettings) -> np.ndarray:
    origin = tuple(s * spacing for s in work.start[::-1])
    grid = Grid(work.density.shape, (spacing,) * 3, origin)
    # Deuterium and nameless atoms count as heavy in the original.
    positions = atoms.xyz[atoms.element != "H"]
    inside = zone_mask(positions, grid, settings.mask_radius)
    return ~inside if settings.mask_invert else inside


def published_starts(shape: tuple[int, int, int], stride: int) -> Iterator[tuple[int, int, int]]:
    """Yield box starts (z, y, x) in the original's order, the first axis fastest.

    They begin one stride before the map and end where ceil(n / stride) of them are counted: for
    strides above half a box the far faces stay uncovered.
    """
    z, y, x = ([-stride + k * stride for k in range(math.ceil(n / stride))] for n in shape)
    for k in x:
        for j in y:
            for i in z:
                yield i, j, k


def blend_uniform(
    density: np.ndarray, starts: list[tuple[int, int, int]], runner: Runner, scale: float
) -> np.ndarray:
    """Return the plain mean of all boxes over each voxel; 0 where there is none."""
    total = np.zeros(density.shape, dtype=np.float32)
    count = np.zeros(density.shape, dtype=np.float32)
    limit, unit = np.float32(scale), np.float32(INPUT_SCALE)
    for first in range(0, len(starts), runner.batch_size):
        batch = starts[first : first + runner.batch_size]
        cuts = [np.clip(cut_box(density, s, BOX), 0, limit) / limit * unit for s in batch]
        for start, output in zip(batch, runner(np.stack(cuts)), strict=True):
            in_array, in_box = overlap(start, BOX, density.shape)
            total[in_array] += output[in_box]
            count[in_array] += 1
    return np.divide(total, count, out=np.zeros_like(total), where=count > 0)


def back_to_voxel(
    prediction: np.ndarray, start: tuple[int, int, int], spacing: float, voxel: Triple
) -> Volume:
    """Resample to the input's voxel size, on a lattice of multiples of it; ORIGIN becomes 0."""
    place = np.array(start, dtype=np.float64) * spacing
    size = np.array(voxel, dtype=np.float64)
    shift = np.round(place / size) * size - place
    if not (np.abs(np.round(place / size) - place / size) >= BACK_TOLERANCE).any():
        shift = np.zeros(3)
    shape = tuple(
        math.ceil(spacing * (n - 1) / v) + 1 for n, v in zip(prediction.shape, voxel, strict=True)
    )
    found = resample_published(prediction, (spacing,) * 3, voxel, tuple(shift), shape)
    first = np.round((place + shift) / size)
    origin = tuple(float(f * v) for f, v in zip(first[::-1], voxel[::-1], strict=True))
    return Volume(found, Grid(shape, voxel[::-1], origin))


def coin_toss(seed: int | None) -> tuple[bool, bool, bool]:
    """Return per axis whether the odd padding voxel goes before the map; never without a seed."""
    if seed is None:
        return (False, False, False)
    toss = np.random.default_rng(seed).integers(0, 2, 3).astype(bool)
    return tuple(toss.tolist())


def published_resolution(
    density: np.ndarray,
    runner: Runner,
    before: tuple[bool, bool, bool] = (False, False, False),
    threshold: float = 0.0,
) -> tuple[np.ndarray, np.ndarray]:
    """Estimate local resolution by the published program.

    Parameters
    ----------
    density : (nz, ny, nx) float32
    runner : Runner
        Its batch size is the published 400 unless changed.
    before : per axis, whether the odd padding voxel goes before the map
    threshold : raw density at or below it gives 100

    Returns
    -------
    published, raw : (n, n, n) float32
        n is the power of two that holds the longest axis; angstrom, 100 for no value, and the
        network's output as it is.
    """
    low, high = density.min(), density.max()
    normalised = pad_cube((density - low) / (high - low), before)
    cubes = split_cubes(normalised)
    outputs = [
        runner(cubes[first : first + runner.batch_size])
        for first in range(0, len(cubes), runner.batch_size)
    ]
    raw = join_cubes(np.concatenate(outputs), normalised.shape)
    published = np.where(pad_cube(density, before) <= threshold, np.float32(NO_VALUE), raw)
    return published, raw


def pad_cube(density: np.ndarray, before: tuple[bool, bool, bool]) -> np.ndarray:
    """Pad with zeros to a cube whose edge is the next power of two."""
    edge = 1 << (max(density.shape) - 1).bit_length()
    widths = []
    for n, odd_before in zip(density.shape, before, strict=True):
        missing = edge - n
        first = missing // 2 + (missing % 2 if odd_before else 0)
        widths.append((first, missing - first))
    return np.pad(density, widths)


def split_cubes(density: np.ndarray) -> np.ndarray:
    """Cut into 16-cubes, (n, 16, 16, 16), the last axis fastest."""
    z, y, x = (n // CUBE for n in density.shape)
    blocks = density.reshape(z, CUBE, y, CUBE, x, CUBE).transpose(0, 2, 4, 1, 3, 5)
    return np.ascontiguousarray(blocks).reshape(-1, CUBE, CUBE, CUBE)


def join_cubes(cubes: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
    """Undo :func:`split_cubes`."""
    z, y, x = (n // CUBE for n in shape)
    blocks = cubes.reshape(z, y, x, CUBE, CUBE, CUBE).transpose(0, 3, 1, 4, 2, 5)
    return np.ascontiguousarray(blocks).reshape(shape)
