"""What is remembered of fetched files: their records, and every change that was accepted."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from cryoclarity import __version__
from cryoclarity.errors import ConfigError
from cryoclarity.io.files import write_json
from cryoclarity.io.locks import file_lock
from cryoclarity.io.tables import read_table, write_table

PROVENANCE = "provenance.json"
CHANGES = "changes.tsv"
SCHEMA = 2
CHANGE_COLUMNS = (
    "emdb_id",
    "kind",
    "sha256_before",
    "sha256_now",
    "same_content",
    "noticed_utc",
)
LOCK_PATIENCE_S = 600.0

Records = dict[str, dict]


def read_records(folder: Path, emdb_id: str) -> Records:
    """Return the records of the files in a folder, by kind; none when they cannot be read.

    Raises
    ------
    ConfigError
        When the folder holds another entry.
    """
    try:
        content = json.loads((folder / PROVENANCE).read_text(encoding="utf-8"))
        found = content["emdb_id"]
    except (OSError, ValueError, KeyError, TypeError):
        return {}  # a damaged record proves nothing: the files are proved again
    if found != emdb_id:
        raise ConfigError(f"{folder} holds {found}, not {emdb_id}", remedy="choose another folder")
    return content["files"] if content.get("schema") == SCHEMA else {}


def read_absent(folder: Path) -> dict[str, str]:
    """Return which kinds of files the archives lacked when they were asked, with their id."""
    try:
        content = json.loads((folder / PROVENANCE).read_text(encoding="utf-8"))
        return dict(content["absent"])
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def write_records(
    folder: Path,
    emdb_id: str,
    records: Mapping[str, dict],
    lost: Mapping[str, str] | None = None,
    absent: Mapping[str, str] | None = None,
) -> None:
    """Write the records of a folder.

    Parameters
    ----------
    folder : Path
    emdb_id : str
    records : mapping of kind to record
    lost : mapping
        Codes of the half maps or masks that the entry has to do without.
    absent : mapping of kind to id of the archives
        What the archives said they lack.
    """
    content = {
        "schema": SCHEMA,
        "emdb_id": emdb_id,
        "files": dict(records),
        "lost": dict(lost or {}),
        "absent": dict(absent or {}),
        "tool": {"name": "cryoclarity", "version": __version__},
    }
    write_json(folder / PROVENANCE, content)


def note_change(table: Path, emdb_id: str, kind: str, before: dict, now: dict) -> None:
    """Add a line for a file that is another than before, as the user wanted it."""
    row = {
        "emdb_id": emdb_id,
        "kind": kind,
        "sha256_before": before["sha256"],
        "sha256_now": now["sha256"],
        "same_content": "yes" if before["content_sha256"] == now["content_sha256"] else "no",
        "noticed_utc": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
    }
    with file_lock(table.with_name(f".{table.name}.lock"), LOCK_PATIENCE_S, poll_s=0.05):
        rows = read_table(table) if table.exists() else []
        write_table(table, [*rows, row], CHANGE_COLUMNS)


def pin_now(table: Path, emdb_id: str, kind: str, pin: str) -> str:
    """Return what has taken the place of a pinned hash by accepted changes, or the pin itself."""
    if not pin or not table.exists():
        return pin
    for row in read_table(table):
        if (row["emdb_id"], row["kind"], row["sha256_before"]) == (emdb_id, kind, pin.lower()):
            pin = row["sha256_now"]
    return pin
