"""What the detection engines share: level after level, voxels that pass leave the mask."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import Protocol

import numpy as np

from cryoclarity.errors import InputError
from cryoclarity.labels.statistic import mask_bounds

__all__ = ["FAILED", "LABELLED", "LARGEST_RADIUS", "MIXTURE", "NO_INDEX", "OUTSIDE", "run_levels"]

OUTSIDE, LABELLED, FAILED, MIXTURE = 0, 1, 2, 3
"""Codes: outside the mask; labelled; worse than every level; interpolated between labels."""
LARGEST_RADIUS = 9
"""Voxels; larger windows leave the margin that masks keep from the faces."""
NO_INDEX = 255
_log = logging.getLogger(__name__)


class Record(Protocol):
    """What both engines record of a level."""

    resolution: float
    tested: int
    assigned: int


def run_levels(
    density: np.ndarray,
    mask: np.ndarray,
    levels: Iterable[float],
    test: Callable[[float, np.ndarray, np.ndarray, tuple[int, ...]], tuple[Record, np.ndarray]],
    ended: Callable[[Record], str | None],
    *,
    keep_finished: bool,
) -> tuple[np.ndarray, np.ndarray, list, str | None]:
    """Test level after level on the box of the mask.

    Parameters
    ----------
    density : (z, y, x) float32
    mask : (z, y, x) bool
    levels : of float
        Angstrom, ascending.
    test : callable
        Gets the level, the box of the density, the voxels of that box that are left, and the
        place of the box's first voxel. It returns the record and which voxels passed, (z, y, x)
        bool; it may take voxels out of those left, and raises InputError for a refused level.
    ended : callable
        Why no further level is wanted after this record, or None.
    keep_finished : bool
        A refused level ends the list; else, and on the first level, it ends the run.

    Returns
    -------
    index : (z, y, x) uint8, number of each voxel's level, NO_INDEX where none
    left : (z, y, x) bool, voxels that were tested to the end in vain
    records : list
    stopped : str or None, why the levels ended early
    """
    start, box = _box(mask)
    window, left = np.ascontiguousarray(density[box]), mask[box].copy()
    index = np.full(left.shape, NO_INDEX, np.uint8)
    records: list[Record] = []
    stopped = None
    for level in levels:
        try:
            record, passed = test(level, window, left, start)
        except InputError as error:
            if not (keep_finished and records):
                raise
            stopped = str(error)
            break
        index[passed] = len(records)
        left &= ~passed
        records.append(record)
        _log.info("level %.2f A: %d of %d voxels", level, record.assigned, record.tested)
        stopped = ended(record)
        if stopped is not None:
            break
    whole_index, whole_left = np.full(mask.shape, NO_INDEX, np.uint8), np.zeros(mask.shape, bool)
    whole_index[box], whole_left[box] = index, left
    return whole_index, whole_left, records, stopped


def _box(mask: np.ndarray) -> tuple[tuple[int, ...], tuple[slice, ...]]:
    """First voxel and slices of the mask with room for the largest window."""
    if not mask.any():
        return (0,) * mask.ndim, (slice(0, 0),) * mask.ndim
    low, high = mask_bounds(mask)
    box = tuple(
        slice(max(0, a - LARGEST_RADIUS), min(n, b + LARGEST_RADIUS))
        for a, b, n in zip(low, high, mask.shape, strict=True)
    )
    return tuple(part.start for part in box), box
