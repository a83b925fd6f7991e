"""Correlation of a map with a model map over four regions.

The regions are those of Afonine et al., Acta Cryst. D74:814 (2018): the box, the molecular mask,
the strongest points of the model map, and the union of the strongest points of both maps.
"""

from __future__ import annotations

import math

import numpy as np

# More selected points than this many times the mask mean that a plateau (usually of zeros) was
# taken in whole, and the region says nothing any more.
DEGENERATE_FACTOR = 2


def pearson(first: np.ndarray, second: np.ndarray) -> float:
    """Pearson correlation about the means, summed in float64.

    Parameters
    ----------
    first, second : arrays of one shape

    Returns
    -------
    float
        NaN when fewer than two values are given or one side is constant.
    """
    x = np.asarray(first, dtype=np.float64).ravel()
    y = np.asarray(second, dtype=np.float64).ravel()
    if x.size < 2:
        return math.nan
    x = x - x.mean()
    y = y - y.mean()
    denominator = math.sqrt(float(x @ x) * float(y @ y))
    return float(x @ y) / denominator if denominator > 0 else math.nan


def spearman(first: np.ndarray, second: np.ndarray) -> float:
    """Spearman rank correlation: Pearson of the ranks, ties at their mean rank."""
    from scipy.stats import rankdata

    if np.size(first) < 2:
        return math.nan
    return pearson(rankdata(np.ravel(first)), rankdata(np.ravel(second)))


def strongest_points(density: np.ndarray, n_points: int) -> np.ndarray:
    """Select the points at or above the (`n_points` + 1)-th largest value.

    Parameters
    ----------
    density : (nz, ny, nx)
    n_points : int

    Returns
    -------
    (nz, ny, nx) bool
        At least `n_points` + 1 points; many more when the threshold falls on a plateau.
    """
    rank = min(n_points + 1, density.size)
    position = density.size - rank
    threshold = np.partition(density.ravel(), position)[position]
    return density >= threshold


def region_correlations(
    density: np.ndarray, model_density: np.ndarray, inside: np.ndarray
) -> dict[str, float | bool | int]:
    """Correlate a map with a model map over the four regions of Afonine et al. (2018).

    Parameters
    ----------
    density : (nz, ny, nx)
        The experimental or improved map.
    model_density : (nz, ny, nx)
        The model map at the stated resolution.
    inside : (nz, ny, nx) bool
        The molecular mask.

    Returns
    -------
    dict
        ``CC_box CC_mask CC_volume CC_peaks``, ``n_inside`` and ``cc_peaks_degenerate``: whether a
        plateau of equal values swallowed one of the two point selections.
    """
    n_inside = int(np.count_nonzero(inside))
    model_points = strongest_points(model_density, n_inside)
    map_points = strongest_points(density, n_inside)
    either = model_points | map_points
    limit = DEGENERATE_FACTOR * n_inside
    largest = max(np.count_nonzero(model_points), np.count_nonzero(map_points))
    return {
        "CC_box": pearson(density, model_density),
        "CC_mask": pearson(density[inside], model_density[inside]),
        "CC_volume": pearson(density[model_points], model_density[model_points]),
        "CC_peaks": pearson(density[either], model_density[either]),
        "n_inside": n_inside,
        "cc_peaks_degenerate": bool(largest > limit),
    }
