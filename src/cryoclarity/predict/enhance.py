"""Improve a map: the default way, on the exact grid of the input."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace

import numpy as np

from cryoclarity.density.masks import automatic_mask, soft_edge, suggest_contour
from cryoclarity.density.normalise import PERCENTILE, percentile_scale, scale_to_unit
from cryoclarity.density.radial import apply_radial_filter
from cryoclarity.density.resample import resample, resample_linear
from cryoclarity.density.shift import coarse_shift
from cryoclarity.errors import InputError
from cryoclarity.grid import Grid, Volume
from cryoclarity.predict.amplitude import Amplitude, apply_amplitude, fit_amplitude
from cryoclarity.predict.common import (
    Prediction,
    PredictSettings,
    bounded_grid,
    input_warnings,
    make_runner,
    make_tiling,
    run_facts,
    trust_passes,
)
from cryoclarity.predict.engine import (
    Runner,
    Start,
    TileCount,
    Tiling,
    predict_sections,
    predict_tiles,
)
from cryoclarity.predict.ligands import keep_input
from cryoclarity.predict.model import Model
from cryoclarity.predict.passes import Pass, further_passes
from cryoclarity.predict.region import Region
from cryoclarity.predict.symmetry import average, operators, symmetry_loss
from cryoclarity.predict.trust import FULL, Trust, judge, reliable_limit

LOGGER = logging.getLogger(__name__)
# A box is empty when its maximum is at most this share of the map's scale. Resampling leaves
# ripples of this size far from the molecule, and the network's normalisation would blow them up.
EMPTY_SHARE = 1e-3
SMALLEST_SHIFT, LARGEST_SHIFT = 0.002, 0.5  # voxels


@dataclass(frozen=True)
class OnNetwork:
    """A map as the network sees it: on its grid, outside the mask zero, with its input scale."""

    grid: Grid
    density: np.ndarray
    soft: np.ndarray | None
    scale: float


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
    ConfigError
        An unknown point group.
    InputError
        PRED_NO_SIGNAL or PRED_MASK.
    ResourceError
        PRED_MEMORY.
    """
    density = -volume.density if settings.invert else volume.density
    turns = operators(settings.symmetry, volume.grid) if settings.symmetry else []
    warnings = input_warnings(volume, density, model)
    network = bounded_grid(volume.grid, model)
    runner = make_runner(model, settings, volume.grid, network, half_maps is not None)
    work = on_network(density, volume.grid, model, region)
    tiling = make_tiling(model, settings)
    prediction, count = run_boxes(runner, work.density, work.scale, tiling)
    trust = None
    if settings.trust:
        halves = _halves(half_maps, work, model, settings)
        trust = _judge(runner, work, prediction, halves, volume.grid, tiling, settings)
        del halves
    grid, soft, scale = work.grid, work.soft, work.scale
    moved = coarse_shift(work.density, prediction)
    del work
    result = resample(prediction, put_back(grid, moved), volume.grid, overwrite=True)
    del prediction
    outer = None if soft is None else resample_linear(soft, grid, volume.grid)
    del soft
    facts = run_facts(model, settings, tiling, count, grid) | {
        "input_scale": scale,
        "shift_taken_back_a": float(np.linalg.norm(moved * grid.voxel_size_zyx)),
        "mask": None if region is None else region.facts(),
        "trust": None if trust is None else trust.facts,
    }
    facts |= _finish(result, density, volume.grid, outer, settings, turns)
    maps = {}
    if trust is not None:
        maps["trust"] = resample_linear(trust.density, grid, volume.grid)
        maps["trust"] *= np.float32(1 / FULL) if outer is None else outer * np.float32(1 / FULL)
    return Prediction(result, facts, warnings, maps, trust)


def put_back(grid: Grid, moved: np.ndarray) -> Grid:
    """Return the grid of a prediction, with the shift that the network gave it taken back.

    A network trained for a short time shifts a map by some hundredths of a voxel. More than half
    a voxel is no shift but another map, and is left alone.

    Parameters
    ----------
    grid : Grid
    moved : (3,) float
        Voxels along z, y, x.
    """
    if np.abs(moved).max() < SMALLEST_SHIFT:
        return grid  # on the input's own grid nothing is interpolated then
    if np.abs(moved).max() > LARGEST_SHIFT:
        LOGGER.warning("the prediction lies %s voxels from the input: left there", moved.round(2))
        return grid
    origin = np.asarray(grid.origin) - moved[::-1] * grid.voxel_size
    return replace(grid, origin=tuple(float(x) for x in origin))


def _finish(
    result: np.ndarray,
    density: np.ndarray,
    grid: Grid,
    outer: np.ndarray | None,
    settings: PredictSettings,
    turns: list[np.ndarray],
) -> dict[str, object]:
    """Bring a result to its amplitude, symmetry and mask in place; return what was done."""
    amplitude = _restore(result, density, outer, settings)
    kept = _keep(result, density, grid, amplitude) if settings.ligand_safe else None
    symmetry = None
    if turns:
        symmetry = {"group": settings.symmetry, "imposed": settings.impose_symmetry}
        symmetry |= symmetry_loss(density, result, turns)
        if settings.impose_symmetry:
            result[:] = average(result, turns)
    if outer is not None:
        # Last, so that the offset does not fill the outside.
        result *= outer
    return {
        "amplitude": asdict(amplitude) | {"mode": settings.amplitude},
        "suggested_contour": suggest_contour(result),
        "share_kept_from_input": kept,
        "symmetry": symmetry,
    }


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


Wanted = Callable[[np.ndarray, Start], bool]
Prepare = Callable[[np.ndarray], np.ndarray]


def _rules(scale: float) -> tuple[Prepare, Wanted]:
    """How a box becomes input, and which boxes hold anything."""
    floor = EMPTY_SHARE * scale

    def wanted(cut: np.ndarray, start: Start) -> bool:
        return bool(cut.max() > floor)

    return lambda cut: scale_to_unit(cut, scale), wanted


def run_boxes(
    runner: Runner, work: np.ndarray, scale: float, tiling: Tiling
) -> tuple[np.ndarray, TileCount]:
    """Predict on the network's grid; boxes without signal are left out and count as 0."""
    return predict_tiles(runner, work, tiling, *_rules(scale))


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

    def run(density: np.ndarray, scale: float, look: Pass) -> Iterator[np.ndarray]:
        return predict_sections(runner, density, tiling, *_rules(scale), TileCount(), look)

    passes = max(trust_passes(settings, runner.device), 2 if halves else 1)
    trust = judge(
        run,
        (work.density, work.scale),
        prediction,
        halves,
        work.grid,
        limit,
        further_passes(passes, tiling.stride),
        settings.trust_parts,
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
