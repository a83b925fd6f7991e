"""Weights by which overlapping boxes are averaged: products of one window per axis."""

from __future__ import annotations

import numpy as np

from cryoclarity.boxes.tiling import axis_starts
from cryoclarity.errors import ConfigError

BLENDS = ("gaussian", "hann", "uniform")
GAUSSIAN_SIGMA = 1 / 8  # of the box


def window(box: int, blend: str) -> np.ndarray:
    """Return the weights of a box along one axis, (box,) float32, all positive.

    Parameters
    ----------
    box : int
    blend : 'gaussian' (sigma = box / 8), 'hann' or 'uniform'

    Raises
    ------
    ConfigError
        Unknown name.
    """
    if blend not in BLENDS:
        raise ConfigError(f"blend {blend!r} is unknown", remedy=f"one of {', '.join(BLENDS)}")
    if blend == "uniform":
        return np.ones(box, dtype=np.float32)
    offset = np.arange(box) - (box - 1) / 2
    if blend == "hann":
        return (np.cos(np.pi * offset / box) ** 2).astype(np.float32)
    return np.exp(-0.5 * (offset / (GAUSSIAN_SIGMA * box)) ** 2).astype(np.float32)


def weight_sum(size: int, box: int, stride: int, blend: str) -> np.ndarray:
    """Return the summed window weights along one axis, (max(size, box),) float32.

    The starts of boxes form a lattice and the windows are products, so the sum of weights in
    space is the outer product of three such vectors: no array of weights is needed.
    """
    total = np.zeros(max(size, box), dtype=np.float64)
    weights = window(box, blend)
    for start in axis_starts(size, box, stride):
        total[start : start + box] += weights
    return total.astype(np.float32)
