"""One HTML page with verdicts, figures and tables; nothing in it is loaded from elsewhere."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

from cryoclarity.io.files import write_text

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2em auto; max-width: 1500px; padding: 0 1em;
  color: #222; }
table { border-collapse: collapse; font-size: 13px; display: block; overflow-x: auto; }
th, td { padding: 3px 8px; border-bottom: 1px solid #ddd; text-align: right; white-space: nowrap; }
th { border-bottom: 2px solid #888; }
th:first-child, td:first-child { text-align: left; }
tr.final td { font-weight: 600; border-top: 1px solid #888; }
img { max-width: 100%; height: auto; }
p.verdict { background: #f2f2f2; border-left: 5px solid #0072b2; padding: 0.5em 1em; }
"""
# Rows over several maps, set apart from those of one map.
POOLED = frozenset({"mean", "pooled"})


def write_page(
    path: str | Path,
    verdicts: Sequence[str],
    figures: Sequence[Path],
    tables: Mapping[str, tuple[Sequence[str], Sequence[Mapping[str, object]]]],
) -> None:
    """Write the page.

    Parameters
    ----------
    path : path
    verdicts : sequence of str
    figures : sequence of Path
        PNG files, embedded.
    tables : mapping of title to (columns, rows)
        Tables without rows are named as empty.
    """
    parts = ["<h1>cryoclarity: summary</h1>"]
    parts += [f'<p class="verdict">{escape(line)}</p>' for line in verdicts]
    parts += [_image(figure) for figure in figures]
    for title, (columns, rows) in tables.items():
        parts.append(f"<h2>{escape(title)}</h2>")
        parts.append(_table(columns, rows) if rows else "<p>none</p>")
    body = "\n".join(parts)
    write_text(
        path,
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f"<title>cryoclarity: summary</title>\n<style>{STYLE}</style>\n</head>\n"
        f"<body>\n{body}\n</body>\n</html>\n",
    )


def _image(figure: Path) -> str:
    data = base64.b64encode(figure.read_bytes()).decode("ascii")
    name = escape(figure.stem.replace("_", " "))
    return f'<p><img alt="{name}" src="data:image/png;base64,{data}"></p>'


def _table(columns: Sequence[str], rows: Sequence[Mapping[str, object]]) -> str:
    head = "".join(f"<th>{escape(column)}</th>" for column in columns)
    lines = [f"<table>\n<tr>{head}</tr>"]
    for row in rows:
        cells = "".join(f"<td>{escape(str(row.get(column, '')))}</td>" for column in columns)
        kind = ' class="final"' if row.get("emdb_id") in POOLED else ""
        lines.append(f"<tr{kind}>{cells}</tr>")
    lines.append("</table>")
    return "\n".join(lines)
