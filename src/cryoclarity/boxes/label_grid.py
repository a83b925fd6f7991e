"""Local-resolution labels on another grid, without ever averaging a label with anything."""

from __future__ import annotations

import numpy as np

from cryoclarity.density.resample import resample_linear
from cryoclarity.grid import Grid

# Codes of a label map; the masks of boxes hold the first three.
OUTSIDE, LABELLED, CENSORED, MIXTURE = 0, 1, 2, 3
# Labels at or above this mean "no value" (100 in the published program's maps).
NO_VALUE = 99.0
# All voxels around a point agree when their linear weights add up to 1, rounding aside.
PURE = 0.999


def labels_on_grid(
    labels: np.ndarray, codes: np.ndarray, source: Grid, target: Grid, censored_level: float
) -> tuple[np.ndarray, np.ndarray]:
    """Bring labels and codes to the grid of a network by taking the nearest voxel.

    Parameters
    ----------
    labels : (nz, ny, nx), angstrom
        Read only where the code is `LABELLED`.
    codes : (nz, ny, nx)
        `OUTSIDE` the mask, `LABELLED`, `CENSORED` (worse than every level), `MIXTURE` (a value
        interpolated between levels; left out).
    source, target : Grid
    censored_level : float, angstrom
        Given to censored voxels: their resolution is worse than this.

    Returns
    -------
    values : float32, shape of `target`
        Labels, bit for bit values of `labels`; `censored_level`; 0 elsewhere.
    mask : uint8, shape of `target`
        `LABELLED` or `CENSORED` only where all source voxels around the point agree.
    """
    usable = (codes == LABELLED) & np.isfinite(labels) & (labels > 0) & (labels < NO_VALUE)
    nearest = np.ix_(*_nearest(source, target))
    mask = np.zeros(target.shape, dtype=np.uint8)
    for code, where in ((LABELLED, usable), (CENSORED, codes == CENSORED)):
        if where.any():
            pure = resample_linear(where.astype(np.float32), source, target) >= PURE
            mask[pure & where[nearest]] = code
    values = np.where(mask == LABELLED, labels[nearest], np.float32(0)).astype(np.float32)
    values[mask == CENSORED] = censored_level
    return values, mask


def largest_label(labels: np.ndarray, codes: np.ndarray) -> float:
    """Return the largest label in angstrom, 0 when there is none."""
    values = labels[codes == LABELLED]
    values = values[np.isfinite(values) & (values < NO_VALUE)]
    return float(values.max(initial=0.0))


def _nearest(source: Grid, target: Grid) -> list[np.ndarray]:
    """Index of the nearest source voxel of every target point, per axis (z, y, x)."""
    indices = []
    for axis in range(3):
        spacing, voxel = target.voxel_size_zyx[axis], source.voxel_size_zyx[axis]
        shift = target.origin_zyx[axis] - source.origin_zyx[axis]
        point = (np.arange(target.shape[axis]) * spacing + shift) / voxel
        indices.append(np.clip(np.rint(point), 0, source.shape[axis] - 1).astype(int))
    return indices
