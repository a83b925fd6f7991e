"""The generated molecules have the geometry that real ones have."""

import numpy as np
import pytest
from scipy.spatial import cKDTree

from cryoclarity.demo import residues
from cryoclarity.demo.folds import FOLDS, build_fold
from cryoclarity.demo.nucleic import A_RNA, B_DNA, build_duplex
from cryoclarity.demo.placement import (
    align_axis_to_z,
    dihedral_angle,
    place_atom,
    rotation_about,
    screw_axis,
    superpose,
)
from cryoclarity.demo.protein import (
    HELIX,
    STRAND,
    Segment,
    beta_carbon,
    build_backbone,
    build_proteins,
    side_chain,
)

# Bond lengths expected by pairs of elements, angstrom: looser than the tables on purpose, so
# that a wrong reference atom is found and a rounded ideal value is not.
BONDS = {
    "CC": (1.33, 1.56),
    "CN": (1.29, 1.51),
    "CO": (1.20, 1.46),
    "CS": (1.77, 1.83),
    "OP": (1.46, 1.63),
}


def angle(a, b, c):
    u, v = a - b, c - b
    return np.degrees(np.arccos(u @ v / (np.linalg.norm(u) * np.linalg.norm(v))))


@pytest.fixture(scope="module")
def molecules():
    names = ("four_helices", "small_sandwich", "rna_duplexes", "small_dna_and_helices")
    return {name: build_fold(name, f"test {name}") for name in names}


def test_placed_atom_has_the_internal_coordinates_asked_for():
    rng = np.random.default_rng(3)
    for _ in range(20):
        a, b, c = rng.standard_normal((3, 3))
        bond, bend, twist = rng.uniform(1, 2), rng.uniform(60, 150), rng.uniform(-179, 179)
        d = place_atom(a, b, c, bond, bend, twist)
        assert np.linalg.norm(d - c) == pytest.approx(bond)
        assert angle(b, c, d) == pytest.approx(bend)
        assert dihedral_angle(a, b, c, d) == pytest.approx(twist)


def test_dihedral_is_positive_clockwise_along_the_bond():
    # Looking along +z from b to c, x turns towards y clockwise.
    a, b, c = np.array([1.0, 0, 0]), np.zeros(3), np.array([0, 0, 1.0])
    assert dihedral_angle(a, b, c, np.array([0.0, 1.0, 1.0])) == pytest.approx(90.0)


def test_rotation_is_right_handed_and_superposition_undoes_it():
    rotation = rotation_about("z", 90.0)
    assert rotation @ [1.0, 0, 0] == pytest.approx([0.0, 1.0, 0.0])
    points = np.random.default_rng(1).standard_normal((6, 3))
    moved = points @ rotation.T + [1.0, 2.0, 3.0]
    found, shift = superpose(points, moved)
    assert found == pytest.approx(rotation)
    assert shift == pytest.approx([1.0, 2.0, 3.0])


def test_screw_of_a_right_handed_helix_has_positive_angle():
    points = np.random.default_rng(2).standard_normal((5, 3))
    moved = points @ rotation_about("z", 40.0).T + [0.0, 0.0, 2.0]
    direction, point, turn = screw_axis(points, moved)
    assert direction == pytest.approx([0.0, 0.0, 1.0])
    assert point[:2] == pytest.approx([0.0, 0.0], abs=1e-9)
    assert turn == pytest.approx(40.0)
    assert align_axis_to_z(np.array([0.0, 1.0, 0.0])) @ [0, 1.0, 0] == pytest.approx([0, 0, 1.0])


@pytest.mark.parametrize(
    ("torsions", "turn", "rise"), [(HELIX, 99.0, 1.54), (STRAND, -170.8, 3.36)]
)
def test_backbone_is_regular(torsions, turn, rise):
    backbone = build_backbone(12, *torsions)
    n, ca, c, o = (backbone[:, k] for k in range(4))
    assert dihedral_angle(c[4], n[5], ca[5], c[5]) == pytest.approx(torsions[0])
    assert dihedral_angle(n[5], ca[5], c[5], n[6]) == pytest.approx(torsions[1])
    assert abs(dihedral_angle(ca[4], c[4], n[5], ca[5])) == pytest.approx(180.0)
    assert angle(n[5], ca[5], c[5]) == pytest.approx(residues.N_CA_C)
    # The peptide's oxygen lies in its plane and trans to the next CA's hydrogen side.
    assert abs(dihedral_angle(ca[4], n[5], c[4], o[4])) == pytest.approx(180.0, abs=1e-6)
    assert np.linalg.norm(o[4] - n[5]) == pytest.approx(2.25, abs=0.03)
    direction, _, found = screw_axis(backbone[4, :3], backbone[5, :3])
    assert direction == pytest.approx([0, 0, 1.0], abs=1e-6)
    assert found == pytest.approx(turn, abs=0.5)
    assert ca[5, 2] - ca[4, 2] == pytest.approx(rise, abs=0.02)


def test_helix_is_right_handed_and_hydrogen_bonded():
    backbone = build_backbone(14, *HELIX)
    assert screw_axis(backbone[0, :3], backbone[1, :3])[2] > 0
    gaps = np.linalg.norm(backbone[:-4, 3] - backbone[4:, 0], axis=-1)
    assert np.all((gaps > 2.7) & (gaps < 3.3))


@pytest.mark.parametrize("name", sorted(residues.SIDE_CHAINS))
def test_every_amino_acid_is_l_and_bonded_as_it_should(name):
    backbone = build_backbone(3, *HELIX)[1]
    frame = dict(zip(("N", "CA", "C", "O"), backbone, strict=True))
    if name == "GLY":
        assert not residues.SIDE_CHAINS[name]
        return
    frame["CB"] = beta_carbon(frame["N"], frame["CA"], frame["C"], name)
    ca = frame["CA"]
    volume = np.cross(frame["N"] - ca, frame["C"] - ca) @ (frame["CB"] - ca)
    assert 2.0 < volume < 3.2  # L: N, C, CB run anticlockwise seen from the hydrogen's far side
    for chi in residues.ROTAMERS[name]:
        atoms = frame | side_chain(name, frame, chi)
        assert {row[0] for row in residues.SIDE_CHAINS[name]} < set(atoms)
        # Contacts with the own backbone are the packing's affair; proline's ring is a bond.
        labels = [a for a in atoms if a not in ("C", "O") and (a != "N" or name == "PRO")]
        xyz = np.array([atoms[label] for label in labels])
        pairs = cKDTree(xyz).query_pairs(1.95)
        for i, j in pairs:
            low, high = BONDS["".join(sorted(labels[i][0] + labels[j][0]))]
            assert low < np.linalg.norm(xyz[i] - xyz[j]) < high, (labels[i], labels[j])
        rings = {"PRO": 1, "PHE": 1, "TYR": 1, "HIS": 1, "TRP": 2}.get(name, 0)
        assert len(pairs) == len(labels) - 1 + rings


@pytest.mark.parametrize(("name", "second", "sign"), [("ILE", "CG1", 1), ("THR", "OG1", 1)])
def test_second_chiral_centre(name, second, sign):
    backbone = build_backbone(3, *HELIX)[1]
    frame = dict(zip(("N", "CA", "C", "O"), backbone, strict=True))
    frame["CB"] = beta_carbon(*backbone[:3], name)
    atoms = frame | side_chain(name, frame, residues.ROTAMERS[name][0])
    arms = [atoms[a] - atoms["CB"] for a in ("CA", second, "CG2")]
    # (2S,3S)-isoleucine and (2S,3R)-threonine place these three in the same sense.
    assert sign * (np.cross(arms[0], arms[1]) @ arms[2]) > 2.0


@pytest.mark.parametrize("form", [A_RNA, B_DNA], ids=["A_RNA", "B_DNA"])
def test_nucleotides_are_bonded_and_d(form):
    letters = "AUGCAU" if form is A_RNA else "ATGCAT"
    first, _ = build_duplex(letters, form)
    for k in range(1, 5):
        atoms = first[k].atoms
        link = np.linalg.norm(first[k - 1].atoms["O3'"] - atoms["P"])
        assert link == pytest.approx(1.607, abs=0.02)
        labels = list(atoms)
        xyz = np.array([atoms[label] for label in labels])
        pairs = cKDTree(xyz).query_pairs(1.95)
        for i, j in pairs:
            low, high = BONDS["".join(sorted(labels[i][0] + labels[j][0]))]
            assert low < np.linalg.norm(xyz[i] - xyz[j]) < high, (labels[i], labels[j])
        rings = 3 if "N9" in atoms else 2
        assert len(pairs) == len(labels) - 1 + rings
        arms = [atoms[a] - atoms["C4'"] for a in ("O4'", "C3'", "C5'")]
        assert np.cross(arms[0], arms[1]) @ arms[2] < -2.0  # R: D-ribose
        base = "N9" if "N9" in atoms else "N1"
        arms = [atoms[a] - atoms["C1'"] for a in ("O4'", base, "C2'")]
        assert np.cross(arms[0], arms[1]) @ arms[2] < -2.0  # beta


@pytest.mark.parametrize("form", [A_RNA, B_DNA], ids=["A_RNA", "B_DNA"])
def test_base_pairs_and_hand_of_the_double_helix(form):
    letters = "GCAUGC".replace("U", "U" if form is A_RNA else "T")
    first, second = build_duplex(letters, form)
    for k, residue in enumerate(first):
        own, other = residue.atoms, second[len(first) - 1 - k].atoms
        if "N9" not in own:
            own, other = other, own
        assert 2.75 < np.linalg.norm(own["N1"] - other["N3"]) < 3.1
        assert 10.4 < np.linalg.norm(own["C1'"] - other["C1'"]) < 11.0
    _, _, turn = screw_axis(
        np.array([first[1].atoms[a] for a in ("P", "C1'", "C4'")]),
        np.array([first[2].atoms[a] for a in ("P", "C1'", "C4'")]),
    )
    assert turn == pytest.approx(form.twist, abs=0.1)
    # Antiparallel: 5' ends at opposite ends.
    assert first[0].atoms["C1'"][2] < 0 < second[0].atoms["C1'"][2]


def test_side_chains_avoid_each_other(molecules):
    for name, atoms in molecules.items():
        pairs = cKDTree(atoms.xyz).query_pairs(2.6, output_type="ndarray")
        apart = np.abs(np.diff(atoms.residue_index[pairs], axis=1)).ravel() > 1
        distance = np.linalg.norm(np.diff(atoms.xyz[pairs[apart]], axis=1), axis=-1)
        assert np.all(distance > 2.2), name
        assert len(distance) < 0.01 * len(atoms), name


def test_molecules_are_proteins_and_nucleic_acids_of_natural_names(molecules):
    assert set(molecules["four_helices"].kind) == {"protein"}
    assert set(molecules["rna_duplexes"].residue_name) == set("AUGC")
    mixed = molecules["small_dna_and_helices"]
    assert set(mixed.kind) == {"protein", "nucleic"}
    for atoms in molecules.values():
        assert len(set(atoms.keys())) == len(atoms)
        assert atoms.residue_index[-1] + 1 >= 50


def test_packing_keeps_clear_of_obstacles():
    backbone = build_backbone(9, *HELIX)
    free = build_proteins([Segment(backbone, "AAAAKAAAA")], np.zeros((0, 3)))[0][4].atoms
    blocked = build_proteins([Segment(backbone, "AAAAKAAAA")], free["NZ"][None])[0][4].atoms
    gap = min(np.linalg.norm(v - free["NZ"]) for v in blocked.values())
    assert gap > 2.8


def test_same_label_same_molecule():
    first, again = (build_fold("four_helices", "x") for _ in range(2))
    other = build_fold("four_helices", "y")
    assert np.array_equal(first.xyz, again.xyz)
    assert "".join(other.residue_name) != "".join(first.residue_name)
    assert set(FOLDS) >= {"rna_duplexes", "dna_and_helices"}
