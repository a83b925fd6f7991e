"""Estimate local resolution by a network, on the exact grid of the input."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cryoclarity.density.masks import automatic_mask
from cryoclarity.density.normalise import SOLVENT_CLIP, solvent_standardise, solvent_statistics
from cryoclarity.density.resample import resample, resample_linear
from cryoclarity.errors import InputError
from cryoclarity.grid import Grid, Volume
from cryoclarity.nets.label_transform import LabelTransform
from cryoclarity.nets.registry import BAND_LAYOUT, box_layout
from cryoclarity.predict.bands import LARGEST_SHARE_AT_LIMITS, band_input, band_resolution
from cryoclarity.predict.common import (
    Prediction,
    PredictSettings,
    bounded_grid,
    input_warnings,
    make_runner,
    make_tiling,
    run_facts,
)
from cryoclarity.predict.dropout import dropout_spread
from cryoclarity.predict.engine import predict_tiles
from cryoclarity.predict.model import Model
from cryoclarity.predict.region import Region


@dataclass(frozen=True)
class Standardised:
    """A map as the network sees it: on its grid, in units of the deviation inside the mask."""

    grid: Grid
    density: np.ndarray
    mask: np.ndarray
    median: float
    deviation: float


def local_resolution(
    volume: Volume, model: Model, settings: PredictSettings, region: Region | None = None
) -> Prediction:
    """Estimate the local resolution of a map in angstrom.

    Parameters
    ----------
    volume : Volume
    model : Model
        Of the task 'resolution', with the constants of its labels.
    settings : PredictSettings
    region : Region, optional
        By default the automatic mask of :func:`cryoclarity.density.masks.automatic_mask`.

    Returns
    -------
    Prediction
        Angstrom inside the mask, clipped to [2 x voxel, largest training label]; 0 outside. With
        `passes` also the map ``spread``: the standard deviation over passes with dropout.

    Raises
    ------
    ConfigError
        Passes asked of a network without dropout.
    InputError
        PRED_NO_SIGNAL or PRED_MASK.
    ResourceError
        PRED_MEMORY.
    """
    density = -volume.density if settings.invert else volume.density
    warnings = input_warnings(volume, density, model)
    if box_layout(model.card["network"]["name"]) == BAND_LAYOUT:
        return _by_bands(density, volume.grid, model, settings, region, warnings)
    runner = make_runner(model, settings, volume.grid, bounded_grid(volume.grid, model))
    found = standardised(density, volume.grid, model, region)
    grid, work, mask = found.grid, found.density, found.mask
    median, deviation = found.median, found.deviation
    del found
    tiling = make_tiling(model, settings)

    def wanted(cut: np.ndarray, start: tuple[int, int, int]) -> bool:
        return bool(mask[tuple(slice(s, s + tiling.box) for s in start)].any())

    output, count = predict_tiles(runner, work, tiling, lambda cut: cut, wanted)
    limits = _to_angstrom(output, model, volume.grid)
    maps = {}
    if settings.passes is not None:

        def decode(raw: np.ndarray) -> np.ndarray:
            _to_angstrom(raw, model, volume.grid)
            return raw

        spread = dropout_spread(runner, work, tiling, wanted, decode, settings.passes)
        maps["spread"] = resample_linear(spread, grid, volume.grid)
        del spread
    del work
    result = resample_linear(output, grid, volume.grid)
    del output
    inside = nearest(mask, grid, volume.grid)
    for values in (result, *maps.values()):
        values[~inside] = 0
    facts = run_facts(model, settings, tiling, count, grid) | {
        "solvent_median": median,
        "inside_deviation": deviation,
        "mask": {"kind": "automatic"} if region is None else region.facts(),
        "passes": settings.passes,
    }
    facts |= _summary(result[inside], limits)
    if maps:
        facts["median_spread_a"] = _median(maps["spread"][inside])
    return Prediction(result, facts, warnings, maps)


def _by_bands(
    density: np.ndarray,
    grid: Grid,
    model: Model,
    settings: PredictSettings,
    region: Region | None,
    warnings: list[tuple[str, str]],
) -> Prediction:
    found = band_input(density, grid, model, region)
    result, facts = band_resolution(found, grid, model, settings)
    inside = nearest(found.mask, found.map_grid, grid)
    limits = _limits(LabelTransform(**model.card["labels"]), grid)
    np.clip(result, *limits, out=result)
    result[~inside] = 0
    facts["mask"] = {"kind": "molecule"} if region is None else region.facts()
    facts |= _summary(result[inside], limits)
    share = facts["share_at_limits"]
    if share is not None and share > LARGEST_SHARE_AT_LIMITS:
        text = f"{share:.0%} of the voxels lie at a limit of the range that was trained"
        warnings = [*warnings, ("W_PRED_UNTRAINED", text)]
    return Prediction(result, facts, warnings)


def standardised(
    density: np.ndarray, grid: Grid, model: Model, region: Region | None
) -> Standardised:
    """Put a density on the network's grid and scale it by its solvent.

    Raises
    ------
    InputError
        PRED_NO_SIGNAL or PRED_MASK.
    """
    network = bounded_grid(grid, model)
    work = resample(density, grid, network)
    mask = automatic_mask(work) if region is None else region.inside(network)
    median, deviation = solvent_statistics(work, mask) if mask.any() else (0.0, 0.0)
    if deviation == 0:
        raise InputError(
            "no density inside the mask", code="PRED_NO_SIGNAL", remedy="check map and mask"
        )
    clip = tuple(model.normalisation().get("clip", SOLVENT_CLIP))
    work = solvent_standardise(work, median, deviation, clip)
    return Standardised(network, work, mask, median, deviation)


def nearest(mask: np.ndarray, source: Grid, target: Grid) -> np.ndarray:
    """Return a mask on another grid by its nearest voxels; it takes no float array."""
    chosen = []
    for axis, size in enumerate(source.shape):
        voxel = source.voxel_size_zyx[axis]
        shift = target.origin_zyx[axis] - source.origin_zyx[axis]
        point = (np.arange(target.shape[axis]) * target.voxel_size_zyx[axis] + shift) / voxel
        chosen.append(np.clip(np.rint(point).astype(int), 0, size - 1))
    return mask[np.ix_(*chosen)]


def _to_angstrom(output: np.ndarray, model: Model, grid: Grid) -> tuple[float, float]:
    """Decode the network's output in place; return the limits it was clipped to."""
    labels = LabelTransform(**model.card["labels"])
    low, high = _limits(labels, grid)
    for section in output:
        section[:] = np.clip(labels.decode(section), low, high)
    return low, high


def _limits(labels: LabelTransform, grid: Grid) -> tuple[float, float]:
    """The Nyquist limit of the map itself, and the largest training label."""
    low = 2.0 * max(grid.voxel_size)
    return low, max(labels.maximum, low)


def _summary(values: np.ndarray, limits: tuple[float, float]) -> dict[str, object]:
    return {
        "limits_a": list(limits),
        "voxels_inside": values.size,
        "median_a": _median(values),
        "share_at_limits": _share_at_limits(values, limits),
    }


def _median(values: np.ndarray) -> float | None:
    return float(np.median(values)) if values.size else None


def _share_at_limits(values: np.ndarray, limits: tuple[float, float]) -> float | None:
    """Share of voxels at either limit: many of them mean that the range does not fit the map."""
    if not values.size:
        return None
    low, high = (np.float32(limit) for limit in limits)
    return float(np.mean((values <= low) | (values >= high)))
