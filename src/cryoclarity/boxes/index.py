"""The table of contents of a data set: one row per shard, split by split."""

from __future__ import annotations

from collections.abc import Iterable

INDEX_COLUMNS = ("emdb_id", "split", "group", "path", "sha256", "boxes", "weight")
SPLITS = ("train", "val", "test")
NOTHING = "-"


def index_rows(shards: Iterable[dict[str, object]]) -> list[dict[str, object]]:
    """Sort shards by split and id, and add a row without boxes for every empty split.

    Parameters
    ----------
    shards : rows with `INDEX_COLUMNS`

    Returns
    -------
    list of dict
        An empty split is a row with '-' for an entry and 0 boxes: seen, but never trained on.
    """
    rows = list(shards)
    filled = {row["split"] for row in rows}
    rows += [
        dict.fromkeys(INDEX_COLUMNS, NOTHING) | {"split": split, "boxes": 0, "weight": 0}
        for split in SPLITS
        if split not in filled
    ]
    order = {split: number for number, split in enumerate(SPLITS)}
    return sorted(rows, key=lambda row: (order.get(row["split"], len(SPLITS)), row["emdb_id"]))
