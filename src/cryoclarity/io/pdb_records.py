"""The records of a PDB file, read block by block: which atoms count, and are they whole?"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from cryoclarity.errors import InputError
from cryoclarity.io.model_text import number_or_nan, numbers_of

BLOCK_CHARACTERS = 1 << 22
COORDINATE_FIELDS = ((30, 38), (38, 46), (46, 54))
OCCUPANCY_FIELD = slice(54, 60)
ELEMENT_FIELD = slice(76, 78)
SERIAL_FIELD = (6, 11)
ATOM_RECORDS = ("ATOM  ", "HETATM")
ENTRY_ID = slice(62, 66)
RESOLUTION = re.compile(r"^REMARK   2 RESOLUTION\.\s+(\d+\.\d+) ANGSTROM", re.MULTILINE)


class PdbRecords:
    """One pass over the text of a PDB file.

    Attributes
    ----------
    models : int
        Number of models, known after the pass.
    entry_id : str
        As the HEADER record names it, '' without one.
    resolution : float or None
        Of REMARK 2, angstrom.
    warnings : list of (code, message)
        Known after the pass.
    """

    def __init__(self, text: str, path: str | Path) -> None:
        self.text, self.path = text, path
        header = next((line for line in text.split("\n", 50) if line.startswith("HEADER")), "")
        self.entry_id = header[ENTRY_ID]
        stated = RESOLUTION.search(text)
        self.resolution = float(stated.group(1)) if stated else None
        self.warnings: list[tuple[str, str]] = []
        self._numbers: list[str] = []  # of the MODEL records
        self._open = False  # between MODEL and ENDMDL
        self._closed = False  # after an ENDMDL
        self._kept_model = 0  # the first model with atoms
        self._no_occupancy = self._no_element = 0
        self._occupancies: dict[str, bool] = {}  # whether a field says a number

    @property
    def models(self) -> int:
        """Number of models seen."""
        return len(self._numbers)

    def atoms(self) -> Iterator[tuple[list[str], np.ndarray]]:
        """Yield the atom records of the first model that has atoms, in pieces, in file order.

        Yields
        ------
        records : list of n str
            Serial numbers count from 1 in each piece, so that file order survives a parser that
            sorts atoms into chains; an occupancy that says nothing reads 1.
        xyz : (n, 3) float64

        Raises
        ------
        InputError
            MOD_TRUNCATED, MOD_COORDS, MOD_COORD_RANGE or MOD_SYNTAX (models that overlap).
        """
        after = 0
        ended = False
        for first, lines in _line_blocks(self.text):
            if not ended:
                end = next((i for i, text in enumerate(lines) if text[:6].rstrip() == "END"), None)
                ended = end is not None
                piece = self._piece(first, lines[:end])
                if piece is not None:
                    yield piece
                lines = lines[end + 1 :] if ended else []
            after += sum(text[:6] in ATOM_RECORDS for text in lines)
        for code, count, what in (
            ("W_TEXT_AFTER_END", after, "atom records after END ignored"),
            ("W_OCCUPANCY", self._no_occupancy, "atoms of unknown occupancy, taken as 1"),
            ("W_ELEMENT", self._no_element, "elements derived from atom names"),
        ):
            if count:
                self.warnings.append((code, f"{count} {what}"))

    def _piece(self, first: int, lines: list[str]) -> tuple[list[str], np.ndarray] | None:
        places = [i for i, text in enumerate(lines) if text[:6] in ATOM_RECORDS]
        kept = self._of_first_model(first, lines, places)
        if not places:
            return None
        self._check_complete(first, lines, places)
        names = [f"{lines[i][12:27].strip()} (line {first + i})" for i in places]
        columns = [[lines[i][a:b] for i in places] for a, b in COORDINATE_FIELDS]
        self._check_alignment(columns, names)
        xyz = numbers_of(columns, names, self.path)
        if not any(kept):
            return None
        records = [lines[i] for i, take in zip(places, kept, strict=True) if take]
        return [self._record(n, text) for n, text in enumerate(records, start=1)], xyz[kept]

    def _of_first_model(self, first: int, lines: list[str], places: list[int]) -> list[bool]:
        """Return for each atom record whether it belongs to the model that is read."""
        events = [i for i, text in enumerate(lines) if text[:6] in ("MODEL ", "ENDMDL")]
        kept = []
        for i in sorted([*places, *events]) if events else places:
            text = lines[i]
            if text[:6] in ATOM_RECORDS:
                if self._closed and not self._open:
                    raise self._refuse(first + i, "atom between models")
                if not self._numbers:
                    self._numbers.append("")  # atoms without a MODEL record
                self._kept_model = self._kept_model or self.models
                kept.append(self._kept_model == self.models)
            elif text[:6] == "ENDMDL":
                self._open, self._closed = False, True
            else:
                self._begin_model(first + i, text[6:].strip())
        return kept

    def _begin_model(self, line: int, number: str) -> None:
        if self._open or (self._kept_model and not self._closed):
            raise self._refuse(line, "MODEL without ENDMDL")
        if number in self._numbers:
            raise self._refuse(line, f"model number {number} twice")
        self._numbers.append(number)
        self._open = True

    def _record(self, serial: int, text: str) -> str:
        start, stop = SERIAL_FIELD
        occupancy = text[OCCUPANCY_FIELD]
        if occupancy not in self._occupancies:
            self._occupancies[occupancy] = bool(np.isfinite(number_or_nan(occupancy)))
        if len(text) > OCCUPANCY_FIELD.start and not self._occupancies[occupancy]:
            self._no_occupancy += 1
            text = text[: OCCUPANCY_FIELD.start] + "  1.00" + text[OCCUPANCY_FIELD.stop :]
        self._no_element += not text[ELEMENT_FIELD].strip()
        return f"{text[:start]}{serial:{stop - start}d}{text[stop:]}"

    def _check_complete(self, first: int, lines: list[str], places: list[int]) -> None:
        for i in places:
            if len(lines[i].rstrip()) >= COORDINATE_FIELDS[-1][1] - 1:
                continue
            if i == len(lines) - 1 and self.text.endswith(lines[i]):
                raise InputError(
                    f"file ends inside a record (line {first + i})",
                    code="MOD_TRUNCATED",
                    file=self.path,
                )
            message = f"line {first + i}: coordinate '{lines[i][30:54]}'"
            raise InputError(message, code="MOD_COORDS", file=self.path)

    def _check_alignment(self, columns: list[list[str]], names: list[str]) -> None:
        """Numbers stand right-justified; a blank at a field's end means shifted columns."""
        for column in columns:
            for i, text in enumerate(column):
                if text[-1:] == " " and text.strip():
                    raise InputError(
                        f"atom {names[i]}: coordinate '{text}' (columns are shifted)",
                        code="MOD_COORDS",
                        file=self.path,
                    )

    def _refuse(self, line: int, what: str) -> InputError:
        return InputError(f"line {line}: {what}", code="MOD_SYNTAX", file=self.path)


def _line_blocks(text: str) -> Iterator[tuple[int, list[str]]]:
    """Yield (number of the first line, lines) for a few megabytes of text at a time."""
    start, number = 0, 1
    while start < len(text):
        stop = text.find("\n", start + BLOCK_CHARACTERS)
        stop = len(text) if stop < 0 else stop
        lines = text[start:stop].split("\n")
        yield number, lines
        start, number = stop + 1, number + len(lines)
