"""The manifest: the table between selection and all later stages."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from cryoclarity.io.tables import read_table, write_table
from cryoclarity.selection.facts import EntryFacts, accession_number
from cryoclarity.selection.rivals import copies_weight

HASH_COLUMNS = ("map_sha256", "half1_sha256", "half2_sha256", "mask_sha256", "model_sha256")
MANIFEST_COLUMNS = (
    "emdb_id",
    "pdb_id",
    "resolution",
    "method",
    "half_maps",
    "masks",
    "contour",
    "split",
    "group",
    "weight",
    *HASH_COLUMNS,
    "source",
)


def number_text(value: float | None) -> str:
    """Write a number so that it reads back the same, an integer without a point."""
    if value is None:
        return ""
    return (
        str(int(value)) if float(value).is_integer() and abs(value) < 1e15 else repr(float(value))
    )


def manifest_row(
    facts: EntryFacts,
    *,
    pdb_id: str,
    split: str,
    group: str,
    source: str,
    copies_power: float = 0.5,
) -> dict[str, str]:
    """Return the row of one entry; empty cells are unknown.

    Parameters
    ----------
    facts : EntryFacts
    pdb_id : str
        The chosen model, of :func:`cryoclarity.selection.rivals.chosen_model`.
    split, group, source : str
        Split, name of the component, and where the entry was named.
    copies_power : float
        Weight is 1 / copies^power, rounded to six digits.
    """
    # Neither row nor document: whether there are half maps is open, and fetch may look.
    halves = "" if not (facts.has_document or facts.status) else "no"
    return dict.fromkeys(MANIFEST_COLUMNS, "") | {
        "emdb_id": facts.emdb_id,
        "pdb_id": pdb_id,
        "resolution": number_text(facts.resolution),
        "method": facts.method,
        "half_maps": "yes" if len(facts.half_maps) >= 2 else halves,
        "masks": ",".join(facts.masks),
        "contour": number_text(facts.contour),
        "split": split,
        "group": group,
        "weight": number_text(round(copies_weight(facts.copies, copies_power), 6)),
        "source": source,
    }


def keep_hashes(
    rows: Iterable[Mapping[str, str]], older: Iterable[Mapping[str, str]]
) -> list[dict[str, str]]:
    """Take over the hashes of files that were seen before.

    Parameters
    ----------
    rows, older : iterable of dict
        New rows, and those of an older manifest. A model's hash stays only with its model.
    """
    seen = {row["emdb_id"]: row for row in older}
    kept = []
    for row in rows:
        before = seen.get(row["emdb_id"], {})
        same_model = before.get("pdb_id", "") == row["pdb_id"]
        hashes = {
            name: row.get(name, "") or before.get(name, "")
            for name in HASH_COLUMNS
            if name != "model_sha256" or same_model
        }
        kept.append({**row, **hashes})
    return kept


def write_manifest(path: str | Path, rows: Iterable[Mapping[str, str]]) -> None:
    """Write a manifest by accession number: the same rows give the same bytes."""
    ordered = sorted(rows, key=lambda row: (accession_number(row["emdb_id"]), row["pdb_id"]))
    write_table(path, ordered, MANIFEST_COLUMNS)


def read_manifest(path: str | Path) -> list[dict[str, str]]:
    """Read a manifest; columns that it lacks are empty."""
    return [dict.fromkeys(MANIFEST_COLUMNS, "") | row for row in read_table(path)]
