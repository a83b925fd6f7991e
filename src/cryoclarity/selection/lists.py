"""Lists of entries: those published by others and shipped here, and a user's own.

Identifiers are facts; the table ``lists.tsv`` says where each list stems from and under which
licence its source stands.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from cryoclarity.errors import ConfigError
from cryoclarity.io.tables import read_table
from cryoclarity.selection.facts import accession_number

FOLDER = Path(__file__).resolve().parents[1] / "data" / "lists"
EMDB_ID = re.compile(r"EMD-\d{4,6}")
PDB_ID = re.compile(r"[1-9][0-9a-z]{3}|pdb_[0-9a-z]{8}")
# What a role of a list means for the split; other roles leave the entry free.
ROLE_SPLITS = {"train": "train", "val": "val", "test": "test", "benchmark": "test"}


class ListEntry(NamedTuple):
    """One entry of a list.

    `columns` holds whatever else the row says (resolution, split, contour ...).
    """

    emdb_id: str
    pdb_id: str = ""
    role: str = ""
    columns: Mapping[str, str] = {}


class ListFault(NamedTuple):
    """What is wrong with one line of a list."""

    line: int
    code: str
    value: str
    message: str


def published_lists() -> list[dict[str, str]]:
    """Return what is known of each shipped list.

    Returns
    -------
    list of dict
        Keys ``name subset_of rows source commit paper licence notes``.
    """
    return read_table(FOLDER / "lists.tsv")


def published_list(name: str) -> list[ListEntry]:
    """Read a shipped list.

    Returns
    -------
    list of ListEntry
        By accession number; an entry with two roles stands twice.

    Raises
    ------
    ConfigError
        There is no such list.
    """
    known = [row["name"] for row in published_lists()]
    if name not in known:
        raise ConfigError(f"no published list {name!r}", remedy=f"known are {', '.join(known)}")
    return [_entry(row) for row in read_table(FOLDER / f"{name}.tsv")]


def _entry(row: Mapping[str, str]) -> ListEntry:
    rest = {name: row[name] for name in row if name not in ("emdb_id", "pdb_id", "role")}
    return ListEntry(row["emdb_id"], row.get("pdb_id", ""), row.get("role", ""), rest)


def split_of_role(role: str) -> str:
    """Return the split that a role pins its entry to, empty when it pins nothing."""
    return ROLE_SPLITS.get(role.partition("-")[0], "")


def check_list(rows: Sequence[Mapping[str, str]]) -> tuple[list[ListEntry], list[ListFault]]:
    """Check the rows of a user's list.

    Parameters
    ----------
    rows : sequence of dict
        `emdb_id` is needed; `pdb_id` may be empty; all other columns are kept. Ids are taken in
        either case and with blanks around them; the first row stands on line 2.

    Returns
    -------
    entries : list of ListEntry
        The good ones, by accession number.
    faults : list of ListFault
        ID_BAD and ID_DUPLICATE, all of them.
    """
    entries, faults = [], []
    lines: dict[str, int] = {}
    for line, row in enumerate(rows, start=2):
        emdb_id = row.get("emdb_id", "").strip().upper()
        pdb_id = row.get("pdb_id", "").strip().lower()
        bad = [
            ListFault(line, "ID_BAD", text, f"line {line}: {text!r} is no {kind} id")
            for text, kind, form in ((emdb_id, "EMDB", EMDB_ID), (pdb_id, "PDB", PDB_ID))
            if not form.fullmatch(text) and (text or kind == "EMDB")
        ]
        faults += bad
        if bad:
            continue
        if emdb_id in lines:
            message = f"line {line}: {emdb_id} is already on line {lines[emdb_id]}"
            faults.append(ListFault(line, "ID_DUPLICATE", emdb_id, message))
            continue
        lines[emdb_id] = line
        entries.append(_entry({**row, "emdb_id": emdb_id, "pdb_id": pdb_id}))
    return sorted(entries, key=lambda entry: accession_number(entry.emdb_id)), faults


def read_list(path: str | Path) -> list[ListEntry]:
    """Read a user's list.

    Raises
    ------
    ConfigError
        The code of the first fault, and every fault in the message.
    """
    rows = read_table(path)
    if rows and "emdb_id" not in rows[0]:
        raise ConfigError("no column emdb_id", file=path, remedy="name it in the first line")
    entries, faults = check_list(rows)
    if faults:
        message = "; ".join(fault.message for fault in faults)
        raise ConfigError(message, code=faults[0].code, file=path)
    return entries


def list_leakage(lists: Mapping[str, Iterable[ListEntry]]) -> list[dict[str, str]]:
    """Find the entries that stand in two lists in different roles.

    Parameters
    ----------
    lists : mapping
        Name to entries. A list that is part of another should not be among them.

    Returns
    -------
    list of dict
        ``emdb_id list_a list_b``, the lists as ``name:role`` in the order given; by accession
        number. By id alone: relatives with other ids are a matter of the graph.
    """
    places: dict[str, list[tuple[str, str]]] = {}
    for name, entries in lists.items():
        for entry in entries:
            places.setdefault(entry.emdb_id, []).append((name, entry.role))
    return [
        {"emdb_id": emdb_id, "list_a": ":".join(first), "list_b": ":".join(second)}
        for emdb_id in sorted(places, key=accession_number)
        for place, first in enumerate(places[emdb_id])
        for second in places[emdb_id][place + 1 :]
        if first[0] != second[0] and first[1] != second[1]
    ]


def known_leakage() -> list[dict[str, str]]:
    """Return the leakage among the shipped lists, subsets of others left out."""
    names = [row["name"] for row in published_lists() if not row["subset_of"]]
    return list_leakage({name: published_list(name) for name in names})


def neighbours_apart(
    entries: Iterable[ListEntry], distance: int = 3
) -> list[tuple[ListEntry, ListEntry]]:
    """Find entries with close accession numbers in different roles of one list.

    Maps deposited together often carry neighbouring numbers: candidates for a check, no proof.
    """
    ordered = sorted(entries, key=lambda entry: accession_number(entry.emdb_id))
    pairs = []
    for place, first in enumerate(ordered):
        for second in ordered[place + 1 : place + 1 + distance]:
            gap = accession_number(second.emdb_id) - accession_number(first.emdb_id)
            if 0 < gap <= distance and first.role != second.role:
                pairs.append((first, second))
    return pairs
