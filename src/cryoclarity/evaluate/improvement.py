"""Does a network improve maps: means over maps beside three rows that need no network."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence

INPUT, ENHANCED = "input", "enhanced"
REFERENCES = ("roundtrip", "clipped", "radial_filter")
ROWS = (INPUT, *REFERENCES, ENHANCED)
METRICS = ("CC_box", "CC_mask", "CC_peaks", "mean_fsc", "fsc_0.5_a", "Q_mean")
DECIDING = ("CC_mask", "mean_fsc")
# Names of the same numbers among the metrics of one map.
SOURCES = {
    "mean_fsc": "mean_fsc_model_masked",
    "fsc_0.5_a": "d_fsc_model_masked_0.5",
}
LARGEST_LOSS = 0.02  # of CC_mask, on any map, against the input


def chosen(metrics: Mapping[str, float | None]) -> dict[str, float | None]:
    """Return the numbers of the table from all metrics of one map."""
    return {name: metrics[SOURCES.get(name, name)] for name in METRICS}


def summary(rows: Sequence[Mapping[str, object]]) -> list[dict[str, object]]:
    """Return the mean of every metric over maps, by row; the median of FSC 0.5.

    Parameters
    ----------
    rows : dicts with ``entry``, ``row`` and `METRICS`
    """
    table = []
    for name in ROWS:
        members = [row for row in rows if row["row"] == name]
        if not members:
            continue
        means: dict[str, object] = {"row": name, "maps": len(members)}
        for metric in METRICS:
            known = [float(row[metric]) for row in members if row[metric] is not None]
            middle = statistics.median if metric == "fsc_0.5_a" else statistics.fmean
            means[metric] = middle(known) if known else None
        table.append(means)
    return table


def verdict(rows: Sequence[Mapping[str, object]]) -> dict[str, object]:
    """Say whether the improved maps may be called improved, and what speaks against it.

    Parameters
    ----------
    rows : as of :func:`summary`

    Returns
    -------
    dict
        ``beats_references``: mean CC_mask and mean masked FSC above those of all three reference
        rows. ``harmless``: no map loses more than 0.02 of CC_mask against its input. ``serves``:
        both. ``improved``: both means, on most maps too, with mean Q not below the input's.
        ``share_worse`` by metric against the input; ``worst``: five maps with their change of
        CC_mask; ``maps_ahead``: maps on which all references are beaten, by deciding metric.
    """
    by_entry: dict[str, dict[str, Mapping[str, object]]] = {}
    for row in rows:
        by_entry.setdefault(str(row["entry"]), {})[str(row["row"])] = row
    means = {str(row["row"]): row for row in summary(rows)}
    changes = {
        entry: float(found[ENHANCED]["CC_mask"]) - float(found[INPUT]["CC_mask"])
        for entry, found in by_entry.items()
    }
    beaten = all(
        means[ENHANCED][metric] > means[reference][metric]
        for metric in DECIDING
        for reference in REFERENCES
    )
    ahead = {metric: _ahead(by_entry, metric) for metric in DECIDING}
    harmless = min(changes.values()) >= -LARGEST_LOSS
    most = all(2 * count > len(by_entry) for count in ahead.values())
    return {
        "maps": len(by_entry),
        "beats_references": beaten,
        "harmless": harmless,
        "serves": beaten and harmless,
        "improved": beaten and most and means[ENHANCED]["Q_mean"] >= means[INPUT]["Q_mean"],
        "maps_ahead": ahead,
        "share_worse": {metric: _share_worse(by_entry, metric) for metric in METRICS},
        "worst": dict(sorted(changes.items(), key=lambda item: item[1])[:5]),
    }


def _ahead(by_entry: Mapping[str, Mapping], metric: str) -> int:
    """Maps on which a metric is above all references."""
    return sum(
        all(found[ENHANCED][metric] > found[reference][metric] for reference in REFERENCES)
        for found in by_entry.values()
    )


def _share_worse(by_entry: Mapping[str, Mapping], metric: str) -> float:
    pairs = [(found[INPUT][metric], found[ENHANCED][metric]) for found in by_entry.values()]
    known = [(a, b) for a, b in pairs if a is not None and b is not None]
    sign = -1.0 if metric == "fsc_0.5_a" else 1.0
    return sum(sign * b < sign * a for a, b in known) / len(known) if known else 0.0
