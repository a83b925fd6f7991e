"""Q-score of atoms in a density: how much the map around an atom looks like a Gaussian.

The rule is that of MapQ 2.9 (Pintilie et al., Nat. Methods 17:328, 2020): 20 shells of radius
0.1 to 2.0 A; on each shell the first of up to 50 spiral point sets of 8, 10, ... 106 points that
leaves at least 8 points which no other atom claims; the correlation of the map values there with
a Gaussian of the radius.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import map_coordinates
from scipy.spatial import cKDTree

from cryoclarity.errors import InputError
from cryoclarity.grid import Grid
from cryoclarity.scoring.sphere import spiral_points

DEFAULT_SIGMA = 0.6
SHELL_STEP = 0.1
SHELL_COUNT = 20
# Radii as the program makes them, by adding 0.1: the last bits decide points on the border.
SHELL_RADII = np.cumsum(np.full(SHELL_COUNT, SHELL_STEP))
POINTS_WANTED = 8
TRIES = 50
OWNERSHIP = 0.9  # a point is lost to an atom nearer than this fraction of the shell's radius
ATOMS_PER_CHUNK = 1024
# Deviations below this fraction of the values are rounding of the interpolation, not signal.
FLAT_TOLERANCE = 1e-12


@dataclass(frozen=True)
class QScores:
    """Q-scores and how they came about, one element per scored atom.

    Attributes
    ----------
    sigma : tuple of m floats
        Widths of the reference Gaussian in angstrom.
    q_score : (m, n) float64
        Correlation, -1 to 1; 0 where the map is constant around the atom.
    points : (n,) int
        Entries of the correlation, the 8 copies of the centre included.
    empty_shells : (n,) int
        Shells on which no point set left 8 points.
    any_outside : (n,) bool
        Whether the atom or any point lies outside the hull of the voxel centres.
    """

    sigma: tuple[float, ...]
    q_score: np.ndarray
    points: np.ndarray
    empty_shells: np.ndarray
    any_outside: np.ndarray


@dataclass(frozen=True)
class _ShellPoints:
    """Points of one chunk: atom (p,), shell (p,) and position (p, 3)."""

    atom: np.ndarray
    shell: np.ndarray
    position: np.ndarray


def q_scores(
    density: np.ndarray,
    grid: Grid,
    positions: np.ndarray,
    *,
    neighbours: np.ndarray | None = None,
    sigma: float | Sequence[float] = DEFAULT_SIGMA,
) -> QScores:
    """Score atoms by MapQ's rule.

    Parameters
    ----------
    density : (nz, ny, nx) float
    grid : Grid
    positions : (n, 3) float64, angstrom
        Heavy atoms to score.
    neighbours : (m, 3) float64, angstrom, optional
        All heavy atoms of the model, when only a part of them is scored. They must hold the
        scored ones.
    sigma : float or several, angstrom
        Widths of the reference Gaussian; the points serve them all.

    Returns
    -------
    QScores

    Raises
    ------
    InputError
        VAL_NONFINITE when a voxel is NaN or infinite.
    ValueError
        When a sigma is not positive.
    """
    sigmas = tuple(float(s) for s in np.atleast_1d(sigma))
    if min(sigmas) <= 0:
        raise ValueError(f"sigma must be positive, got {sigmas}")
    if not np.isfinite(density).all():
        raise InputError("the map holds NaN or infinite voxels", code="VAL_NONFINITE")
    positions = np.ascontiguousarray(positions, dtype=np.float64).reshape(-1, 3)
    others = positions if neighbours is None else np.asarray(neighbours, dtype=np.float64)
    tree = cKDTree(others) if len(others) else None
    chunks = [
        _score_chunk(density, grid, positions[start : start + ATOMS_PER_CHUNK], tree, sigmas)
        for start in range(0, len(positions), ATOMS_PER_CHUNK)
    ]
    if not chunks:
        none = np.zeros(0, dtype=np.int64)
        return QScores(sigmas, np.zeros((len(sigmas), 0)), none, none, none.astype(bool))
    q_score, points, empty, outside = (
        np.concatenate(part, axis=-1) for part in zip(*chunks, strict=True)
    )
    return QScores(sigmas, q_score, points, empty, outside)


def _score_chunk(
    density: np.ndarray,
    grid: Grid,
    centres: np.ndarray,
    tree: cKDTree,
    sigmas: tuple[float, ...],
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return Q (m, n), points (n,), empty shells (n,) and any_outside (n,) of some atoms."""
    shell_points = _choose_points(centres, tree)
    count = len(centres)
    atom = np.concatenate((np.arange(count), shell_points.atom))
    radius = np.concatenate((np.zeros(count), SHELL_RADII[shell_points.shell]))
    weight = np.ones(len(atom))
    weight[:count] = POINTS_WANTED
    index = grid.index_of(np.concatenate((centres, shell_points.position)))
    value = map_coordinates(
        density, index.T, order=1, mode="constant", cval=0.0, output=np.float64, prefilter=False
    )
    last = np.asarray(grid.shape) - 1
    outside = ((index < 0) | (index > last)).any(axis=1)
    any_outside = np.bincount(atom, weights=outside, minlength=count) > 0
    points = np.bincount(atom, weights=weight, minlength=count).astype(np.int64)
    filled = np.zeros((count, SHELL_COUNT), dtype=bool)
    filled[shell_points.atom, shell_points.shell] = True
    reference = [np.exp(-0.5 * (radius / s) ** 2) for s in sigmas]
    q_score = np.stack([_correlation(atom, weight, value, g, count) for g in reference])
    return q_score, points, SHELL_COUNT - filled.sum(axis=1), any_outside


def _correlation(
    atom: np.ndarray, weight: np.ndarray, value: np.ndarray, reference: np.ndarray, count: int
) -> np.ndarray:
    """Return the weighted Pearson correlation per atom (count,) of values with a reference."""

    def total(quantity: np.ndarray) -> np.ndarray:
        return np.bincount(atom, weights=weight * quantity, minlength=count)

    size = total(np.ones(len(atom)))
    mean_value = total(value) / size
    value = value - mean_value[atom]
    reference = reference - (total(reference) / size)[atom]
    value_square = total(value * value)
    value_square[value_square <= size * (FLAT_TOLERANCE * mean_value) ** 2] = 0.0
    square = value_square * total(reference * reference)
    # The difference must not be divided by zero where the map is flat: Q is 0 there by rule.
    root = np.sqrt(np.where(square > 0, square, 1.0))
    return np.where(square > 0, total(value * reference) / root, 0.0)


def _choose_points(centres: np.ndarray, tree: cKDTree) -> _ShellPoints:
    """Return the points of all shells of some atoms by the retry rule."""
    reach = (1.0 + OWNERSHIP) * SHELL_RADII[-1]
    lists = tree.query_ball_point(centres, reach, return_sorted=False)
    lengths = np.fromiter(map(len, lists), dtype=np.int64, count=len(lists))
    owner = np.repeat(np.arange(len(centres)), lengths)
    partner = np.fromiter((j for found in lists for j in found), np.int64, lengths.sum())
    offset = tree.data[partner] - centres[owner]
    distance = np.linalg.norm(offset, axis=1)
    found: list[tuple[np.ndarray, int, np.ndarray]] = []
    for shell, radius in enumerate(SHELL_RADII):
        # Only atoms within 1.9 R can claim a point; one on the very spot never can.
        near = (distance < (1.0 + OWNERSHIP) * radius) & (distance > 0)
        found += [
            (atom, shell, centres[atom] + radius * direction)
            for atom, direction in _solve_shell(radius, owner[near], offset[near], len(centres))
        ]
    return _ShellPoints(
        np.concatenate([atom for atom, _, _ in found]),
        np.concatenate([np.full(len(atom), shell) for atom, shell, _ in found]),
        np.concatenate([position for _, _, position in found]),
    )


def _solve_shell(
    radius: float, owner: np.ndarray, offset: np.ndarray, count: int
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return pairs of atom (p,) and unit vector (p, 3) for one shell.

    `owner` (k,) is sorted and names the atom of each neighbour `offset` (k, 3). With point R u and
    neighbour d, |R u - d|^2 < (0.9 R)^2 is u.d > (d^2 + 0.19 R^2) / (2 R): one matrix product
    per try serves all atoms that are still without 8 points.
    """
    crowded = np.zeros(count, dtype=bool)
    crowded[owner] = True
    alone = np.flatnonzero(~crowded)
    first = spiral_points(POINTS_WANTED)
    found = [(np.repeat(alone, len(first)), np.tile(first, (len(alone), 1)))]
    square = np.einsum("ij,ij->i", offset, offset)
    limit = (square + (1.0 - OWNERSHIP**2) * radius**2) / (2.0 * radius)
    pending = np.flatnonzero(crowded)
    for attempt in range(TRIES):
        if not len(pending):
            break
        direction = spiral_points(POINTS_WANTED + 2 * attempt)
        claimed = offset @ direction.T > limit[:, None]
        starts = np.flatnonzero(np.diff(owner, prepend=-1))
        free = ~np.logical_or.reduceat(claimed, starts, axis=0)
        solved = free.sum(axis=1) >= POINTS_WANTED
        which, point = np.nonzero(free[solved])
        found.append((pending[solved][which], direction[point]))
        keep = np.repeat(~solved, np.diff(starts, append=len(owner)))
        owner, offset, limit = owner[keep], offset[keep], limit[keep]
        pending = pending[~solved]
    return found
