"""The same network seen from elsewhere: boxes moved, or each box turned by a proper rotation."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cryoclarity.boxes.augment import IDENTITY, ROTATIONS, Rotation

Triple = tuple[int, int, int]


@dataclass(frozen=True)
class Pass:
    """One further look at the map.

    Attributes
    ----------
    offset : voxels by which the lattice of boxes moves towards the map's first voxel
    rotation : proper rotation of a cube
    """

    offset: int = 0
    rotation: Rotation = IDENTITY


STRAIGHT = Pass()


def further_passes(number: int, stride: int) -> list[Pass]:
    """Return the first passes of a fixed list: the lattice moved by half a stride, then turns.

    The rotations are spread over the 23 that change the map, so that few passes already differ
    in axes and in senses.
    """
    turns = [rotation for rotation in ROTATIONS if rotation != IDENTITY]
    passes = [Pass(offset=max(stride // 2, 1))]
    passes += [Pass(rotation=turns[(8 + 7 * k) % len(turns)]) for k in range(max(number - 1, 0))]
    return passes[:number]


def turned(box: np.ndarray, look: Pass) -> np.ndarray:
    """Return a cube (n, n, n) as a pass shows it to the network."""
    permutation, signs = look.rotation
    reverse = tuple(axis for axis in range(3) if signs[axis] < 0)
    return np.flip(np.transpose(box, permutation), reverse)


def turned_back(answer: np.ndarray, look: Pass) -> np.ndarray:
    """Undo :func:`turned`."""
    permutation, signs = look.rotation
    reverse = tuple(axis for axis in range(3) if signs[axis] < 0)
    return np.transpose(np.flip(answer, reverse), np.argsort(permutation))
