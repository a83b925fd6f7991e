"""The same network seen from elsewhere: boxes moved, or the map turned by a proper rotation."""

from __future__ import annotations

from collections.abc import Callable
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


def further_passes(number: int, stride: int) -> list[Pass]:
    """Return the first passes of a fixed list: the lattice moved by half a stride, then turns.

    The rotations are spread over the 23 that change the map, so that few passes already differ
    in axes and in senses.
    """
    turns = [rotation for rotation in ROTATIONS if rotation != IDENTITY]
    passes = [Pass(offset=max(stride // 2, 1))]
    passes += [Pass(rotation=turns[(8 + 7 * k) % len(turns)]) for k in range(max(number - 1, 0))]
    return passes[:number]


def seen(density: np.ndarray, look: Pass) -> np.ndarray:
    """Return the array that the tiler is given for a pass."""
    permutation, signs = look.rotation
    reverse = tuple(axis for axis in range(3) if signs[axis] < 0)
    turned = np.flip(np.transpose(density, permutation), reverse)
    if look.offset:
        turned = np.pad(turned, ((look.offset, 0),) * 3)
    return np.ascontiguousarray(turned)


def seen_back(prediction: np.ndarray, look: Pass) -> np.ndarray:
    """Undo :func:`seen` on an array of the same shape as its result."""
    permutation, signs = look.rotation
    cut = prediction[(slice(look.offset, None),) * 3]
    reverse = tuple(axis for axis in range(3) if signs[axis] < 0)
    return np.transpose(np.flip(cut, reverse), np.argsort(permutation))


def run_pass(
    density: np.ndarray, look: Pass, run: Callable[[np.ndarray], np.ndarray]
) -> np.ndarray:
    """Return the prediction of one pass, in the frame of the density."""
    return seen_back(run(seen(density, look)), look)
