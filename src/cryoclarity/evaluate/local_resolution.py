"""How well a local resolution map agrees with its labels, beside what a constant would reach.

Only labelled voxels count. The convention of earlier work, which divides by unlabelled voxels
too, is given under its own name so that published figures can be compared like with like.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from cryoclarity.evaluate.correlation import pearson, spearman

PUBLISHED_CUBE = 16  # voxels; edge of the cubes of the published data preparation
# More distinct values than this cannot be the levels of a stepwise tool.
MAX_LEVELS = 256


@dataclass(frozen=True)
class LabelledVoxels:
    """Predictions and labels of one map on its labelled voxels.

    Attributes
    ----------
    prediction, label : (n,) float64, angstrom
    cube_voxels : int
        Voxels of all cubes that the published preparation would keep, labelled or not.
    labelled_share : float
        Labelled voxels over `cube_voxels`.
    predicted_share : float
        Share of the labelled voxels for which a prediction exists; only those are compared.
    """

    prediction: np.ndarray
    label: np.ndarray
    cube_voxels: int
    labelled_share: float
    predicted_share: float


def labelled_voxels(
    prediction: np.ndarray,
    label: np.ndarray,
    valid: np.ndarray,
    density: np.ndarray,
) -> LabelledVoxels:
    """Gather the voxels on which a prediction can be compared with a label.

    Parameters
    ----------
    prediction : (nz, ny, nx), angstrom
        0 or non-finite where there is no prediction.
    label : (nz, ny, nx), angstrom
    valid : (nz, ny, nx) bool
        Where the label is a value of the tool, inside its mask.
    density : (nz, ny, nx)
        The map, which decides the cubes that the published preparation keeps.
    """
    predicted = valid & np.isfinite(prediction) & (prediction > 0)
    n_valid = int(np.count_nonzero(valid))
    n_predicted = int(np.count_nonzero(predicted))
    cube_voxels = published_cube_voxels(density)
    return LabelledVoxels(
        prediction=prediction[predicted].astype(np.float64),
        label=label[predicted].astype(np.float64),
        cube_voxels=cube_voxels,
        labelled_share=n_valid / cube_voxels if cube_voxels else 0.0,
        predicted_share=n_predicted / n_valid if n_valid else 0.0,
    )


def published_cube_voxels(density: np.ndarray) -> int:
    """Count the voxels of the 16-voxel cubes that the published preparation keeps of a map.

    Cubes tile the box from its first voxel; one is dropped when all its voxels equal the map's
    minimum, which is 0 after the published scaling. The box is filled up to whole cubes here and
    to a power of two there, which adds dropped cubes only.
    """
    edge = PUBLISHED_CUBE
    occupied = density > density.min()
    padding = [(0, -n % edge) for n in density.shape]
    occupied = np.pad(occupied, padding)
    nz, ny, nx = (n // edge for n in occupied.shape)
    cubes = occupied.reshape(nz, edge, ny, edge, nx, edge).any(axis=(1, 3, 5))
    return int(np.count_nonzero(cubes)) * edge**3


def quantisation_floor(label: np.ndarray) -> float:
    """Mean absolute error that labels on discrete levels leave to a perfect predictor.

    A true value is taken as uniform within the half gaps around its level, which gives a quarter
    of the bin width per voxel; the outermost bins are taken as wide as the gap to their
    neighbour. A label with one level, or one that is not stepwise, has a floor of 0.

    Parameters
    ----------
    label : (n,), angstrom
    """
    levels, counts = np.unique(np.asarray(label, dtype=np.float64), return_counts=True)
    if levels.size < 2 or levels.size > MAX_LEVELS:
        return 0.0
    gaps = np.diff(levels)
    widths = (np.append(gaps[0], gaps) + np.append(gaps, gaps[-1])) / 2
    return float((widths * counts).sum() / counts.sum() / 4)


def _errors(difference: np.ndarray) -> tuple[float, float]:
    if not difference.size:
        return math.nan, math.nan
    return float(np.abs(difference).mean()), float(math.sqrt(np.square(difference).mean()))


def map_metrics(voxels: LabelledVoxels, training_median: float | None) -> dict[str, float | int]:
    """Compare the predictions of one map with its labels and with both constants.

    Parameters
    ----------
    voxels : LabelledVoxels
    training_median : float or None
        Median label of the training set in angstrom: the constant that knows no map.

    Returns
    -------
    dict
        All errors in angstrom over labelled voxels: ``mae rmse``, the same of the training
        median (``mae_training_median`` ...) and of the map's own median (``mae_oracle_median``
        ...), ``quantisation_floor``, ``mae_published_convention`` (the sum of errors divided by
        all voxels of the published cubes), shares, ``pearson`` and ``spearman`` within the map.
        NaN where a number is not defined.
    """
    prediction, label = voxels.prediction, voxels.label
    mae, rmse = _errors(prediction - label)
    constant = math.nan if training_median is None else training_median
    mae_training, rmse_training = _errors(label - constant)
    own_median = float(np.median(label)) if label.size else math.nan
    mae_oracle, rmse_oracle = _errors(label - own_median)
    cubes = voxels.cube_voxels
    return {
        "n_labelled": int(label.size),
        "labelled_share": voxels.labelled_share,
        "predicted_share": voxels.predicted_share,
        "mae": mae,
        "rmse": rmse,
        "mae_training_median": mae_training,
        "rmse_training_median": rmse_training,
        "mae_oracle_median": mae_oracle,
        "rmse_oracle_median": rmse_oracle,
        "quantisation_floor": quantisation_floor(label) if label.size else math.nan,
        "mae_published_convention": mae * label.size / cubes if cubes else math.nan,
        "label_median": own_median,
        "prediction_median": float(np.median(prediction)) if label.size else math.nan,
        "training_median": constant,
        "pearson": pearson(prediction, label),
        "spearman": spearman(prediction, label),
    }


def pooled_metrics(rows: Sequence[dict[str, float | int]]) -> dict[str, float | int]:
    """Pool the metrics of several maps.

    Errors and floors are weighted by labelled voxels, as if all voxels were in one list; the
    oracle stays the one of each map. Correlations are the mean of the maps' own, because a
    correlation over all voxels would reward knowing the map and hide failure inside it.

    Parameters
    ----------
    rows : sequence of dict
        Results of :func:`map_metrics`; None counts as undefined.
    """
    rows = [
        {key: math.nan if value is None else value for key, value in row.items()}
        for row in rows
        if row["n_labelled"]
    ]
    total = sum(row["n_labelled"] for row in rows)
    pooled: dict[str, float | int] = {"n_maps": len(rows), "n_labelled": total}
    if not rows:
        return pooled
    weights = [row["n_labelled"] for row in rows]
    for key in rows[0]:
        values = [row[key] for row in rows]
        if key.startswith("mae_published"):
            cubes = [row["n_labelled"] * row["mae"] / row[key] if row[key] else 0 for row in rows]
            pooled[key] = _weighted(values, cubes)
        elif key.startswith("mae") or key == "quantisation_floor":
            pooled[key] = _weighted(values, weights)
        elif key.startswith("rmse"):
            pooled[key] = math.sqrt(_weighted([v * v for v in values], weights))
        elif key != "n_labelled":
            finite = [v for v in values if math.isfinite(v)]
            pooled[key] = sum(finite) / len(finite) if finite else math.nan
    return pooled


def _weighted(values: Iterable[float], weights: Iterable[float]) -> float:
    values, weights = list(values), list(weights)
    total = sum(weights)
    if not total:
        return math.nan
    return sum(v * w for v, w in zip(values, weights, strict=True)) / total
