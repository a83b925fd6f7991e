"""Stage labels: a local-resolution label for every voxel that can carry one."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from cryoclarity.codes import CODES
from cryoclarity.errors import InputError
from cryoclarity.grid import Volume
from cryoclarity.io.files import read_json, write_json
from cryoclarity.io.maps import read_map, write_map
from cryoclarity.labels.foreign import import_labels
from cryoclarity.labels.gates import Finding, LabelGates, LabelSummary, judge, summarise
from cryoclarity.labels.resmap import LABELLED, ResmapParameters
from cryoclarity.provenance import sidecar
from cryoclarity.stages.batch import EntryJob
from cryoclarity.stages.common import fetched
from cryoclarity.stages.label_engines import (
    DEFAULT_SECONDS,
    ENGINES,
    FSC_LEVEL_WIDTH,
    LARGEST_P_VALUE,
    LabelSettings,
    check_settings,
    empty_value,
)

LOGGER = logging.getLogger(__name__)
LABEL_MAP = "local_resolution.mrc"
DEFAULT_STEP = 0.5
SINGLE_MAP_ENGINE = "resmap-exact"
_SUFFIXES = (".gz", ".mrc", ".map", ".ccp4")


@dataclass(frozen=True)
class LabelInputs:
    """Paths of what is labelled: one map or two half maps, and perhaps a mask.

    With `canonical` the written maps give their position by NSTART alone where that can say it.
    """

    maps: tuple[Path, ...]
    mask: Path | None = None
    canonical: bool = False

    def named(self) -> dict[str, Path | None]:
        """Paths by role."""
        roles = ("map",) if len(self.maps) == 1 else ("half1", "half2")
        return dict(zip(roles, self.maps, strict=True)) | {"mask": self.mask}


@dataclass
class _Labels:
    """What an engine returned, in the frame of its input."""

    volume: Volume
    resolution: np.ndarray
    codes: np.ndarray
    summary: LabelSummary
    record: dict


def run_files(
    inputs: LabelInputs,
    out: str | Path,
    settings: LabelSettings | None = None,
    figure: bool = False,
) -> dict[str, object]:
    """Label a map by hand: every answer is written, doubts are logged.

    Writes the resolution in angstrom (100 = no value), the codes (0 outside the mask, 1 labelled,
    2 worse than every level, 3 interpolated between labels) and a JSON record, all beside each
    other: ``x.mrc``, ``x.codes.mrc``, ``x.json``; with `figure` also ``x.png`` and ``x.cxc``.

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
    if settings.engine in ("resmap", "resmap-binary"):
        for code, text in labels.volume.warnings:
            if code == "W_ANISOTROPIC":
                LOGGER.warning("%s: %s, ResMap takes that along x", code, text)
    record = _write(Path(out), labels, inputs, settings, findings, None)
    if figure:
        draw(out, labels.volume.density, inputs.maps[0])
    return record


def run_entry(job: EntryJob) -> dict[str, object]:
    """Label one entry, from its half maps where it has any, and refuse labels that fail a gate.

    Writes ``local_resolution.mrc``, ``local_resolution.codes.mrc``, ``local_resolution.json``.
    Voxels interpolated between labels carry no value here, only their code.
    """
    gates = _gates(job.spec)
    files = fetched(job)
    settings = _settings(job.spec, gates, job.threads, files.half_maps is not None)
    inputs = LabelInputs(files.half_maps or (files.map,))
    labels = _label(inputs, settings)
    findings = judge(labels.summary, gates, _number(job.row.get("resolution")))
    for finding in findings:
        if finding.refuses:
            raise InputError(finding.message, code=finding.code, file=inputs.maps[0].name)
    empty = empty_value(settings.engine)
    labels.resolution = np.where(labels.codes == LABELLED, labels.resolution, empty)
    record = _write(job.folder / LABEL_MAP, labels, inputs, settings, findings, gates)
    if job.spec.get("figure", False):
        # By its name only: paths of one machine do not belong into outputs.
        draw(job.folder / LABEL_MAP, labels.volume.density, Path(files.map.name))
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


def _settings(spec: Mapping, gates: LabelGates, threads: int, halves: bool) -> LabelSettings:
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
    engine = spec.get("engine", "resmap")
    if not halves:
        engine = spec.get("single_map_engine", SINGLE_MAP_ENGINE if engine == "fsc" else engine)
    return LabelSettings(
        engine=engine,
        parameters=parameters,
        binary=spec.get("binary"),
        seconds=float(spec.get("seconds", DEFAULT_SECONDS)),
        fsc_threshold=float(spec.get("fsc_threshold", 0.5)),
        fsc_window=float(spec.get("fsc_window", 0)),
        randomise=bool(spec.get("randomise", False)),
        device=spec.get("device", "cpu"),
        threads=threads,
    )


def _read(inputs: LabelInputs, voxel_size: float | None) -> tuple[list[Volume], Volume | None]:
    """Read the maps and the mask and compare their frames."""
    size = None if voxel_size is None else (voxel_size,) * 3
    volumes = [read_map(path, voxel_size=size) for path in inputs.maps]
    first = volumes[0].grid
    mask = None
    if inputs.mask is not None:
        mask = _read_mask(inputs.mask, volumes[0])
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


def _read_mask(path: str | Path, volume: Volume) -> Volume:
    """Read a mask of a map. Only its voxels count: masks without a cell are common."""
    mask = read_map(path, voxel_size=volume.grid.voxel_size, constant_ok=True)
    if not mask.density.any():
        raise InputError("the mask is empty", code="VAL_CONSTANT", file=path)
    return mask


def _frame(volume: Volume) -> str:
    grid = volume.grid
    return f"{grid.shape} voxels of {grid.voxel_size} A at {grid.origin}"


def _label(inputs: LabelInputs, settings: LabelSettings) -> _Labels:
    """Run the engine on the files."""
    check_settings(settings, len(inputs.maps))
    volumes, mask_volume = _read(inputs, settings.voxel_size)
    maps = tuple(volume.density for volume in volumes)
    mask = None if mask_volume is None else mask_volume.density
    try:
        labels = ENGINES[settings.engine](maps, volumes[0].grid, settings, mask)
    except InputError as error:
        raise _in_file(error, inputs.maps[0]) from error
    summary = summarise(
        labels.resolution,
        labels.codes,
        noise_blocks=labels.noise_blocks,
        zero_share=labels.zero_share,
        low_pass_factor=labels.low_pass_factor,
        level_width=labels.level_width,
    )
    return _Labels(volumes[0], labels.resolution, labels.codes, summary, labels.record)


def _in_file(error: InputError, file: str | Path) -> InputError:
    """The error of an engine, which works on arrays, with the file that it is about."""
    file = error.file or file
    return InputError(error.message, code=error.code, file=file, remedy=error.remedy)


def import_files(
    labels: str | Path, out: str | Path, mask: str | Path | None = None
) -> dict[str, object]:
    """Bring a label map of RELION, BlocRes, MonoRes or ResMap to this project's form.

    Values that are finite, above 0 and below 100 angstrom are labels, all others no answer. Writes
    what :func:`run_files` writes, with 0 where there is no value.

    Raises
    ------
    InputError
        FILE_*, HDR_* or LABEL_*.
    """
    # NaN stands for no answer in some programs, one value all over for none in any.
    volume = read_map(labels, constant_ok=True, nonfinite_ok=True)
    inside = None if mask is None else _read_mask(mask, volume).density
    try:
        resolution, codes = import_labels(volume.density, inside)
    except InputError as error:
        raise _in_file(error, labels) from error
    summary = summarise(
        resolution,
        codes,
        noise_blocks={},
        zero_share=0.0,
        low_pass_factor=0.0,
        level_width=FSC_LEVEL_WIDTH,
    )
    found = _Labels(volume, resolution, codes, summary, {"levels": []})
    inputs = LabelInputs((Path(labels),), None if mask is None else Path(mask))
    findings = judge(summary, LabelGates())
    for finding in findings:
        LOGGER.warning("%s: %s", _warning_code(finding), finding.message)
    return _write(Path(out), found, inputs, LabelSettings(engine="import"), findings, None)


def draw(out: str | Path, density: np.ndarray, map_path: Path) -> None:
    """Write the figure ``x.png`` and the ChimeraX script ``x.cxc`` beside labels ``x.mrc``."""
    from cryoclarity.report.label_figure import save_label_figure, write_chimerax_script

    out = Path(out)
    resolution = read_map(out, constant_ok=True).density
    codes = np.rint(read_map(_companion(out, ".codes.mrc"), constant_ok=True).density)
    record = read_json(_companion(out, ".json"))
    median = record["median"]
    shown = "no value" if median is None else f"median {median:.2f} Å"
    title = f"{map_path.name}: {record['engine']}, {record['source']}, {shown}"
    save_label_figure(_companion(out, ".png"), density, resolution, codes, title)
    write_chimerax_script(_companion(out, ".cxc"), str(map_path), out.name, resolution, codes)


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
    # Results do not depend on it, so the record must not either.
    del parameters["threads"]
    if not math.isfinite(settings.parameters.largest_level):
        parameters["largest_level"] = None
    parameters["voxel_size"] = settings.voxel_size
    if settings.engine == "fsc":
        names = ("fsc_threshold", "fsc_window", "randomise")
        parameters |= {name: getattr(settings, name) for name in names}
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
    resolution = labels.volume.with_density(labels.resolution)
    write_map(out, resolution, canonical=inputs.canonical)
    codes = labels.volume.with_density(labels.codes.astype(np.float32))
    write_map(_companion(out, ".codes.mrc"), codes, canonical=inputs.canonical)
    write_json(_companion(out, ".json"), record)
    return record


def _first_share(summary: LabelSummary) -> float:
    """Share of the labels that carry the smallest level."""
    return next(iter(summary.levels.values())) / summary.labelled if summary.labelled else 0.0
