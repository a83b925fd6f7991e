"""Alternative locations, doubles and residues."""

from __future__ import annotations

import numpy as np

from cryoclarity.model.selection import best_altloc, doubles, first_seen, residue_numbers
from tests.model.test_density import make_atoms


def with_altlocs(letters, occupancy, number):
    atoms = make_atoms(np.zeros((len(letters), 3)), ["C"] * len(letters), occupancy=occupancy)
    return type(atoms)(
        **{
            **vars(atoms),
            "altloc": np.array(letters),
            "residue_number": np.array(number),
        }
    )


def test_best_altloc_by_summed_occupancy_and_ties():
    atoms = with_altlocs(
        ["", "B", "A", "", "A", "B", "B"],
        [1.0, 0.5, 0.5, 1.0, 0.6, 0.2, 0.5],
        [1, 1, 1, 2, 2, 2, 2],
    )
    by_file = best_altloc(atoms).tolist()
    by_letter = best_altloc(atoms, ties="letter").tolist()
    assert by_file == [True, True, False, True, False, True, True]
    assert by_letter == [True, False, True, True, False, True, True]


def test_two_residue_types_at_one_place():
    atoms = with_altlocs(["A", "B"], [0.4, 0.6], [7, 7])
    atoms.residue_name[:] = ["SER", "THR"]
    assert best_altloc(atoms).tolist() == [False, True]


def test_doubles_are_later_atoms_of_the_same_key():
    atoms = with_altlocs(["", "", "A"], [1.0] * 3, [1, 1, 1])
    atoms.name[:] = "CA"
    assert doubles(atoms).tolist() == [False, True, False]
    atoms.element[1] = "N"
    assert doubles(atoms).tolist() == [False, False, False]


def test_residues_in_pieces_are_joined():
    atoms = with_altlocs([""] * 4, [1.0] * 4, [3, 5, 3, 3])
    assert residue_numbers(atoms).tolist() == [0, 1, 0, 0]
    assert first_seen("banana").tolist() == [0, 1, 2, 1, 2, 1]
