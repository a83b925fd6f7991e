"""Improve a map: the default way, on the exact grid of the input."""

from __future__ import annotations

import logging
from dataclasses import asdict, dataclass, field

import numpy as np
import torch

from cryoclarity.density.masks import automatic_mask, soft_edge, suggest_contour
from cryoclarity.density.normalise import PERCENTILE, percentile_scale, scale_to_unit
from cryoclarity.density.radial import apply_radial_filter
from cryoclarity.density.resample import network_grid, resample, resample_linear
from cryoclarity.errors import InputError
from cryoclarity.grid import Grid, Volume
from cryoclarity.io.map_header import MAX_VOXELS
from cryoclarity.nets.device import choose_device
from cryoclarity.predict.amplitude import Amplitude, apply_amplitude, fit_amplitude
from cryoclarity.predict.engine import (
    ARRAYS,
    Runner,
    TileCount,
    Tiling,
    batch_within,
    default_batch,
    predict_tiles,
)
from cryoclarity.predict.ligands import keep_input
from cryoclarity.predict.model import Model
from cryoclarity.predict.region import Region
from cryoclarity.predict.trust import CPU_PASSES, GPU_PASSES, Trust, judge, reliable_limit

LOGGER = logging.getLogger(__name__)
# A box is empty when its maximum is at most this share of the map's scale. Resampling leaves
# ripples of this size far from the molecule, and the network's normalisation would blow them up.
EMPTY_SHARE = 1e-3
# Further arrays at the peak, measured: the local statistics of a trust map, the sums of a spread.
TRUST_ARRAYS = 6
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
    device : 'auto', 'cpu', 'cuda', 'cuda:N'
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


@dataclass(frozen=True)
class OnNetwork:
    """A map as the network sees it: on its grid, outside the mask zero, with its input scale."""

    grid: Grid
    density: np.ndarray
    soft: np.ndarray | None
    scale: float


def looks_inverted(density: np.ndarray) -> bool:
    """Whether the far negative tail is longer than the positive one, seen from the median."""
    low, median, high = np.percentile(density, (0.01, 50, 99.99))
    return bool(median - low > INVERTED_RATIO * (high - median))


def enhance(
    volume: Volume,
    model: Model,
    settings: PredictSettings,
    region: Region | None = None,
    half_maps: tuple[Volume, Volume] | None = None,
) -> Prediction:
    """Improve a map.

    Parameters
    ----------
    volume : Volume
    model : Model
        Of the task 'enhance', with a card.
    settings : PredictSettings
    region : Region, optional
        Input outside it is set to zero with a soft edge, and so is the result.
    half_maps : two Volumes of the same frame, optional
        Used by the trust map alone.

    Returns
    -------
    Prediction
        Density of the input's shape.

    Raises
    ------
    InputError
        PRED_NO_SIGNAL or PRED_MASK.
    ResourceError
        PRED_MEMORY.
    """
    density = -volume.density if settings.invert else volume.density
    warnings = input_warnings(volume, density, model)
    runner = make_runner(model, settings, volume.grid, bounded_grid(volume.grid, model))
    work = on_network(density, volume.grid, model, region)
    tiling = make_tiling(model, settings)
    prediction, count = run_boxes(runner, work.density, work.scale, tiling)
    trust = None
    if settings.trust:
        halves = _halves(half_maps, work, model, settings)
        trust = _judge(runner, work, prediction, halves, volume.grid, tiling, settings)
    grid, soft, scale = work.grid, work.soft, work.scale
    del work
    result = resample(prediction, grid, volume.grid, overwrite=True)
    del prediction
    outer = None if soft is None else resample_linear(soft, grid, volume.grid)
    amplitude = _restore(result, density, outer, settings)
    kept = _keep(result, density, volume.grid, amplitude) if settings.ligand_safe else None
    if outer is not None:
        # Last, so that the offset does not fill the outside.
        result *= outer
    facts = run_facts(model, settings, tiling, count, grid) | {
        "input_scale": scale,
        "amplitude": asdict(amplitude) | {"mode": settings.amplitude},
        "mask": None if region is None else region.facts(),
        "suggested_contour": suggest_contour(result),
        "share_kept_from_input": kept,
        "trust": None if trust is None else trust.facts,
    }
    maps = {}
    if trust is not None:
        maps["trust"] = resample_linear(trust.density, grid, volume.grid)
        if outer is not None:
            maps["trust"] *= outer
    return Prediction(result, facts, warnings, maps, trust)


def on_network(density: np.ndarray, grid: Grid, model: Model, region: Region | None) -> OnNetwork:
    """Put a density on the network's grid, cut it to the region, and find its input scale.

    Raises
    ------
    InputError
        PRED_NO_SIGNAL or PRED_MASK.
    """
    network = bounded_grid(grid, model)
    work = resample(density, grid, network)
    soft = None if region is None else soft_edge(region.inside(network))
    if soft is not None:
        work *= soft
    return OnNetwork(network, work, soft, signal_scale(work, model))


def run_boxes(
    runner: Runner, work: np.ndarray, scale: float, tiling: Tiling
) -> tuple[np.ndarray, TileCount]:
    """Predict on the network's grid; boxes without signal are left out and count as 0."""
    floor = EMPTY_SHARE * scale

    def wanted(cut: np.ndarray, start: tuple[int, int, int]) -> bool:
        return bool(cut.max() > floor)

    return predict_tiles(runner, work, tiling, lambda cut: scale_to_unit(cut, scale), wanted)


def _halves(
    half_maps: tuple[Volume, Volume] | None, work: OnNetwork, model: Model, settings
) -> list[tuple[np.ndarray, float]]:
    found = []
    for half in half_maps or ():
        density = resample(half.density, half.grid, work.grid)
        if settings.invert:
            density *= -1
        if work.soft is not None:
            density *= work.soft
        found.append((density, signal_scale(density, model)))
    return found


def _judge(
    runner: Runner,
    work: OnNetwork,
    prediction: np.ndarray,
    halves: list[tuple[np.ndarray, float]],
    grid: Grid,
    tiling: Tiling,
    settings: PredictSettings,
) -> Trust:
    limit, assumed = reliable_limit(grid, work.grid.voxel_size[0], settings.resolution)

    def run(density: np.ndarray, scale: float) -> np.ndarray:
        return run_boxes(runner, density, scale, tiling)[0]

    trust = judge(
        run,
        (work.density, work.scale),
        prediction,
        halves,
        work.grid,
        limit,
        tiling.stride,
        trust_passes(settings, runner.device),
    )
    trust.facts["resolution_assumed"] = assumed
    return trust


def _keep(result: np.ndarray, density: np.ndarray, grid: Grid, amplitude: Amplitude) -> float:
    """Blend the input back; where the result has the network's units, in these."""
    if not amplitude.fitted:
        known = fit_amplitude(result, density, automatic_mask(density))
        density = (density - np.float32(known.offset)) / np.float32(known.scale)
    return keep_input(result, density, grid.voxel_size_zyx, amplitude.offset)


def _restore(
    result: np.ndarray, density: np.ndarray, outer: np.ndarray | None, settings: PredictSettings
) -> Amplitude:
    """Bring the result to the input's amplitude in place, if that is asked for."""
    if settings.amplitude == "network":
        return Amplitude()
    mask = automatic_mask(density) if outer is None else outer > 0.5
    amplitude = fit_amplitude(result, density, mask)
    if not amplitude.fitted:
        LOGGER.warning("the prediction does not follow the input: left in the network's units")
    apply_amplitude(result, amplitude)
    return amplitude


def signal_scale(work: np.ndarray, model: Model) -> float:
    """Return the percentile of the positive voxels that the weights were trained with.

    Raises
    ------
    InputError
        PRED_NO_SIGNAL.
    """
    percentile = float(model.normalisation().get("percentile", PERCENTILE))
    scale = percentile_scale(work, percentile)
    if scale is None:
        raise InputError(
            f"no positive density (maximum {float(work.max()):.6g})",
            code="PRED_NO_SIGNAL",
            remedy="check the contrast (--invert) and the mask",
        )
    return scale


def make_tiling(model: Model, settings: PredictSettings) -> Tiling:
    """Return the tiling of a run; a stride above the box counts as the box."""
    stride = settings.stride or model.box // 2
    return Tiling(model.box, min(stride, model.box), settings.blend)


def make_runner(model: Model, settings: PredictSettings, grid: Grid, network: Grid) -> Runner:
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
    batch = batch_within(settings.max_memory, batch, sizes, total_arrays(settings))
    return Runner(model.network, device, batch)


def total_arrays(settings: PredictSettings) -> int:
    """Return how many arrays of the network's grid a run holds at its peak."""
    if settings.trust:
        return ARRAYS + TRUST_ARRAYS
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
    if any("cryoclarity" in label and "enhance" in label for label in labels):
        warnings.append(("W_PRED_ENHANCED", "the input is already an improved map"))
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


def reference_maps(
    volume: Volume, model: Model, radial_filter: tuple[np.ndarray, np.ndarray]
) -> dict[str, np.ndarray]:
    """Return what any improved map has to be compared with, on the grid of the input.

    Parameters
    ----------
    volume : Volume
    model : Model
        Gives grid and input scale.
    radial_filter : frequency (1/angstrom) and gain
        The best radial linear filter of the weights' training set.

    Returns
    -------
    dict
        ``roundtrip``: the input through the network's grid and back; ``clipped``: scaled and cut
        at zero as the network sees it; ``radial_filter``: that, filtered and cut at zero.
    """
    grid = bounded_grid(volume.grid, model)
    work = resample(volume.density, volume.grid, grid)
    maps = {"roundtrip": resample(work, grid, volume.grid)}
    clipped = scale_to_unit(work, signal_scale(work, model))
    maps["clipped"] = resample(clipped, grid, volume.grid)
    frequency, gain = radial_filter
    if len(frequency):
        filtered = apply_radial_filter(clipped, grid.voxel_size, frequency, gain)
        maps["radial_filter"] = resample(np.maximum(filtered, 0), grid, volume.grid)
    return maps
