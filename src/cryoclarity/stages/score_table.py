"""Tables of Q-scores, or of resolutions, and their join with a model's atoms."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cryoclarity.errors import InputError
from cryoclarity.io.atoms import Atoms
from cryoclarity.io.tables import read_table_with_comments
from cryoclarity.targets.q_laws import law_sigma

KEY_COLUMNS = ("chain", "resnum", "icode", "resname", "atom", "altloc")
EMPTY = "."
MAX_MISSING_FRACTION = 0.05


@dataclass(frozen=True)
class ScoreTable:
    """A table of Q-scores or resolutions.

    Attributes
    ----------
    values : mapping of atom key to value
        Key as :meth:`Atoms.keys` gives it.
    outside : set of atom keys
        Scored atoms whose points left the map: their Q counts as missing.
    given : bool
        The values are resolutions, to be used as they are.
    sigma : float or None
        Of the Q-scores.
    """

    values: Mapping[tuple, float]
    outside: frozenset[tuple]
    given: bool
    sigma: float | None


def read_scores(path: str | Path, demanded_sigma: float | None = None) -> ScoreTable:
    """Read a table of Q-scores or of resolutions.

    A column ``resolution_A`` wins over ``Q``. Atoms with ``any_outside`` have no usable Q.

    Raises
    ------
    InputError
        SIM_KEYS without the needed columns or with a value that is no number; SIM_SIGMA when the
        sigma is missing, has no law, or is not the demanded one.
    """
    rows, comments = read_table_with_comments(path)
    if not rows:
        raise InputError("the table has no atom", code="SIM_KEYS", file=path)
    given = "resolution_A" in rows[0]
    column = "resolution_A" if given else "Q"
    lacking = [name for name in (*KEY_COLUMNS, column) if name not in rows[0]]
    if lacking:
        raise InputError(f"no column {', '.join(lacking)}", code="SIM_KEYS", file=path)
    sigma = None if given else _sigma_of(path, rows, comments, demanded_sigma)
    values: dict[tuple, float] = {}
    outside: set[tuple] = set()
    for row in rows:
        value = _number(row[column], path, column)
        if given and value <= 0:
            raise InputError(f"resolution_A is {value}", code="SIM_KEYS", file=path)
        key = _key(row, path)
        if not given and row.get("any_outside", "0") not in ("0", "", EMPTY):
            outside.add(key)
        elif math.isfinite(value):
            # Of repeated keys the first counts, as among the atoms.
            values.setdefault(key, value)
    return ScoreTable(values, frozenset(outside), given, sigma)


def _number(text: str, path: str | Path, column: str) -> float:
    if text in ("", EMPTY):
        return math.nan
    try:
        value = float(text)
    except ValueError as error:
        message = f"{column} is {text!r}, no number"
        raise InputError(message, code="SIM_KEYS", file=path) from error
    return value if math.isfinite(value) else math.nan


def _key(row: Mapping[str, str], path: str | Path) -> tuple:
    chain, number, icode, residue, name, altloc = (
        "" if row[column] == EMPTY else row[column] for column in KEY_COLUMNS
    )
    try:
        return chain, int(number), icode, residue, name, altloc
    except ValueError as error:
        message = f"resnum is {number!r}, no whole number"
        raise InputError(message, code="SIM_KEYS", file=path) from error


def _sigma_of(
    path: str | Path, rows: list[dict[str, str]], comments: list[str], demanded: float | None
) -> float:
    stated = {row["sigma"] for row in rows} if "sigma" in rows[0] else set()
    for comment in comments:
        name, _, value = comment.replace(" ", "").partition("=")
        if name == "sigma":
            stated.add(value)
    try:
        sigmas = {law_sigma(float(text)) for text in stated}
    except ValueError:
        sigmas = set()
    if len(sigmas) != 1:
        raise InputError(
            f"Q-scores of sigma {', '.join(sorted(stated)) or 'unknown'}; 0.4 or 0.6 needed",
            code="SIM_SIGMA",
            file=path,
            remedy="write the line '# sigma=0.6' or score again",
        )
    sigma = sigmas.pop()
    if demanded is not None and abs(sigma - demanded) > 1e-6:
        raise InputError(
            f"Q-scores of sigma {sigma:g}, {demanded:g} demanded",
            code="SIM_SIGMA",
            file=path,
            remedy="score again with the demanded sigma",
        )
    return sigma


def join(atoms: Atoms, table: ScoreTable, path: str | Path) -> np.ndarray:
    """Return the table's value (n,) of each atom, NaN where it has none.

    Raises
    ------
    InputError
        SIM_KEYS when more than 5 % of the atoms have no value, not counting those that lie
        outside the scored map, or when none has one.
    """
    keys = atoms.keys()
    values = np.array([table.values.get(key, math.nan) for key in keys], dtype=np.float64)
    lacking = np.isnan(values)
    absent = [key for key in keys if key not in table.values and key not in table.outside]
    if len(absent) > MAX_MISSING_FRACTION * len(keys) or lacking.all():
        example = " ".join(str(part) for part in (absent or keys)[0] if part != "")
        raise InputError(
            f"{lacking.sum()} of {len(keys)} atoms without a value, first: {example}",
            code="SIM_KEYS",
            file=path,
            remedy="score the same model file",
        )
    return values
