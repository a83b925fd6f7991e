"""From Q-scores to one resolution per atom of a target map."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from scipy.spatial import cKDTree

from cryoclarity.errors import InputError
from cryoclarity.io.atoms import Atoms
from cryoclarity.model.selection import best_altloc, doubles
from cryoclarity.targets.q_laws import (
    MAPPINGS,
    RESOLUTION_RANGE,
    cubic_resolution,
    law_sigma,
    linear_resolution,
    matched_resolution,
)
from cryoclarity.targets.smoothing import Residues, fill_missing, residues_of, smooth

WINSOR_PERCENTILES = (1.0, 99.0)
REPORTED_FACTORS = (0.6, 2.5)
SOLVENT_RADIUS = 6.0
SOLVENT_KINDS = ("ion", "water")
WATER_RESOLUTION = 2.5
# A residue this low in a map this good is probably not there.
WEAK_Q_SCORE = 0.1
WEAK_RESOLUTION = 4.5


@dataclass(frozen=True)
class ResolutionSettings:
    """How Q-scores become resolutions.

    Attributes
    ----------
    sigma : float
        Of the Q-scores, 0.4 or 0.6.
    mapping : 'cubic', 'linear-kind' or 'matched'
    smoothing : 'half', 'atom', 'residue', 'group' or 'window5'
    kernel : 'dimaio' or 'molmap'
        Matters to `matched` only.
    voxel_size : float, angstrom
        Of the map that was scored; matters to `matched` only.
    reported : float or None, angstrom
        The map's stated resolution, which bounds those of the atoms.
    """

    sigma: float
    mapping: str = "cubic"
    smoothing: str = "half"
    kernel: str = "dimaio"
    voxel_size: float = 1.0
    reported: float | None = None


@dataclass(frozen=True)
class AtomResolution:
    """Resolution (n,) in angstrom per atom, how it came about, and residues without density."""

    resolution: np.ndarray
    counts: dict[str, int] = field(default_factory=dict)
    weak_residues: list[list[object]] = field(default_factory=list)


def target_atoms(atoms: Atoms, *, waters: bool = False, reported: float | None = None) -> Atoms:
    """Return the atoms that contribute to a target.

    Left out: hydrogens, unknown elements, occupancy of zero or less, all but the best altloc of
    a residue, repeated atoms, and waters unless they are wanted and the resolution carries
    them (2.5 A or better).
    """
    atoms = atoms.heavy()
    keep = (atoms.atomic_number > 0) & (atoms.occupancy > 0)
    if not (waters and reported is not None and reported <= WATER_RESOLUTION):
        keep &= atoms.kind != "water"
    atoms = atoms.take(keep)
    atoms = atoms.take(~doubles(atoms))
    return atoms.take(best_altloc(atoms, ties="letter"))


def atom_resolution(
    atoms: Atoms, q_score: np.ndarray, settings: ResolutionSettings
) -> AtomResolution:
    """Turn Q-scores into one resolution per atom.

    Fill missing scores, smooth over residues, invert the law, keep ions and waters from being
    sharper than their surroundings, winsorise, bound to the reported resolution, clip.

    Parameters
    ----------
    atoms : Atoms, n of them
    q_score : (n,)
        NaN where it is missing.
    settings : ResolutionSettings

    Raises
    ------
    InputError
        SIM_KEYS when no atom has a score.
    ValueError
        Unknown sigma, mapping or smoothing.
    """
    law_sigma(settings.sigma)
    if not np.isfinite(q_score).any():
        raise InputError(f"none of {len(atoms)} atoms has a Q-score", code="SIM_KEYS")
    residues = residues_of(atoms)
    filled, counts = fill_missing(q_score, residues)
    smoothed = smooth(filled, atoms, residues, settings.smoothing)
    resolution = _calm_solvent(atoms, _mapped(smoothed, atoms, settings))
    bounded = np.clip(resolution, *np.percentile(resolution, WINSOR_PERCENTILES))
    counts["winsorised"] = int((bounded != resolution).sum())
    if settings.reported is not None:
        low, high = (factor * settings.reported for factor in REPORTED_FACTORS)
        counts["bounded"] = int(((bounded < low) | (bounded > high)).sum())
        bounded = np.clip(bounded, low, high)
    weak = _weak_residues(atoms, residues, q_score, settings.reported)
    return AtomResolution(np.clip(bounded, *RESOLUTION_RANGE), counts, weak)


def _mapped(q_score: np.ndarray, atoms: Atoms, settings: ResolutionSettings) -> np.ndarray:
    if settings.mapping == "cubic":
        return cubic_resolution(q_score, settings.sigma)
    if settings.mapping == "linear-kind":
        return linear_resolution(q_score, settings.sigma, atoms.kind)
    if settings.mapping == "matched":
        return matched_resolution(q_score, settings.sigma, settings.voxel_size, settings.kernel)
    raise ValueError(f"unknown mapping {settings.mapping!r}, known: {MAPPINGS}")


def _calm_solvent(atoms: Atoms, resolution: np.ndarray) -> np.ndarray:
    """Let no ion or water be sharper than the median of the other atoms within 6 A."""
    solvent = np.isin(atoms.kind, SOLVENT_KINDS)
    if not solvent.any() or solvent.all():
        return resolution
    resolution = resolution.copy()
    around = resolution[~solvent]
    tree = cKDTree(atoms.xyz[~solvent])
    found = tree.query_ball_point(atoms.xyz[solvent], SOLVENT_RADIUS)
    for i, near in zip(np.flatnonzero(solvent), found, strict=True):
        if near:
            resolution[i] = max(resolution[i], np.median(around[near]))
    return resolution


def _weak_residues(
    atoms: Atoms, residues: Residues, q_score: np.ndarray, reported: float | None
) -> list[list[object]]:
    """List (chain, number, insertion code, name) of residues that the map does not show."""
    if reported is None or reported >= WEAK_RESOLUTION:
        return []
    first = np.unique(residues.of_atom, return_index=True)[1]
    weak = first[np.nan_to_num(residues.mean(q_score), nan=1.0) < WEAK_Q_SCORE]
    columns = (atoms.chain, atoms.residue_number, atoms.insertion_code, atoms.residue_name)
    return [list(row) for row in zip(*(c[weak].tolist() for c in columns), strict=True)]
