"""One HTML page with answers, plots, tables and slices; nothing in it is loaded from elsewhere."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path

from cryoclarity.io.files import write_text
from cryoclarity.report.viewer import SCRIPT as VIEWER_SCRIPT
from cryoclarity.report.viewer import ViewedMap, viewer_html

STYLE = """
:root { color-scheme: light; }
body { font: 16px/1.5 system-ui, sans-serif; margin: 1.5em auto; max-width: 1400px;
  padding: 0 1em; color: #1a1a1a; background: #fff; }
h1 { margin-bottom: 0.2em; } h2 { margin-top: 2em; border-bottom: 1px solid #ccc; }
nav { display: flex; flex-wrap: wrap; gap: 0.2em 1em; margin-bottom: 1em; }
a { color: #00538a; }
a:focus-visible, input:focus-visible, summary:focus-visible { outline: 3px solid #d55e00; }
.answers { display: grid; grid-template-columns: repeat(auto-fit, minmax(260px, 1fr)); gap: 1em; }
.answers div { border-left: 5px solid #0072b2; background: #f3f6f9; padding: 0.6em 1em; }
.answers h3 { margin: 0 0 0.3em; font-size: 1em; } .answers p { margin: 0; }
p.verdict { background: #f4f4f4; border-left: 5px solid #777; padding: 0.5em 1em; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: 14px; }
th, td { padding: 3px 9px; border-bottom: 1px solid #ddd; text-align: right; white-space: nowrap; }
th { border-bottom: 2px solid #888; }
th:first-child, td:first-child { text-align: left; }
td.text { text-align: left; white-space: normal; min-width: 18em; }
.planes { display: grid; grid-template-columns: repeat(auto-fill, minmax(200px, 1fr)); gap: 8px; }
figure { margin: 0; } figcaption { font-size: 14px; }
.window { position: relative; overflow: hidden; aspect-ratio: 1; background: #fff;
  border: 1px solid #ccc; }
.window img { position: absolute; top: 0; left: 0; width: 100%; image-rendering: pixelated; }
span.scale { white-space: nowrap; } img.scale { width: 70px; height: 10px; }
.controls input[type=range] { width: min(320px, 60vw); vertical-align: middle; }
.controls label { margin-right: 0.6em; }
footer { margin-top: 3em; color: #444; font-size: 14px; }
"""
PURPOSE = (
    "Improved maps are for looking and building. Do not refine against them, deposit them, or "
    "state their FSC as a resolution."
)

Rows = Sequence[Mapping[str, object]]


@dataclass(frozen=True)
class Page:
    """What the page says; empty parts are left out.

    Attributes
    ----------
    title : str
    answers : sequence of (question, answer)
    verdicts : sequence of str
        What may be claimed about the networks.
    plots : mapping of heading to Bokeh model
    tables : mapping of heading to (columns, rows)
    viewers : sequence of ViewedMap
    files : mapping of text to address
    """

    title: str
    answers: Sequence[tuple[str, str]] = ()
    verdicts: Sequence[str] = ()
    plots: Mapping[str, object] = field(default_factory=dict)
    tables: Mapping[str, tuple[Sequence[str], Rows]] = field(default_factory=dict)
    viewers: Sequence[ViewedMap] = ()
    files: Mapping[str, str] = field(default_factory=dict)


def write_page(path: str | Path, page: Page) -> None:
    """Write the page, whole: script, style, pictures and data stand inside.

    Parameters
    ----------
    path : path
        Ends in .html.
    page : Page
    """
    sections: list[tuple[str, str]] = []
    if page.viewers:
        viewers = (viewer_html(shown, number) for number, shown in enumerate(page.viewers))
        sections.append(("Maps, plane by plane", "\n".join(viewers)))
    items: list[dict] = []
    plotted = [(head, _plot(model, items)) for head, model in page.plots.items()]
    sections = plotted[:1] + sections + plotted[1:]
    sections += [(head, _table(*content)) for head, content in page.tables.items()]
    links = "".join(
        f'<a href="#part{i}">{escape(head)}</a>' for i, (head, _) in enumerate(sections)
    )
    body = "\n".join(
        [
            f"<h1>{escape(page.title)}</h1>",
            f'<nav aria-label="parts of this page">{links}</nav>',
            _answers(page),
            *(
                f'<h2 id="part{i}">{escape(head)}</h2>\n{content}'
                for i, (head, content) in enumerate(sections)
            ),
            _footer(page),
        ]
    )
    write_text(path, _document(page.title, body, items))


def _answers(page: Page) -> str:
    cards = "".join(
        f"<div><h3>{escape(question)}</h3><p>{escape(answer)}</p></div>"
        for question, answer in page.answers
    )
    lines = "".join(f'<p class="verdict">{escape(line)}</p>' for line in page.verdicts)
    return f'<div class="answers">{cards}</div>\n{lines}'


def _plot(model: object, items: list[dict]) -> str:
    """Make room for a plot and note what Bokeh has to put there."""
    from cryoclarity.report.plots import item

    element = f"plot{len(items)}"
    items.append(item(model, element))
    return f'<div class="scroll" id="{element}"></div>'


def _document(title: str, body: str, items: Sequence[dict]) -> str:
    from cryoclarity.report.plots import script

    # "</" would end the element in the middle of the data.
    data = _renumbered(json.dumps(items, separators=(",", ":"))).replace("</", "<\\/")
    place = "for (const item of ITEMS) { Bokeh.embed.embed_item(item); }"
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<link rel="icon" href="data:,">\n'
        f"<title>{escape(title)}</title>\n<style>{STYLE}</style>\n"
        f"{script() if items else ''}\n</head>\n"
        f"<body>\n{body}\n<noscript><p>Without JavaScript the plots and the slider stand still; "
        "the tables beside this page hold the same numbers.</p></noscript>\n"
        f"<script>\nconst ITEMS = {data};\n{place if items else ''}\n{VIEWER_SCRIPT}</script>\n"
        "</body>\n</html>\n"
    )


def _renumbered(data: str) -> str:
    """Number the objects of Bokeh from 1, whatever was drawn before: equal pages, equal bytes."""
    numbers: dict[str, int] = {}

    def renamed(match: re.Match) -> str:
        number = numbers.setdefault(match[2], len(numbers) + 1)
        return f'"{match[1]}":"p{number}"'

    return re.sub(r'"(id|root_id)":"(p\d+)"', renamed, data)


def _footer(page: Page) -> str:
    links = " ".join(
        f'<a href="{escape(address)}">{escape(text)}</a>' for text, address in page.files.items()
    )
    return f"<footer><p>{PURPOSE}</p><p>{links}</p></footer>"


def _table(columns: Sequence[str], rows: Rows) -> str:
    if not rows:
        return "<p>none</p>"
    head = "".join(f'<th scope="col">{escape(column)}</th>' for column in columns)
    lines = [f'<div class="scroll"><table>\n<tr>{head}</tr>']
    for row in rows:
        lines.append("<tr>" + "".join(_cell(row.get(column, "")) for column in columns) + "</tr>")
    lines.append("</table></div>")
    return "\n".join(lines)


def _cell(value: object) -> str:
    if isinstance(value, float):
        return f"<td>{value:.4g}</td>"
    text = "" if value is None else str(value)
    kind = ' class="text"' if len(text) > 24 else ""
    return f"<td{kind}>{escape(text)}</td>"
