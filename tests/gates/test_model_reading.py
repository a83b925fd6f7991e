"""Models in every legal dress give the same atoms."""

import numpy as np
import pytest

from cryoclarity.io.model import element_of, read_atoms, read_model, write_mmcif
from cryoclarity.io.model_text import hybrid_serial
from tests.gates.zoo import PDB_LINE, at, cif_rows, cif_text, pdb_atoms, pdb_text


def atoms_of(tmp_path, text, name="a.cif"):
    path = tmp_path / name
    path.write_text(text)
    return read_atoms(path)


def test_both_formats_give_the_same_atoms(tmp_path):
    mmcif = atoms_of(tmp_path, cif_text())
    pdb = atoms_of(tmp_path, pdb_text(), "a.pdb")
    assert np.allclose(mmcif.xyz, pdb.xyz)
    assert mmcif.keys() == pdb.keys()
    assert mmcif.element.tolist() == pdb.element.tolist() == ["N", "C", "C", "O", "C"] * 4
    assert mmcif.residue_index.tolist() == np.repeat(range(4), 5).tolist()
    assert set(mmcif.kind) == {"protein"}


def test_scattered_chains_stay_in_file_order(tmp_path):
    """A chain that returns after another one is one chain, its atoms stay where they stand."""
    rows = list(cif_rows())
    for i in range(5, 15):
        rows[i] |= {"auth_asym_id": "B", "label_asym_id": "B"}
    atoms = atoms_of(tmp_path, cif_text(rows=rows))
    assert atoms.chain.tolist() == ["A"] * 5 + ["B"] * 10 + ["A"] * 5
    assert np.allclose(atoms.xyz[:, 0], 3 + 1.5 * np.arange(20))
    assert np.all(np.diff(atoms.residue_index) >= 0)


def test_unusual_names_and_unknown_cells(tmp_path):
    rows = list(cif_rows())
    rows[0] |= {"auth_asym_id": "chainTEN10", "label_comp_id": "A1BCD", "pdbx_PDB_ins_code": "C"}
    rows[1] |= {"occupancy": "?", "label_alt_id": "B", "auth_seq_id": "-7"}
    atoms = atoms_of(tmp_path, cif_text(rows=rows))
    assert atoms.chain[0] == "chainTEN10"
    assert (atoms.residue_name[0], atoms.insertion_code[0]) == ("A1BCD", "C")
    assert (atoms.occupancy[1], atoms.altloc[1], atoms.residue_number[1]) == (1.0, "B", -7)
    assert atoms.altloc[0] == ""


def test_one_atom_without_a_loop(tmp_path):
    row = next(cif_rows())
    pairs = "\n".join(f"_atom_site.{tag} {value}" for tag, value in row.items())
    atoms = atoms_of(tmp_path, f"data_x\n{pairs}\n")
    assert atoms.xyz.tolist() == [[3.0, 4.0, 5.0]]


def test_elements_from_names(tmp_path):
    atoms = atoms_of(tmp_path, cif_text(change=at(2, type_symbol="?")))
    assert atoms.element[2] == "C"
    assert [element_of(name) for name in ("CA", "1HB", "O5'", "FE", "P")] == list("CHOXP")


def test_first_model_whatever_its_number(tmp_path):
    lines = ["MODEL        7", *pdb_atoms(10), "ENDMDL", "MODEL        1", *pdb_atoms(20), "ENDMDL"]
    path = tmp_path / "a.pdb"
    path.write_text("\n".join(lines) + "\n")
    model = read_model(path)
    assert (len(model.atoms), model.models) == (10, 2)


def test_more_atoms_than_five_digits(tmp_path):
    """Serials of all kinds (blank, starred, repeated) do not disturb the order."""
    lines = [line[:6] + "*****" + line[11:] for line in pdb_atoms(20)]
    atoms = atoms_of(tmp_path, pdb_text(lines), "a.pdb")
    assert np.allclose(atoms.xyz[:, 0], 3 + 1.5 * np.arange(20))
    cases = (
        (1, "    1"),
        (99999, "99999"),
        (100000, "A0000"),
        (100035, "A000Z"),
        (100036, "A0010"),
    )
    assert [hybrid_serial(number) for number, _ in cases] == [text for _, text in cases]


@pytest.mark.parametrize("zone", ["HETATM", "ATOM  "])
def test_waters_and_ions_have_their_kind(tmp_path, zone):
    lines = pdb_atoms(5)
    for i, (name, residue, element) in enumerate((("O", "HOH", "O"), ("ZN", "ZN", "ZN"))):
        line = PDB_LINE.format(6 + i, name, residue, "A", 9 + i, 1.0, 2.0, 3.0 + i, 1, 30, element)
        lines.append(zone + line[6:])
    atoms = atoms_of(tmp_path, pdb_text(lines), "a.pdb")
    assert atoms.kind.tolist() == ["protein"] * 5 + ["water", "ion"]


def test_written_models_come_back(shared, tmp_path):
    for name in ("1a9n.pdb.gz", "1gid.cif.gz", "1us0.pdb.gz"):
        atoms = read_atoms(shared / "models" / name)
        out = tmp_path / "out.cif.gz"
        write_mmcif(out, atoms, "9zzz")
        back = read_model(out)
        assert back.entry_id == "9zzz"
        assert back.atoms.keys() == atoms.keys()
        assert np.allclose(back.atoms.xyz, atoms.xyz, atol=1e-3)
        assert np.allclose(back.atoms.occupancy, atoms.occupancy)
        assert back.atoms.element.tolist() == atoms.element.tolist()
