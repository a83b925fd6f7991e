"""The detection test of ResMap without the oddities of its program: the engine ``resmap-exact``.

Same model and statistic as :mod:`cryoclarity.labels.resmap` (Kucukelbir, Sigworth, Tagare, Nature
Methods 11:63, 2014), but: boxes of any shape, one frequency grid, noise variance from all windows
with its standard error, the whole null distribution, the full step-up rule, fine steps over a
range that the data set, and filtered maps computed on a coarser grid without mixing labels.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import scipy.fft

from cryoclarity.errors import InputError
from cryoclarity.labels.exact_noise import (
    NoiseVariance,
    NoiseWindows,
    Spectrum,
    fdr_threshold,
    whiten,
)
from cryoclarity.labels.levels import (
    FAILED,
    LABELLED,
    LARGEST_RADIUS,
    NO_INDEX,
    OUTSIDE,
    run_levels,
)
from cryoclarity.labels.region import density_mask, inscribed_ellipsoid, silent_share
from cryoclarity.labels.statistic import LevelBasis, level_basis, statistic_map

__all__ = ["ExactLevel", "ExactParameters", "ExactResult", "Statistic", "exact_resolution"]

Statistic = Callable[[np.ndarray, np.ndarray, LevelBasis, int], np.ndarray]

FIRST_LEVEL = 2.2
"""Finest level in voxels: the smallest whose window determines the model."""
LARGEST_LEVEL = 15.0
CLIFF = 100.0
"""Fall of power across a tenth of the frequency that marks a low-pass filter."""
_CLIFF_WIDTH = 0.06
_LEFT = 0.005
_RINGING = 3
_MOST_ANISOTROPY = 1.02


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
    statistic: Statistic = statistic_map,
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
    statistic : callable, optional
        What computes the statistic, as :func:`cryoclarity.labels.statistic.statistic_map`.

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
    threads = parameters.threads
    inside = density_mask(density, difference, threads) if mask is None else np.asarray(mask) != 0
    silent = silent_share(maps, inside)
    if silent > parameters.max_zero_share:
        raise InputError(
            f"{silent:.0%} of the background carries no noise",
            code="LABEL_ZERO_BACKGROUND",
            remedy="give unmasked half maps",
        )
    shape, spectrum = density.shape, Spectrum(density.shape, edge, threads)
    transform = spectrum.forward(density)
    factor = _low_pass_factor(spectrum, transform)
    if factor:
        coarse = tuple(max(16, 2 * math.ceil(factor * n / 2)) for n in shape)
        density = _fourier_crop(transform, shape, coarse)
        if difference is not None:
            difference = _fourier_crop(spectrum.forward(difference), shape, coarse)
        inside = _nearest(inside, coarse)
        edge *= (math.prod(shape) / math.prod(coarse)) ** (1 / 3)
        spectrum = Spectrum(coarse, edge, threads)
        transform = spectrum.forward(density)
    volumes, coefficients = whiten(density, difference, inside, spectrum, transform)
    region = inside if difference is not None else inscribed_ellipsoid(inside.shape, 1) & ~inside
    test = _LevelTest(NoiseWindows(volumes[-1], region), edge, parameters, statistic)
    index, left, levels, stopped = run_levels(
        volumes[0], inside, _levels(parameters, edge), test, _ended(inside), keep_finished=True
    )
    table = np.zeros(NO_INDEX + 1, np.float32)
    table[: len(levels)] = [level.resolution for level in levels]
    codes = np.full(index.shape, OUTSIDE, np.uint8)
    codes[left] = FAILED
    codes[index < NO_INDEX] = LABELLED
    return ExactResult(
        resolution=_nearest(np.take(table, index), shape),
        codes=_nearest(codes, shape),
        levels=levels,
        voxel_size=edge,
        computed_shape=inside.shape,
        factor=factor,
        silent_share=silent,
        zero_box_share=float(zeros.mean()),
        whitening=coefficients,
        stopped=stopped or "last level",
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
    first = np.asarray(maps[0], np.float32)
    density, difference = first, None
    if len(maps) == 2:
        second, half = np.asarray(maps[1], np.float32), np.float32(0.5)
        density, difference = half * (first + second), half * (first - second)
    return density - np.float32(density.mean(dtype=np.float64)), difference


def _low_pass_factor(spectrum: Spectrum, transform: np.ndarray) -> float:
    """Share of the grid's resolution that a filtered map uses; 0 when it was not filtered.

    A filter shows as a fall of power by a hundred within a tenth of the frequency, with nothing
    above it beyond.
    """
    power = spectrum.power(transform)
    last = int(0.5 / spectrum.voxel_size / spectrum.step)
    for shell in range(last // 4, last):
        low = max(1, round(shell * (1 - _CLIFF_WIDTH)))
        high = round(shell * (1 + _CLIFF_WIDTH))
        if high >= last:
            break
        if power[high : last + 1].max() * CLIFF < power[low]:
            return min(1.0, high / last)
    return 0.0


def _fourier_crop(
    transform: np.ndarray, old: tuple[int, int, int], shape: tuple[int, int, int]
) -> np.ndarray:
    """Resample to a coarser grid of even edges over the same box by cutting its transform."""
    for axis in (0, 1):
        half = shape[axis] // 2
        length = transform.shape[axis]
        kept = np.r_[0:half, length - half : length]
        transform = np.take(transform, kept, axis=axis)
    transform = transform[:, :, : shape[2] // 2 + 1]
    scale = math.prod(shape) / math.prod(old)
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


class _LevelTest:
    """Test of one level, for :func:`cryoclarity.labels.levels.run_levels`."""

    def __init__(
        self,
        noise: NoiseWindows,
        voxel_size: float,
        parameters: ExactParameters,
        statistic: Statistic,
    ) -> None:
        self.noise, self.voxel_size = noise, voxel_size
        self.parameters, self.statistic = parameters, statistic

    def __call__(
        self, resolution: float, density: np.ndarray, left: np.ndarray, start: tuple[int, ...]
    ) -> tuple[ExactLevel, np.ndarray]:
        """Record of the level and the voxels that pass; takes out those without a window."""
        basis = level_basis(resolution, self.voxel_size)
        noise = self.noise.variance(basis)
        least = max(1, self.parameters.min_noise_windows)
        if noise.independent < least or noise.value <= 0:
            raise InputError(
                f"{noise.independent:.1f} independent noise windows at {resolution:.2f} A",
                code="LABEL_NO_NOISE_BLOCKS",
                remedy="give half maps, or a box with more background",
            )
        _only_fitting(left, start, self.noise.noise.shape, basis.radius)
        tested = int(np.count_nonzero(left))
        threshold = math.inf
        passed = np.zeros_like(left)
        if tested:
            values = self.statistic(density, left, basis, self.parameters.threads)
            values /= np.float32(noise.value)
            threshold = fdr_threshold(values, basis.eigenvalues, self.parameters.p_value)
            passed[left] = values >= threshold
        assigned = int(np.count_nonzero(passed))
        record = ExactLevel(resolution, basis.radius, tested, noise, threshold, assigned)
        return record, passed


def _only_fitting(
    left: np.ndarray, start: tuple[int, ...], shape: tuple[int, int, int], radius: int
) -> None:
    """Take out voxels whose window reaches a face of the whole box, or nearly.

    Filters wrap round the box: density that is cut off at a face rings there, which passes for
    detail.
    """
    margin = radius + _RINGING
    for axis, (first, edge) in enumerate(zip(start, shape, strict=True)):
        along = np.moveaxis(left, axis, 0)
        along[: max(0, margin - first)] = False
        along[max(0, edge - margin - first) :] = False


def _ended(inside: np.ndarray) -> Callable[[ExactLevel], str | None]:
    """Reason to stop after a level: hardly a voxel is left."""
    few = _LEFT * np.count_nonzero(inside)

    def ended(level: ExactLevel) -> str | None:
        return "all voxels labelled" if level.tested - level.assigned <= few else None

    return ended
