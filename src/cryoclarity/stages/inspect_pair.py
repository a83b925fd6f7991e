"""Do the map and the model of an entry belong together, and do they pass the filters?"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from cryoclarity.errors import ConfigError, InputError
from cryoclarity.gates.completeness import explained, residue_counts
from cryoclarity.gates.limits import Limits
from cryoclarity.gates.model_gate import check_model, model_facts
from cryoclarity.gates.pair_gate import fit_scores, frame_scores, judge_fit, judge_frame
from cryoclarity.grid import Volume
from cryoclarity.io.maps import read_map
from cryoclarity.io.model import ModelFile
from cryoclarity.selection.file_filters import FileFacts, judge_files
from cryoclarity.selection.filters import Finding
from cryoclarity.selection.settings import filter_settings
from cryoclarity.stages.batch import EntryJob
from cryoclarity.stages.common import Fetched, stated_resolution

Warnings = list[tuple[str, str]]


def read_pair_model(
    path: Path | None, limits: Limits, report: dict, warnings: Warnings
) -> ModelFile | None:
    """Gate the model of an entry, if it has one, and report it.

    Raises
    ------
    InputError
        FILE_* or MOD_*.
    """
    if path is None:
        return None
    model, found = check_model(path, max_atoms=limits.max_atoms, max_bytes=limits.max_model_bytes)
    warnings += found
    report["model"] = model_facts(model)
    return model


def inspect_pair(
    job: EntryJob, files: Fetched, model: ModelFile, report: dict, warnings: Warnings
) -> None:
    """Judge how a model lies on its map, and ask the filters that need both files.

    Raises
    ------
    InputError
        PAIR_*, or SEL_F* where a filter says the same; only warnings when the list is trusted.
    """
    trusted = bool(job.spec.get("trust_list", False))
    resolution = stated_resolution(job.row)
    volume = read_map(files.map)
    scores = fit_scores(volume, model.atoms, resolution)
    report["fit"] = asdict(scores)
    refusals, found = judge_fit(scores, resolution)
    refusals = _frame_refusal(job, volume, model, report, refusals) + refusals
    warnings += found
    findings = _filtered(job, volume, model, report)
    warnings += [(item.code, item.message) for item in findings if item.outcome != "drop"]
    dropped = [
        InputError(item.message, code=item.code) for item in findings if item.outcome == "drop"
    ]
    if any(error.code == "SEL_F18_COVERAGE" for error in dropped):
        refusals = [error for error in refusals if error.code != "PAIR_OUTSIDE"]
    refusals += dropped
    if refusals and not trusted:
        raise refusals[0]
    warnings += [(error.code, error.message) for error in refusals]


def _frame_refusal(
    job: EntryJob, volume: Volume, model: ModelFile, report: dict, refusals: list[InputError]
) -> list[InputError]:
    """Where a frame is forced, refuse it if the model fits in another; else name that one."""
    forced = str(job.spec.get("frame", "auto"))
    if forced == "auto" and not refusals:
        return []
    scores = report.get("frames") or frame_scores(volume, model.atoms)
    report["frames"] = scores
    refusal = judge_frame(scores, report["map"]["frame_used"])
    if refusal is None:
        return []
    if forced != "auto":
        return [refusal]
    for error in refusals:
        error.remedy = f"the model {refusal.message}: {refusal.remedy}"
    return []


def _filtered(job: EntryJob, volume: Volume, model: ModelFile, report: dict) -> list[Finding]:
    """Ask the filters of a selection that need the files; without a selection there are none."""
    given: Mapping | None = job.spec.get("filters")
    if given is None:
        return []
    settings = filter_settings(given)
    counts = residue_counts(model.atoms)
    contour = job.row.get("contour") or ""
    cover = explained(volume, model.atoms, float(contour) if contour else None)
    resolution = stated_resolution(job.row)
    facts = FileFacts(
        emdb_id=job.row["emdb_id"],
        resolution=resolution,
        size=volume.grid.shape[::-1],
        voxel_size=volume.grid.voxel_size,
        polymer_residues=counts.polymer,
        nucleic_residues=counts.nucleic,
        unknown_residues=counts.unknown,
        side_chain_residues=counts.side_chain,
        backbone_only_residues=counts.backbone_only,
        atoms_in_box=report["fit"]["inside"],
        voxels_explained=cover.voxels,
        atom_inclusion=cover.atoms,
        cc_mask=_cc_mask(volume, model, resolution) if settings["F19_fit"]["enabled"] else None,
        model_resolution=model.resolution,
        content_sha256=report["map"]["content_sha256"],
    )
    report["filters"] = asdict(facts) | {"contour": cover.contour}
    return judge_files(facts, settings, trusted=bool(job.spec.get("trust_list", False)))


def _cc_mask(volume: Volume, model: ModelFile, resolution: float | None) -> float | None:
    """Correlation with the model's density in the molecular mask, None where it has no meaning."""
    from cryoclarity.evaluate.correlation import pearson
    from cryoclarity.evaluate.reference import ModelReference

    if not resolution:
        return None
    try:
        reference = ModelReference.of_model(model.atoms, volume.grid, resolution)
    except (InputError, ConfigError):
        return None
    value = pearson(volume.density[reference.inside], reference.model_density[reference.inside])
    return None if math.isnan(value) else value
