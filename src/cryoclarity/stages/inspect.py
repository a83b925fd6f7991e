"""Stage inspect: may the files of an entry be used, and do they belong together?"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from cryoclarity.errors import InputError
from cryoclarity.gates.inspector import inspect_file
from cryoclarity.gates.limits import Limits
from cryoclarity.gates.map_gate import MapContent, check_map_content, map_facts
from cryoclarity.io.atoms import Atoms
from cryoclarity.io.files import write_json
from cryoclarity.io.map_header import MapHeader
from cryoclarity.io.maps import read_header, read_map, reframe_map
from cryoclarity.stages.batch import EntryJob
from cryoclarity.stages.common import HALF_MAPS, MAP, Fetched, fetched

LOGGER = logging.getLogger(__name__)
REPORT = "inspect.json"
WIDTHS = (5, 10, 16)

# A larger share of exact zeros means a mask, which local resolution by half maps cannot bear.
LARGEST_ZERO_SHARE = 0.10

Warnings = list[tuple[str, str]]


def run_files(
    files: Sequence[str],
    *,
    as_json: bool,
    settings: Mapping[str, object] | None = None,
    stream=None,
) -> None:
    """Judge files one by one and write a line for each as soon as it is known.

    Parameters
    ----------
    files : sequence of str
    as_json : bool
        One JSON object per line; otherwise a table for people.
    settings : mapping, optional
        Limits of the files, as in the configuration's `inspect`.
    stream : text stream, optional
        Standard output by default.
    """
    stream = stream or sys.stdout
    limits = Limits.of_settings(settings or {})
    if not as_json:
        stream.write(_table_line("kind", "status", "code", "file"))
    for file in files:
        verdict = inspect_file(file, limits)
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
    With ``trust_list`` in the settings, gates and filters on the pair become warnings: somebody
    chose the pair by hand. Where the header names two places and the model tells which one is
    meant, or the settings force one, maps of that frame alone are written for the later stages.

    Raises
    ------
    InputError
        FILE_*, HDR_*, VAL_*, MOD_*, PAIR_* or, after a selection, SEL_F*.
    """
    from cryoclarity.stages.inspect_pair import inspect_pair, read_pair_model

    files = fetched(job)
    limits = Limits.of_settings(job.spec)
    content = check_map_content(files.map, limits.maps)
    warnings: Warnings = list(content.scan.warnings)
    report: dict[str, object] = {
        "map": map_facts(content.scan) | {"content_sha256": content.content_sha256}
    }
    model = read_pair_model(files.model, limits, report, warnings)
    atoms = None if model is None else model.atoms
    frame = _choose_frame(job, files, content.scan.header, atoms, report)
    maps = _in_frame(job, files, frame)
    grid = read_header(maps.map).grid
    report["map"] |= {"origin": list(grid.origin), "frame_used": frame}
    half_maps, half_code = _half_maps(maps, content, limits, report, warnings)
    if half_maps == "no":
        for name in HALF_MAPS:
            (job.folder / name).unlink(missing_ok=True)
    if model is not None:
        inspect_pair(job, maps, model, report, warnings)
    report["half_maps"] = half_maps
    report["warnings"] = [list(pair) for pair in warnings]
    write_json(job.folder / REPORT, report)
    return _entry_facts(report, half_maps, half_code)


def _choose_frame(
    job: EntryJob, files: Fetched, header: MapHeader, atoms: Atoms | None, report: dict
) -> str:
    """Return the rule of position to use: 'origin', 'nstart' or 'zero'."""
    from cryoclarity.gates.pair_gate import best_frame, frame_scores, usual_frame

    wanted = str(job.spec.get("frame", "auto"))
    usual = usual_frame(header)
    disagree = any(code == "W_FRAME_DISAGREE" for code, _ in header.warnings)
    if atoms is not None and (disagree or wanted != "auto"):
        report["frames"] = frame_scores(read_map(files.map), atoms)
    if wanted != "auto":
        return wanted
    return best_frame(report["frames"], usual) if "frames" in report else usual


def _in_frame(job: EntryJob, files: Fetched, frame: str) -> Fetched:
    """Copy maps into the entry's folder whose header would be read in another frame."""

    def copied(path: Path, name: str) -> Path:
        from cryoclarity.gates.pair_gate import frame_candidates, usual_frame

        header = read_header(path)
        places = frame_candidates(header)
        if places[frame] == places[usual_frame(header)]:
            return path
        reframe_map(path, job.folder / name, frame)
        return job.folder / name

    halves = None
    if files.half_maps is not None:
        try:
            first, second = map(copied, files.half_maps, HALF_MAPS)
            halves = (first, second)
        except InputError:
            halves = files.half_maps  # what is wrong with them is told where they are judged
    return Fetched(map=copied(files.map, MAP), half_maps=halves, model=files.model)


def _half_maps(
    files: Fetched, content: MapContent, limits: Limits, report: dict, warnings: Warnings
) -> tuple[str, str]:
    """Return ('yes' or 'no', reason code) for the half maps of an entry."""
    from cryoclarity.gates.pair_gate import check_half_contents, check_half_grids

    if files.half_maps is None:
        return "no", ""
    try:
        halves = [check_map_content(path, limits.maps) for path in files.half_maps]
        grids = tuple(half.scan.header.grid for half in halves)
        check_half_grids(read_header(files.map).grid, grids)
        check_half_contents(content.content_sha256, tuple(half.content_sha256 for half in halves))
    except InputError as error:
        LOGGER.warning("half maps are left out: %s", error)
        warnings.append((error.code, error.message))
        return "no", error.code
    for number, half in enumerate(halves, start=1):
        statistics = half.scan.statistics
        zeros = statistics.zeros / statistics.count
        if zeros > LARGEST_ZERO_SHARE:
            text = f"half map {number}: {zeros:.3f} of the voxels are exactly 0"
            warnings.append(("W_HALF_MASKED", text))
        report[f"half_map_{number}"] = map_facts(half.scan) | {
            "content_sha256": half.content_sha256,
            "zero_share": round(zeros, 6),
        }
    return "yes", ""


def _entry_facts(report: dict, half_maps: str, half_code: str) -> dict[str, str | float]:
    facts: dict[str, str | float] = {
        "half_maps": half_maps,
        "half_maps_code": half_code,
        "model": "yes" if "model" in report else "no",
        "grid": "x".join(str(n) for n in report["map"]["grid"]),
        "voxel_size": round(report["map"]["voxel_size"][0], 6),
        "frame": report["map"]["frame_used"],
        "warnings": " ".join(sorted({code for code, _ in report["warnings"]})),
    }
    if "fit" in report:
        facts["inside"] = round(report["fit"]["inside"], 4)
        facts["fit_z"] = round(report["fit"]["z"], 3)
    return facts
