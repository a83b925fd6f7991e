"""What improving a map and predicting its resolution share: settings, runner, warnings, record."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field

import numpy as np
import torch

from cryoclarity.density.resample import network_grid
from cryoclarity.errors import InputError
from cryoclarity.grid import Grid, Volume
from cryoclarity.io.map_header import MAX_VOXELS
from cryoclarity.nets.device import choose_device
from cryoclarity.predict.engine import (
    ARRAYS,
    Runner,
    TileCount,
    Tiling,
    batch_within,
    default_batch,
)
from cryoclarity.predict.improved import improved_by
from cryoclarity.predict.model import Model
from cryoclarity.predict.trust import CPU_PASSES, GPU_PASSES, Trust

LOGGER = logging.getLogger(__name__)
# Further arrays at the peak, measured: spread and trust in one byte, slabs; sums of a spread.
TRUST_ARRAYS = 0.7
HALF_MAP_ARRAYS = 2
SPREAD_ARRAYS = 4
INVERTED_RATIO = 1.5
COARSE_RATIO = 3.0
PURPOSE = "not for refinement targets, deposition or FSC resolution"


@dataclass(frozen=True)
class PredictSettings:
    """How to predict; None takes the default of weights or device.

    Attributes
    ----------
    stride : int, voxels of the network's grid; half a box by default
    blend : 'gaussian', 'hann' or 'uniform'
    batch_size : int
    device : 'auto', 'cpu', 'cuda', 'cuda:N', 'mps'
    amplitude : 'fitted' to the input inside the mask, or 'network' units
    invert : bool
        Change the sign of the input first.
    max_memory : int, bytes of host memory
    trust : bool
        Judge an improved map; see :mod:`cryoclarity.predict.trust`.
    trust_passes : int
        Further passes for it: 2 on a CPU, 6 on a GPU.
    resolution : float, angstrom
        Of the input: the band in which it is compared with the improved map.
    ligand_safe : bool
        Blend the input back where the network took density away.
    passes : int
        Passes with dropout, for the spread of local resolution.
    trust_parts : bool
        Keep the parts of the trust map too; a table of residues wants them.
    symmetry : str
        Point group of the particle, such as C4: what is lost of it is measured.
    impose_symmetry : bool
        Average the result over the operators of `symmetry`.
    captured : bool
        Run boxes in batches of one size: a captured graph on a GPU.
    """

    stride: int | None = None
    blend: str = "gaussian"
    batch_size: int | None = None
    device: str = "auto"
    amplitude: str = "fitted"
    invert: bool = False
    max_memory: int | None = None
    trust: bool = False
    trust_passes: int | None = None
    resolution: float | None = None
    ligand_safe: bool = False
    passes: int | None = None
    trust_parts: bool = False
    symmetry: str | None = None
    impose_symmetry: bool = False
    captured: bool = False


@dataclass
class Prediction:
    """A result on the grid of the input, and what there is to say about it.

    Attributes
    ----------
    maps : dict
        Further arrays of the input's shape: ``trust``, ``spread``.
    trust : Trust or None
        The judgement in full, on the network's grid.
    """

    density: np.ndarray
    facts: dict[str, object]
    warnings: list[tuple[str, str]] = field(default_factory=list)
    maps: dict[str, np.ndarray] = field(default_factory=dict)
    trust: Trust | None = None


def looks_inverted(density: np.ndarray) -> bool:
    """Whether the far negative tail is longer than the positive one, seen from the median."""
    low, median, high = np.percentile(density, (0.01, 50, 99.99))
    return bool(median - low > INVERTED_RATIO * (high - median))


def make_tiling(model: Model, settings: PredictSettings) -> Tiling:
    """Return the tiling of a run; a stride above the box counts as the box."""
    stride = settings.stride or model.box // 2
    return Tiling(model.box, min(stride, model.box), settings.blend)


def make_runner(
    model: Model, settings: PredictSettings, grid: Grid, network: Grid, halves: bool = False
) -> Runner:
    """Put a network on its device with a batch that fits the memory limit.

    Raises
    ------
    ConfigError
        Unknown device.
    ResourceError
        PRED_MEMORY.
    """
    device = choose_device(settings.device)
    batch = settings.batch_size or default_batch(device, model.box)
    sizes = (grid.size, network.size, model.box, model.channels)
    batch = batch_within(settings.max_memory, batch, sizes, total_arrays(settings, halves))
    return Runner(model.network, device, batch, settings.captured)


def total_arrays(settings: PredictSettings, halves: bool = False) -> float:
    """Return how many arrays of the network's grid a run holds at its peak."""
    if settings.trust:
        return ARRAYS + TRUST_ARRAYS + (HALF_MAP_ARRAYS if halves else 0)
    return ARRAYS + (SPREAD_ARRAYS if settings.passes else 0)


def trust_passes(settings: PredictSettings, device: torch.device) -> int:
    """Return the number of further passes for the trust map."""
    default = CPU_PASSES if device.type == "cpu" else GPU_PASSES
    return default if settings.trust_passes is None else settings.trust_passes


def bounded_grid(grid: Grid, model: Model) -> Grid:
    """Return the network's grid of a map.

    Raises
    ------
    InputError
        PRED_MEMORY when it has more voxels than any map that is read: the map's own voxels are
        then far too coarse for the network.
    """
    found = network_grid(grid, model.spacing)
    if found.size > MAX_VOXELS:
        raise InputError(
            f"voxels of {max(grid.voxel_size):.4g} A make {found.shape} on the network's grid of "
            f"{model.spacing:g} A",
            code="PRED_MEMORY",
            remedy="check the voxel size (--voxel-size), or cut the map",
        )
    return found


def input_warnings(volume: Volume, density: np.ndarray, model: Model) -> list[tuple[str, str]]:
    """Return what looks odd about the input of a prediction."""
    warnings = []
    if looks_inverted(density):
        warnings.append(("W_PRED_INVERTED", "contrast looks inverted; --invert changes the sign"))
    coarsest = max(volume.grid.voxel_size)
    if coarsest > COARSE_RATIO * model.spacing:
        text = f"voxels of {coarsest:.4g} A hold little of what the network was trained on"
        warnings.append(("W_PRED_UNTRAINED", text))
    labels = volume.header.labels if volume.header is not None else ()
    if found := improved_by(labels, density):
        warnings.append(
            ("W_PRED_ENHANCED", f"the input looks like an improved map already: {found}")
        )
    for code, text in warnings:
        LOGGER.warning("%s: %s", code, text)
    return warnings


def run_facts(
    model: Model, settings: PredictSettings, tiling: Tiling, count: TileCount, grid: Grid
) -> dict[str, object]:
    """Return what the record of every run holds."""
    return {
        "weights_sha256": model.sha256,
        "network": model.card["network"],
        "network_grid": {"voxel_size": model.spacing, "shape_zyx": list(grid.shape)},
        "box": tiling.box,
        "stride": tiling.stride,
        "blend": tiling.blend,
        "boxes": count.total,
        "boxes_predicted": count.predicted,
        "inverted": settings.invert,
        "purpose": PURPOSE,
    }
