"""How well a map of local resolution follows the truth, beside answers that know nothing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from scipy.stats import rankdata

COLUMNS = (
    *("network", "entry", "ranges", "version", "rank_correlation", "mae_a", "bias_a"),
    *("training_median_mae_a", "map_median_mae_a", "covered_share", "share_at_limits"),
)
KEYS = ("network", "ranges", "version")


def rank_correlation(first: np.ndarray, second: np.ndarray) -> float:
    """Return Spearman's rank correlation, 0 where either is constant.

    Parameters
    ----------
    first, second : (n,)
    """
    a, b = (rankdata(v) for v in (first, second))
    a, b = a - a.mean(), b - b.mean()
    norm = float(np.sqrt((a * a).sum() * (b * b).sum()))
    return float((a * b).sum()) / norm if norm else 0.0


def skill(estimate: np.ndarray, truth: np.ndarray, training_median: float) -> dict[str, float]:
    """Score an estimate where it and the truth have a value.

    Parameters
    ----------
    estimate, truth : arrays of one shape, angstrom; 0 means no value
    training_median : angstrom
        The constant that a network without any skill would answer.

    Returns
    -------
    dict
        ``rank_correlation`` within the map; ``mae_a`` and ``bias_a`` in angstrom;
        ``training_median_mae_a`` and ``map_median_mae_a``, errors of two constants, the latter
        knowing the median of the map's truth; ``covered_share`` of the truth.
    """
    known = truth > 0
    both = known & (estimate > 0)
    wanted, found = truth[both].astype(np.float64), estimate[both].astype(np.float64)
    if not wanted.size:
        return {"rank_correlation": 0.0, "covered_share": 0.0}
    error = found - wanted
    return {
        "rank_correlation": rank_correlation(found, wanted),
        "mae_a": float(np.abs(error).mean()),
        "bias_a": float(error.mean()),
        "training_median_mae_a": float(np.abs(wanted - training_median).mean()),
        "map_median_mae_a": float(np.abs(wanted - np.median(wanted)).mean()),
        "covered_share": wanted.size / int(known.sum()),
    }


def summary(rows: Sequence[dict[str, object]]) -> list[dict[str, str]]:
    """Return means over maps by network, ranges and version, with the worst rank correlation."""
    groups: dict[tuple, list[dict[str, object]]] = {}
    for row in rows:
        groups.setdefault(tuple(row[key] for key in KEYS), []).append(row)
    return [_means(key, members) for key, members in groups.items()]


def _means(key: tuple, members: Iterable[dict[str, object]]) -> dict[str, object]:
    members = list(members)
    means = {}
    for name in (column for column in COLUMNS if column not in (*KEYS, "entry")):
        values = [row[name] for row in members if row.get(name) is not None]
        means[name] = f"{np.mean(values):.3f}" if values else ""
    worst = min(row["rank_correlation"] for row in members)
    return dict(zip(KEYS, key, strict=True)) | {
        "maps": str(len(members)),
        **means,
        "worst_rank_correlation": f"{worst:.3f}",
    }
