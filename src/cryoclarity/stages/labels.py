"""Stage labels: a local-resolution label for every voxel that can carry one."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np

from cryoclarity.codes import CODES
from cryoclarity.errors import ConfigError, InputError
from cryoclarity.grid import Volume
from cryoclarity.io.files import write_json
from cryoclarity.io.maps import read_map, write_map
from cryoclarity.labels.binary import find_binary, run_binary
from cryoclarity.labels.gates import Finding, LabelGates, LabelSummary, judge, summarise
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
from cryoclarity.provenance import sidecar
from cryoclarity.stages.batch import EntryJob
from cryoclarity.stages.common import fetched

LOGGER = logging.getLogger(__name__)
ENGINES = ("resmap", "resmap-binary")
LABEL_MAP = "local_resolution.mrc"
DEFAULT_STEP = 0.5
SMALLEST_STEP = 0.25
LARGEST_P_VALUE = 0.05
DEFAULT_SECONDS = 3600.0
_SUFFIXES = (".gz", ".mrc", ".map", ".ccp4")
_LEVEL_TOLERANCE = 1e-3


@dataclass(frozen=True)
class LabelInputs:
    """Paths of what is labelled: one map or two half maps, and perhaps a mask."""

    maps: tuple[Path, ...]
    mask: Path | None = None

    def named(self) -> dict[str, Path | None]:
        """Paths by role."""
        roles = ("map",) if len(self.maps) == 1 else ("half1", "half2")
        return dict(zip(roles, self.maps, strict=True)) | {"mask": self.mask}


@dataclass(frozen=True)
class LabelSettings:
    """How to label: engine, its parameters, and for the real program its place and time limit."""

    engine: str = "resmap"
    parameters: ResmapParameters = field(default_factory=ResmapParameters)
    voxel_size: float | None = None
    binary: str | None = None
    seconds: float = DEFAULT_SECONDS


@dataclass
class _Labels:
    """What an engine returned, in the frame of its input."""

    volume: Volume
    resolution: np.ndarray
    codes: np.ndarray
    summary: LabelSummary
    record: dict


def run_files(
    inputs: LabelInputs, out: str | Path, settings: LabelSettings | None = None
) -> dict[str, object]:
    """Label a map by hand: every answer is written, doubts are logged.

    Writes the resolution in angstrom (100 = no value), the codes (0 outside the mask, 1 labelled,
    2 worse than every level, 3 interpolated between labels) and a JSON record, all beside each
    other: ``x.mrc``, ``x.codes.mrc``, ``x.json``.

    Returns
    -------
    dict
        The record.

    Raises
    ------
    InputError
        FILE_*, HDR_*, VAL_* or LABEL_*; nothing is written.
    ConfigError
        A parameter out of its range.
    """
    settings = settings or LabelSettings()
    labels = _label(inputs, settings)
    findings = judge(labels.summary, LabelGates())
    for finding in findings:
        LOGGER.warning("%s: %s", _warning_code(finding), finding.message)
    return _write(Path(out), labels, inputs, settings, findings, None)


def run_entry(job: EntryJob) -> dict[str, object]:
    """Label one entry, from its half maps where it has any, and refuse labels that fail a gate.

    Writes ``local_resolution.mrc``, ``local_resolution.codes.mrc``, ``local_resolution.json``.
    Voxels interpolated between labels carry no value here, only their code.
    """
    gates = _gates(job.spec)
    settings = _settings(job.spec, gates)
    files = fetched(job)
    inputs = LabelInputs(files.half_maps or (files.map,))
    labels = _label(inputs, settings)
    findings = judge(labels.summary, gates, _number(job.row.get("resolution")))
    for finding in findings:
        if finding.refuses:
            raise InputError(finding.message, code=finding.code, file=inputs.maps[0].name)
    labels.resolution = np.where(labels.codes == LABELLED, labels.resolution, NO_VALUE)
    record = _write(job.folder / LABEL_MAP, labels, inputs, settings, findings, gates)
    kept = ("engine", "source", "median", "labelled_voxels", "labelled_share_of_mask")
    facts = {name: record[name] for name in kept}
    facts["levels"] = len(labels.summary.levels)
    facts["warnings"] = " ".join(finding.code for finding in findings)
    return facts


def _warning_code(finding: Finding) -> str:
    gentle = f"W_{finding.code}"
    return gentle if gentle in CODES else finding.code


def _number(text: str | None) -> float | None:
    """Positive number of a table cell, or None."""
    try:
        value = float(text or "nan")
    except ValueError:
        return None
    return value if value > 0 else None


def _gates(spec: Mapping) -> LabelGates:
    """Gates of a specification; what it does not name keeps its default."""
    given = dict(spec.get("gates", {}))
    if "median_range" in given:
        given["median_range"] = tuple(given["median_range"])
    return LabelGates(**given)


def _settings(spec: Mapping, gates: LabelGates) -> LabelSettings:
    """Settings of the workflow: levels out of reach end the list instead of the entry."""
    parameters = ResmapParameters(
        min_res=float(spec.get("min_res", 0)),
        max_res=float(spec.get("max_res", 0)),
        step_res=float(spec.get("step_res", DEFAULT_STEP)),
        p_value=float(spec.get("p_value", LARGEST_P_VALUE)),
        min_noise_blocks=gates.min_noise_blocks,
        largest_level=gates.largest_level,
        keep_finished=True,
        max_zero_share=gates.max_zero_share,
    )
    return LabelSettings(
        engine=spec.get("engine", "resmap"),
        parameters=parameters,
        binary=spec.get("binary"),
        seconds=float(spec.get("seconds", DEFAULT_SECONDS)),
    )


def _check(settings: LabelSettings) -> None:
    """Refuse parameters that the program refuses too."""
    parameters = settings.parameters
    if settings.engine not in ENGINES:
        raise ConfigError(f"engine is {settings.engine!r}, known are {', '.join(ENGINES)}")
    if not 0 < parameters.p_value <= LARGEST_P_VALUE:
        raise ConfigError(f"p-value is {parameters.p_value:g}, must be in (0, {LARGEST_P_VALUE}]")
    if not SMALLEST_STEP <= parameters.step_res < math.inf:
        raise ConfigError(f"step is {parameters.step_res:g} A, must be at least {SMALLEST_STEP}")
    for name in ("min_res", "max_res"):
        if not 0 <= getattr(parameters, name) < math.inf:
            raise ConfigError(f"{name} is {getattr(parameters, name):g} A, must not be negative")
    if settings.voxel_size is not None and not 0 < settings.voxel_size < math.inf:
        raise ConfigError(f"voxel size is {settings.voxel_size:g} A, must be positive")
    if not settings.seconds > 0:
        raise ConfigError(f"time limit is {settings.seconds:g} s, must be positive")


def _read(inputs: LabelInputs, voxel_size: float | None) -> tuple[list[Volume], Volume | None]:
    """Read the maps and the mask and compare their frames."""
    size = None if voxel_size is None else (voxel_size,) * 3
    volumes = [read_map(path, voxel_size=size) for path in inputs.maps]
    first = volumes[0].grid
    mask = None
    if inputs.mask is not None:
        # Only its voxels count: masks without a cell, and masks of the whole box, are common.
        mask = read_map(inputs.mask, voxel_size=first.voxel_size, constant_ok=True)
        if not mask.density.any():
            raise InputError("the mask is empty", code="VAL_CONSTANT", file=inputs.mask)
    for path, volume in zip(inputs.maps[1:], volumes[1:], strict=True):
        if not first.same_frame(volume.grid):
            raise InputError(
                f"half 1 is {_frame(volumes[0])}, half 2 is {_frame(volume)}",
                code="LABEL_HALVES_DIFFER",
                file=path,
                remedy="give two half maps of one reconstruction",
            )
        if np.array_equal(volumes[0].density, volume.density):
            raise InputError("both half maps are the same data", code="PAIR_HALF_SAME", file=path)
    return volumes, mask


def _frame(volume: Volume) -> str:
    grid = volume.grid
    return f"{grid.shape} voxels of {grid.voxel_size} A at {grid.origin}"


def _label(inputs: LabelInputs, settings: LabelSettings) -> _Labels:
    """Run the engine on the files."""
    _check(settings)
    volumes, mask_volume = _read(inputs, settings.voxel_size)
    maps = tuple(volume.density for volume in volumes)
    mask = None if mask_volume is None else mask_volume.density
    voxel_size = volumes[0].grid.voxel_size[0]
    engine = _own_engine if settings.engine == "resmap" else _real_program
    try:
        answer = engine(maps, voxel_size, settings, mask)
    except InputError as error:
        # The engine works on arrays and knows no file.
        file = error.file or inputs.maps[0]
        raise InputError(error.message, code=error.code, file=file, remedy=error.remedy) from error
    resolution, codes, blocks, zero_share, factor, record = answer
    summary = summarise(
        resolution,
        codes,
        noise_blocks=blocks,
        zero_share=zero_share,
        low_pass_factor=factor,
    )
    return _Labels(volumes[0], resolution, codes, summary, record)


def _own_engine(maps, voxel_size: float, settings: LabelSettings, mask):
    """Labels, codes, noise blocks per level, zero share, low-pass factor and record."""
    result = local_resolution(maps, voxel_size, settings.parameters, mask)
    used = {level.resolution: level.noise_blocks for level in result.levels}
    record = _engine_record(result)
    factor = result.low_pass.factor
    return result.resolution, result.codes, used, result.zero_background_share, factor, record


def _engine_record(result: ResmapResult) -> dict:
    """What the engine measured, ready for JSON (an infinite threshold becomes null)."""
    levels = []
    for level in result.levels:
        row = asdict(level)
        row["threshold"] = level.threshold if math.isfinite(level.threshold) else None
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


def _real_program(maps, voxel_size: float, settings: LabelSettings, mask):
    """As `_own_engine`, with the labels of the real program and our own mask."""
    parameters = settings.parameters
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
        "zero_share_of_box": float(zeros.mean()),
    }
    outside = zeros[~inside]
    zero_share = float(outside.mean()) if outside.size else 0.0
    return run.resolution, codes, {}, zero_share, factor, record


def _companion(out: Path, suffix: str) -> Path:
    """Path beside `out` with its map suffixes replaced."""
    name = out.name
    for known in _SUFFIXES:
        name = name.removesuffix(known)
    return out.with_name(name + suffix)


def _write(
    out: Path,
    labels: _Labels,
    inputs: LabelInputs,
    settings: LabelSettings,
    findings: list[Finding],
    gates: LabelGates | None,
) -> dict[str, object]:
    """Write map, codes and record; returns the record."""
    summary = labels.summary
    parameters = asdict(settings.parameters)
    if not math.isfinite(settings.parameters.largest_level):
        parameters["largest_level"] = None
    parameters["voxel_size"] = settings.voxel_size
    record = sidecar("resmap", parameters, inputs.named()) | {
        "engine": settings.engine,
        "source": "map" if len(inputs.maps) == 1 else "half_maps",
        "shape": list(labels.volume.grid.shape),
        "voxel_size": labels.volume.grid.voxel_size[0],
        "mask_source": "density" if inputs.mask is None else "file",
        "mask_voxels": summary.tested,
        "labelled_voxels": summary.labelled,
        "labelled_share_of_box": summary.labelled / summary.box,
        "labelled_share_of_mask": summary.labelled_share,
        "mixture_share": summary.mixtures / max(1, summary.labelled + summary.mixtures),
        "first_level_share": _first_share(summary),
        "labels": {f"{level:g}": count for level, count in summary.levels.items()},
        "median": summary.median,
        "zero_share_of_noise_region": summary.zero_share,
        "low_pass_factor": summary.low_pass_factor,
        "gates": None if gates is None else asdict(gates),
        "findings": [asdict(finding) for finding in findings],
        "detail": labels.record,
    }
    write_map(out, labels.volume.with_density(labels.resolution))
    codes = labels.volume.with_density(labels.codes.astype(np.float32))
    write_map(_companion(out, ".codes.mrc"), codes)
    write_json(_companion(out, ".json"), record)
    return record


def _first_share(summary: LabelSummary) -> float:
    """Share of the labels that carry the smallest level."""
    return next(iter(summary.levels.values())) / summary.labelled if summary.labelled else 0.0
