"""The atom table of an mmCIF file as columns: what is needed, what can be made up."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cryoclarity.errors import InputError
from cryoclarity.io.model_text import number_or_nan, numbers_of

CATEGORY = "_atom_site."
COORDINATE_TAGS = ("Cartn_x", "Cartn_y", "Cartn_z")
# What the archive calls the author's name comes first; the other column stands in for it.
NAME_TAGS = {
    "name": ("auth_atom_id", "label_atom_id"),
    "residue_name": ("auth_comp_id", "label_comp_id"),
    "chain": ("auth_asym_id", "label_asym_id"),
    "residue_number": ("auth_seq_id", "label_seq_id"),
}
NEEDED_NAMES = ("name", "residue_name", "chain")
OTHER_TAGS = (
    *("type_symbol", "label_alt_id", "pdbx_PDB_ins_code", "occupancy", "B_iso_or_equiv"),
    "pdbx_PDB_model_num",
)
SITE_TAGS = (*COORDINATE_TAGS, *(tag for tags in NAME_TAGS.values() for tag in tags), *OTHER_TAGS)
UNKNOWN = frozenset({"?", "."})
# Single letters that stand for an element where a file names none.
ELEMENT_LETTERS = "CNOSPH"
USUAL_B = 20.0  # angstrom squared, as PDB readers assume
LONG_TABLE = 16_000_000  # characters
PIECE_CHARACTERS = 1 << 22
TABLE_HEAD = re.compile(
    r"^loop_[ \t]*\n((?:[ \t]*_atom_site\.\S+[ \t]*\n)+)", re.MULTILINE | re.IGNORECASE
)
TABLE_END = re.compile(
    r"^[ \t]*(?:[#_]|loop_|data_|save_|global_|stop_|$)", re.MULTILINE | re.IGNORECASE
)


class SiteTable:
    """Turns columns of strings into columns of values, piece by piece.

    Attributes
    ----------
    models : list of str
        Model numbers in the order in which they appear; the first is read.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = path
        self.models: list[str] = []
        self._rows = self._no_element = self._no_occupancy = 0

    def warnings(self) -> list[tuple[str, str]]:
        """Return what was made up so far, as (code, message)."""
        found = (
            ("W_ELEMENT", self._no_element, "elements derived from atom names"),
            ("W_OCCUPANCY", self._no_occupancy, "atoms of unknown occupancy, taken as 1"),
        )
        return [(code, f"{count} {what}") for code, count, what in found if count]

    def check_columns(self, columns: dict[str, list[str]]) -> None:
        """Refuse an atom table that lacks what cannot be made up; no table and no row pass.

        Raises
        ------
        InputError
            MOD_COLUMNS.
        """
        if not columns:
            return
        missing = [tag for tag in COORDINATE_TAGS if tag not in columns]
        for name in NEEDED_NAMES:
            if not any(tag in columns for tag in NAME_TAGS[name]):
                missing.append(NAME_TAGS[name][-1])
        if missing:
            message = f"{CATEGORY}{missing[0]} is missing"
            raise InputError(message, code="MOD_COLUMNS", file=self.path)

    def columns(self, cells: dict[str, list[str]]) -> dict[str, np.ndarray]:
        """Return the columns of the first model's atoms.

        Parameters
        ----------
        cells : dict
            Strings by tag, n each; '?' and '.' where a cell is unknown.

        Returns
        -------
        dict
            ``xyz element name residue_name chain residue_number insertion_code altloc occupancy
            b_iso``; elements as the file spells them.

        Raises
        ------
        InputError
            MOD_COLUMNS, MOD_COORDS, MOD_COORD_RANGE or MOD_SYNTAX (a residue number).
        """
        self.check_columns(cells)
        count = len(cells["Cartn_x"])
        places = [str(self._rows + i + 1) for i in range(count)]
        self._rows += count
        xyz = numbers_of([cells[tag] for tag in COORDINATE_TAGS], places, self.path)
        kept = self._first_model(cells.get("pdbx_PDB_model_num", ["1"] * count))
        names = {name: _either(cells, tags, count) for name, tags in NAME_TAGS.items()}
        occupancy = [number_or_nan(text) for text in cells.get("occupancy", ["1"] * count)]
        self._no_occupancy += sum(map(math.isnan, occupancy))
        b_iso = [
            number_or_nan(text) for text in cells.get("B_iso_or_equiv", [str(USUAL_B)] * count)
        ]
        columns = {
            "xyz": xyz,
            "element": np.array(self._elements(cells, names["name"])),
            "name": _text(names["name"]),
            "residue_name": _text(names["residue_name"]),
            "chain": _text(names["chain"]),
            "residue_number": self._numbers(names["residue_number"], places),
            "insertion_code": _text(cells.get("pdbx_PDB_ins_code", ["?"] * count)),
            "altloc": _text(cells.get("label_alt_id", ["."] * count)),
            "occupancy": _single(occupancy, 1.0),
            "b_iso": _single(b_iso, USUAL_B),
        }
        return columns if kept.all() else {k: column[kept] for k, column in columns.items()}

    def _first_model(self, numbers: list[str]) -> np.ndarray:
        for number in dict.fromkeys(numbers):
            if number not in self.models:
                self.models.append(number)
        return np.array(numbers) == self.models[0]

    def _elements(self, cells: dict[str, list[str]], names: list[str]) -> list[str]:
        symbols = cells.get("type_symbol", ["?"] * len(names))
        self._no_element += sum(symbol in UNKNOWN for symbol in symbols)
        return [
            element_of(name) if symbol in UNKNOWN else symbol
            for symbol, name in zip(symbols, names, strict=True)
        ]

    def _numbers(self, texts: list[str], places: list[str]) -> np.ndarray:
        values = {}
        for text in set(texts):
            try:
                values[text] = 0 if text in UNKNOWN else int(text)
            except ValueError as error:
                place = places[texts.index(text)]
                message = f"atom {place}: residue number '{text}'"
                raise InputError(message, code="MOD_SYNTAX", file=self.path) from error
        return np.array([values[text] for text in texts], dtype=np.int64)


def _either(cells: dict[str, list[str]], tags: tuple[str, str], count: int) -> list[str]:
    """Return a column, its unknown cells filled from the column that can stand in for it."""
    first, second = (cells.get(tag) for tag in tags)
    if first is None or second is None:
        return first or second or ["?"] * count
    if UNKNOWN.isdisjoint(first):
        return first
    return [b if a in UNKNOWN else a for a, b in zip(first, second, strict=True)]


def _text(cells: list[str]) -> np.ndarray:
    return np.array(["" if cell in UNKNOWN else cell for cell in cells])


def _single(values: list[float], unknown: float) -> np.ndarray:
    """Return float64 of single precision, as models in PDB format are read."""
    filled = np.nan_to_num(values, nan=unknown, posinf=unknown, neginf=unknown)
    return np.clip(filled, -1e30, 1e30).astype(np.float32).astype(np.float64)


def element_of(name: str) -> str:
    """Return the element that an atom's name starts with, 'X' if none of C N O S P H does."""
    letters = name.lstrip("0123456789'\"").upper()
    return letters[0] if letters and letters[0] in ELEMENT_LETTERS else "X"


def residue_runs(columns: dict[str, np.ndarray]) -> np.ndarray:
    """Number the residues of atoms in file order, (n,) int.

    A residue is a run of atoms with one chain, number, insertion code and name. Where two names
    share a place (a point mutation in part of the molecules), their atoms may alternate.
    """
    place = ("chain", "residue_number", "insertion_code")
    breaks = np.zeros(len(columns["chain"]), dtype=bool)
    breaks[0] = True
    for name in place:
        breaks[1:] |= columns[name][1:] != columns[name][:-1]
    runs = np.cumsum(breaks).tolist()
    seen: dict[tuple[int, str], int] = {}
    keys = zip(runs, columns["residue_name"].tolist(), strict=True)
    return np.array([seen.setdefault(key, len(seen)) for key in keys])


@dataclass(frozen=True)
class LongTable:
    """A file whose atom table is too long to be parsed at once.

    Attributes
    ----------
    text : str
        The whole file.
    head : str
        The loop's tags.
    start, stop : int
        Where the rows stand in the text.
    """

    text: str
    head: str
    start: int
    stop: int

    @property
    def rest(self) -> str:
        """The file with the first row alone."""
        first = self.text.find("\n", self.start) + 1
        return self.text[: first or None] + self.text[self.stop :]

    def rows(self) -> Iterator[str]:
        """Yield documents that hold the rows, some thousands each."""
        start = self.start
        while start < self.stop:
            end = self.text.find("\n", min(start + PIECE_CHARACTERS, self.stop - 1)) + 1
            end = min(end, self.stop) if end else self.stop
            yield f"data_piece\nloop_\n{self.head}{self.text[start:end]}\n"
            start = end


def split_long_table(text: str) -> LongTable | None:
    """Find the rows of a long atom table that has a line per row; None where there is none."""
    if len(text) <= LONG_TABLE:
        return None
    heads = list(TABLE_HEAD.finditer(text))
    if len(heads) != 1:
        return None
    start = heads[0].end()
    end = TABLE_END.search(text, start)
    stop = end.start() if end else len(text)
    if stop <= start or text.startswith(";", start) or text.find("\n;", start - 1, stop) >= 0:
        return None
    return LongTable(text, heads[0].group(1), start, stop)
