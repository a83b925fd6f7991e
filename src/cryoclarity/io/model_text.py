"""The text of an atomic model, judged line by line before a parser sees it.

Parsers of models are forgiving: a blank coordinate becomes 0.0, a missing column an empty
structure. What is wrong is found here, in the text.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cryoclarity.errors import InputError
from cryoclarity.io.files import GZIP_MAGIC, check_regular, unpacked_blocks
from cryoclarity.io.sniff import UTF8_MARK, Content, content_of, read_head, refuse_container

# Text and its lines stand in memory together, which a reader of any file must keep below 1 GB.
MAX_MODEL_BYTES = 300_000_000
MAX_ATOMS = 2_000_000
LARGEST_UNPACKED = 2_000_000_000
LEAST_CAP = 64 << 20
LARGEST_RATIO = 200
HEAD_BYTES = 1 << 20
MAX_COORDINATE = 1e5  # angstrom
# What a number looks like; Python reads more (1_0, digits of other scripts) than parsers do.
NUMBER = re.compile(r"\s*[+-]?(\d+[.]?\d*|[.]\d+)([eE][+-]?\d+)?\s*", re.ASCII)


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


def read_model_text(path: str | Path, max_bytes: int = MAX_MODEL_BYTES) -> ModelText:
    """Read, unpack and decode a model file, whatever its suffix says.

    Raises
    ------
    InputError
        FILE_*, MOD_FORMAT, MOD_ENCODING, MOD_SIZE or MOD_NO_ATOMS (nothing but white space).
    """
    path = check_regular(path)
    found = content_of(read_head(path, HEAD_BYTES))
    _require_model(found, path)
    data = _unpacked(path, max_bytes)
    if found.kind == "blank":  # perhaps only its beginning is
        found = content_of(bytes(data.lstrip()[:HEAD_BYTES]))
        _require_model(found, path)
    if found.kind == "blank":
        raise InputError("no atoms, only white space", code="MOD_NO_ATOMS", file=path)
    place = data.find(b"\0")
    if place >= 0:
        raise InputError(f"text has a NUL byte at {place}", code="MOD_ENCODING", file=path)
    if data.startswith(UTF8_MARK):
        del data[: len(UTF8_MARK)]
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        text = data.decode("latin-1")  # names of authors in old files
    del data
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    return ModelText(text, found.kind)


def _require_model(found: Content, path: Path) -> None:
    refuse_container(found, path)
    if found.kind == "encoding":
        raise InputError(f"text has {found.detail}", code="MOD_ENCODING", file=path)
    if found.kind not in ("mmcif", "pdb", "blank"):
        raise InputError(
            f"not mmCIF and not PDB ({found.kind} '{found.detail}')", code="MOD_FORMAT", file=path
        )


def _unpacked(path: Path, max_bytes: int) -> bytearray:
    """Return the unpacked bytes; of a file that holds too many, count on without keeping them."""
    size = path.stat().st_size
    with path.open("rb") as handle:
        packed = handle.read(2) == GZIP_MAGIC
    cap = min(LARGEST_UNPACKED, max(LEAST_CAP, LARGEST_RATIO * size)) if packed else max_bytes
    data, total = bytearray(), 0
    if packed or size <= max_bytes:
        for block in unpacked_blocks(path, cap):
            total += len(block)
            if total <= max_bytes:
                data += block
    if max(total, 0 if packed else size) > max_bytes:
        raise InputError(f"more than {max_bytes} bytes of text", code="MOD_SIZE", file=path)
    return data


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
    joined = "".join(map("".join, columns))
    if "_" in joined or not joined.isascii():
        xyz = _strict(columns)
    else:
        try:
            xyz = np.array([np.array(column, dtype=np.float64) for column in columns]).T
        except ValueError:
            xyz = _strict(columns)
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


def _strict(columns: list[list[str]]) -> np.ndarray:
    return np.array([[number_or_nan(text) for text in column] for column in columns]).T


def number_or_nan(text: str) -> float:
    """Return the number that a text spells in full, NaN when it spells none."""
    return float(text) if NUMBER.fullmatch(text) else float("nan")
