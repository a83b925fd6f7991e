"""Do a map and its model, or two half maps, belong together?"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import permutations, product

import numpy as np
from scipy.ndimage import map_coordinates

from cryoclarity.errors import InputError
from cryoclarity.grid import Grid, Volume
from cryoclarity.io.atoms import Atoms
from cryoclarity.io.map_header import MapHeader
from cryoclarity.model.selection import best_altloc

SAMPLED_ATOMS = 5000
SAMPLING_SEED = 20230
LEAST_INSIDE = 0.90
LEAST_SCORE = 1.0
LARGEST_COPY_RATIO = 0.7
HAND_RATIO = 1.5
HAND_RESOLUTION = 6.0  # angstrom
LEAST_SHIFT = 10.0  # angstrom
SHIFT_BEYOND_RESOLUTION = 5.0  # angstrom
FRAME_MARGIN = 1.0


@dataclass(frozen=True)
class FitScores:
    """How a model lies on the density; z is in standard deviations of the map over its mean.

    Attributes
    ----------
    inside : float
        Share of all atoms inside the hull of the voxel centres.
    z : float
        Mean density at the atoms.
    z_rotated, z_shifted, z_mirrored : float or None
        Best of the copies; None when no copy lies inside the map by half.
    """

    inside: float
    z: float
    z_rotated: float | None
    z_shifted: float | None
    z_mirrored: float | None


def fit_atoms(atoms: Atoms) -> np.ndarray:
    """Positions (n, 3) in a fit test: heavy, occupied, of the best altloc, at most 5000.

    Hydrogens lie in weak density and would blur the score of models that have them.
    """
    chosen = atoms.take(best_altloc(atoms, ties="letter") & (atoms.occupancy > 0))
    kept = (chosen.heavy() if len(chosen.heavy()) else chosen).xyz
    if len(kept) <= SAMPLED_ATOMS:
        return kept
    sample = np.random.default_rng(SAMPLING_SEED).choice(len(kept), SAMPLED_ATOMS, replace=False)
    return kept[np.sort(sample)]


def fit_scores(volume: Volume, atoms: Atoms, resolution: float | None = None) -> FitScores:
    """Score a model on a map against copies of itself in wrong places.

    Parameters
    ----------
    volume : Volume
    atoms : Atoms
    resolution : float, optional
        In angstrom; copies are shifted by max(10, resolution + 5) along each axis.

    Returns
    -------
    FitScores
    """
    positions = fit_atoms(atoms)
    normalised = _Normalised(volume)
    centre = positions.mean(axis=0)
    centred = positions - centre
    mirrored = centred * (-1.0, 1.0, 1.0)
    turns = cube_rotations()
    shift = max(LEAST_SHIFT, (resolution or 0.0) + SHIFT_BEYOND_RESOLUTION)
    shifts = np.concatenate([np.eye(3), -np.eye(3)]) * shift
    score = normalised.score
    return FitScores(
        inside=float(np.mean(volume.grid.contains(atoms.xyz))),
        z=score(positions) or 0.0,
        z_rotated=_best(score(centred @ turn.T + centre) for turn in turns[1:]),
        z_shifted=_best(score(positions + vector) for vector in shifts),
        z_mirrored=_best(score(mirrored @ turn.T + centre) for turn in turns),
    )


class _Normalised:
    """A map as z-scores that can be asked for its mean at points."""

    def __init__(self, volume: Volume) -> None:
        self.grid = volume.grid
        self.density = volume.density
        self.mean = float(volume.density.mean(dtype=np.float64))
        self.std = float(volume.density.std(dtype=np.float64))

    def score(self, positions: np.ndarray, grid: Grid | None = None) -> float | None:
        """Mean z-score at positions; outside counts as the mean, half outside as no score."""
        grid = grid or self.grid
        inside = grid.contains(positions)
        if 2 * np.count_nonzero(inside) < len(positions):
            return None
        index = grid.index_of(positions[inside]).T
        values = map_coordinates(self.density, index, order=1, mode="nearest", output=np.float64)
        return float((values - self.mean).sum() / (self.std * len(positions)))


def _best(scores) -> float | None:
    return max((score for score in scores if score is not None), default=None)


def cube_rotations() -> np.ndarray:
    """Return the 24 proper rotations of the cube, (24, 3, 3), the identity first."""
    found = [
        np.eye(3)[list(order)] * np.array(signs)[:, None]
        for order in permutations(range(3))
        for signs in product((1.0, -1.0), repeat=3)
    ]
    return np.array([turn for turn in found if np.linalg.det(turn) > 0])


def judge_fit(
    scores: FitScores, resolution: float | None = None
) -> tuple[list[InputError], list[tuple[str, str]]]:
    """Turn scores into refusals and warnings.

    Returns
    -------
    refusals : list of InputError
        PAIR_OUTSIDE, PAIR_NO_FIT, PAIR_HAND; empty for a good pair.
    warnings : list of (code, message)
    """
    z = scores.z
    if scores.inside < LEAST_INSIDE:
        message = f"{scores.inside:.3f} of atoms inside the map, at least {LEAST_INSIDE} needed"
        return [InputError(message, code="PAIR_OUTSIDE")], []
    refusals, warnings = [], []
    shifted = scores.z_shifted
    if z < LEAST_SCORE or (shifted is not None and shifted >= LARGEST_COPY_RATIO * z):
        copies = "none" if shifted is None else f"{shifted:.2f}"
        message = f"density at atoms z = {z:.2f}, best of shifted copies {copies}"
        refusals.append(InputError(message, code="PAIR_NO_FIT"))
    mirrored = scores.z_mirrored
    if (
        resolution is not None
        and resolution <= HAND_RESOLUTION
        and mirrored is not None
        and mirrored > HAND_RATIO * max(z, 0.0)
    ):
        message = f"mirrored model fits better (z {mirrored:.2f} against {z:.2f})"
        refusals.append(InputError(message, code="PAIR_HAND"))
    rotated = scores.z_rotated
    if not refusals and rotated is not None and rotated >= LARGEST_COPY_RATIO * z:
        text = f"best rotated copy z {rotated:.2f} against {z:.2f}"
        warnings.append(("W_FIT_AMBIGUOUS", text))
    return refusals, warnings


def frame_candidates(header: MapHeader) -> dict[str, tuple[float, float, float]]:
    """Return the place of the first voxel (x, y, z), angstrom, by each rule."""
    starts = zip(header.start_index, header.voxel_size, strict=True)
    return {
        "origin": header.origin_words,
        "nstart": tuple(start * edge for start, edge in starts),
        "zero": (0.0, 0.0, 0.0),
    }


def usual_frame(header: MapHeader) -> str:
    """Return the rule that serves without a model: ORIGIN if any word is set, else NSTART."""
    return "origin" if any(header.origin_words) else "nstart"


def frame_scores(volume: Volume, atoms: Atoms) -> dict[str, float | None]:
    """Score the model with the map at each place that its header allows.

    Returns
    -------
    dict
        z by 'origin', 'nstart' and 'zero'; None where half of the atoms lie outside.
    """
    header, grid = volume.header, volume.grid
    candidates = frame_candidates(header)
    normalised, positions = _Normalised(volume), fit_atoms(atoms)
    return {
        name: normalised.score(positions, Grid(grid.shape, grid.voxel_size, origin))
        for name, origin in candidates.items()
    }


def best_frame(scores: dict[str, float | None], used: str) -> str:
    """Return the frame that fits better than `used` by one standard deviation of the map.

    That is `used` itself when none does, or when its own place is as good.
    """
    score_used = scores[used] or 0.0
    best = max(scores, key=lambda name: -np.inf if scores[name] is None else scores[name])
    if scores[best] is None or scores[best] < score_used + FRAME_MARGIN:
        return used
    return best


def judge_frame(scores: dict[str, float | None], used: str) -> InputError | None:
    """Return PAIR_FRAME when another frame than the one in use fits clearly better."""
    best = best_frame(scores, used)
    if best == used:
        return None
    found = f"{scores[used] or 0.0:.2f}"
    message = f"fits with {best} (z {scores[best]:.2f}), read with {used} (z {found})"
    return InputError(message, code="PAIR_FRAME", remedy=f"set inspect.frame to auto or {best}")


def check_half_grids(primary: Grid, halves: tuple[Grid, Grid]) -> None:
    """Refuse half maps on another grid than each other's or the primary map's.

    Raises
    ------
    InputError
        PAIR_HALF_MISMATCH.
    """
    for number, half in enumerate(halves, start=1):
        if not half.same_frame(primary):
            raise InputError(
                f"half map {number}: {half.shape[::-1]} voxels of {half.voxel_size} A at "
                f"{half.origin}, map has {primary.shape[::-1]} of {primary.voxel_size} A at "
                f"{primary.origin}",
                code="PAIR_HALF_MISMATCH",
            )


def check_half_contents(primary: str, halves: tuple[str, str]) -> None:
    """Refuse half maps with the same data as each other or as the primary map.

    Parameters
    ----------
    primary, halves : str
        Hashes of the canonical content.

    Raises
    ------
    InputError
        PAIR_HALF_SAME.
    """
    if halves[0] == halves[1]:
        raise InputError("half maps are the same data", code="PAIR_HALF_SAME")
    if primary in halves:
        number = halves.index(primary) + 1
        raise InputError(f"half map {number} equals the map", code="PAIR_HALF_SAME")
