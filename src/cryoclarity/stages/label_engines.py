"""The engines of the stage labels behind one interface: maps in, labels and a record out."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace

import numpy as np

from cryoclarity.errors import ConfigError
from cryoclarity.grid import Grid
from cryoclarity.labels.binary import find_binary, run_binary
from cryoclarity.labels.exact import ExactParameters, Statistic, exact_resolution
from cryoclarity.labels.local_fsc import LocalFscParameters, local_fsc
from cryoclarity.labels.resmap import (
    FAILED,
    LABELLED,
    MIXTURE,
    NO_VALUE,
    OUTSIDE,
    ResmapParameters,
    ResmapResult,
    local_resolution,
    tested_mask,
)
from cryoclarity.labels.statistic import statistic_map

__all__ = ["ENGINES", "EngineLabels", "LabelSettings", "check_settings", "empty_value"]

DEFAULT_SECONDS = 3600.0
SMALLEST_STEP = 0.25
LARGEST_P_VALUE = 0.05
FSC_LEVEL_WIDTH = 0.25
DEVICES = ("auto", "cpu", "cuda")
_LEVEL_TOLERANCE = 1e-3


@dataclass(frozen=True)
class LabelSettings:
    """How to label: engine, its parameters, and for the real program its place and time limit.

    fsc_threshold, fsc_window, randomise : of the engine fsc; the window in angstrom, 0 = chosen.
    device : of the engines resmap-exact and fsc; ``auto`` takes a GPU that torch sees, if any.
    threads : the labels do not depend on it.
    """

    engine: str = "resmap"
    parameters: ResmapParameters = field(default_factory=ResmapParameters)
    voxel_size: float | None = None
    binary: str | None = None
    seconds: float = DEFAULT_SECONDS
    fsc_threshold: float = 0.5
    fsc_window: float = 0.0
    randomise: bool = False
    device: str = "cpu"
    threads: int = 1


@dataclass
class EngineLabels:
    """What an engine returned; `level_width` bins continuous values for counting, 0 = levels."""

    resolution: np.ndarray
    codes: np.ndarray
    noise_blocks: dict[float, int]
    zero_share: float
    low_pass_factor: float
    record: dict
    level_width: float = 0.0


def empty_value(engine: str) -> float:
    """What the engine writes where it has no answer."""
    return NO_VALUE if engine in ("resmap", "resmap-binary") else 0.0


def check_settings(settings: LabelSettings, maps: int = 1) -> None:
    """Refuse parameters out of their range, and an engine that needs more maps than given.

    Raises
    ------
    ConfigError
    """
    parameters = settings.parameters
    if settings.engine not in ENGINES:
        raise ConfigError(f"engine is {settings.engine!r}, known are {', '.join(ENGINES)}")
    if settings.engine == "fsc" and maps != 2:
        raise ConfigError(
            "the engine fsc compares two half maps",
            remedy="give --half1 and --half2, or use --engine resmap-exact",
        )
    if settings.device not in DEVICES:
        raise ConfigError(f"device is {settings.device!r}, known are {', '.join(DEVICES)}")
    if not 0 < parameters.p_value <= LARGEST_P_VALUE:
        raise ConfigError(f"p-value is {parameters.p_value:g}, must be in (0, {LARGEST_P_VALUE}]")
    if not SMALLEST_STEP <= parameters.step_res < math.inf:
        raise ConfigError(f"step is {parameters.step_res:g} A, must be at least {SMALLEST_STEP}")
    for name in ("min_res", "max_res"):
        if not 0 <= getattr(parameters, name) < math.inf:
            raise ConfigError(f"{name} is {getattr(parameters, name):g} A, must not be negative")
    if settings.voxel_size is not None and not 0 < settings.voxel_size < math.inf:
        raise ConfigError(f"voxel size is {settings.voxel_size:g} A, must be positive")
    if settings.threads < 1:
        raise ConfigError(f"threads are {settings.threads}, must be at least 1")
    if not settings.seconds > 0:
        raise ConfigError(f"time limit is {settings.seconds:g} s, must be positive")
    if not 0 < settings.fsc_threshold < 1:
        raise ConfigError(f"FSC threshold is {settings.fsc_threshold:g}, must lie between 0 and 1")
    if not 0 <= settings.fsc_window < math.inf:
        raise ConfigError(f"window is {settings.fsc_window:g} A, must not be negative")


def _torch_device(settings: LabelSettings) -> str | None:
    """Device of torch for the arrays, or None for numpy.

    Raises
    ------
    ConfigError
        A GPU is asked for, and there is no torch or it sees none.
    """
    if settings.device == "cpu":
        return None
    try:
        from cryoclarity.nets.device import choose_device
    except ImportError as error:
        if settings.device == "auto":
            return None
        raise ConfigError(
            f"device {settings.device!r} needs torch, which this environment lacks",
            remedy="use --device cpu, or an environment with torch",
        ) from error
    device = str(choose_device(settings.device, double=True))
    return None if device == "cpu" else device


def _parity(maps, grid: Grid, settings: LabelSettings, mask) -> EngineLabels:
    """Our own ResMap, equal to the program."""
    voxel_size = grid.voxel_size[0]
    parameters = replace(settings.parameters, threads=settings.threads)
    result = local_resolution(maps, voxel_size, parameters, mask)
    return EngineLabels(
        result.resolution,
        result.codes,
        {level.resolution: level.noise_blocks for level in result.levels},
        result.zero_background_share,
        result.low_pass.factor,
        _parity_record(result),
    )


def _parity_record(result: ResmapResult) -> dict:
    """What the engine measured, ready for JSON (an infinite threshold becomes null)."""
    levels = []
    for level in result.levels:
        row = asdict(level)
        row["threshold"] = _finite(level.threshold)
        levels.append(row)
    return {
        "min_res": result.min_res,
        "max_res": result.max_res,
        "computing_size": result.mask.shape[0],
        "computing_voxel_size": result.voxel_size,
        "mask_before_cut_voxels": result.data_mask_voxels,
        "whitening_coefficients": [float(c) for c in result.whitening.coefficients],
        "noise_cube_edge": result.noise.cube,
        "zero_share_of_box": result.zero_box_share,
        "levels": levels,
        "stopped": result.stopped,
    }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _exact(maps, grid: Grid, settings: LabelSettings, mask) -> EngineLabels:
    """The same test without the program's oddities."""
    given = settings.parameters
    parameters = ExactParameters(
        min_res=given.min_res,
        max_res=given.max_res,
        step_res=given.step_res,
        p_value=given.p_value,
        min_noise_windows=given.min_noise_blocks,
        largest_level=min(given.largest_level, ExactParameters.largest_level),
        max_zero_share=given.max_zero_share,
        threads=settings.threads,
    )
    device = _torch_device(settings)
    result = exact_resolution(maps, grid.voxel_size_zyx, parameters, mask, _statistic(device))
    levels = []
    for level in result.levels:
        row = asdict(level)
        row["threshold"] = _finite(level.threshold)
        row["noise"]["relative_error"] = _finite(level.noise.relative_error)
        levels.append(row)
    record = {
        "min_res": result.levels[0].resolution,
        "max_res": result.levels[-1].resolution,
        "step_res": given.step_res,
        "device": device or "cpu",
        "computing_shape": list(result.computed_shape),
        "computing_voxel_size": result.voxel_size,
        "whitening_coefficients": [float(c) for c in result.whitening],
        "zero_share_of_box": result.zero_box_share,
        "levels": levels,
        "stopped": result.stopped,
    }
    blocks = {level.resolution: int(level.noise.independent) for level in result.levels}
    return EngineLabels(
        result.resolution, result.codes, blocks, result.silent_share, result.factor, record
    )


def _statistic(device: str | None) -> Statistic:
    """Function that computes the statistic, on the CPU or on a torch device."""
    if device is None:
        return statistic_map
    from cryoclarity.labels.statistic_torch import TorchStatistic

    return TorchStatistic(device)


def _fsc(maps, grid: Grid, settings: LabelSettings, mask) -> EngineLabels:
    """Local Fourier shell correlation of two half maps."""
    parameters = LocalFscParameters(
        threshold=settings.fsc_threshold,
        window=settings.fsc_window,
        coarsest=settings.parameters.max_res or LocalFscParameters.coarsest,
        finest=settings.parameters.min_res,
        randomise=settings.randomise,
        threads=settings.threads,
    )
    device, engine = _torch_device(settings), None
    if device is not None:
        from cryoclarity.labels.local_fsc_torch import TorchEngine

        engine = TorchEngine(device)
    result = local_fsc(maps, grid.voxel_size_zyx, parameters, mask, engine)
    bands = [
        {"resolution": 1 / float(f), "threshold": float(t)}
        for f, t in zip(result.frequencies[::-1], result.thresholds[::-1], strict=True)
    ]
    record = {
        "threshold": settings.fsc_threshold,
        "device": device or "cpu",
        "window": result.window,
        "band_width": result.band_width,
        "randomised_from": result.randomised_from,
        "global_resolution_0.143": result.global_resolution,
        "voxels_at_the_limit": result.at_limit,
        "zero_share_of_box": result.zero_box_share,
        "min_res": max(settings.parameters.min_res, 2 * max(grid.voxel_size)),
        "max_res": bands[-1]["resolution"],
        "levels": bands,
    }
    return EngineLabels(
        result.resolution, result.codes, {}, result.silent_share, 0.0, record, FSC_LEVEL_WIDTH
    )


def _real_program(maps, grid: Grid, settings: LabelSettings, mask) -> EngineLabels:
    """Labels of the real program with our own mask."""
    parameters, voxel_size = settings.parameters, grid.voxel_size[0]
    run = run_binary(
        maps,
        voxel_size,
        parameters,
        binary=find_binary(settings.binary),
        mask=mask,
        seconds=settings.seconds,
    )
    # The program writes no mask, so the codes come from ours. 1.1.4 cuts half maps by a sphere.
    if run.version.startswith("1.1.4"):
        parameters = replace(parameters, mask_cut="sphere")
    inside, factor = tested_mask(maps, voxel_size, parameters, mask)
    valued = run.resolution < NO_VALUE
    codes = np.where(valued, LABELLED, np.where(inside, FAILED, OUTSIDE)).astype(np.uint8)
    if factor:
        smallest = run.resolution.min()
        steps = (run.resolution - smallest) / parameters.step_res
        mixed = np.abs(steps - np.rint(steps)) * parameters.step_res > _LEVEL_TOLERANCE
        codes[valued & mixed] = MIXTURE
    zeros = np.logical_and.reduce([volume == 0 for volume in maps])
    record = {
        "binary": {"version": run.version, "sha256": run.sha256, "command": list(run.command)},
        "mean_in_mask": run.mean,
        "median_in_mask": run.median,
        "zero_share_of_box": float(zeros.mean()),
    }
    outside = zeros[~inside]
    zero_share = float(outside.mean()) if outside.size else 0.0
    return EngineLabels(run.resolution, codes, {}, zero_share, factor, record)


ENGINES: dict[str, Callable[..., EngineLabels]] = {
    "resmap": _parity,
    "resmap-exact": _exact,
    "fsc": _fsc,
    "resmap-binary": _real_program,
}
