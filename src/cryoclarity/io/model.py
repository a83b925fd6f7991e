"""Read and write atomic models through gemmi; atoms travel as arrays."""

from __future__ import annotations

from pathlib import Path

import gemmi
import numpy as np

from cryoclarity.errors import InputError
from cryoclarity.io.atoms import Atoms
from cryoclarity.io.files import read_bytes, write_text

MAX_MODEL_BYTES = 2_000_000_000
ION_ATOMS = 1


def read_atoms(path: str | Path) -> Atoms:
    """Read all atoms of the first model of a PDB or mmCIF file, plain or gzip, in file order.

    Parameters
    ----------
    path : path
        The format is told by the content.

    Returns
    -------
    Atoms

    Raises
    ------
    InputError
        FILE_* or MOD_*.
    """
    text = read_bytes(path, MAX_MODEL_BYTES).decode("utf-8-sig", errors="replace")
    try:
        if "_atom_site." in text:
            document = gemmi.cif.read_string(text)
            structure = gemmi.make_structure_from_block(document.sole_block())
        else:
            structure = gemmi.read_pdb_string(text)
    except (RuntimeError, ValueError, IndexError) as error:
        raise InputError(str(error), code="MOD_SYNTAX", file=path) from error
    if not len(structure) or not structure[0].count_atom_sites():
        raise InputError("no atoms", code="MOD_NO_ATOMS", file=path)
    structure.setup_entities()
    return _atoms_of(structure[0])


def _atoms_of(model: gemmi.Model) -> Atoms:
    rows = []
    residues = [(chain, residue) for chain in model for residue in chain]
    for index, (chain, residue) in enumerate(residues):
        kind = _kind(residue)
        number, code = residue.seqid.num, residue.seqid.icode.strip()
        for atom in residue:
            rows.append(
                (
                    atom.pos.tolist(),
                    atom.element.name.upper(),
                    atom.element.atomic_number,
                    atom.name,
                    residue.name,
                    chain.name,
                    number,
                    code,
                    atom.altloc.strip("\0"),
                    atom.occ,
                    atom.b_iso,
                    kind,
                    index,
                )
            )
    columns = [np.array(column) for column in zip(*rows, strict=True)]
    return Atoms(*columns)


def _kind(residue: gemmi.Residue) -> str:
    info = gemmi.find_tabulated_residue(residue.name)
    if info.is_amino_acid():
        return "protein"
    if info.is_nucleic_acid():
        return "nucleic"
    if info.is_water():
        return "water"
    return "ion" if len(residue) == ION_ATOMS else "ligand"


def write_mmcif(path: str | Path, atoms: Atoms, entry_id: str) -> None:
    """Write atoms as a minimal mmCIF file with the same bytes on every run.

    Parameters
    ----------
    path : path
        A name that ends in .gz is compressed.
    atoms : Atoms
    entry_id : str
        The PDB id that the file names.
    """
    structure = gemmi.Structure()
    structure.name = entry_id
    model = gemmi.Model(1)
    chain = residue = None
    for i in range(len(atoms)):
        if chain is None or chain.name != atoms.chain[i]:
            chain = model.add_chain(gemmi.Chain(str(atoms.chain[i])))
            residue = None
        if residue is None or atoms.residue_index[i] != atoms.residue_index[i - 1]:
            fresh = gemmi.Residue()
            fresh.name = str(atoms.residue_name[i])
            code = atoms.insertion_code[i] or " "
            fresh.seqid = gemmi.SeqId(int(atoms.residue_number[i]), str(code))
            residue = chain.add_residue(fresh)
        residue.add_atom(_gemmi_atom(atoms, i))
    structure.add_model(model)
    structure.setup_entities()
    structure.assign_serial_numbers()
    document = structure.make_mmcif_document()
    write_text(path, document.as_string())


def _gemmi_atom(atoms: Atoms, i: int) -> gemmi.Atom:
    atom = gemmi.Atom()
    atom.name = str(atoms.name[i])
    atom.element = gemmi.Element(str(atoms.element[i]))
    atom.pos = gemmi.Position(*atoms.xyz[i])
    atom.altloc = str(atoms.altloc[i]) or "\0"
    atom.occ = float(atoms.occupancy[i])
    atom.b_iso = float(atoms.b_iso[i])
    return atom
