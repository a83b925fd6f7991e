"""The summary tables: improved maps beside what needs no network, and what may be claimed.

A result is the content of one entry's ``metrics.json``: the entry's facts, ``rows`` with the
metrics of each version of its map, and ``local_resolution`` with errors over labelled voxels.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

# Versions of a map, in the order of the tables. Each one is what the next has to beat.
MAP_ROWS = ("input", "roundtrip", "clipped", "radial_filter", "enhanced")
ROW_LABELS = {
    "input": "input",
    "roundtrip": "input, resampled",
    "clipped": "scaled, clipped",
    "radial_filter": "radial filter, clipped",
    "enhanced": "improved",
}
REFERENCE_ROWS = ("clipped", "radial_filter")
METRICS = (
    "CC_mask",
    "CC_box",
    "CC_volume",
    "CC_peaks",
    "mean_fsc_model",
    "mean_fsc_model_masked",
    "d_fsc_model_0.5",
    "d_fsc_model_0.143",
    "d_fsc_model_masked_0.5",
    "d_fsc_model_masked_0.143",
    "Q_mean",
    "Q_expected",
    "SSIM",
    "SSIM_mask",
    "CC_target_box",
    "CC_target_mask",
)
SUMMARY_COLUMNS = ("emdb_id", "split", "resolution", "row", *METRICS, "verdict")
RESOLUTION_METRICS = (
    "n_labelled",
    "labelled_share",
    "predicted_share",
    "mae",
    "mae_training_median",
    "mae_oracle_median",
    "quantisation_floor",
    "rmse",
    "rmse_training_median",
    "rmse_oracle_median",
    "mae_published_convention",
    "label_median",
    "prediction_median",
    "training_median",
    "pearson",
    "spearman",
)
RESOLUTION_COLUMNS = ("emdb_id", "split", "resolution", *RESOLUTION_METRICS, "verdict")
HELD_OUT = "test"
# CC_mask and mean FSC must rise; Q-scores must not fall, or the gain is blur or invention.
RISING = ("CC_mask", "mean_fsc_model")


@dataclass(frozen=True)
class Verdict:
    """What may be claimed about a network.

    Attributes
    ----------
    word : str
        'improved' or 'skill', 'no skill yet', or 'no verdict' without held-out maps.
    reason : str
        The numbers behind it, in one sentence.
    """

    word: str
    reason: str

    @property
    def line(self) -> str:
        """Word and reason."""
        return f"{self.word}: {self.reason}"


def held_out(results: Sequence[Mapping], key: str) -> list[Mapping]:
    """Return the results of the test split that hold something under `key`."""
    return [result for result in results if result["split"] == HELD_OUT and result.get(key)]


def improved_maps(results: Sequence[Mapping]) -> list[Mapping]:
    """Return the held-out results that hold an improved map."""
    return [r for r in held_out(results, "rows") if "enhanced" in r["rows"]]


def mean_metrics(results: Sequence[Mapping], row: str) -> dict[str, float]:
    """Mean of each metric of one version of the maps; metrics that any map lacks are left out."""
    means = {}
    for key in METRICS:
        values = [result["rows"].get(row, {}).get(key) for result in results]
        if values and all(_is_number(value) for value in values):
            means[key] = math.fsum(values) / len(values)
    return means


def exceeds_references(rows: Mapping[str, Mapping]) -> bool:
    """Whether the improved map has more CC_mask and mean FSC than both reference rows."""
    return all(
        _greater(rows, "enhanced", reference, key) for reference in REFERENCE_ROWS for key in RISING
    )


def _greater(rows: Mapping[str, Mapping], first: str, second: str, key: str) -> bool:
    values = [rows.get(row, {}).get(key) for row in (first, second)]
    return all(_is_number(value) for value in values) and values[0] > values[1]


def enhance_verdict(results: Sequence[Mapping]) -> Verdict:
    """Decide whether the improvement network has shown skill on held-out maps.

    It has, when the means of CC_mask and mean FSC exceed those of the clipped map and of the
    filtered map, when both exceed both on more than half of the maps, and when mean Q lies below
    neither the resampled input nor those two.

    Parameters
    ----------
    results : sequence of mapping
        Contents of the entries' metrics; only the test split counts.
    """
    maps = improved_maps(results)
    if not maps:
        return Verdict("no verdict", "no improved map of the test split was evaluated")
    means = {row: mean_metrics(maps, row) for row in MAP_ROWS}
    better = sum(exceeds_references(result["rows"]) for result in maps)
    q_kept = all(
        _is_number(means["enhanced"].get("Q_mean"))
        and means["enhanced"]["Q_mean"] >= means[row].get("Q_mean", math.inf)
        for row in ("roundtrip", *REFERENCE_ROWS)
    )
    ahead = exceeds_references(means)
    improved = ahead and 2 * better > len(maps) and q_kept
    numbers = ", ".join(
        f"{key} {_short(means['enhanced'].get(key))} (clipped {_short(means['clipped'].get(key))},"
        f" filter {_short(means['radial_filter'].get(key))})"
        for key in (*RISING, "Q_mean")
    )
    reason = (
        f"above clipping and above the radial filter on {better} of {len(maps)} held-out maps;"
        f" means: {numbers}"
    )
    return Verdict("improved" if improved else "no skill yet", reason)


def resolution_verdict(results: Sequence[Mapping], pooled: Mapping[str, float]) -> Verdict:
    """Decide whether the local resolution network beats both constants on held-out maps.

    Parameters
    ----------
    results : sequence of mapping
    pooled : mapping
        The metrics pooled over the held-out maps.
    """
    rows = [r["local_resolution"] for r in held_out(results, "local_resolution")]
    rows = [row for row in rows if row["n_labelled"]]
    if not rows:
        return Verdict("no verdict", "no labelled map of the test split was evaluated")
    better = sum(beats_constants(row) for row in rows)
    skill = beats_constants(pooled) and 2 * better > len(rows)
    reason = (
        f"below both constants on {better} of {len(rows)} held-out maps; pooled mean absolute"
        f" error {_short(pooled['mae'], 2)} Å (training median"
        f" {_short(pooled.get('mae_training_median'), 2)} Å, each map's own median"
        f" {_short(pooled.get('mae_oracle_median'), 2)} Å)"
    )
    return Verdict("skill" if skill else "no skill yet", reason)


def beats_constants(metrics: Mapping) -> bool:
    """Whether the error lies below that of the training median and of the map's own median."""
    keys = ("mae", "mae_training_median", "mae_oracle_median")
    error, training, oracle = (metrics.get(key) for key in keys)
    if not all(map(_is_number, (error, training, oracle))):
        return False
    return error < training and error < oracle


def summary_rows(results: Sequence[Mapping], verdict: Verdict) -> list[dict[str, str]]:
    """Rows of the summary table: every version of every map, then the held-out means.

    Returns
    -------
    list of dict
        Keys are :data:`SUMMARY_COLUMNS`; an undefined number is an empty cell.
    """
    rows = []
    for result in results:
        for name in MAP_ROWS:
            if name not in result["rows"]:
                continue
            line = _line(result, result["rows"][name], METRICS) | {"row": name}
            if name == "enhanced":
                line["verdict"] = "ahead" if exceeds_references(result["rows"]) else "not ahead"
            rows.append(line)
    maps = improved_maps(results)
    for name in MAP_ROWS if maps else ():
        line = {key: _cell(value) for key, value in mean_metrics(maps, name).items()}
        line |= {"emdb_id": "mean", "split": HELD_OUT, "row": name}
        if name == "enhanced":
            line["verdict"] = verdict.word
        rows.append(line)
    return rows


def resolution_rows(
    results: Sequence[Mapping], pooled: Mapping[str, float], verdict: Verdict
) -> list[dict[str, str]]:
    """Rows of the local resolution table: one per map, then the held-out maps pooled."""
    rows = []
    for result in results:
        metrics = result.get("local_resolution")
        if not metrics:
            continue
        word = "ahead" if beats_constants(metrics) else "not ahead"
        rows.append(_line(result, metrics, RESOLUTION_METRICS) | {"verdict": word})
    if pooled.get("n_maps"):
        line = {key: _cell(pooled.get(key)) for key in RESOLUTION_METRICS}
        rows.append(line | {"emdb_id": "pooled", "split": HELD_OUT, "verdict": verdict.word})
    return rows


def _line(result: Mapping, metrics: Mapping, keys: Sequence[str]) -> dict[str, str]:
    line = {key: _cell(metrics.get(key)) for key in keys}
    return line | {
        "emdb_id": result["emdb_id"],
        "split": result["split"],
        "resolution": _cell(result["resolution"]),
    }


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _cell(value: object) -> str:
    if not _is_number(value):
        return ""
    return str(value) if isinstance(value, int) else f"{value:.4f}"


def _short(value: object, digits: int = 3) -> str:
    return f"{value:.{digits}f}" if _is_number(value) else "-"
