"""Tables: tab-separated text, one header line, every cell text, comment lines in front."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from cryoclarity.errors import InputError
from cryoclarity.io.files import read_bytes, write_bytes


def read_table(path: str | Path) -> list[dict[str, str]]:
    """Read the rows of a TSV (plain or .gz), comment lines left out."""
    return read_table_with_comments(path)[0]


def read_table_with_comments(path: str | Path) -> tuple[list[dict[str, str]], list[str]]:
    """Read a TSV and its comment lines (without the leading '#').

    Raises
    ------
    InputError
        FILE_* when it cannot be read, FILE_TEXT when it is no text or a row does not fit the
        header.
    """
    try:
        text = read_bytes(path).decode("utf-8-sig")  # spreadsheets put a byte-order mark in front
    except UnicodeDecodeError as error:
        raise InputError(f"no UTF-8 text: {error}", code="FILE_TEXT", file=path) from error
    lines = text.splitlines()
    # Comments stand in front only: a '#' further down may be data.
    start = next((i for i, line in enumerate(lines) if not line.startswith("#")), len(lines))
    comments = [line[1:].strip() for line in lines[:start]]
    reader = csv.reader(lines[start:], delimiter="\t", quoting=csv.QUOTE_NONE)
    header = next(reader, [])
    rows = []
    for number, cells in enumerate(reader, start=start + 2):
        if not cells:
            continue
        if len(cells) != len(header):
            raise InputError(
                f"line {number} has {len(cells)} cells, the header has {len(header)}",
                code="FILE_TEXT",
                file=path,
                remedy="separate columns by tabs",
            )
        rows.append(dict(zip(header, cells, strict=True)))
    return rows, comments


def write_table(
    path: str | Path,
    rows: Iterable[Mapping[str, object]],
    columns: Sequence[str],
    comments: Sequence[str] = (),
) -> None:
    """Write rows as TSV, atomically; missing cells are empty, tabs and line ends become blanks."""
    buffer = io.StringIO()
    for comment in comments:
        buffer.write(f"# {comment}\n")
    buffer.write("\t".join(columns) + "\n")
    for row in rows:
        cells = (" ".join(str(row.get(column, "")).split("\t")) for column in columns)
        buffer.write("\t".join(" ".join(cell.splitlines()) for cell in cells) + "\n")
    write_bytes(path, buffer.getvalue().encode("utf-8"))
