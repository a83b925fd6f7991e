"""Where boxes start, and how one is cut out of an array that may be smaller."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np


def axis_starts(size: int, box: int, stride: int) -> list[int]:
    """Return the starts of boxes along one axis: every voxel is covered for every stride.

    Parameters
    ----------
    size, box, stride : int, voxels, positive
        A stride above the box would leave gaps and counts as the box.

    Returns
    -------
    list of int
        Rising from 0 in steps of `stride`; the last one is size - box, so that no box reaches
        beyond the axis unless the axis is shorter than a box.
    """
    last = max(size - box, 0)
    return [*range(0, last, min(stride, box)), last]


def box_starts(
    shape: tuple[int, int, int], box: int, stride: int
) -> Iterator[tuple[int, int, int]]:
    """Yield the starts (z, y, x) of all boxes, the last axis fastest."""
    yield from itertools.product(*(axis_starts(size, box, stride) for size in shape))


def count_boxes(shape: tuple[int, int, int], box: int, stride: int) -> int:
    """Return the number of boxes of :func:`box_starts`."""
    return int(np.prod([len(axis_starts(size, box, stride)) for size in shape]))


def overlap(
    start: tuple[int, int, int], box: int, shape: tuple[int, int, int]
) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """Return the part of an array that a box covers, and the same part seen from the box.

    Parameters
    ----------
    start : (z, y, x)
        May be negative or beyond the array.
    box : int
    shape : shape of the array

    Returns
    -------
    in_array, in_box : tuples of slices of equal sizes
    """
    low = [max(first, 0) for first in start]
    high = [max(min(first + box, n), a) for first, n, a in zip(start, shape, low, strict=True)]
    in_array = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    in_box = tuple(
        slice(a - first, b - first) for a, b, first in zip(low, high, start, strict=True)
    )
    return in_array, in_box


def cut_box(array: np.ndarray, start: tuple[int, int, int], box: int) -> np.ndarray:
    """Return a copy of one box (box, box, box); beyond the array it holds zeros."""
    in_array, in_box = overlap(start, box, array.shape)
    cut = np.zeros((box, box, box), dtype=array.dtype)
    cut[in_box] = array[in_array]
    return cut
