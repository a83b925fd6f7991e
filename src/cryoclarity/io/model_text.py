"""The text of an atomic model, judged line by line before a parser sees it.

Parsers of models are forgiving: a blank coordinate becomes 0.0, a missing column an empty
structure. What is wrong is found here, in the text.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cryoclarity.errors import InputError
from cryoclarity.io.files import read_bytes
from cryoclarity.io.sniff import UTF8_MARK, content_of, refuse_container

MAX_MODEL_BYTES = 2_000_000_000
LEAST_CAP = 64 << 20
LARGEST_RATIO = 200
MAX_COORDINATE = 1e5  # angstrom
COORDINATE_FIELDS = ((30, 38), (38, 46), (46, 54))
SERIAL_FIELD = (6, 11)
ATOM_RECORDS = ("ATOM  ", "HETATM")
HYBRID_BASE = 36
DECIMAL_SERIALS = 100_000


@dataclass(frozen=True)
class ModelText:
    """Decoded text of a model.

    Attributes
    ----------
    text : str
        Line ends are LF, no byte-order mark.
    format : 'mmcif' or 'pdb'
    """

    text: str
    format: str


def read_model_text(path: str | Path) -> ModelText:
    """Read, unpack and decode a model file, whatever its suffix says.

    Raises
    ------
    InputError
        FILE_*, MOD_FORMAT, MOD_ENCODING or MOD_NO_ATOMS (nothing but white space).
    """
    path = Path(path)
    packed = path.stat().st_size if path.is_file() else 0
    cap = min(MAX_MODEL_BYTES, max(LEAST_CAP, LARGEST_RATIO * packed))
    data = read_bytes(path, cap)
    found = content_of(data[: 1 << 20])
    refuse_container(found, path)
    if found.kind == "encoding":
        raise InputError(f"text has {found.detail}", code="MOD_ENCODING", file=path)
    if found.kind == "blank":
        raise InputError("no atoms, only white space", code="MOD_NO_ATOMS", file=path)
    if found.kind not in ("mmcif", "pdb"):
        raise InputError(
            f"not mmCIF and not PDB ({found.kind} '{found.detail}')", code="MOD_FORMAT", file=path
        )
    if b"\0" in data:
        place = data.index(b"\0")
        raise InputError(f"text has a NUL byte at {place}", code="MOD_ENCODING", file=path)
    data = data.removeprefix(UTF8_MARK)
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        text = data.decode("latin-1")  # names of authors in old files
    return ModelText(text.replace("\r\n", "\n").replace("\r", "\n"), found.kind)


def numbers_of(columns: list[list[str]], names: list[str], path: str | Path) -> np.ndarray:
    """Turn coordinate strings into numbers, (n, 3) float64.

    Parameters
    ----------
    columns : three lists of n strings (x, y, z)
    names : n names of atoms for the message

    Raises
    ------
    InputError
        MOD_COORDS for a text that is no finite number, MOD_COORD_RANGE beyond 1e5 A.
    """
    try:
        xyz = np.array([np.array(column, dtype=np.float64) for column in columns]).T
    except ValueError:
        xyz = np.array([[_number(text) for text in column] for column in columns]).T
    bad = ~np.isfinite(xyz)
    if bad.any():
        atom, axis = np.argwhere(bad)[0]
        text = columns[axis][atom]
        raise InputError(f"atom {names[atom]}: coordinate '{text}'", code="MOD_COORDS", file=path)
    far = np.abs(xyz).max(axis=1) > MAX_COORDINATE
    if far.any():
        atom = int(np.argmax(far))
        place = ", ".join(f"{value:g}" for value in xyz[atom])
        raise InputError(f"atom {names[atom]} lies at {place}", code="MOD_COORD_RANGE", file=path)
    return xyz


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return float("nan")


def check_pdb(model: ModelText, path: str | Path) -> tuple[str, list[tuple[str, str]]]:
    """Judge the records of a PDB file and number its atoms in file order.

    Returns
    -------
    text : str
        The records with serial numbers 1, 2, 3, ... so that file order survives a parser that
        sorts atoms into chains.
    warnings : list of (code, message)

    Raises
    ------
    InputError
        MOD_NO_ATOMS, MOD_TRUNCATED, MOD_COORDS or MOD_COORD_RANGE.
    """
    lines = model.text.split("\n")
    end = next((i for i, line in enumerate(lines) if line[:6].rstrip() == "END"), len(lines))
    after = sum(line[:6] in ATOM_RECORDS for line in lines[end + 1 :])
    warnings = []
    if after:
        warnings.append(("W_TEXT_AFTER_END", f"{after} atom records after END ignored"))
    lines = lines[:end]
    places = [i for i, line in enumerate(lines) if line[:6] in ATOM_RECORDS]
    if not places:
        raise InputError("no atoms", code="MOD_NO_ATOMS", file=path)
    _check_complete(lines, places, model.text, path)
    names = [f"{lines[i][12:27].strip()} (line {i + 1})" for i in places]
    columns = [[lines[i][a:b] for i in places] for a, b in COORDINATE_FIELDS]
    _check_alignment(columns, names, path)
    numbers_of(columns, names, path)
    start, stop = SERIAL_FIELD
    for serial, i in enumerate(places, start=1):
        lines[i] = lines[i][:start] + hybrid_serial(serial) + lines[i][stop:]
    return "\n".join(lines) + "\nEND\n", warnings


def _check_complete(lines: list[str], places: list[int], text: str, path: str | Path) -> None:
    for i in places:
        if len(lines[i].rstrip()) >= COORDINATE_FIELDS[-1][1] - 1:
            continue
        if i == len(lines) - 1 and not text.endswith("\n"):
            raise InputError(
                f"file ends inside a record (line {i + 1})", code="MOD_TRUNCATED", file=path
            )
        raise InputError(
            f"line {i + 1}: coordinate '{lines[i][30:54]}'", code="MOD_COORDS", file=path
        )


def _check_alignment(columns: list[list[str]], names: list[str], path: str | Path) -> None:
    """Numbers stand right-justified; a blank at a field's end means shifted columns."""
    for column in columns:
        for text, name in zip(column, names, strict=True):
            if text[-1:] == " " and text.strip():
                raise InputError(
                    f"atom {name}: coordinate '{text}' (columns are shifted)",
                    code="MOD_COORDS",
                    file=path,
                )


def hybrid_serial(number: int) -> str:
    """Return a five-character serial: decimal up to 99999, then A0000, A0001, ... in base 36.

    The hybrid-36 scheme of the cctbx project for more atoms than five digits can count.
    """
    if number < DECIMAL_SERIALS:
        return f"{number:5d}"
    rest = number - DECIMAL_SERIALS + 10 * HYBRID_BASE**4
    digits = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
    text = ""
    for _ in range(5):
        rest, digit = divmod(rest, HYBRID_BASE)
        text = digits[digit] + text
    return text
