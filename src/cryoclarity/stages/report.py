"""Gather the entries' metrics into the tables, figures and verdicts of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cryoclarity.codes import CODES
from cryoclarity.evaluate.local_resolution import pooled_metrics
from cryoclarity.io.files import read_json, write_text
from cryoclarity.io.tables import read_table, write_table
from cryoclarity.report.figures import EntryPicture, learning_curves, summary_figure
from cryoclarity.report.table import (
    HELD_OUT,
    MAP_ROWS,
    RESOLUTION_COLUMNS,
    SUMMARY_COLUMNS,
    enhance_verdict,
    held_out,
    improved_maps,
    mean_metrics,
    resolution_rows,
    resolution_verdict,
    summary_rows,
)
from cryoclarity.stages.batch import entries_folder
from cryoclarity.stages.report_page import RunFolders, run_page, write_page

DEFAULT_ENTRIES = 4
SUMMARY_TABLE = "summary.tsv"
RESOLUTION_TABLE = "local_resolution.tsv"
SUMMARY_FIGURE = "summary.png"
CURVES_FIGURE = "learning_curves.png"
VERDICT_FILE = "verdict.txt"
PAGE = "index.html"


@dataclass(frozen=True)
class Summary:
    """What a report says, as far as a terminal shows it.

    Attributes
    ----------
    rows, resolution_rows : list of dict
        Rows of the two tables.
    verdicts : list of str
    folder : Path
        Where table and figure lie.
    """

    rows: list[dict[str, str]]
    resolution_rows: list[dict[str, str]]
    verdicts: list[str]
    folder: Path

    @property
    def table(self) -> Path:
        """The table."""
        return self.folder / SUMMARY_TABLE

    @property
    def figure(self) -> Path:
        """The figure."""
        return self.folder / SUMMARY_FIGURE

    @property
    def page(self) -> Path:
        """The page."""
        return self.folder / PAGE


def run_files(
    manifests: Sequence[str | Path],
    cards: Sequence[str | Path],
    out: str | Path,
    *,
    rows: Sequence[str | Path] = (),
    entries: int = DEFAULT_ENTRIES,
    rejected: str | Path | None = None,
    funnel: str | Path | None = None,
    results_folder: str | Path | None = None,
) -> Summary:
    """Write the tables, figures and the page of a run.

    Parameters
    ----------
    manifests : paths
        Manifests of the evaluation; rows that are not ok are left out.
    cards : paths
        Cards of the networks; their metrics tables lie beside them.
    out : path
        Folder to write into.
    rows : paths
        Rows of the entry table, which tell how many entries there are by split.
    entries : int
        Most entries that the figure and the viewer of the page show.
    rejected, funnel : path, optional
        Table of rejected entries, and counts by stage and code.
    results_folder : path, optional
        Where the stages' folders lie; the viewer links their maps. By default the folder above
        that of the manifests.

    Returns
    -------
    Summary
    """
    out = Path(out)
    folders = evaluated_folders(manifests)
    results = [read_json(folder / "metrics.json") for folder in folders]
    training = training_tables(cards)
    pooled = pooled_metrics([r["local_resolution"] for r in held_out(results, "local_resolution")])
    improvement = enhance_verdict(results)
    resolution = resolution_verdict(results, pooled)
    table = summary_rows(results, improvement)
    local_rows = resolution_rows(results, pooled, resolution)
    verdicts = [
        f"Improvement network: {improvement.line}",
        f"Local resolution network: {resolution.line}",
    ]
    verdicts += coverage_lines(rows, results) + missing_networks(cards)
    maps = improved_maps(results)
    means = {row: mean_metrics(maps, row) for row in MAP_ROWS} if maps else {}
    shown = choose_entries(results, entries)
    pictures = [_picture(folders[i], results[i]) for i in shown]
    write_table(out / SUMMARY_TABLE, table, SUMMARY_COLUMNS)
    write_table(out / RESOLUTION_TABLE, local_rows, RESOLUTION_COLUMNS)
    write_text(out / VERDICT_FILE, "\n".join(verdicts) + "\n")
    summary_figure(out / SUMMARY_FIGURE, pictures, means, training, verdicts)
    learning_curves(out / CURVES_FIGURE, training)
    summary = Summary(table, local_rows, verdicts, out)
    if results_folder is None and manifests:
        results_folder = Path(manifests[0]).parent.parent
    run = RunFolders(
        out=out,
        results=None if results_folder is None else Path(results_folder),
        evaluated=folders,
        cards=[Path(card) for card in cards],
    )
    counts = read_table(funnel) if funnel else []
    write_page(out / PAGE, run_page(run, results, shown, verdicts, local_rows, training, counts))
    return summary


def read_summary(folder: str | Path) -> Summary:
    """Read back what :func:`run_files` wrote."""
    folder = Path(folder)
    return Summary(
        read_table(folder / SUMMARY_TABLE),
        read_table(folder / RESOLUTION_TABLE),
        (folder / VERDICT_FILE).read_text(encoding="utf-8").splitlines(),
        folder,
    )


def coverage_lines(rows: Sequence[str | Path], results: Sequence[Mapping]) -> list[str]:
    """Say how many entries there are and how many of the held-out ones were evaluated."""
    entries = [row for path in rows for row in read_table(path)]
    if not entries:
        return []
    held = {row["emdb_id"] for row in entries if row.get("split") == HELD_OUT}
    done = held & {result["emdb_id"] for result in results}
    return [
        f"Entries: {len(entries)} in the table, {len(held)} held out (split {HELD_OUT}),"
        f" {len(done)} of these evaluated."
    ]


def missing_networks(cards: Sequence[str | Path]) -> list[str]:
    """Name the networks that were not trained, with the reason."""
    contents = [read_json(card) for card in cards]
    return [
        f"No network for {card['dataset']}: {card['code']}, {CODES[card['code']].meaning}."
        for card in contents
        if card.get("status") == "skipped"
    ]


def evaluated_folders(manifests: Sequence[str | Path]) -> list[Path]:
    """Folders of the evaluated entries, sorted by entry."""
    folders = [
        entries_folder(Path(manifest)) / row["emdb_id"]
        for manifest in manifests
        for row in read_table(manifest)
        if row["status"] == "ok"
    ]
    return sorted(folders, key=lambda folder: folder.name)


def training_tables(cards: Sequence[str | Path]) -> dict[str, list[dict[str, str]]]:
    """Metrics tables of the trained networks by data set; networks without one are left out."""
    tables = {}
    for card in map(Path, cards):
        table = card.parent / "metrics.tsv"
        rows = read_table(table) if table.is_file() else []
        if rows:
            tables[read_json(card).get("dataset", card.parent.name)] = rows
    return tables


def choose_entries(results: Sequence[Mapping], most: int) -> list[int]:
    """Choose the entries of the figure: held-out ones first, both networks before one."""

    def rank(index: int) -> tuple[bool, bool, bool, str]:
        result = results[index]
        return (
            result["split"] != HELD_OUT,
            "enhanced" not in result["rows"],
            not result.get("local_resolution"),
            result["emdb_id"],
        )

    return sorted(range(len(results)), key=rank)[:most]


def _picture(folder: Path, result: Mapping) -> EntryPicture:
    slices = result["slices"]
    planes = np.load(folder / "slices.npy")
    curves: dict[str, tuple[list[float], list[float]]] = {}
    for row in read_table(folder / "fsc.tsv"):
        frequency, correlation = curves.setdefault(row["row"], ([], []))
        frequency.append(float(row["frequency_inv_a"]))
        correlation.append(float(row["fsc_model"]))
    stated = result["resolution"]
    parts = [result["emdb_id"], result["split"]]
    parts += [f"{stated:g} Å"] if stated else []
    return EntryPicture(
        title=", ".join(part for part in parts if part),
        resolution=stated,
        planes=dict(zip(slices["names"], planes, strict=True)),
        pixel=tuple(slices["voxel_size"][:2]),
        curves={name: (np.array(s), np.array(f)) for name, (s, f) in curves.items()},
    )
