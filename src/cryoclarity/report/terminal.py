"""The summary as a table for the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.table import Table

from cryoclarity.report.table import ROW_LABELS

MAP_COLUMNS = {
    "CC_mask": "CC mask",
    "CC_peaks": "CC peaks",
    "mean_fsc_model": "mean FSC",
    "d_fsc_model_0.5": "d FSC=0.5 (Å)",
    "Q_mean": "mean Q",
    "SSIM_mask": "SSIM mask",
    "CC_target_mask": "CC target",
}
RESOLUTION_COLUMNS = {
    "mae": "error (Å)",
    "mae_training_median": "training median (Å)",
    "mae_oracle_median": "own median (Å)",
    "quantisation_floor": "label floor (Å)",
    "mae_published_convention": "diluted (Å)",
    "spearman": "rank corr.",
}


def _digits(cell: str) -> str:
    return f"{float(cell):.3f}" if cell else "-"


def map_table(rows: Sequence[Mapping[str, str]]) -> Table:
    """Versions of the maps, one line each.

    Parameters
    ----------
    rows : rows of the summary table
    """
    table = Table(title="Improved maps beside what needs no network", title_justify="left")
    table.add_column("entry")
    table.add_column("split")
    table.add_column("map")
    for title in MAP_COLUMNS.values():
        table.add_column(title, justify="right")
    table.add_column("verdict")
    for index, row in enumerate(rows):
        last = index + 1 == len(rows) or rows[index + 1]["emdb_id"] != row["emdb_id"]
        cells = [_digits(row.get(key, "")) for key in MAP_COLUMNS]
        name = ROW_LABELS[row["row"]]
        verdict = row.get("verdict", "")
        table.add_row(row["emdb_id"], row["split"], name, *cells, verdict, end_section=last)
    return table


def resolution_table(rows: Sequence[Mapping[str, str]]) -> Table:
    """Errors of local resolution over labelled voxels, one line per map.

    Parameters
    ----------
    rows : rows of the local resolution table
    """
    table = Table(title="Local resolution, labelled voxels only", title_justify="left")
    table.add_column("entry")
    table.add_column("split")
    for title in RESOLUTION_COLUMNS.values():
        table.add_column(title, justify="right")
    table.add_column("verdict")
    for row in rows:
        cells = [_digits(row.get(key, "")) for key in RESOLUTION_COLUMNS]
        table.add_row(row["emdb_id"], row["split"], *cells, row.get("verdict", ""))
    return table
