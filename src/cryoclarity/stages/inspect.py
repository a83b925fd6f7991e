"""Stage inspect: may the files of an entry be used, and do they belong together?"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Sequence
from dataclasses import asdict

from cryoclarity.errors import InputError
from cryoclarity.gates.inspector import inspect_file
from cryoclarity.gates.map_gate import check_map_content, map_facts
from cryoclarity.grid import Volume
from cryoclarity.io.atoms import Atoms
from cryoclarity.io.files import write_json
from cryoclarity.io.maps import read_map
from cryoclarity.stages.batch import EntryJob
from cryoclarity.stages.common import Fetched, fetched, stated_resolution

LOGGER = logging.getLogger(__name__)
REPORT = "inspect.json"
WIDTHS = (5, 10, 16)

Warnings = list[tuple[str, str]]


def run_files(files: Sequence[str], *, as_json: bool, stream=None) -> None:
    """Judge files one by one and write a line for each as soon as it is known.

    Parameters
    ----------
    files : sequence of str
    as_json : bool
        One JSON object per line; otherwise a table for people.
    stream : text stream, optional
        Standard output by default.
    """
    stream = stream or sys.stdout
    if not as_json:
        stream.write(_table_line("kind", "status", "code", "file"))
    for file in files:
        verdict = inspect_file(file)
        stream.write(json.dumps(verdict) + "\n" if as_json else _table_row(verdict))
        stream.flush()


def _table_row(verdict: dict) -> str:
    kind, status, code = verdict["kind"], verdict["status"], verdict["code"]
    # Names on disk are bytes: what is no text must not stop the table.
    file = verdict["file"].encode("utf-8", "backslashreplace").decode()
    line = _table_line(kind, status, code or "-", file)
    if status == "ok":
        keys = ("grid", "voxel_size", "origin") if kind == "map" else ("atoms", "residues")
        line += "        " + "  ".join(f"{key} {_short(verdict[key])}" for key in keys) + "\n"
    if verdict["message"]:
        line += f"        {verdict['message']}\n"
    return line


def _table_line(*cells: str) -> str:
    padded = [cell.ljust(width) for cell, width in zip(cells, WIDTHS, strict=False)]
    return "  ".join([*padded, cells[-1]]) + "\n"


def _short(value) -> str:
    if isinstance(value, list):
        return ",".join(f"{item:g}" for item in value)
    return f"{value}"


def run_entry(job: EntryJob) -> dict[str, str | float]:
    """Gate the files of one entry and write ``inspect.json``.

    The map and the model decide about the entry; bad half maps cost the half-map branches only.
    With ``trust_list`` in the settings, gates on the pair become warnings: somebody chose the
    pair by hand.

    Raises
    ------
    InputError
        FILE_*, HDR_*, VAL_*, MOD_* or PAIR_*.
    """
    files = fetched(job)
    trusted = bool(job.spec.get("trust_list", False))
    content = check_map_content(files.map)
    warnings: Warnings = list(content.scan.warnings)
    report: dict[str, object] = {
        "map": map_facts(content.scan) | {"content_sha256": content.content_sha256}
    }
    half_maps, half_code = _half_maps(files, content, report, warnings)
    if files.model is not None:
        _model_and_fit(job, files, trusted, report, warnings)
    report["half_maps"] = half_maps
    report["warnings"] = [list(pair) for pair in warnings]
    write_json(job.folder / REPORT, report)
    return _entry_facts(report, half_maps, half_code)


def _half_maps(files: Fetched, content, report: dict, warnings: Warnings) -> tuple[str, str]:
    """Return ('yes' or 'no', reason code) for the half maps of an entry."""
    from cryoclarity.gates.pair_gate import check_half_contents, check_half_grids

    if files.half_maps is None:
        return "no", ""
    try:
        halves = [check_map_content(path) for path in files.half_maps]
        grids = tuple(half.scan.header.grid for half in halves)
        check_half_grids(content.scan.header.grid, grids)
        check_half_contents(content.content_sha256, tuple(half.content_sha256 for half in halves))
    except InputError as error:
        LOGGER.warning("half maps are left out: %s", error)
        warnings.append((error.code, error.message))
        return "no", error.code
    for number, half in enumerate(halves, start=1):
        report[f"half_map_{number}"] = map_facts(half.scan) | {
            "content_sha256": half.content_sha256
        }
    return "yes", ""


def _model_and_fit(
    job: EntryJob, files: Fetched, trusted: bool, report: dict, warnings: Warnings
) -> None:
    from cryoclarity.gates.model_gate import check_model, model_facts
    from cryoclarity.gates.pair_gate import fit_scores, judge_fit

    model, found = check_model(files.model)
    warnings += found
    report["model"] = model_facts(model)
    resolution = stated_resolution(job.row)
    volume = read_map(files.map)
    scores = fit_scores(volume, model.atoms, resolution)
    report["fit"] = asdict(scores)
    refusals, found = judge_fit(scores, resolution)
    refusals = _frame_refusals(volume, model.atoms, report) + refusals
    warnings += found
    if refusals and not trusted:
        raise refusals[0]
    warnings += [(error.code, error.message) for error in refusals]


def _frame_refusals(volume: Volume, atoms: Atoms, report: dict) -> list[InputError]:
    """Where the header names two places, ask the model which one is meant."""
    from cryoclarity.gates.pair_gate import frame_scores, judge_frame

    if all(code != "W_FRAME_DISAGREE" for code, _ in volume.warnings):
        return []
    report["frames"] = frame_scores(volume, atoms)
    refusal = judge_frame(report["frames"], "origin")
    return [refusal] if refusal else []


def _entry_facts(report: dict, half_maps: str, half_code: str) -> dict[str, str | float]:
    facts: dict[str, str | float] = {
        "half_maps": half_maps,
        "half_maps_code": half_code,
        "model": "yes" if "model" in report else "no",
        "grid": "x".join(str(n) for n in report["map"]["grid"]),
        "voxel_size": round(report["map"]["voxel_size"][0], 6),
        "warnings": " ".join(sorted({code for code, _ in report["warnings"]})),
    }
    if "fit" in report:
        facts["inside"] = round(report["fit"]["inside"], 4)
        facts["fit_z"] = round(report["fit"]["z"], 3)
    return facts
