"""One line per improved map, and the answers to what its user asks: trust, shift, help.

A result is the content of one entry's ``metrics.json``, as in :mod:`cryoclarity.report.table`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from cryoclarity.report.table import REFERENCE_ROWS, exceeds_references

# Metric, heading, and whether more of it is better.
COMPARED = {
    "CC_mask": ("CC in mask", True),
    "mean_fsc_model_masked": ("masked mean FSC", True),
    "Q_mean": ("mean Q", True),
    "d_fsc_model_masked_0.5": ("FSC 0.5 (Å)", False),
}
JUDGED = ("CC_mask", "mean_fsc_model_masked", "Q_mean")
RANKED_BY = "CC_mask"
LARGEST_SHIFT = 0.01  # voxels
WORST = 5


def overview_rows(results: Sequence[Mapping]) -> list[dict[str, object]]:
    """Return one row per improved map, the one that lost most first.

    Returns
    -------
    list of dict
        ``emdb_id split resolution``, for each metric ``<metric>_before``, ``<metric>_after`` and
        ``<metric>_change`` (None where undefined), ``beyond_references`` (change of CC_mask
        against the better of the maps that need no network), ``shift`` in voxels, ``flags`` and
        ``ahead``.
    """
    rows = [_row(result) for result in results if "enhanced" in result.get("rows", {})]
    return sorted(rows, key=lambda row: (_order(row[f"{RANKED_BY}_change"]), row["emdb_id"]))


def _order(change: float | None) -> float:
    return math.inf if change is None else change


def _row(result: Mapping) -> dict[str, object]:
    before, after = result["rows"]["input"], result["rows"]["enhanced"]
    row: dict[str, object] = {key: result[key] for key in ("emdb_id", "split", "resolution")}
    for metric in COMPARED:
        pair = before.get(metric), after.get(metric)
        row[f"{metric}_before"], row[f"{metric}_after"] = pair
        row[f"{metric}_change"] = _change(*pair)
    references = [result["rows"].get(name, {}).get(RANKED_BY) for name in REFERENCE_ROWS]
    known = [value for value in references if value is not None]
    row["beyond_references"] = _change(max(known, default=None), after.get(RANKED_BY))
    checks = result.get("checks", {})
    row["shift"] = checks.get("shift_voxels")
    row["flags"] = "; ".join(flags(checks))
    row["ahead"] = "yes" if exceeds_references(result["rows"]) else "no"
    return row


def _change(before: float | None, after: float | None) -> float | None:
    return None if before is None or after is None else after - before


def flags(checks: Mapping) -> list[str]:
    """Return in words what a reader has to know before believing an improved map."""
    found = []
    shift = checks.get("shift_voxels")
    if shift is not None and shift >= LARGEST_SHIFT:
        found.append(f"moved by {shift:.3f} voxel")
    if checks.get("finer_than_data"):
        found.append("detail finer than the data: invented")
    if checks.get("enhanced_before"):
        found.append("input was improved before")
    if checks.get("cc_peaks_degenerate"):
        found.append("CC of peaks undefined")
    return found


def shares(rows: Sequence[Mapping[str, object]]) -> list[dict[str, object]]:
    """Return, per judged metric, how many maps rose and how many fell.

    Returns
    -------
    list of dict
        ``metric maps improved worse improved_share worse_share mean_change``.
    """
    table = []
    for metric in JUDGED:
        changes = [row[f"{metric}_change"] for row in rows if row[f"{metric}_change"] is not None]
        if not changes:
            continue
        up, down = sum(c > 0 for c in changes), sum(c < 0 for c in changes)
        table.append(
            {
                "metric": COMPARED[metric][0],
                "maps": len(changes),
                "improved": up,
                "worse": down,
                "improved_share": f"{up / len(changes):.0%}",
                "worse_share": f"{down / len(changes):.0%}",
                "mean_change": f"{math.fsum(changes) / len(changes):+.3f}",
            }
        )
    return table


def worst(rows: Sequence[Mapping[str, object]]) -> list[Mapping[str, object]]:
    """Return the maps that lost most, at most five; maps that lost nothing are not among them."""
    lost = [row for row in rows if _order(row[f"{RANKED_BY}_change"]) < 0]
    return lost[:WORST]


def answers(rows: Sequence[Mapping[str, object]], has_trust: bool) -> list[tuple[str, str]]:
    """Answer the three questions that users of improved maps ask.

    Returns
    -------
    list of (question, answer)
    """
    if not rows:
        return [("Did it help?", "No improved map was compared with a model: nothing is claimed.")]
    return [
        ("Which parts can I trust?", _trust_answer(rows, has_trust)),
        ("Did it move my map?", _shift_answer(rows)),
        ("Did it help?", _help_answer(rows)),
    ]


def _trust_answer(rows: Sequence[Mapping[str, object]], has_trust: bool) -> str:
    invented = sum("invented" in str(row["flags"]) for row in rows)
    text = f"{invented} of {len(rows)} maps show detail finer than their data can hold."
    where = (
        " The trust map beside each map below is low where the network disagrees with itself or"
        " with the data; low trust outside the molecule is normal."
        if has_trust
        else " No trust maps were made in this run (predict.enhance.trust)."
    )
    return text + where


def _shift_answer(rows: Sequence[Mapping[str, object]]) -> str:
    shifts = [row["shift"] for row in rows if row["shift"] is not None]
    if not shifts:
        return "Not measured."
    moved = sum(shift >= LARGEST_SHIFT for shift in shifts)
    verdict = f"Yes, {moved} of {len(shifts)} maps by {LARGEST_SHIFT:g} voxel or more."
    return (
        f"{verdict if moved else 'No.'} Largest shift against the input: {max(shifts):.4f} voxel."
    )


def _help_answer(rows: Sequence[Mapping[str, object]]) -> str:
    parts = [
        f"{line['metric']} rose in {line['improved']} and fell in {line['worse']}"
        f" (mean {line['mean_change']})"
        for line in shares(rows)
    ]
    ahead = sum(row["ahead"] == "yes" for row in rows)
    return (
        f"Of {len(rows)} maps: " + "; ".join(parts) + f". Ahead of clipping and of the best radial"
        f" filter, which need no network: {ahead}."
    )
