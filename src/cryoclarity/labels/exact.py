"""The detection test of ResMap without the oddities of its program: the engine ``resmap-exact``.

Same model and statistic as :mod:`cryoclarity.labels.resmap` (Kucukelbir, Sigworth, Tagare, Nature
Methods 11:63, 2014), but: boxes of any shape, one frequency grid, noise variance from all windows
with its standard error, the whole null distribution, the full step-up rule, fine steps over a
range that the data set, and filtered maps computed on a coarser grid without mixing labels.
"""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass

import numpy as np
import scipy.fft

from cryoclarity.errors import InputError
from cryoclarity.labels.exact_noise import (
    NoiseVariance,
    fdr_threshold,
    noise_variance,
    shell_frequencies,
    shell_power,
    whiten,
)
from cryoclarity.labels.region import density_mask, inscribed_ellipsoid, silent_share
from cryoclarity.labels.resmap import FAILED, LABELLED, LARGEST_RADIUS, OUTSIDE
from cryoclarity.labels.statistic import level_basis, level_radius, statistic_map

__all__ = ["ExactLevel", "ExactParameters", "ExactResult", "exact_resolution"]

FIRST_LEVEL = 2.2
"""Finest level in voxels: the smallest whose window determines the model."""
LARGEST_LEVEL = 15.0
CLIFF = 100.0
"""Fall of power across a tenth of the frequency that marks a low-pass filter."""
_CLIFF_WIDTH = 0.06
_LEFT = 0.005
_MOST_ANISOTROPY = 1.02
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ExactParameters:
    """Settings of a run; zeros let the data choose.

    min_res, max_res, step_res : angstrom; by default from 2.2 voxels to 15 A or 18 voxels.
    p_value : false-discovery rate of a level.
    min_noise_windows : a level with fewer independent noise windows ends the list.
    max_zero_share : largest silent share of the background.
    threads : slabs and transforms at a time.
    """

    min_res: float = 0.0
    max_res: float = 0.0
    step_res: float = 0.5
    p_value: float = 0.05
    min_noise_windows: float = 1.0
    largest_level: float = LARGEST_LEVEL
    max_zero_share: float = 1.0
    threads: int = 1


@dataclass(frozen=True)
class ExactLevel:
    """What one level measured; angstrom, voxels, and units of the statistic."""

    resolution: float
    radius: int
    tested: int
    noise: NoiseVariance
    threshold: float
    assigned: int


@dataclass(frozen=True)
class ExactResult:
    """Outcome of a run.

    resolution : (z, y, x) float32, angstrom, 0 where there is no value.
    codes : (z, y, x) uint8, 0 outside, 1 labelled, 2 worse than every level.
    factor : share of the grid that was computed on; 0 for a map that is not filtered.
    """

    resolution: np.ndarray
    codes: np.ndarray
    levels: list[ExactLevel]
    voxel_size: float
    computed_shape: tuple[int, int, int]
    factor: float
    silent_share: float
    zero_box_share: float
    whitening: np.ndarray
    stopped: str


def exact_resolution(
    maps: tuple[np.ndarray, ...],
    voxel_size: tuple[float, float, float],
    parameters: ExactParameters | None = None,
    mask: np.ndarray | None = None,
) -> ExactResult:
    """Label a map or two half maps with a local resolution.

    Parameters
    ----------
    maps : one or two (z, y, x) float32
    voxel_size : (z, y, x), angstrom
        Equal within 2 %.
    parameters : ExactParameters, optional
    mask : (z, y, x), optional
        Non-zero is particle; by default made from the density.

    Raises
    ------
    InputError
        LABEL_HALVES_DIFFER, LABEL_ZERO_BACKGROUND, LABEL_NO_NOISE_BLOCKS, LABEL_LEVEL_RANGE,
        HDR_ANISOTROPY, VAL_CONSTANT.
    """
    parameters = parameters or ExactParameters()
    _check(maps, voxel_size, mask)
    zeros = np.logical_and.reduce([volume == 0 for volume in maps])
    density, difference = _start(maps)
    edge = float(np.prod(voxel_size)) ** (1 / 3)
    inside = density_mask(density, difference) if mask is None else np.asarray(mask) != 0
    silent = silent_share(maps, inside)
    if silent > parameters.max_zero_share:
        raise InputError(
            f"{silent:.0%} of the background carries no noise",
            code="LABEL_ZERO_BACKGROUND",
            remedy="give unmasked half maps",
        )
    shape, factor = density.shape, _low_pass_factor(density, edge)
    if factor:
        coarse = tuple(max(16, 2 * math.ceil(factor * n / 2)) for n in shape)
        density = _fourier_crop(density, coarse)
        difference = None if difference is None else _fourier_crop(difference, coarse)
        inside = _nearest(inside, coarse)
        edge *= (math.prod(shape) / math.prod(coarse)) ** (1 / 3)
    volumes, coefficients = whiten(density, difference, inside, edge, parameters.threads)
    region = inside if difference is not None else inscribed_ellipsoid(inside.shape, 1) & ~inside
    index, tested, levels, stopped = _run(volumes, inside, region, edge, parameters)
    table = np.array([0.0] + [level.resolution for level in levels])
    resolution = table[index].astype(np.float32)
    codes = np.where(index > 0, LABELLED, np.where(tested, FAILED, OUTSIDE)).astype(np.uint8)
    return ExactResult(
        resolution=_nearest(resolution, shape),
        codes=_nearest(codes, shape),
        levels=levels,
        voxel_size=edge,
        computed_shape=inside.shape,
        factor=factor,
        silent_share=silent,
        zero_box_share=float(zeros.mean()),
        whitening=coefficients,
        stopped=stopped,
    )


def _check(maps, voxel_size, mask) -> None:
    shapes = {volume.shape for volume in maps} | ({mask.shape} if mask is not None else set())
    if len(shapes) != 1:
        raise InputError(
            f"shapes of maps and mask are {sorted(shapes)}",
            code="LABEL_HALVES_DIFFER",
            remedy="give volumes on one grid",
        )
    if max(voxel_size) / min(voxel_size) > _MOST_ANISOTROPY:
        raise InputError(
            f"voxel is {voxel_size} A (z, y, x), the windows need equal edges",
            code="HDR_ANISOTROPY",
            remedy="resample the map",
        )


def _start(maps: tuple[np.ndarray, ...]) -> tuple[np.ndarray, np.ndarray | None]:
    """Density without its mean, and half difference."""
    first = np.asarray(maps[0], np.float64)
    if len(maps) == 1:
        return (first - first.mean()).astype(np.float32), None
    second = np.asarray(maps[1], np.float64)
    density = 0.5 * (first + second)
    return (density - density.mean()).astype(np.float32), (0.5 * (first - second)).astype(
        np.float32
    )


def _low_pass_factor(density: np.ndarray, voxel_size: float) -> float:
    """Share of the grid's resolution that a filtered map uses; 0 when it was not filtered.

    A filter shows as a fall of power by a hundred within a tenth of the frequency, with nothing
    above it beyond.
    """
    radius = shell_frequencies(density.shape, voxel_size)
    step = 1 / (max(density.shape) * voxel_size)
    power, _ = shell_power(scipy.fft.rfftn(density), radius, step)
    last = int(0.5 / voxel_size / step)
    for shell in range(last // 4, last):
        low = max(1, round(shell * (1 - _CLIFF_WIDTH)))
        high = round(shell * (1 + _CLIFF_WIDTH))
        if high >= last:
            break
        if power[high : last + 1].max() * CLIFF < power[low]:
            return min(1.0, high / last)
    return 0.0


def _fourier_crop(volume: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
    """Resample to a coarser grid of even edges over the same box by cutting its transform."""
    transform = scipy.fft.rfftn(volume)
    for axis in (0, 1):
        half = shape[axis] // 2
        length = transform.shape[axis]
        kept = np.r_[0:half, length - half : length]
        transform = np.take(transform, kept, axis=axis)
    transform = transform[:, :, : shape[2] // 2 + 1]
    scale = math.prod(shape) / volume.size
    return (scipy.fft.irfftn(transform, s=shape) * scale).astype(np.float32)


def _nearest(values: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
    """Nearest value on another grid over the same periodic box."""
    if values.shape == tuple(shape):
        return values
    index = [
        np.rint(np.arange(new) * (old / new)).astype(int) % old
        for new, old in zip(shape, values.shape, strict=True)
    ]
    return values[np.ix_(*index)]


def _levels(parameters: ExactParameters, voxel_size: float) -> list[float]:
    """Levels to test in angstrom."""
    low = max(parameters.min_res, math.ceil(FIRST_LEVEL * voxel_size / 0.1 - 1e-9) * 0.1)
    high = min(
        parameters.max_res or math.inf,
        parameters.largest_level,
        2 * LARGEST_RADIUS * voxel_size,
    )
    if low > high:
        raise InputError(
            f"first level is {low:.2f} A, the last possible one {high:.2f} A",
            code="LABEL_LEVEL_RANGE",
            remedy="lower the first level or raise the last",
        )
    count = int((high - low) / parameters.step_res + 1e-6) + 1
    return [low + parameters.step_res * number for number in range(count)]


def _fits(shape: tuple[int, int, int], radius: int) -> np.ndarray:
    """Voxels whose window lies in the box, bool."""
    inner = np.zeros(shape, bool)
    inner[tuple(slice(radius, n - radius) if n > 2 * radius else slice(0, 0) for n in shape)] = True
    return inner


def _run(
    volumes: list[np.ndarray],
    inside: np.ndarray,
    region: np.ndarray,
    voxel_size: float,
    parameters: ExactParameters,
) -> tuple[np.ndarray, np.ndarray, list[ExactLevel], str]:
    """Level number per voxel (0: none), voxels tested to the end, levels, why it ended."""
    index = np.zeros(inside.shape, np.uint8)
    remaining = inside.copy()
    levels: list[ExactLevel] = []
    for resolution in _levels(parameters, voxel_size):
        radius = level_radius(resolution, voxel_size)
        basis = level_basis(resolution, voxel_size)
        noise = noise_variance(volumes[-1], region, basis)
        if noise.independent < max(1, parameters.min_noise_windows) or noise.value <= 0:
            reason = f"{noise.independent:.1f} independent noise windows at {resolution:.2f} A"
            if levels:
                return index, remaining, levels, reason
            raise InputError(
                reason,
                code="LABEL_NO_NOISE_BLOCKS",
                remedy="give half maps, or a box with more background",
            )
        remaining &= _fits(inside.shape, radius)
        tested = int(remaining.sum())
        threshold = math.inf
        passed = np.zeros_like(remaining)
        if tested:
            values = statistic_map(volumes[0], remaining, basis, parameters.threads)
            values /= np.float32(noise.value)
            threshold = fdr_threshold(values, basis.eigenvalues, parameters.p_value)
            passed[remaining] = values >= threshold
        index[passed] = len(levels) + 1
        remaining &= ~passed
        assigned = int(passed.sum())
        levels.append(ExactLevel(resolution, radius, tested, noise, threshold, assigned))
        _log.info("level %.2f A: %d of %d voxels", resolution, assigned, tested)
        if tested - assigned <= _LEFT * inside.sum():
            return index, remaining, levels, "all voxels labelled"
    return index, remaining, levels, "last level"
