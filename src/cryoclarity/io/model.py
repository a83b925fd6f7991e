"""Read and write atomic models through gemmi; atoms travel as arrays.

gemmi never sees a file: the text is unpacked, told apart and judged first (see
:mod:`cryoclarity.io.model_text`), because the parser takes damage for zeros or for emptiness.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import gemmi
import numpy as np

from cryoclarity.errors import InputError
from cryoclarity.io.atoms import Atoms
from cryoclarity.io.files import write_text
from cryoclarity.io.model_text import ModelText, check_pdb, numbers_of, read_model_text

MAX_ATOMS = 2_000_000
ION_ATOMS = 1
# What gemmi raised on damaged files; whatever it is, the text is at fault.
PARSER_ERRORS = (RuntimeError, ValueError, IndexError, OSError, MemoryError)
CATEGORY = "_atom_site."
COORDINATE_TAGS = ("Cartn_x", "Cartn_y", "Cartn_z")
# A tag, the tag that can stand in for it, and the value where neither is there.
NEEDED_TAGS = (
    ("label_atom_id", "auth_atom_id", None),
    ("label_comp_id", "auth_comp_id", None),
    ("label_asym_id", "auth_asym_id", None),
    ("label_alt_id", None, "."),
)
# Single letters that stand for an element where a file names none.
ELEMENT_LETTERS = "CNOSPH"
# Nucleotides of old files that the table of residues does not know.
OLD_NUCLEOTIDES = frozenset({"T", "ADE", "CYT", "GUA", "THY", "URA", "URI"})


@dataclass(frozen=True)
class ModelFile:
    """What a model file holds.

    Attributes
    ----------
    atoms : Atoms
        All atoms of the first model, in file order.
    format : 'mmcif' or 'pdb'
    models : int
        Number of models in the file.
    entry_id : str
        PDB id in lower case as the file names it, or ''.
    warnings : tuple of (code, message)
    """

    atoms: Atoms
    format: str
    models: int
    entry_id: str
    warnings: tuple[tuple[str, str], ...] = ()


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
    return read_model(path).atoms


def read_model(path: str | Path) -> ModelFile:
    """Read a model with what is to be known about its file; see :func:`read_atoms`.

    Raises
    ------
    InputError
        FILE_* or MOD_*.
    """
    content = read_model_text(path)
    parse = _parse_mmcif if content.format == "mmcif" else _parse_pdb
    try:
        structure, entry_id, warnings = parse(content, path)
        count = structure[0].count_atom_sites() if len(structure) else 0
        # Damaged names show only when they are decoded.
        atoms = _atoms_of(structure[0]) if 0 < count <= MAX_ATOMS else None
    except PARSER_ERRORS as error:
        cut = not content.text.endswith("\n")
        raise InputError(
            " ".join(str(error).split())[:200] or type(error).__name__,
            code="MOD_TRUNCATED" if cut else "MOD_SYNTAX",
            file=path,
        ) from error
    if count > MAX_ATOMS:
        raise InputError(f"{count} atoms, limit is {MAX_ATOMS}", code="MOD_SIZE", file=path)
    if atoms is None:
        raise InputError("no atoms", code="MOD_NO_ATOMS", file=path)
    if len(structure) > 1:
        warnings.append(("W_MULTI_MODEL", f"{len(structure)} models, the first is used"))
    return ModelFile(
        atoms=atoms,
        format=content.format,
        models=len(structure),
        entry_id=entry_id.strip().lower(),
        warnings=tuple(warnings),
    )


def _parse_pdb(content: ModelText, path: str | Path):
    text, warnings = check_pdb(content, path)
    structure = gemmi.read_pdb_string(text)
    header = next((line for line in text.split("\n", 50) if line.startswith("HEADER")), "")
    return structure, header[62:66], warnings


def _parse_mmcif(content: ModelText, path: str | Path):
    document = gemmi.cif.read_string(content.text)
    blocks = [block for block in document if len(block.find_values(CATEGORY + "Cartn_x"))]
    if len(blocks) > 1:
        names = " ".join(block.name for block in blocks)
        raise InputError(
            f"atoms in {len(blocks)} data blocks: {names}", code="MOD_MULTI_BLOCK", file=path
        )
    if not blocks:
        for block in document:
            _check_columns(block, path)
        raise InputError("no atoms", code="MOD_NO_ATOMS", file=path)
    block = blocks[0]
    _check_columns(block, path)
    columns = [list(block.find_values(CATEGORY + tag)) for tag in COORDINATE_TAGS]
    numbers_of(columns, [str(i + 1) for i in range(len(columns[0]))], path)
    warnings = _complete_columns(block)
    entry_id = gemmi.cif.as_string(block.find_value("_entry.id") or "")
    return gemmi.make_structure_from_block(block), entry_id, warnings


def _check_columns(block: gemmi.cif.Block, path: str | Path) -> None:
    """Refuse an atom table that lacks what cannot be made up."""
    tags = {tag.lower() for tag in block.get_mmcif_category_names()}
    if CATEGORY not in tags:
        return
    for tag in COORDINATE_TAGS:
        if not len(block.find_values(CATEGORY + tag)):
            if any(len(block.find_values(CATEGORY + other)) for other in COORDINATE_TAGS):
                raise InputError(f"{CATEGORY}{tag} is missing", code="MOD_COLUMNS", file=path)
            return  # an empty table: no atoms
    for tag, other, default in NEEDED_TAGS:
        if default is None and not any(
            len(block.find_values(CATEGORY + name)) for name in (tag, other)
        ):
            raise InputError(f"{CATEGORY}{tag} is missing", code="MOD_COLUMNS", file=path)


def _complete_columns(block: gemmi.cif.Block) -> list[tuple[str, str]]:
    """Number the rows in file order and add columns that the parser asks for."""
    count = len(block.find_values(CATEGORY + "Cartn_x"))
    _set_column(block, "id", [str(i + 1) for i in range(count)])
    for tag, other, default in NEEDED_TAGS:
        if len(block.find_values(CATEGORY + tag)):
            continue
        stand_in = list(block.find_values(CATEGORY + other)) if other else [default] * count
        _set_column(block, tag, stand_in)
    known = list(block.find_values(CATEGORY + "type_symbol"))
    missing = [i for i in range(count) if not known or known[i] in ("?", ".")]
    if not missing:
        return []
    names = block.find_values(CATEGORY + "label_atom_id")
    elements = known or ["X"] * count
    for i in missing:
        elements[i] = element_of(gemmi.cif.as_string(names[i]))
    _set_column(block, "type_symbol", elements)
    return [("W_ELEMENT", f"elements of {len(missing)} atoms derived from their names")]


def _set_column(block: gemmi.cif.Block, tag: str, values: list[str]) -> None:
    column = block.find_values(CATEGORY + tag)
    if len(column):
        for i, value in enumerate(values):
            column[i] = value
        return
    loop = block.find_loop(CATEGORY + "Cartn_x").get_loop()
    if loop is None:  # a single atom, written as pairs
        block.set_pair(CATEGORY + tag, values[0])
        return
    loop.add_columns([CATEGORY + tag], value="?")
    column = block.find_values(CATEGORY + tag)
    for i, value in enumerate(values):
        column[i] = value


def element_of(name: str) -> str:
    """Return the element that an atom's name starts with, 'X' if none of C N O S P H does."""
    letters = name.lstrip("0123456789'\"").upper()
    return letters[0] if letters and letters[0] in ELEMENT_LETTERS else "X"


def _atoms_of(model: gemmi.Model) -> Atoms:
    rows = []
    residues = [(chain, residue) for chain in model for residue in chain]
    for index, (chain, residue) in enumerate(residues):
        kind = _kind(residue.name, len(residue))
        number, code = residue.seqid.num, residue.seqid.icode.strip()
        for atom in residue:
            rows.append(
                (
                    atom.serial,
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
    rows.sort(key=lambda row: row[0])  # gemmi gathers chains; the serials remember the file
    _, *columns = zip(*rows, strict=True)
    arrays = [np.array(column) for column in columns]
    arrays[-1] = _by_appearance(arrays[-1])
    return Atoms(*arrays)


def _by_appearance(index: np.ndarray) -> np.ndarray:
    """Renumber labels (n,) in the order in which they first appear."""
    _, first, inverse = np.unique(index, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[inverse]


def _kind(residue_name: str, atoms: int) -> str:
    kind = _tabulated_kind(residue_name)
    if kind == "ligand" and atoms == ION_ATOMS:
        return "ion"
    return kind


@cache
def _tabulated_kind(residue_name: str) -> str:
    info = gemmi.find_tabulated_residue(residue_name)
    if info.is_amino_acid():
        return "protein"
    if info.is_nucleic_acid() or residue_name in OLD_NUCLEOTIDES:
        return "nucleic"
    return "water" if info.is_water() else "ligand"


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
