"""Stage index: which shards make up a data set, and proof that its splits are kept apart."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryoclarity.boxes.index import INDEX_COLUMNS, index_rows
from cryoclarity.boxes.leaks import (
    Edge,
    EntryFacts,
    compute_groups,
    find_edges,
    group_edges,
    leaking,
    refuse_leaks,
)
from cryoclarity.boxes.sequences import chain_sequences
from cryoclarity.errors import IntegrityError
from cryoclarity.io.files import read_json
from cryoclarity.io.model import read_atoms
from cryoclarity.io.tables import read_table, write_table
from cryoclarity.selection.facts import accession_number
from cryoclarity.stages.batch import entries_folder
from cryoclarity.stages.common import MODELS

LOGGER = logging.getLogger(__name__)
LEAK_COLUMNS = ("first", "split_first", "second", "split_second", "edge", "detail", "across")
IMAGE_KINDS = ("map", "half_map_1", "half_map_2")


@dataclass(frozen=True)
class IndexInputs:
    """Tables of all batches.

    Attributes
    ----------
    rows : parts of the entry table
    fetch : manifests of the fetch stage
    shards : manifests of the shards stage, of one data set
    """

    rows: Sequence[Path]
    fetch: Sequence[Path]
    shards: Sequence[Path] = ()


def run_files(
    dataset: str,
    inputs: IndexInputs,
    out: str | Path,
    leaks: str | Path,
    *,
    one_per_map: bool = False,
) -> dict[str, int]:
    """Write the index of a data set and the table of kin, and stop when kin are separated.

    Parameters
    ----------
    dataset : str
        Also the name of the shard files.
    inputs : IndexInputs
    out : path of the index
        Paths in it are as relative as those of the manifests.
    leaks : path of the table of edges
    one_per_map : bool
        Of entries with the same map only the one of lowest number stays (SEL_F22_DUPLICATE_DATA,
        by the content of the maps, where a selection could only compare statistics).

    Returns
    -------
    dict
        ``entries`` checked, ``edges`` found, ``shards`` and ``boxes`` indexed.

    Raises
    ------
    ConfigError
        SEL_SPLIT_LEAK; the table of edges is written before, the index is not.
    IntegrityError
        SHARD_CORRUPT when a shard of a manifest is not there.
    """
    table = entry_rows(inputs.rows)
    entries = gather_facts(table, inputs.fetch)
    twins = twins_of(entries) if one_per_map else {}
    entries = [entry for entry in entries if entry.emdb_id not in twins]
    edges = sorted([*find_edges(entries), *group_edges(entries)])
    notes = [
        f"{name} left out: SEL_F22_DUPLICATE_DATA, same map as {first}"
        for name, first in twins.items()
    ]
    for note in notes:
        LOGGER.warning(note)
    _write_leaks(leaks, edges, entries, notes)
    refuse_leaks(edges, entries)
    shards = _shard_rows(dataset, table, inputs.shards)
    rows = index_rows(row for row in shards if row["emdb_id"] not in twins)
    write_table(out, rows, INDEX_COLUMNS)
    boxes = sum(int(row["boxes"]) for row in rows)
    filled = sum(int(row["boxes"]) > 0 for row in rows)
    LOGGER.info("%s: %d boxes in %d shards, %d kinships", dataset, boxes, filled, len(edges))
    return {"entries": len(entries), "edges": len(edges), "shards": filled, "boxes": boxes}


def twins_of(entries: Sequence[EntryFacts]) -> dict[str, str]:
    """Return each entry whose map is that of an entry of lower number, with that one's id."""
    first: dict[str, str] = {}
    twins = {}
    for entry in sorted(entries, key=lambda entry: accession_number(entry.emdb_id)):
        sha256 = entry.content.get("map", "")
        if sha256 and first.setdefault(sha256, entry.emdb_id) != entry.emdb_id:
            twins[entry.emdb_id] = first[sha256]
    return twins


def run_groups(inputs: IndexInputs, out: str | Path) -> dict[str, str]:
    """Write the entry table with a computed group column; returns the groups.

    Raises
    ------
    InputError
        FILE_*, MOD_*.
    """
    table = entry_rows(inputs.rows)
    entries = gather_facts(table, inputs.fetch)
    groups = compute_groups(entries)
    for name, row in table.items():
        row["group"] = groups.get(name, row.get("group", ""))
    columns = list(dict.fromkeys(column for row in table.values() for column in row))
    write_table(out, table.values(), columns)
    return groups


def entry_rows(paths: Sequence[Path]) -> dict[str, dict[str, str]]:
    """Return the rows of several parts of the entry table by id, in their order."""
    return {row["emdb_id"]: row for path in paths for row in read_table(path)}


def gather_facts(table: dict[str, dict[str, str]], manifests: Sequence[Path]) -> list[EntryFacts]:
    """Return what is known of the fetched entries: contents of maps, sequences of models."""
    facts = []
    for manifest in manifests:
        for row in read_table(manifest):
            if row["status"] == "ok" and row["emdb_id"] in table:
                folder = entries_folder(manifest) / row["emdb_id"]
                facts.append(_facts_of(table[row["emdb_id"]], folder))
    return sorted(facts, key=lambda entry: entry.emdb_id)


def _facts_of(row: dict[str, str], folder: Path) -> EntryFacts:
    provenance = folder / "provenance.json"
    files = read_json(provenance)["files"] if provenance.is_file() else {}
    content = {
        kind: files[kind]["content_sha256"]
        for kind in IMAGE_KINDS
        if files.get(kind, {}).get("content_sha256")
    }
    models = [folder / name for name in MODELS if (folder / name).is_file()]
    sequences = chain_sequences(read_atoms(models[0])) if models else []
    return EntryFacts(
        row["emdb_id"],
        row.get("split", ""),
        row.get("group", ""),
        row.get("pdb_id", ""),
        content,
        tuple(sequences),
    )


def _write_leaks(
    path: str | Path, edges: list[Edge], entries: list[EntryFacts], notes: Sequence[str] = ()
) -> None:
    split = {entry.emdb_id: entry.split for entry in entries}
    across = set(leaking(edges, entries))
    rows = [
        {
            "first": edge.first,
            "split_first": split[edge.first],
            "second": edge.second,
            "split_second": split[edge.second],
            "edge": edge.kind,
            "detail": edge.detail,
            "across": "yes" if edge in across else "no",
        }
        for edge in edges
    ]
    pairs = len(entries) * (len(entries) - 1) // 2
    comment = f"{len(entries)} entries, {pairs} pairs, {len(edges)} edges, {len(across)} leaks"
    write_table(path, rows, LEAK_COLUMNS, comments=[comment, *notes])


def _shard_rows(
    dataset: str, table: dict[str, dict[str, str]], manifests: Sequence[Path]
) -> list[dict[str, object]]:
    rows = []
    for manifest in manifests:
        for row in read_table(manifest):
            if row["status"] != "ok":
                continue
            entry = table[row["emdb_id"]]
            path = entries_folder(manifest) / row["emdb_id"] / f"{dataset}.h5"
            if not path.is_file():
                raise IntegrityError(
                    "the manifest names this shard, found no file",
                    code="SHARD_CORRUPT",
                    file=path,
                    remedy="run the shards stage of this entry again",
                )
            record = read_json(path.with_suffix(".json"))
            rows.append(
                {
                    "emdb_id": row["emdb_id"],
                    "split": entry.get("split", ""),
                    "group": entry.get("group", ""),
                    "path": path.as_posix(),
                    "sha256": record["sha256"],
                    "boxes": record["boxes"],
                    "weight": entry.get("weight") or "1",
                }
            )
    return rows
