"""Spiral point sets on the unit sphere, as the Q-score uses them."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

SPIRAL_CONSTANT = 3.6


@lru_cache(maxsize=256)
def spiral_points(count: int) -> np.ndarray:
    """Return `count` nearly even unit vectors along a spiral from pole to pole.

    Heights h_k run evenly from -1 to 1; the longitude advances by 3.6 / sqrt(N (1 - h_k^2))
    and starts at 0; both poles have longitude 0 (Saff & Kuijlaars, Math. Intelligencer 19:5,
    1997, as used by MapQ).

    Parameters
    ----------
    count : int, at least 2

    Returns
    -------
    (count, 3) float64, read-only
        Unit vectors (x, y, z).
    """
    height = -1.0 + 2.0 * np.arange(count) / (count - 1)
    polar = np.arccos(np.clip(height, -1.0, 1.0))
    inner = np.zeros(count)
    inner[1:-1] = SPIRAL_CONSTANT / np.sqrt(count * (1.0 - height[1:-1] ** 2))
    azimuth = np.mod(np.cumsum(inner), 2.0 * np.pi)
    azimuth[-1] = 0.0
    points = np.column_stack(
        (np.sin(polar) * np.cos(azimuth), np.sin(polar) * np.sin(azimuth), np.cos(polar))
    )
    points.setflags(write=False)
    return points
