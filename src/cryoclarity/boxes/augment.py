"""The 24 proper rotations of a cube, and random crops: exact, without interpolation."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

Rotation = tuple[tuple[int, int, int], tuple[int, int, int]]
IDENTITY: Rotation = ((0, 1, 2), (1, 1, 1))


def _parity(permutation: Sequence[int]) -> int:
    inversions = sum(a > b for a, b in itertools.combinations(permutation, 2))
    return -1 if inversions % 2 else 1


# (axis permutation, signs); mirror images are left out: they teach wrong-handed helices.
ROTATIONS: tuple[Rotation, ...] = tuple(
    (permutation, signs)
    for permutation in itertools.permutations((0, 1, 2))
    for signs in itertools.product((1, -1), repeat=3)
    if _parity(permutation) * signs[0] * signs[1] * signs[2] == 1
)


def rotate(array: np.ndarray, rotation: Rotation) -> np.ndarray:
    """Rotate the last three axes of an array with equal sides.

    Parameters
    ----------
    array : ndarray, shape (..., n, n, n)
    rotation : one of `ROTATIONS`
        Axes are permuted first, then axis i is reversed where sign i is -1.

    Returns
    -------
    ndarray
        Same shape, contiguous.

    Raises
    ------
    ValueError
        If the three sides differ.
    """
    if len(set(array.shape[-3:])) != 1:
        raise ValueError(f"sides of {array.shape[-3:]} differ: rotation would change the shape")
    permutation, signs = rotation
    lead = array.ndim - 3
    axes = (*range(lead), *(lead + axis for axis in permutation))
    reverse = tuple(lead + axis for axis in range(3) if signs[axis] < 0)
    return np.ascontiguousarray(np.flip(np.transpose(array, axes), reverse))


def rotation_matrix(rotation: Rotation) -> np.ndarray:
    """Matrix M of a rotation, M[i, p_i] = s_i; out[x] = in[M^T (x - c) + c], c the centre."""
    permutation, signs = rotation
    matrix = np.zeros((3, 3), dtype=int)
    matrix[np.arange(3), permutation] = signs
    return matrix


def crop(array: np.ndarray, start: Sequence[int], size: int) -> np.ndarray:
    """Cut a cube of side `size` from the last three axes, from index `start` (z, y, x)."""
    z, y, x = start
    return array[..., z : z + size, y : y + size, x : x + size]


def centre_start(side: int, size: int) -> tuple[int, int, int]:
    """Start of the central crop."""
    start = (side - size) // 2
    return (start, start, start)


def random_placement(
    generator: np.random.Generator, side: int, size: int, rotate_box: bool = True
) -> tuple[tuple[int, int, int], Rotation]:
    """Draw a crop offset (all side - size + 1 positions per axis) and one of the rotations."""
    z, y, x = generator.integers(0, side - size + 1, size=3)
    rotation = ROTATIONS[int(generator.integers(0, len(ROTATIONS)))] if rotate_box else IDENTITY
    return (int(z), int(y), int(x)), rotation
