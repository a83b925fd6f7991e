"""Does a symmetric particle stay symmetric? The network knows nothing of point groups.

Operators turn about the middle of the box at voxel n // 2, by the convention of RELION and
cryoSPARC, with the main axis along z and, for D, a two-fold axis along x.
"""

from __future__ import annotations

import re

import numpy as np
from scipy.ndimage import affine_transform

from cryoclarity.density.masks import automatic_mask
from cryoclarity.errors import ConfigError
from cryoclarity.grid import Grid

LARGEST_ORDER = 60
UNEQUAL = 1e-3
FLIP = np.diag((-1.0, -1.0, 1.0))  # about x, in the order z, y, x


def operators(group: str, grid: Grid | None = None) -> list[np.ndarray]:
    """Return the rotations of a point group but for the identity, 3 x 3 in the order (z, y, x).

    Parameters
    ----------
    group : 'Cn' or 'Dn', n up to 60
    grid : Grid, optional
        On which they are to turn a map.

    Raises
    ------
    ConfigError
        Any other group, C1, which asks for nothing, and a grid of unequal voxels.
    """
    if grid is not None and np.ptp(grid.voxel_size) > UNEQUAL * max(grid.voxel_size):
        raise ConfigError(f"voxels of {grid.voxel_size} A are no cubes", remedy="no --symmetry")
    found = re.fullmatch(r"([CD])(\d+)", group.upper())
    order = int(found[2]) if found else 0
    if not found or not 1 <= order <= LARGEST_ORDER or group.upper() == "C1":
        raise ConfigError(f"symmetry {group!r} is unknown", remedy="C2 to C60 or D1 to D60")
    about = [_about_z(2 * np.pi * k / order) for k in range(order)]
    all_of_them = about + ([turn @ FLIP for turn in about] if found[1] == "D" else [])
    return all_of_them[1:]


def _about_z(angle: float) -> np.ndarray:
    cosine, sine = np.cos(angle), np.sin(angle)
    return np.array([[1, 0, 0], [0, cosine, -sine], [0, sine, cosine]])


def turned_map(density: np.ndarray, turn: np.ndarray) -> np.ndarray:
    """Return a density turned about its middle by cubic splines; zeros come from outside."""
    middle = np.array([n // 2 for n in density.shape], dtype=float)
    exact = np.rint(turn) if np.allclose(turn, np.rint(turn), atol=1e-9) else turn
    order = 0 if exact is not turn else 3
    return affine_transform(density, exact.T, middle - exact.T @ middle, order=order)


def symmetry_cc(density: np.ndarray, turns: list[np.ndarray], inside: np.ndarray) -> float:
    """Return the least correlation of a density with itself turned, inside a mask."""
    values = density[inside]
    return min(
        float(np.corrcoef(values, turned_map(density, turn)[inside])[0, 1]) for turn in turns
    )


def symmetry_loss(
    before: np.ndarray, after: np.ndarray, turns: list[np.ndarray]
) -> dict[str, float]:
    """Return the symmetry correlation of input and result inside the input's automatic mask."""
    inside = automatic_mask(before)
    found = [symmetry_cc(density, turns, inside) for density in (before, after)]
    return {"cc_before": found[0], "cc_after": found[1], "cc_lost": found[0] - found[1]}


def average(density: np.ndarray, turns: list[np.ndarray]) -> np.ndarray:
    """Return the mean of a density over the identity and all operators."""
    total = density.copy()
    for turn in turns:
        total += turned_map(density, turn)
    total /= np.float32(len(turns) + 1)
    return total
