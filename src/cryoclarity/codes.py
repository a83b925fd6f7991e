"""The reason codes: one table for rows, messages and documentation."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

TABLE = Path(__file__).parent / "data" / "reason_codes.tsv"

# Families that count towards `max_failed_fraction`: filters, labels and lost branches do not.
FAILURE_FAMILIES = frozenset({"file", "header", "value", "model", "network", "internal"})


@dataclass(frozen=True)
class Code:
    """One reason code: family, severity, meaning, and what a user can do when nothing special."""

    code: str
    family: str
    severity: str
    meaning: str
    remedy: str = ""


def load_codes(path: Path = TABLE) -> dict[str, Code]:
    """Read the table of reason codes.

    Parameters
    ----------
    path : Path
        TSV with the columns ``code family severity meaning remedy``.

    Returns
    -------
    dict of str to Code
    """
    with path.open(encoding="utf-8", newline="") as handle:
        rows = csv.DictReader(handle, delimiter="\t")
        return {row["code"]: Code(**row) for row in rows}


CODES = load_codes()
