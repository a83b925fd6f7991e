"""How a run goes, while it runs: every row of the metrics with its pace, in a file of its own.

Pace differs from run to run, so it has no place among outputs that are the same bytes every time.
"""

from __future__ import annotations

from pathlib import Path

from cryoclarity.io.tables import read_table, write_table


def progress_path(state_folder: Path) -> Path:
    """Where the table lies: beside the folder of checkpoints."""
    return state_folder.with_name(f"{state_folder.name}.progress.tsv")


class Progress:
    """A table that grows row by row and can be looked at meanwhile.

    Parameters
    ----------
    path : path
    step : int
        Rows beyond it, of a run that is resumed before them, are dropped; 0 begins anew.
    """

    def __init__(self, path: Path, step: int = 0):
        self.path = path
        self.rows: list[dict[str, str]] = []
        if step and path.exists():
            self.rows = [row for row in read_table(path) if int(row["step"]) <= step]

    def add(self, row: dict[str, float]) -> None:
        """Append a row, which has a `step`."""
        self.rows.append({name: f"{value:.6g}" for name, value in row.items()})
        columns = dict.fromkeys(name for known in self.rows for name in known)
        write_table(self.path, self.rows, tuple(columns))
