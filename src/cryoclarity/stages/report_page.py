"""Gather what the page of a run shows: answers, tables, curves, slices, links."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cryoclarity.io.files import read_json, write_text
from cryoclarity.io.tables import read_table
from cryoclarity.provenance import software_versions
from cryoclarity.report.chimerax import entry_script
from cryoclarity.report.overview import answers, overview_rows, shares, worst
from cryoclarity.report.page import Page, write_page
from cryoclarity.report.table import RESOLUTION_COLUMNS
from cryoclarity.report.viewer import AXES, ViewedMap

__all__ = ["RunFolders", "run_page", "write_page"]

SCRIPTS = "chimerax"
SHARE_COLUMNS = (
    "metric",
    "maps",
    "improved",
    "worse",
    "improved_share",
    "worse_share",
    "mean_change",
)
WORST_COLUMNS = (
    "emdb_id",
    "split",
    "CC_mask_before",
    "CC_mask_after",
    "CC_mask_change",
    "mean_fsc_model_masked_change",
    "Q_mean_change",
    "flags",
)
FUNNEL_COLUMNS = ("stage", "status", "code", "entries", "meaning")
LABEL_COLUMNS = (
    "emdb_id",
    "engine",
    "source",
    "levels",
    "labelled_voxels",
    "labelled_share_of_mask",
    "median",
    "warnings",
)
NETWORK_COLUMNS = ("network", "layout", "entries", "steps", "seed", "weights_sha256", "licence")


@dataclass(frozen=True)
class RunFolders:
    """Where the parts of a run lie.

    Attributes
    ----------
    out : Path
        Folder of the page.
    results : Path or None
        Folder of the stages' folders.
    evaluated : list of Path
        Folder of each evaluated entry, in the order of the results.
    cards : list of Path
    """

    out: Path
    results: Path | None
    evaluated: Sequence[Path]
    cards: Sequence[Path]

    def stage_file(self, stage: str, emdb_id: str, name: str) -> Path | None:
        """Return a file of a stage's entry, or None when there is none."""
        if self.results is None:
            return None
        path = self.results / stage / "entries" / emdb_id / name
        return path if path.is_file() else None


def run_page(
    run: RunFolders,
    results: Sequence[Mapping],
    shown: Sequence[int],
    verdicts: Sequence[str],
    local_rows: Sequence[Mapping[str, str]],
    training: Mapping[str, Sequence[Mapping[str, str]]],
    funnel: Sequence[Mapping[str, str]],
) -> Page:
    """Return the page of a run and write the ChimeraX scripts that it links.

    Parameters
    ----------
    run : RunFolders
    results : sequence of mapping
        Metrics of the evaluated entries.
    shown : sequence of int
        Which of them the viewer holds.
    verdicts : sequence of str
    local_rows : rows of the local resolution table
    training : mapping of data set to rows of its metrics table
    funnel : rows of the counts by stage and code
    """
    rows = overview_rows(results)
    viewers = [
        view for index in shown if (view := _view(run, run.evaluated[index], results[index]))
    ]
    has_trust = any("trust" in view.planes for view in viewers)
    tables = {
        "Improved and made worse": (SHARE_COLUMNS, shares(rows)),
        "The worst five": (WORST_COLUMNS, worst(rows)),
        "Local resolution (Å, labelled voxels only)": (RESOLUTION_COLUMNS, local_rows),
        "Labels of local resolution": (LABEL_COLUMNS, _labels(run)),
        "Entries by stage and reason": (FUNNEL_COLUMNS, funnel),
        "What was run": (("name", "value"), _what_was_run()),
        "Networks": (NETWORK_COLUMNS, [_network(read_json(card)) for card in run.cards]),
    }
    return Page(
        title="cryoclarity: what the improved maps are worth",
        answers=answers(rows, has_trust),
        verdicts=verdicts,
        plots=_plots(run, results, rows, training),
        tables=tables,
        viewers=viewers,
        files={
            "all metrics (summary.tsv)": "summary.tsv",
            "local resolution (local_resolution.tsv)": "local_resolution.tsv",
            "figure for print (summary.png)": "summary.png",
        },
    )


def _plots(
    run: RunFolders,
    results: Sequence[Mapping],
    rows: Sequence[Mapping[str, object]],
    training: Mapping[str, Sequence[Mapping[str, str]]],
) -> dict[str, object]:
    from cryoclarity.report.plots import change_plot, fsc_plot, learning_plot, map_table, stacked

    plots: dict[str, object] = {}
    if rows:
        table = map_table(rows)
        improved = {row["emdb_id"] for row in rows}
        curves = {
            result["emdb_id"]: _curves(folder)
            for folder, result in zip(run.evaluated, results, strict=True)
            if result["emdb_id"] in improved
        }
        plots["All maps, worst first"] = stacked(table, fsc_plot(curves, table))
        plots["Before and after"] = change_plot(rows)
    if training:
        plots["Learning curves"] = learning_plot(training)
    return plots


def _curves(folder: Path) -> dict[str, tuple[list[float], list[float]]]:
    """Return the masked FSC of the input and the improved map of an entry."""
    curves: dict[str, tuple[list[float], list[float]]] = {}
    for row in read_table(folder / "fsc.tsv"):
        if row["row"] in ("input", "enhanced"):
            frequency, correlation = curves.setdefault(row["row"], ([], []))
            frequency.append(float(row["frequency_inv_a"]))
            correlation.append(float(row["fsc_model_masked"]))
    return curves


def _view(run: RunFolders, folder: Path, result: Mapping) -> ViewedMap | None:
    record = result.get("views")
    if not record or not record["names"]:
        return None
    emdb_id = result["emdb_id"]
    with np.load(folder / "views.npz") as stored:
        planes = {name: [stored[f"{name}_{axis}"] for axis in AXES] for name in record["names"]}
    stated = f", {result['resolution']:g} Å" if result["resolution"] else ""
    return ViewedMap(
        title=f"{emdb_id}, {result['split'] or 'no split'}{stated}",
        planes=planes,
        numbers=record["numbers"],
        limits={name: tuple(pair) for name, pair in record["limits"].items()},
        links=_script(run, emdb_id),
    )


def _script(run: RunFolders, emdb_id: str) -> dict[str, str]:
    """Write the ChimeraX script of an entry; return its link."""
    found = {
        "input": run.stage_file("fetch", emdb_id, "map.map.gz"),
        "enhanced": run.stage_file("predict_enhance", emdb_id, "enhanced.mrc"),
        "trust": run.stage_file("predict_enhance", emdb_id, "enhanced_trust.mrc"),
        "resolution": run.stage_file("predict_resolution", emdb_id, "resolution.mrc"),
    }
    maps = {name: path for name, path in found.items() if path is not None}
    if "input" not in maps:
        return {}
    levels = {}
    record = run.stage_file("predict_enhance", emdb_id, "enhanced.json")
    if record is not None and "enhanced" in maps:
        levels["enhanced"] = read_json(record)["outcome"]["suggested_contour"]
    path = run.out / SCRIPTS / f"{emdb_id}.cxc"
    write_text(path, entry_script(path.parent, maps, levels))
    return {"open in ChimeraX": os.path.relpath(path, run.out)}


def _labels(run: RunFolders) -> list[dict[str, object]]:
    """Return what each entry's labels rest on."""
    if run.results is None:
        return []
    folder = run.results / "labels" / "entries"
    rows = []
    for facts in sorted(folder.glob("*/facts.json")):
        content = read_json(facts)
        if "engine" in content:
            rows.append({"emdb_id": facts.parent.name} | content)
    return rows


def _what_was_run() -> list[dict[str, str]]:
    return [{"name": name, "value": version} for name, version in software_versions().items()]


def _network(card: Mapping) -> dict[str, object]:
    training = card.get("training", {})
    settings = training.get("settings", {})
    return {
        "network": card.get("dataset"),
        "layout": card.get("network", {}).get("name", card.get("code", "")),
        "entries": len(training.get("entries", ())),
        "steps": int(card.get("metrics", {}).get("step", 0)),
        "seed": settings.get("seed", ""),
        "weights_sha256": str(card.get("weights_sha256", ""))[:12],
        "licence": card.get("licence", ""),
    }
