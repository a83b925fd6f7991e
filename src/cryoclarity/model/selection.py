"""Which atoms of a model take part: alternative locations, doubles, residues."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from cryoclarity.io.atoms import Atoms

# The full key of an atom, within one model.
KEY_COLUMNS = (
    *("chain", "residue_number", "insertion_code", "residue_name"),
    *("name", "altloc", "element"),
)


def first_seen(keys: Iterable[object]) -> np.ndarray:
    """Number keys in the order in which they first appear, (n,) int."""
    keys = list(keys)
    numbers = {key: number for number, key in enumerate(dict.fromkeys(keys))}
    return np.fromiter(map(numbers.__getitem__, keys), dtype=np.int64, count=len(keys))


def residue_numbers(atoms: Atoms) -> np.ndarray:
    """Running number (n,) of each atom's residue by chain, number, insertion code and name.

    Unlike `residue_index` it joins the pieces of a residue that a file lists apart.
    """
    columns = (atoms.chain, atoms.residue_number, atoms.insertion_code, atoms.residue_name)
    return first_seen(zip(*(column.tolist() for column in columns), strict=True))


def doubles(atoms: Atoms) -> np.ndarray:
    """Whether each atom (n,) repeats the full key of an earlier one."""
    number = np.zeros(len(atoms), dtype=np.int64)
    for name in KEY_COLUMNS:
        # Column by column, because a tuple per atom takes much memory in large models.
        labels = first_seen(getattr(atoms, name).tolist())
        number = number * (int(labels.max(initial=0)) + 1) + labels
        number = np.unique(number, return_inverse=True)[1]
    repeated = np.ones(len(number), dtype=bool)
    repeated[np.unique(number, return_index=True)[1]] = False
    return repeated


def best_altloc(atoms: Atoms, *, ties: str = "file") -> np.ndarray:
    """Whether each atom (n,) has no altloc or the best one of its residue.

    The best is that of the highest summed occupancy. Residues that share chain, number and
    insertion code are one place here, so that of two residue types at one place only one stays.

    Parameters
    ----------
    atoms : Atoms
    ties : 'file' or 'letter'
        Among equals the altloc that is first in the file, or first by letter.
    """
    keep = atoms.altloc == ""
    columns = (atoms.chain, atoms.residue_number, atoms.insertion_code)
    place = first_seen(zip(*(column.tolist() for column in columns), strict=True))
    sums: dict[int, dict[str, float]] = {}
    for i in np.flatnonzero(~keep).tolist():
        of_place = sums.setdefault(int(place[i]), {})
        letter = str(atoms.altloc[i])
        of_place[letter] = of_place.get(letter, 0.0) + float(atoms.occupancy[i])
    best = {}
    for number, of_place in sums.items():
        letters = sorted(of_place) if ties == "letter" else list(of_place)
        # Rounded, because sums of 0.5 and 0.50 in another order must count as equal.
        best[number] = max(letters, key=lambda letter: round(of_place[letter], 6))
    for i in np.flatnonzero(~keep).tolist():
        keep[i] = best[int(place[i])] == atoms.altloc[i]
    return keep
