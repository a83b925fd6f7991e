"""Read and write atomic models through gemmi; atoms travel as arrays.

gemmi never sees a file: the text is unpacked, told apart and judged first (see
:mod:`cryoclarity.io.model_text`), because the parser takes damage for zeros or for emptiness.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import gemmi
import numpy as np

from cryoclarity.errors import InputError
from cryoclarity.io.atoms import Atoms
from cryoclarity.io.files import write_text
from cryoclarity.io.model_text import MAX_ATOMS, MAX_MODEL_BYTES, number_or_nan, read_model_text
from cryoclarity.io.pdb_records import PdbRecords
from cryoclarity.io.site_table import (
    CATEGORY,
    SITE_TAGS,
    UNKNOWN,
    LongTable,
    SiteTable,
    residue_runs,
    split_long_table,
)

LOGGER = logging.getLogger(__name__)
ION_ATOMS = 1
# What gemmi raised on damaged files; whatever it is, the text is at fault.
PARSER_ERRORS = (RuntimeError, ValueError, IndexError, OSError, MemoryError)
RESOLUTION_TAGS = ("_em_3d_reconstruction.resolution", "_refine.ls_d_res_high")
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
    resolution : float or None
        As the file states it, angstrom.
    warnings : tuple of (code, message)
    """

    atoms: Atoms
    format: str
    models: int
    entry_id: str
    resolution: float | None = None
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


def read_model(
    path: str | Path, *, max_atoms: int = MAX_ATOMS, max_bytes: int = MAX_MODEL_BYTES
) -> ModelFile:
    """Read a model with what is to be known about its file; see :func:`read_atoms`.

    Parameters
    ----------
    path : path
    max_atoms, max_bytes : int
        Larger models are refused, so that no file can fill the memory.

    Raises
    ------
    InputError
        FILE_* or MOD_*.
    """
    content = read_model_text(path, max_bytes)
    source: _Mmcif | _Pdb
    if content.format == "mmcif":
        source = _Mmcif(content.text, path, max_atoms)
    else:
        source = _Pdb(content.text, path)
    parts, count = [], 0
    try:
        for part in source.parts():
            parts.append(part)
            count += len(part["name"])
            if count > max_atoms:
                break
    except PARSER_ERRORS as error:
        cut = not content.text.endswith("\n")
        raise InputError(
            " ".join(str(error).split())[:200] or type(error).__name__,
            code="MOD_TRUNCATED" if cut else "MOD_SYNTAX",
            file=path,
        ) from error
    if count > max_atoms:
        raise InputError(f"{count} or more atoms, limit is {max_atoms}", code="MOD_SIZE", file=path)
    if not count:
        raise InputError("no atoms", code="MOD_NO_ATOMS", file=path)
    warnings = list(source.warnings)
    if source.models > 1:
        warnings.append(("W_MULTI_MODEL", f"{source.models} models, the first is used"))
    return ModelFile(
        atoms=_assembled(parts),
        format=content.format,
        models=source.models,
        entry_id=source.entry_id.strip().lower(),
        resolution=source.resolution,
        warnings=tuple(warnings),
    )


class _Pdb(PdbRecords):
    """A PDB file, whose records gemmi turns into atoms piece by piece."""

    def parts(self) -> Iterator[dict[str, np.ndarray]]:
        """Yield columns of atoms; see :func:`_assembled`."""
        for records, xyz in self.atoms():
            structure = gemmi.read_pdb_string("\n".join(records) + "\nEND\n")
            yield _pdb_columns(structure[0], xyz, self.path)


def _pdb_columns(model: gemmi.Model, xyz: np.ndarray, path: str | Path) -> dict[str, np.ndarray]:
    residues = [(chain.name, residue) for chain in model for residue in chain]
    atoms = [atom for _, residue in residues for atom in residue]
    repeats = [len(residue) for _, residue in residues]
    # gemmi gathers chains; the serials remember the file.
    order = np.argsort([atom.serial for atom in atoms], kind="stable")
    read = np.array([atom.pos.tolist() for atom in atoms])[order]
    if len(read) != len(xyz) or not np.allclose(read, xyz, rtol=0, atol=1e-3):
        raise InputError("coordinates are read in two ways", code="MOD_COORDS", file=path)
    of_residue = {
        "residue_name": [residue.name for _, residue in residues],
        "chain": [chain for chain, _ in residues],
        "residue_number": [residue.seqid.num or 0 for _, residue in residues],
        "insertion_code": [residue.seqid.icode.strip() for _, residue in residues],
    }
    of_atom = {
        "element": [atom.element.name.upper() for atom in atoms],
        "name": [atom.name for atom in atoms],
        "altloc": [atom.altloc.strip("\0") for atom in atoms],
        "occupancy": [atom.occ for atom in atoms],
        "b_iso": [atom.b_iso for atom in atoms],
    }
    columns = {name: np.repeat(np.array(column), repeats) for name, column in of_residue.items()}
    columns |= {name: np.array(column) for name, column in of_atom.items()}
    return {name: column[order] for name, column in columns.items()} | {"xyz": xyz}


class _Mmcif:
    """An mmCIF file: gemmi reads the grammar, the columns of the one atom table are ours."""

    def __init__(self, text: str, path: str | Path, max_atoms: int) -> None:
        self.text, self.path, self.max_atoms = text, path, max_atoms
        self.entry_id = ""
        self.resolution: float | None = None
        self.table = SiteTable(path)

    @property
    def models(self) -> int:
        """Number of models seen."""
        return len(self.table.models)

    @property
    def warnings(self) -> list[tuple[str, str]]:
        """What was made up, as (code, message)."""
        return self.table.warnings()

    def parts(self) -> Iterable[dict[str, np.ndarray]]:
        """Return columns of atoms; see :func:`_assembled`.

        A long table is cut into pieces of whole lines, each parsed as a document of its own,
        because a document takes some 30 bytes for every cell. Where lines are no rows, the file
        is parsed as a whole.
        """
        table = split_long_table(self.text)
        if table is not None:
            try:
                block = self._block(table.rest)
                if len(block.find_values(CATEGORY + "Cartn_x")) == 1:
                    return self._pieces(table)
            except PARSER_ERRORS:
                LOGGER.debug("lines of the atom table are no rows", exc_info=True)
        self.table = SiteTable(self.path)
        return [self._part(self._block(self.text))]

    def _pieces(self, table: LongTable) -> list[dict[str, np.ndarray]]:
        parts, count = [], 0
        for rows in table.rows():
            parts.append(self._part(gemmi.cif.read_string(rows).sole_block()))
            count += len(parts[-1]["name"])
            if count > self.max_atoms:
                break
        return parts

    def _block(self, text: str) -> gemmi.cif.Block:
        document = gemmi.cif.read_string(text)
        blocks = [block for block in document if len(block.find_values(CATEGORY + "Cartn_x"))]
        if len(blocks) > 1:
            names = " ".join(block.name for block in blocks)
            message = f"atoms in {len(blocks)} data blocks: {names}"
            raise InputError(message, code="MOD_MULTI_BLOCK", file=self.path)
        if not blocks:
            for block in document:
                self.table.check_columns(_site_columns(block))
            raise InputError("no atoms", code="MOD_NO_ATOMS", file=self.path)
        self.entry_id = gemmi.cif.as_string(blocks[0].find_value("_entry.id") or "")
        stated = (number_or_nan(blocks[0].find_value(tag) or "") for tag in RESOLUTION_TAGS)
        self.resolution = next((value for value in stated if value > 0), None)
        return blocks[0]

    def _part(self, block: gemmi.cif.Block) -> dict[str, np.ndarray]:
        columns = self.table.columns(_site_columns(block))
        columns["element"] = _known_symbols(columns["element"])
        return columns


def _site_columns(block: gemmi.cif.Block) -> dict[str, list[str]]:
    """Return the columns of the atom table by tag, those without a row left out; unquoted."""
    columns = {}
    for tag in SITE_TAGS:
        cells = list(block.find_values(CATEGORY + tag))
        if cells:
            strings = {cell: _string(cell) for cell in set(cells)}
            columns[tag] = [strings[cell] for cell in cells]
    return columns


def _string(cell: str) -> str:
    """Return a cell without its quotes; an unquoted ? or . stays what it is."""
    return cell if cell in UNKNOWN else gemmi.cif.as_string(cell)


def _known_symbols(symbols: np.ndarray) -> np.ndarray:
    known = {symbol: gemmi.Element(symbol).name.upper() for symbol in set(symbols.tolist())}
    return np.array([known[symbol] for symbol in symbols.tolist()])


def _assembled(parts: list[dict[str, np.ndarray]]) -> Atoms:
    """Join pieces of columns in file order and add what follows from them."""
    columns = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    number = residue_runs(columns)
    sizes = np.bincount(number)
    first = np.unique(number, return_index=True)[1]
    names = columns["residue_name"][first].tolist()
    kinds = np.array([_kind(name, size) for name, size in zip(names, sizes, strict=True)])
    symbols = {name: gemmi.Element(name).atomic_number for name in set(columns["element"].tolist())}
    atomic_number = np.array([symbols[name] for name in columns["element"].tolist()])
    return Atoms(**columns, atomic_number=atomic_number, kind=kinds[number], residue_index=number)


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
