"""Boxes cut from volumes when they are asked for, and how much of each lies outside."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cryoclarity.boxes.tiling import cut_box, overlap

Start = tuple[int, int, int]


class BoxStack:
    """The boxes of one volume as if they were an array (N, b, b, b), cut one at a time.

    Overlapping boxes of a large map take many times its memory; this way only one exists.

    Parameters
    ----------
    volume : (nz, ny, nx)
    starts : first voxels (z, y, x) of the boxes
    box : int
        Side in voxels; beyond the volume a box holds zeros.
    dtype : numpy dtype of the boxes
    """

    def __init__(self, volume: np.ndarray, starts: Sequence[Start], box: int, dtype: type):
        self.volume, self.starts, self.box = volume, starts, box
        self.dtype = np.dtype(dtype)
        self.shape = (len(starts), box, box, box)

    def __getitem__(self, number: int) -> np.ndarray:
        return cut_box(self.volume, self.starts[number], self.box).astype(self.dtype)


def counts_inside(where: np.ndarray, starts: Sequence[Start], box: int) -> np.ndarray:
    """Return how many voxels of each box are set.

    Parameters
    ----------
    where : (nz, ny, nx) bool
    starts : N first voxels (z, y, x)
    box : int

    Returns
    -------
    (N,) int64
    """
    parts = (where[overlap(start, box, where.shape)[0]] for start in starts)
    return np.fromiter((np.count_nonzero(part) for part in parts), np.int64, len(starts))


def padded_share(shape: tuple[int, int, int], starts: Sequence[Start], box: int) -> np.ndarray:
    """Return the share of each box that lies outside a volume of this shape, (N,) float32."""
    inside = [
        np.prod([part.stop - part.start for part in overlap(start, box, shape)[0]])
        for start in starts
    ]
    return (1.0 - np.array(inside, dtype=np.float64) / box**3).astype(np.float32)
