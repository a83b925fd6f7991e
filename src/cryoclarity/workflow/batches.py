"""The entry table and its division into batches.

An entry never moves to another batch: adding or removing entries elsewhere reruns nothing of it.
The assignment is therefore a small append-only table beside the results.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from pathlib import Path

from cryoclarity.errors import ConfigError
from cryoclarity.io.tables import read_table, write_table
from cryoclarity.selection.splits import is_split

ENTRY_COLUMNS = (
    "emdb_id",
    "pdb_id",
    "resolution",
    "method",
    "half_maps",
    "masks",
    "contour",
    "split",
    "weight",
    "map_sha256",
    "half1_sha256",
    "half2_sha256",
    "mask_sha256",
    "model_sha256",
    "group",
    "source",
)
SPLITS = ("train", "val", "test")
# Columns of numbers: least value, and whether it is allowed itself (weight 0: never drawn).
LEAST_VALUES = {"resolution": (0.0, False), "weight": (0.0, True), "contour": (-math.inf, False)}
EMDB_ID = re.compile(r"EMD-\d{4,6}")
PDB_ID = re.compile(r"[1-9][0-9a-z]{3}|pdb_[0-9a-z]{8}")


def read_entries(path: str | Path) -> list[dict[str, str]]:
    """Read and check an entry table.

    Parameters
    ----------
    path : path
        TSV; `emdb_id` is needed, all other columns of :data:`ENTRY_COLUMNS` may be absent.

    Returns
    -------
    list of dict
        One row per entry with every column, in table order. An entry without a group is a
        group of its own.

    Raises
    ------
    ConfigError
        A malformed id (ID_BAD), an entry twice (ID_DUPLICATE), an unknown split or column, a
        resolution that is not positive, a negative weight, a contour that is no number.
    """
    entries, lines = [], {}
    for line, row in enumerate(read_table(path), start=2):
        unknown = set(row) - set(ENTRY_COLUMNS)
        if unknown:
            raise ConfigError(f"unknown columns {sorted(unknown)}", file=path)
        entry = dict.fromkeys(ENTRY_COLUMNS, "") | row
        _check_entry(entry, line, path)
        if entry["emdb_id"] in lines:
            other = lines[entry["emdb_id"]]
            raise ConfigError(
                f"line {line}: {entry['emdb_id']} is already on line {other}",
                code="ID_DUPLICATE",
                file=path,
            )
        lines[entry["emdb_id"]] = line
        entry["group"] = entry["group"] or entry["emdb_id"]
        entries.append(entry)
    return entries


def check_simulated(path: str | Path) -> None:
    """Check a table of simulated entries, as `degrade_models.py --table` writes it.

    Raises
    ------
    ConfigError
        No such file, a column missing, an id that does not begin with SIM- (ID_BAD), an entry
        twice (ID_DUPLICATE), an unknown split.
    """
    if not Path(path).is_file():
        raise ConfigError("no table of simulated entries", code="FILE_MISSING", file=path)
    seen: set[str] = set()
    for line, row in enumerate(read_table(path), start=2):
        missing = {"emdb_id", "split", "group", "model", "model_sha256", "draw"} - set(row)
        if missing:
            raise ConfigError(f"no columns {sorted(missing)}", file=path)
        name = row["emdb_id"]
        if not name.startswith("SIM-"):
            raise ConfigError(
                f"line {line}: {name!r} is no simulated entry", code="ID_BAD", file=path
            )
        if name in seen:
            raise ConfigError(f"line {line}: {name} again", code="ID_DUPLICATE", file=path)
        if row["split"] not in SPLITS:
            raise ConfigError(f"line {line}: split {row['split']!r} is none of {SPLITS}", file=path)
        seen.add(name)


def _check_entry(entry: dict[str, str], line: int, path: str | Path) -> None:
    if not EMDB_ID.fullmatch(entry["emdb_id"]):
        raise ConfigError(
            f"line {line}: {entry['emdb_id']!r} is no EMDB id", code="ID_BAD", file=path
        )
    if entry["pdb_id"] and not PDB_ID.fullmatch(entry["pdb_id"]):
        raise ConfigError(
            f"line {line}: {entry['pdb_id']!r} is no PDB id", code="ID_BAD", file=path
        )
    if entry["split"] and not is_split(entry["split"]):
        names = f"{SPLITS} and no held_out_NAME"
        raise ConfigError(f"line {line}: split {entry['split']!r} is none of {names}", file=path)
    for column, (least, allowed) in LEAST_VALUES.items():
        value = _number(entry[column] or "1")
        if not (value > least or (allowed and value == least)):
            raise ConfigError(
                f"line {line}: {column} {entry[column]!r} is no such number", file=path
            )


def _number(text: str) -> float:
    """Return a finite number, NaN for everything else."""
    try:
        value = float(text)
    except ValueError:
        return math.nan
    return value if math.isfinite(value) else math.nan


def assign_batches(
    entries: list[dict[str, str]], known: dict[str, str], batch_size: int
) -> dict[str, str]:
    """Extend an assignment of entries to batches.

    Parameters
    ----------
    entries : rows of the entry table
    known : earlier assignment, EMDB id to batch name; kept as it is
    batch_size : int

    Returns
    -------
    dict
        EMDB id to batch name, for the known and the new entries. New entries fill the last batch
        and then open new ones.
    """
    assigned = dict(known)
    last = max((int(name) for name in known.values()), default=0)
    filled = sum(int(name) == last for name in known.values())
    for entry in entries:
        if entry["emdb_id"] in assigned:
            continue
        if not last or filled >= batch_size:
            last, filled = last + 1, 0
        assigned[entry["emdb_id"]] = f"{last:04d}"
        filled += 1
    return assigned


def members_of(
    entries: list[dict[str, str]], assigned: dict[str, str]
) -> dict[str, list[dict[str, str]]]:
    """Return the rows of each batch that has any, by batch name."""
    batches: dict[str, list[dict[str, str]]] = {}
    for entry in entries:
        batches.setdefault(assigned[entry["emdb_id"]], []).append(entry)
    return dict(sorted(batches.items()))


def rows_hash(rows: list[dict[str, str]]) -> str:
    """Return the hash of a batch's rows: what its jobs depend on of the entry table."""
    return hashlib.sha256(json.dumps(rows, sort_keys=True).encode()).hexdigest()[:16]


def write_members(entries: Path, table: Path, name: str, out: Path) -> None:
    """Write the rows of one batch.

    Parameters
    ----------
    entries, table, out : Path
        Entry table, table of `emdb_id` and `batch`, file to write.
    name : str
        The batch.
    """
    assigned = {row["emdb_id"]: row["batch"] for row in read_table(table)}
    write_table(out, members_of(read_entries(entries), assigned)[name], ENTRY_COLUMNS)
