"""Fill and smooth per-atom scores over residues: single-atom Q-scores are noisy."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cryoclarity.io.atoms import POLYMERS, Atoms
from cryoclarity.model.selection import residue_numbers

SMOOTHINGS = ("half", "atom", "residue", "group", "window5")
NEIGHBOUR_RANGE = 2
BACKBONE = {
    "protein": ("N", "CA", "C", "O", "OXT", "OT1", "OT2"),
    # Phosphate and sugar against the base.
    "nucleic": (
        *("P", "OP1", "OP2", "OP3", "O1P", "O2P", "O3P", "O5'", "C5'", "C4'", "O4'"),
        *("C3'", "O3'", "C2'", "O2'", "C1'"),
    ),
}


@dataclass(frozen=True)
class Residues:
    """The residues of some atoms.

    Attributes
    ----------
    of_atom : (n,) int
        Residue of each atom.
    chain, number, kind : (m,)
        Of each residue.
    stretch : (m,) int
        Residues of one unbroken stretch of a polymer chain share a number.
    """

    of_atom: np.ndarray
    chain: np.ndarray
    number: np.ndarray
    kind: np.ndarray
    stretch: np.ndarray

    def mean(self, values: np.ndarray) -> np.ndarray:
        """Mean (m,) over each residue's finite values; NaN where there is none."""
        return _grouped_mean(values, self.of_atom, len(self.number))


def residues_of(atoms: Atoms) -> Residues:
    """Group atoms into residues, and residues into stretches without numbering gaps."""
    of_atom = residue_numbers(atoms)
    first = np.unique(of_atom, return_index=True)[1]
    chain, number, kind = atoms.chain[first], atoms.residue_number[first], atoms.kind[first]
    polymer = np.isin(kind, POLYMERS)
    step = np.diff(number)
    # Equal numbers are insertion codes; hence a step of 0 or 1 is no gap.
    joined = (chain[1:] == chain[:-1]) & (step >= 0) & (step <= 1) & polymer[1:] & polymer[:-1]
    stretch = np.concatenate(([0], np.cumsum(~joined))) if len(number) else np.zeros(0, dtype=int)
    return Residues(of_atom, chain, number, kind, stretch)


def fill_missing(values: np.ndarray, residues: Residues) -> tuple[np.ndarray, dict[str, int]]:
    """Replace NaN by the mean of the residue, of residues up to 2 away, or the median of all.

    Parameters
    ----------
    values : (n,)
        At least one finite value.
    residues : Residues

    Returns
    -------
    (n,) float64 without NaN, and how many came `by_residue`, `by_neighbours`, `by_median`.
    """
    filled = np.array(values, dtype=np.float64)
    missing = np.isnan(filled)
    counts = {"by_residue": 0, "by_neighbours": 0, "by_median": 0}
    if not missing.any():
        return filled, counts
    mean = residues.mean(values)
    filled[missing] = mean[residues.of_atom[missing]]
    left = np.isnan(filled)
    counts["by_residue"] = int(missing.sum() - left.sum())
    for residue in np.unique(residues.of_atom[left]).tolist():
        near = (
            (residues.chain == residues.chain[residue])
            & (np.abs(residues.number - residues.number[residue]) <= NEIGHBOUR_RANGE)
            & np.isin(residues.kind, POLYMERS)
            & np.isfinite(mean)
        )
        if residues.kind[residue] in POLYMERS and near.any():
            filled[residues.of_atom == residue] = mean[near].mean()
    still = np.isnan(filled)
    counts["by_neighbours"] = int(left.sum() - still.sum())
    counts["by_median"] = int(still.sum())
    filled[still] = np.nanmedian(values)
    return filled, counts


def smooth(values: np.ndarray, atoms: Atoms, residues: Residues, smoothing: str) -> np.ndarray:
    """Smooth per-atom values over residues.

    Parameters
    ----------
    values : (n,)
        Without NaN.
    atoms : Atoms
    residues : Residues
    smoothing : str
        'atom' nothing; 'residue' the residue's mean; 'half' the mean of atom and residue;
        'group' the mean of the backbone or the side chain (phosphate and sugar, or base);
        'window5' the mean over residues i-2 to i+2 of an unbroken stretch.

    Returns
    -------
    (n,) float64

    Raises
    ------
    ValueError
        Unknown smoothing.
    """
    values = np.asarray(values, dtype=np.float64)
    if smoothing == "atom":
        return values.copy()
    if smoothing == "group":
        group = 2 * residues.of_atom + _in_backbone(atoms)
        return _grouped_mean(values, group, 2 * len(residues.number))[group]
    mean = residues.mean(values)
    if smoothing == "residue":
        return mean[residues.of_atom]
    if smoothing == "half":
        return 0.5 * (values + mean[residues.of_atom])
    if smoothing == "window5":
        return _window_mean(mean, residues.stretch)[residues.of_atom]
    raise ValueError(f"unknown smoothing {smoothing!r}, known: {SMOOTHINGS}")


def _in_backbone(atoms: Atoms) -> np.ndarray:
    backbone = np.zeros(len(atoms), dtype=np.int64)
    for kind, names in BACKBONE.items():
        backbone |= (atoms.kind == kind) & np.isin(atoms.name, names)
    return backbone


def _window_mean(mean: np.ndarray, stretch: np.ndarray) -> np.ndarray:
    total, count = mean.copy(), np.ones(len(mean))
    for shift in range(1, NEIGHBOUR_RANGE + 1):
        same = stretch[shift:] == stretch[:-shift]
        total[shift:] += np.where(same, mean[:-shift], 0.0)
        count[shift:] += same
        total[:-shift] += np.where(same, mean[shift:], 0.0)
        count[:-shift] += same
    return total / count


def _grouped_mean(values: np.ndarray, group: np.ndarray, count: int) -> np.ndarray:
    finite = np.isfinite(values)
    total = np.bincount(group[finite], weights=values[finite], minlength=count)
    size = np.bincount(group[finite], minlength=count)
    return np.where(size > 0, total / np.maximum(size, 1), np.nan)
