"""Models in every legal dress give the same atoms."""

import time

import numpy as np
import pytest

from cryoclarity.gates.inspector import inspect_file
from cryoclarity.io.model import read_atoms, read_model, write_mmcif
from cryoclarity.io.site_table import element_of
from tests.gates.zoo import PDB_LINE, at, cif_rows, cif_text, pdb_atoms, pdb_text
from tests.gates.zoo_more import MORE_MODELS


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


def test_long_tables_are_read_in_pieces(tmp_path, monkeypatch):
    """Pieces of whole lines give the same atoms as the file at once, wherever they end."""
    rows = [row for k in range(9) for row in cif_rows()]
    for i, row in enumerate(rows):
        row |= {"auth_seq_id": str(i // 5 + 1), "type_symbol": "?" if i % 7 == 0 else "C"}
        row |= {"pdbx_PDB_model_num": "7" if i < 150 else "8", "id": str(i + 1)}
    text = cif_text(rows=rows) + "loop_\n_other.id\n1\n2\n"
    (tmp_path / "a.cif").write_text(text)
    whole = read_model(tmp_path / "a.cif")
    assert (len(whole.atoms), whole.models) == (150, 2)
    assert whole.atoms.residue_index.max() == 29
    monkeypatch.setattr("cryoclarity.io.site_table.LONG_TABLE", 1000)
    for size in (1, 300, 1017, 10**6):
        monkeypatch.setattr("cryoclarity.io.site_table.PIECE_CHARACTERS", size)
        pieces = read_model(tmp_path / "a.cif")
        assert pieces.atoms.keys() == whole.atoms.keys()
        assert np.array_equal(pieces.atoms.xyz, whole.atoms.xyz)
        assert np.array_equal(pieces.atoms.residue_index, whole.atoms.residue_index)
        assert (pieces.models, pieces.entry_id) == (2, "9zzz")
        assert pieces.warnings == whole.warnings


@pytest.mark.parametrize("name", [name for name in MORE_MODELS if name.startswith("cif")])
def test_odd_tables_are_judged_alike_in_pieces(tmp_path, monkeypatch, name):
    monkeypatch.setattr("cryoclarity.io.site_table.LONG_TABLE", 10)
    monkeypatch.setattr("cryoclarity.io.site_table.PIECE_CHARACTERS", 200)
    file_name, content, _, code = MORE_MODELS[name]
    path = tmp_path / file_name
    path.write_bytes(content)
    verdict = inspect_file(str(path))
    assert (verdict["code"], verdict.get("atoms")) == (code, None if code else 20)


def test_long_pdb_files_are_read_in_pieces(tmp_path, monkeypatch):
    lines = ["MODEL        7", *pdb_atoms(20), "ENDMDL", "MODEL        8", *pdb_atoms(20), "ENDMDL"]
    path = tmp_path / "a.pdb"
    path.write_text("\n".join(lines) + "\nEND\nATOM  lost\n")
    whole = read_model(path)
    assert whole.warnings[0] == ("W_TEXT_AFTER_END", "1 atom records after END ignored")
    for size in (1, 100, 1000):
        monkeypatch.setattr("cryoclarity.io.pdb_records.BLOCK_CHARACTERS", size)
        pieces = read_model(path)
        assert pieces.atoms.keys() == whole.atoms.keys()
        assert np.array_equal(pieces.atoms.xyz, whole.atoms.xyz)
        assert pieces.warnings == whole.warnings


def test_unknown_occupancy_is_one(tmp_path):
    blank = [line[:54] + "      " + line[60:] for line in pdb_atoms(3)]
    path = tmp_path / "a.pdb"
    path.write_text(pdb_text([*blank, *pdb_atoms(20)[3:]]))
    model = read_model(path)
    assert set(model.atoms.occupancy.tolist()) == {1.0}
    assert ("W_OCCUPANCY", "3 atoms of unknown occupancy, taken as 1") in model.warnings


def test_two_residues_at_one_place_may_alternate(tmp_path):
    rows = list(cif_rows())
    for i in range(5, 15):
        rows[i] |= {"auth_seq_id": "2", "label_comp_id": ("SER", "THR")[i % 2]}
        rows[i] |= {"label_alt_id": "AB"[i % 2], "label_atom_id": f"C{i // 2}"}
    atoms = atoms_of(tmp_path, cif_text(rows=rows))
    assert atoms.residue_index.tolist() == [0] * 5 + [1, 2] * 5 + [3] * 5


def test_stated_resolution(tmp_path):
    record = "REMARK   2 RESOLUTION.    3.40 ANGSTROMS.\n"
    text = pdb_text()
    cases = {
        "a.pdb": (text.replace("ATOM", record + "ATOM", 1), 3.4),
        "b.pdb": (text, None),
        "a.cif": (cif_text() + "_em_3d_reconstruction.resolution 2.9\n", 2.9),
        "b.cif": (cif_text() + "_em_3d_reconstruction.resolution ?\n", None),
    }
    for name, (content, expected) in cases.items():
        (tmp_path / name).write_text(content)
        assert read_model(tmp_path / name).resolution == expected


@pytest.mark.long
@pytest.mark.parametrize("form", ["pdb", "cif"])
def test_a_large_model_in_seconds(tmp_path, form):
    """120,000 atoms: a ribosome with its copies."""
    path = tmp_path / f"a.{form}"
    rows = list(cif_rows(20)) * 6000
    if form == "cif":
        numbered = (
            row | {"auth_seq_id": str(i // 5 % 9999), "auth_asym_id": f"A{i // 49_995}"}
            for i, row in enumerate(rows)
        )
        path.write_text(cif_text(rows=numbered))
    else:
        lines = pdb_atoms(20) * 6000
        path.write_text(
            pdb_text(
                [
                    f"{x[:21]}{'ABC'[i // 49_995]}{i // 5 % 9999:4d}{x[26:]}"
                    for i, x in enumerate(lines)
                ]
            )
        )
    started = time.process_time()
    assert inspect_file(str(path))["atoms"] == 120_000
    assert time.process_time() - started < 5
