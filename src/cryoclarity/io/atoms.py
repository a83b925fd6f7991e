"""Atoms as arrays: all that travels of an atomic model between the rooms of this package."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

POLYMERS = ("protein", "nucleic")


@dataclass(frozen=True)
class Atoms:
    """The atoms of one model, in file order.

    Attributes
    ----------
    xyz : (n, 3) float64
        Positions (x, y, z) in angstrom.
    element : (n,) str
        Chemical symbol in capitals, 'X' when unknown.
    atomic_number : (n,) int
    name, residue_name, chain : (n,) str
        `chain` is the author's chain id.
    residue_number : (n,) int
        The author's numbering.
    insertion_code, altloc : (n,) str
        '' when there is none.
    occupancy, b_iso : (n,) float64
        Fraction; angstrom squared.
    kind : (n,) str
        'protein', 'nucleic', 'water', 'ion' or 'ligand'.
    residue_index : (n,) int
        Running number of the residue in file order.
    """

    xyz: np.ndarray
    element: np.ndarray
    atomic_number: np.ndarray
    name: np.ndarray
    residue_name: np.ndarray
    chain: np.ndarray
    residue_number: np.ndarray
    insertion_code: np.ndarray
    altloc: np.ndarray
    occupancy: np.ndarray
    b_iso: np.ndarray
    kind: np.ndarray
    residue_index: np.ndarray

    def __len__(self) -> int:
        return len(self.xyz)

    def take(self, selection: np.ndarray) -> Atoms:
        """Return the atoms of a boolean mask or an index array."""
        return Atoms(**{f.name: getattr(self, f.name)[selection] for f in fields(self)})

    def heavy(self) -> Atoms:
        """Return the atoms that are neither hydrogen nor deuterium."""
        return self.take(~np.isin(self.element, ("H", "D")))

    def keys(self) -> list[tuple[str, int, str, str, str, str]]:
        """Return (chain, residue number, insertion code, residue name, atom name, altloc)."""
        return list(
            zip(
                self.chain.tolist(),
                self.residue_number.tolist(),
                self.insertion_code.tolist(),
                self.residue_name.tolist(),
                self.name.tolist(),
                self.altloc.tolist(),
                strict=True,
            )
        )
