"""Local resolution as ResMap 1.1.5 computes it: the engine ``resmap``.

Each voxel gets the smallest of a short list of wavelengths at which a local sinusoid-like model
explains the density significantly better than a constant does, given the variance of white noise
measured elsewhere (Kucukelbir, Sigworth, Tagare, Nature Methods 11:63, 2014). The aim of this
module is equality with the program's labels, oddities included.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from cryoclarity.errors import InputError
from cryoclarity.labels.levels import (
    FAILED,
    LABELLED,
    LARGEST_RADIUS,
    MIXTURE,
    NO_INDEX,
    OUTSIDE,
    run_levels,
)
from cryoclarity.labels.lowpass import (
    LowPass,
    detect_low_pass,
    downsample,
    pure_mask,
    round_away,
    upsample_levels,
    upsample_nearest,
)
from cryoclarity.labels.prewhiten import (
    NoiseSpectrum,
    Whitening,
    apply_whitening,
    fit_whitening,
    gaussian_filter,
    noise_spectrum,
    sphere_mask,
)
from cryoclarity.labels.significance import false_discovery_threshold, kept_eigenvalues
from cryoclarity.labels.statistic import (
    block_variance,
    level_basis,
    level_radius,
    statistic_map,
    whole_blocks,
)

__all__ = [
    "FAILED",
    "LABELLED",
    "MIXTURE",
    "NO_VALUE",
    "OUTSIDE",
    "LevelRecord",
    "ResmapParameters",
    "ResmapResult",
    "local_resolution",
    "tested_mask",
]

NO_VALUE = 100.0
"""Angstrom written where no level passed, as the published program does."""

_BORDER = 9


@dataclass(frozen=True)
class ResmapParameters:
    """Settings of a run; zeros choose the program's defaults from the voxel size.

    min_res, max_res, step_res : first level, limit and step in angstrom.
    p_value : significance level.
    mask_cut : how half-map masks are cut, ``cube`` (1.1.5) or ``sphere`` (1.1.4).
    min_noise_blocks : a level with fewer noise blocks is refused.
    largest_level : angstrom; a level above it is refused (infinite: only the window limits).
    keep_finished : end the run with the levels done, instead of an error, at a refused level.
    max_zero_share : largest share of exact zeros in the background; a masked map is refused.
    threads : slabs and transforms at a time; the labels do not depend on it.
    """

    min_res: float = 0.0
    max_res: float = 0.0
    step_res: float = 1.0
    p_value: float = 0.05
    mask_cut: str = "cube"
    min_noise_blocks: int = 1
    largest_level: float = math.inf
    keep_finished: bool = False
    max_zero_share: float = 1.0
    threads: int = 1


@dataclass(frozen=True)
class LevelRecord:
    """What one level measured; lengths in angstrom, thresholds in units of the statistic."""

    resolution: float
    radius: int
    tested: int
    noise_blocks: int
    variance: float
    trace: float
    eigenvalues: tuple[float, ...]
    threshold_uncorrected: float
    threshold: float
    above_uncorrected: int
    assigned: int


@dataclass
class ResmapResult:
    """Outcome of a run.

    resolution : (z, y, x) float32, angstrom, 100 where there is no value.
    codes : (z, y, x) uint8, see OUTSIDE, LABELLED, FAILED, MIXTURE.
    level_index : uint8 on the computing grid, index into `levels`, 255 = none.
    mask : bool on the computing grid, the voxels that were tested.
    """

    resolution: np.ndarray
    codes: np.ndarray
    level_index: np.ndarray
    mask: np.ndarray
    levels: list[LevelRecord]
    voxel_size: float
    low_pass: LowPass
    noise: NoiseSpectrum
    whitening: Whitening
    data_mask_voxels: int
    zero_background_share: float
    zero_box_share: float
    min_res: float
    max_res: float
    stopped: str | None = None
    whitened: np.ndarray = field(default=None, repr=False)


@dataclass
class _Problem:
    """The volumes of a run on the computing grid."""

    density: np.ndarray
    difference: np.ndarray | None
    voxel_size: float
    data_mask: np.ndarray
    mask: np.ndarray
    sphere: np.ndarray
    noise_region: np.ndarray


def local_resolution(
    maps: tuple[np.ndarray, ...],
    voxel_size: float,
    parameters: ResmapParameters | None = None,
    mask: np.ndarray | None = None,
) -> ResmapResult:
    """Label the voxels of a map or of a pair of half maps with a local resolution.

    Parameters
    ----------
    maps : one or two (n, n, n) float32
        A single map, or two half maps.
    voxel_size : float
        Angstrom.
    parameters : ResmapParameters, optional
    mask : (n, n, n) array, optional
        Every non-zero voxel counts as particle. By default the mask is made from the blurred map.

    Returns
    -------
    ResmapResult

    Raises
    ------
    InputError
        LABEL_NOT_CUBIC, LABEL_HALVES_DIFFER, LABEL_ZERO_BACKGROUND, LABEL_NO_NOISE_BLOCKS,
        LABEL_LEVEL_RANGE, VAL_CONSTANT.
    """
    parameters = parameters or ResmapParameters()
    _check_shapes(maps, mask)
    zeros = np.logical_and.reduce([volume == 0 for volume in maps])
    density, difference = _start(maps)
    low_pass = detect_low_pass(density, parameters.threads)
    size = density.shape[0]
    problem = _prepare(density, difference, voxel_size, mask, low_pass.factor, parameters)
    zero_share = _zero_share(zeros, problem, size)
    if zero_share > parameters.max_zero_share:
        raise InputError(
            f"{zero_share:.0%} of the noise region is exactly 0",
            code="LABEL_ZERO_BACKGROUND",
            remedy="give unmasked half maps",
        )
    noise = noise_spectrum(
        problem.density, problem.difference, problem.data_mask, problem.sphere, parameters.threads
    )
    whitening = fit_whitening(noise, problem.density.shape[0], problem.voxel_size)
    _whiten(problem, whitening, parameters.threads)
    low, high = _range(parameters, problem.voxel_size)
    level_index, levels, stopped = _run_levels(problem, low, high, parameters)
    resolution, codes = _to_input_grid(level_index, problem.mask, levels, parameters, size)
    return ResmapResult(
        resolution=resolution,
        codes=codes,
        level_index=level_index,
        mask=problem.mask,
        levels=levels,
        voxel_size=problem.voxel_size,
        low_pass=low_pass,
        noise=noise,
        whitening=whitening,
        data_mask_voxels=int(problem.data_mask.sum()),
        zero_background_share=zero_share,
        zero_box_share=float(zeros.mean()),
        min_res=low,
        max_res=high,
        stopped=stopped,
        whitened=problem.density,
    )


def tested_mask(
    maps: tuple[np.ndarray, ...],
    voxel_size: float,
    parameters: ResmapParameters | None = None,
    mask: np.ndarray | None = None,
) -> tuple[np.ndarray, float]:
    """Voxels that ResMap tests, on the input grid, and the low-pass factor (0 = not filtered).

    For results of the real program, which writes neither. Arguments as `local_resolution`.
    """
    _check_shapes(maps, mask)
    density, difference = _start(maps)
    factor = detect_low_pass(density).factor
    problem = _prepare(
        density, difference, voxel_size, mask, factor, parameters or ResmapParameters()
    )
    size = density.shape[0]
    return (upsample_nearest(problem.mask, size) if factor else problem.mask), factor


def _check_shapes(maps: tuple[np.ndarray, ...], mask: np.ndarray | None) -> None:
    """Refuse what the algorithm cannot take."""
    shape = maps[0].shape
    if len(set(shape)) != 1:
        raise InputError(
            f"volume is {shape}, the resmap engine needs a cube",
            code="LABEL_NOT_CUBIC",
            remedy="give a cubic map",
        )
    if any(volume.shape != shape for volume in maps):
        raise InputError(
            f"half 1 is {shape}, half 2 is {maps[1].shape}",
            code="LABEL_HALVES_DIFFER",
            remedy="give two half maps of one reconstruction",
        )
    if mask is not None and mask.shape != shape:
        raise InputError(
            f"mask is {mask.shape}, map is {shape}",
            code="LABEL_HALVES_DIFFER",
            remedy="give a mask on the grid of the map",
        )


def _start(maps: tuple[np.ndarray, ...]) -> tuple[np.ndarray, np.ndarray | None]:
    """Density and half difference; only a single map loses its mean."""
    first = np.asarray(maps[0], np.float32)
    if len(maps) == 1:
        return first - first.mean(dtype=np.float32), None
    second = np.asarray(maps[1], np.float32)
    half = np.float32(0.5)
    return half * (first + second), half * (first - second)


def _prepare(
    density: np.ndarray,
    difference: np.ndarray | None,
    voxel_size: float,
    mask: np.ndarray | None,
    factor: float,
    parameters: ResmapParameters,
) -> _Problem:
    """Down-sample a filtered map and make its masks."""
    if factor:
        size = round_away(density.shape[0] * factor)
        density = downsample(density, size)
        difference = None if difference is None else downsample(difference, size)
        mask = None if mask is None else downsample(np.asarray(mask, np.float32), size)
        voxel_size = voxel_size / factor
    size = density.shape[0]
    if mask is not None and not factor:
        data_mask = mask != 0
    else:
        data_mask = _blurred_mask(density if mask is None else mask, parameters.threads)
    sphere = sphere_mask(size, size // 2 - 1)
    if difference is not None and parameters.mask_cut == "cube":
        inner = np.zeros_like(data_mask)
        cut = slice(_BORDER, size - _BORDER)
        inner[cut, cut, cut] = True
    else:
        inner = sphere_mask(size, size // 2 - _BORDER)
    particle = data_mask & inner
    region = particle if difference is not None else sphere ^ particle
    return _Problem(density, difference, voxel_size, data_mask, particle, sphere, region)


def _blurred_mask(volume: np.ndarray, threads: int) -> np.ndarray:
    """Voxels above 5 % of the maximum of the blurred volume, bool."""
    blurred = gaussian_filter(volume, 0.02 * volume.shape[0], threads)
    return blurred > np.float32(0.05 * float(blurred.max()))


def _zero_share(zeros: np.ndarray, problem: _Problem, size: int) -> float:
    """Largest share of exact zeros in the region of the noise or in the background.

    Both regions are the same for a single map. Half maps take their noise from the particle,
    but zeros around it say that they were masked.
    """
    regions = [problem.noise_region, problem.sphere & ~problem.mask]
    if problem.mask.shape[0] != size:
        regions = [upsample_nearest(region, size) for region in regions]
    return max(float(zeros[region].mean()) if region.any() else 0.0 for region in regions)


def _whiten(problem: _Problem, whitening: Whitening, threads: int) -> None:
    """Replace the volumes by their pre-whitened forms."""
    volumes = [problem.density]
    if problem.difference is not None:
        volumes.append(problem.difference)
    whitened = apply_whitening(volumes, whitening, threads)
    problem.density = whitened[0]
    problem.difference = whitened[1] if len(whitened) > 1 else None


def _range(parameters: ResmapParameters, voxel_size: float) -> tuple[float, float]:
    """First level and limit in angstrom."""
    low, high = parameters.min_res, parameters.max_res
    if low <= 2.2 * voxel_size:
        low = round_away(2.2 * voxel_size / 0.1) * 0.1
    if high == 0:
        high = round_away(4.0 * voxel_size / 0.5) * 0.5
    return low, high


def _levels(low: float, high: float, step: float) -> Iterator[float]:
    """Levels in angstrom; the first one not below the limit is still tested, and the last."""
    level = low
    while True:
        yield level
        if level >= high:
            return
        level += step


def _run_levels(
    problem: _Problem, low: float, high: float, parameters: ResmapParameters
) -> tuple[np.ndarray, list[LevelRecord], str | None]:
    """Test level after level; voxels that pass take the level and leave the mask."""
    size = problem.density.shape[0]
    threshold = math.inf

    def test(level: float, density: np.ndarray, left: np.ndarray, start: tuple[int, ...]):
        nonlocal threshold
        _refuse(problem, level, parameters)
        record, passed = _test_level(problem, level, density, left, threshold, parameters)
        threshold = record.threshold
        return record, passed

    def ended(record: LevelRecord) -> str | None:
        few = record.assigned < size and record.tested - record.assigned < size**2
        return "" if few else None

    levels = _levels(low, high, parameters.step_res)
    index, _, records, stopped = run_levels(
        problem.density, problem.mask, levels, test, ended, keep_finished=parameters.keep_finished
    )
    return index, records, stopped or None


def _refuse(problem: _Problem, level: float, parameters: ResmapParameters) -> None:
    """Raise for a level that cannot be tested."""
    radius = level_radius(level, problem.voxel_size)
    width = 2 * radius + 1
    if radius > LARGEST_RADIUS or level > parameters.largest_level:
        raise InputError(
            f"{level:.2f} A needs a window of {width} voxels; "
            f"the limit is {min(parameters.largest_level, 18 * problem.voxel_size):.2f} A",
            code="LABEL_LEVEL_RANGE",
            remedy="lower the largest level",
        )
    blocks = int(np.count_nonzero(whole_blocks(problem.noise_region, width)))
    if blocks < max(1, parameters.min_noise_blocks):
        found = "no noise block" if blocks == 0 else f"only {blocks} noise blocks"
        raise InputError(
            f"{found} of {width} voxels at {level:.2f} A",
            code="LABEL_NO_NOISE_BLOCKS",
            remedy="lower the largest level, or give half maps or a larger box",
        )


def _test_level(
    problem: _Problem,
    level: float,
    density: np.ndarray,
    left: np.ndarray,
    previous: float,
    parameters: ResmapParameters,
) -> tuple[LevelRecord, np.ndarray]:
    """Record of one level and the voxels of those left that pass it, (z, y, x) bool."""
    basis = level_basis(level, problem.voxel_size)
    source = problem.density if problem.difference is None else problem.difference
    variance, blocks = block_variance(source, problem.noise_region, basis)
    passed = np.zeros_like(left)
    weights = kept_eigenvalues(basis.eigenvalues)
    tested = int(np.count_nonzero(left))
    ratio = np.zeros(0, np.float32)
    if tested:
        ratio = statistic_map(density, left, basis, parameters.threads)
        ratio /= variance + np.float32(1e-10)
    threshold, base, above = false_discovery_threshold(ratio, weights, parameters.p_value, previous)
    passed[left] = ratio > threshold
    record = LevelRecord(
        resolution=float(level),
        radius=basis.radius,
        tested=tested,
        noise_blocks=blocks,
        variance=float(variance),
        trace=basis.trace,
        eigenvalues=tuple(float(value) for value in weights),
        threshold_uncorrected=base,
        threshold=threshold,
        above_uncorrected=above,
        assigned=int(np.count_nonzero(passed)),
    )
    return record, passed


def _to_input_grid(
    level_index: np.ndarray,
    mask: np.ndarray,
    levels: list[LevelRecord],
    parameters: ResmapParameters,
    size: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Resolution and codes on the input grid; filtered maps are interpolated back."""
    table = np.full(NO_INDEX + 1, NO_VALUE)
    table[: len(levels)] = [level.resolution for level in levels]
    if level_index.shape[0] == size:
        codes = np.full(mask.shape, OUTSIDE, np.uint8)
        codes[mask] = FAILED
        codes[level_index != NO_INDEX] = LABELLED
        return np.take(table.astype(np.float32), level_index), codes
    coarse = table[level_index]
    fine = upsample_levels(coarse, size)
    first = np.float32(levels[0].resolution)
    fine[fine <= first] = first
    fine[fine > np.float32(levels[-1].resolution + parameters.step_res)] = NO_VALUE
    valued = fine < NO_VALUE
    pure = pure_mask(level_index, size) & valued
    codes = np.where(upsample_nearest(mask, size), FAILED, OUTSIDE).astype(np.uint8)
    codes[valued] = MIXTURE
    codes[pure] = LABELLED
    return fine, codes
