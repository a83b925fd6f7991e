"""Filling, smoothing and bounding per-atom resolutions; the choice of target atoms."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from cryoclarity.errors import InputError
from cryoclarity.targets.q_laws import cubic_resolution
from cryoclarity.targets.resolution import ResolutionSettings, atom_resolution, target_atoms
from cryoclarity.targets.smoothing import fill_missing, residues_of, smooth
from tests.model.test_density import make_atoms

NAMES = ("N", "CA", "CB", "CG")


def peptide(numbers, *, chain="A"):
    """Four atoms per residue: two of the backbone, two of the side chain."""
    count = 4 * len(numbers)
    xyz = np.column_stack((np.arange(count) * 1.5, np.zeros((count, 2))))
    return replace(
        make_atoms(xyz, ["N", "C", "C", "C"] * len(numbers)),
        name=np.array(NAMES * len(numbers)),
        residue_name=np.full(count, "ALA"),
        residue_number=np.repeat(numbers, 4),
        chain=np.full(count, chain),
        kind=np.full(count, "protein", dtype="<U8"),
    )


def test_smoothings_by_hand():
    atoms = peptide([1, 2, 3, 4, 10])
    residues = residues_of(atoms)
    values = np.arange(20.0) ** 1.5
    means = values.reshape(5, 4).mean(axis=1)
    by_residue = np.repeat(means, 4)
    np.testing.assert_allclose(smooth(values, atoms, residues, "atom"), values)
    np.testing.assert_allclose(smooth(values, atoms, residues, "residue"), by_residue)
    np.testing.assert_allclose(
        smooth(values, atoms, residues, "half"), 0.5 * values + 0.5 * by_residue
    )
    pairs = np.repeat(values.reshape(-1, 2).mean(axis=1), 2)
    np.testing.assert_allclose(smooth(values, atoms, residues, "group"), pairs)
    window = [means[:3].mean(), means[:4].mean(), means[:4].mean(), means[1:4].mean(), means[4]]
    np.testing.assert_allclose(smooth(values, atoms, residues, "window5"), np.repeat(window, 4))
    with pytest.raises(ValueError, match="smoothing"):
        smooth(values, atoms, residues, "median")


def test_windows_stay_in_chain_and_polymer():
    atoms = peptide([1, 2, 3])
    atoms.chain[8:] = "B"
    values = np.repeat([1.0, 2.0, 9.0], 4)
    np.testing.assert_allclose(
        smooth(values, atoms, residues_of(atoms), "window5"), np.repeat([1.5, 1.5, 9.0], 4)
    )
    atoms = peptide([1, 2, 3])
    atoms.kind[8:] = "ligand"
    np.testing.assert_allclose(
        smooth(values, atoms, residues_of(atoms), "window5"), np.repeat([1.5, 1.5, 9.0], 4)
    )


def test_missing_scores_come_from_near():
    atoms = peptide([1, 2, 3, 20])
    values = np.repeat([0.2, 0.4, 0.6, 0.9], 4)
    values[0] = np.nan  # rest of the residue
    values[4:8] = np.nan  # neighbours: residues 1 and 3
    values[12:] = np.nan  # nobody near: the median
    filled, counts = fill_missing(values, residues_of(atoms))
    assert filled[0] == pytest.approx(0.2)
    assert filled[4:8] == pytest.approx(0.4)
    assert filled[12:] == pytest.approx(np.nanmedian(values))
    assert counts == {"by_residue": 1, "by_neighbours": 4, "by_median": 4}


def test_plain_chain_of_steps():
    atoms = peptide(range(1, 31))
    score = np.random.default_rng(2).uniform(0.1, 0.9, size=len(atoms))
    found = atom_resolution(atoms, score, ResolutionSettings(0.6))
    smoothed = 0.5 * score + 0.5 * np.repeat(score.reshape(-1, 4).mean(axis=1), 4)
    expected = cubic_resolution(smoothed, 0.6)
    expected = np.clip(expected, *np.percentile(expected, [1.0, 99.0]))
    np.testing.assert_allclose(found.resolution, expected)
    assert found.counts["winsorised"] == 4
    assert found.weak_residues == []
    bounded = atom_resolution(atoms, score, ResolutionSettings(0.6, reported=2.0))
    np.testing.assert_allclose(bounded.resolution, np.clip(expected, 1.2, 5.0))
    assert bounded.counts["bounded"] == ((expected < 1.2) | (expected > 5.0)).sum()


def test_water_is_never_sharper_than_its_surroundings():
    atoms = peptide([1, 2])
    atoms.kind[7] = "water"
    score = np.full(8, 0.5)
    score[7] = 1.0
    found = atom_resolution(atoms, score, ResolutionSettings(0.6, smoothing="atom"))
    np.testing.assert_allclose(found.resolution, cubic_resolution(score[:1], 0.6)[0])


def test_residues_without_density_are_named():
    atoms = peptide([1, 2, 3])
    score = np.repeat([0.5, 0.02, 0.5], 4)
    found = atom_resolution(atoms, score, ResolutionSettings(0.6, reported=3.0))
    assert found.weak_residues == [["A", 2, "", "ALA"]]
    assert atom_resolution(atoms, score, ResolutionSettings(0.6, reported=5.0)).weak_residues == []


def test_nothing_to_go_by():
    atoms = peptide([1])
    with pytest.raises(InputError) as caught:
        atom_resolution(atoms, np.full(4, np.nan), ResolutionSettings(0.6))
    assert caught.value.code == "SIM_KEYS"
    with pytest.raises(ValueError, match="no law"):
        atom_resolution(atoms, np.full(4, 0.5), ResolutionSettings(0.5))
    with pytest.raises(ValueError, match="mapping"):
        atom_resolution(atoms, np.full(4, 0.5), ResolutionSettings(0.6, mapping="square"))


def test_target_atoms():
    atoms = peptide([1, 2])
    atoms = replace(atoms, altloc=np.array(["", "", "A", "B", "", "", "", ""]))
    atoms.occupancy[:] = [1.0, 0.0, 0.4, 0.6, 1.0, 1.0, 1.0, 1.0]
    atoms.element[4] = "H"
    atoms.kind[5] = "water"
    atoms.element[6], atoms.atomic_number[6] = "X", 0
    assert target_atoms(atoms).xyz[:, 0].tolist() == [0.0, 4.5, 10.5]
    assert len(target_atoms(atoms, waters=True, reported=3.0)) == 3
    assert len(target_atoms(atoms, waters=True, reported=2.5)) == 4
