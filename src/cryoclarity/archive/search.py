"""Search of EMDB: one CSV request, proved complete, else page by page. All paths stand here."""

from __future__ import annotations

import csv
import io
import json
import logging
import re
from collections.abc import Callable
from urllib.parse import quote

from cryoclarity.archive.documents import (
    EMDB_ID,
    RELEASED,
    number,
    pdb_name,
    resolution_of,
)
from cryoclarity.archive.responses import Responses
from cryoclarity.errors import InputError
from cryoclarity.selection.facts import EntryFacts, accession_number

LOGGER = logging.getLogger(__name__)
API = "https://www.ebi.ac.uk/emdb/api"
ALL_ROWS = 1_000_000
PAGE_ROWS = 1_000
FIELDS = (
    "emdb_id",
    "title",
    "structure_determination_method",
    "resolution",
    "resolution_method",
    "fitted_pdbs",
    "current_status",
    "release_date",
    "half_map_filename",
    "segmentation_filename",
    "additional_map_filename",
    "xref_UNIPROTKB",
)
NEEDED_FIELDS = frozenset(
    {"emdb_id", "structure_determination_method", "resolution", "fitted_pdbs", "current_status"}
)
FACET_FIELD = "current_status"
# What one body of 20 MB may end in where pages of 1000 rows still come.
TOO_MUCH = frozenset(
    {
        "NET_INCOMPLETE",
        "NET_LENGTH",
        "NET_PROTOCOL",
        "NET_TIMEOUT",
        "NET_SLOW",
        "NET_DEADLINE",
        "NET_SERVER",
        "NET_HTML",
        "NET_OFFLINE",
    }
)
# A title is free text and may be long; the module's default refuses cells above 128 kB.
csv.field_size_limit(1 << 24)


def entry_url(api: str, emdb_id: str) -> str:
    """Return the URL of an entry document."""
    return f"{api.rstrip('/')}/entry/{emdb_id}"


def search_url(api: str, query: str, rows: int, page: int) -> str:
    """Return the URL of a search; the query is part of the path, not a parameter."""
    fields = ",".join(FIELDS)
    return (
        f"{api.rstrip('/')}/search/{quote(query, safe='')}"
        f"?rows={rows}&page={page}&fl={fields}&wt=csv"
    )


def facet_url(api: str, query: str) -> str:
    """Return the URL that counts released entries of a query."""
    return f"{api.rstrip('/')}/facet/{quote(query, safe='')}?field={FACET_FIELD}"


def released_count(body: bytes) -> int:
    """Return the number of released entries of a facet answer; 0 when it names none.

    Raises
    ------
    InputError
        NET_SCHEMA.
    """
    content = parse_json(body, "facet")
    counts = content.get(FACET_FIELD) if isinstance(content, dict) else None
    if not isinstance(counts, dict):
        raise InputError(f"facet answer lacks {FACET_FIELD}", code="NET_SCHEMA")
    found = [value for key, value in counts.items() if key.upper() == RELEASED]
    count = number(found[0]) if found else 0.0
    if count is None:
        raise InputError(f"facet answer: {FACET_FIELD} {found[0]!r}", code="NET_SCHEMA")
    return int(count)


def parse_json(body: bytes, what: str) -> object:
    """Return the content of a JSON answer.

    Raises
    ------
    InputError
        NET_SCHEMA.
    """
    try:
        return json.loads(body)
    except ValueError as error:
        raise InputError(f"{what} answer is no JSON: {error}", code="NET_SCHEMA") from error


def parse_rows(body: bytes) -> list[dict[str, str]]:
    """Return the rows of a CSV answer; no line at all stands for no hit.

    Raises
    ------
    InputError
        NET_SCHEMA when a needed column is missing, NET_INCOMPLETE when a row is cut.
    """
    try:
        content = body.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"search answer is no UTF-8: {error}", code="NET_INCOMPLETE") from error
    reader = csv.reader(io.StringIO(content, newline=""), strict=True)
    try:
        header = next(reader, None)
        if header is None:
            return []
        missing = sorted(NEEDED_FIELDS - set(header))
        if missing:
            raise InputError(f"search answer lacks {', '.join(missing)}", code="NET_SCHEMA")
        rows = []
        for cells in reader:
            if len(cells) != len(header):
                message = f"search answer, row {len(rows) + 1}: {len(cells)} of {len(header)} cells"
                raise InputError(message, code="NET_INCOMPLETE")
            rows.append(dict(zip(header, cells, strict=True)))
    except csv.Error as error:
        raise InputError(f"search answer: {error}", code="NET_INCOMPLETE") from error
    return rows


def in_order(rows: list[dict[str, str]]) -> list[dict[str, str]]:
    """Return rows by accession number, each entry once.

    Of two different rows of one entry (a page border during an update of the index) the one that
    sorts last is kept: the choice does not depend on their order.

    Raises
    ------
    InputError
        NET_SCHEMA for an id that is none.
    """
    best: dict[str, dict[str, str]] = {}
    for row in rows:
        name = row["emdb_id"].strip()
        if not EMDB_ID.fullmatch(name):
            raise InputError(f"search answer: emdb_id is {name!r}", code="NET_SCHEMA")
        if name not in best or tuple(row.values()) > tuple(best[name].values()):
            best[name] = row
    return [best[name] for name in sorted(best, key=lambda name: (accession_number(name), name))]


def released_rows(rows: list[dict[str, str]]) -> int:
    """Return the number of released entries among rows without repeats."""
    return sum(row["current_status"].strip().upper() == RELEASED for row in rows)


def search(responses: Responses, api: str, query: str) -> list[dict[str, str]]:
    """Return all rows of a query, sorted, each entry once, and proved to be all.

    The archive's facet counts the released entries; a body that holds another number of them is
    not believed, and the query is asked again in pages.

    Raises
    ------
    InputError
        NET_INCOMPLETE when the pages do not hold them either, NET_SCHEMA, other NET_*.
    """
    facet = facet_url(api, query)
    wanted = released_count(responses.get(facet, check=_is_facet))
    whole = search_url(api, query, ALL_ROWS, 1)
    try:
        # Not a transfer error: the answer is kept, because the pages follow from it on a replay.
        rows = in_order(parse_rows(responses.get(whole, check=_is_table, empty=True)))
    except InputError as error:
        if error.code not in TOO_MUCH:
            raise
        LOGGER.warning("%s", error)
        rows = []
    if released_rows(rows) == wanted:
        return rows
    LOGGER.warning(
        "search answered %d of %d released entries: asking page by page",
        released_rows(rows),
        wanted,
    )
    urls, pages = _pages(responses, lambda page: search_url(api, query, PAGE_ROWS, page))
    rows = in_order(pages)
    if released_rows(rows) != wanted:
        responses.forget([facet, whole, *urls])
        raise InputError(
            f"search gave {released_rows(rows)} of {wanted} released entries, also page by page",
            code="NET_INCOMPLETE",
            remedy="the index may be changing: run it again later",
        )
    return rows


def _pages(responses: Responses, url_of: Callable[[int], str]) -> tuple[list[str], list]:
    urls, rows, page = [], [], 1
    while True:
        urls.append(url_of(page))
        found = parse_rows(responses.get(urls[-1], check=_is_whole_table, empty=True))
        rows += found
        if len(found) < PAGE_ROWS:
            return urls, rows
        page += 1


def check_json(body: bytes, what: str) -> None:
    """Refuse a body that was cut: another transfer may bring all of it.

    Raises
    ------
    InputError
        NET_PROTOCOL.
    """
    try:
        parse_json(body, what)
    except InputError as error:
        raise InputError(error.message, code="NET_PROTOCOL") from error


def _is_facet(body: bytes) -> None:
    check_json(body, "facet")
    released_count(body)


def _is_table(body: bytes) -> None:
    """Refuse what is no CSV at all; a cut table passes, completeness is judged later."""
    if re.match(rb"\s*[<\[{]", body):
        raise InputError("search answered no CSV", code="NET_PROTOCOL")


def _is_whole_table(body: bytes) -> None:
    _is_table(body)
    parse_rows(body)


def facts_of_row(row: dict[str, str]) -> EntryFacts:
    """Return what a search row says of an entry.

    Raises
    ------
    InputError
        NET_SCHEMA for a resolution that is no number.
    """
    stated = row["resolution"].strip()
    if stated and number(stated) is None:
        raise InputError(
            f"{row['emdb_id']}: search field resolution is {stated!r}",
            code="NET_SCHEMA",
            file=row["emdb_id"],
        )
    return EntryFacts(
        emdb_id=row["emdb_id"].strip(),
        status=row["current_status"].strip().upper(),
        method=row["structure_determination_method"].strip(),
        resolution=resolution_of(stated),
        resolution_method=row.get("resolution_method", "").strip(),
        title=" ".join(row.get("title", "").split()),
        release_date=row.get("release_date", "")[:10],
        pdb_ids=tuple(filter(None, map(pdb_name, _several(row["fitted_pdbs"])))),
        half_maps=_several(row.get("half_map_filename", "")),
        masks=_several(row.get("segmentation_filename", "")),
        additional_maps=_several(row.get("additional_map_filename", "")),
        uniprot=_several(row.get("xref_UNIPROTKB", "")),
    )


def _several(cell: str) -> tuple[str, ...]:
    """Values of one cell: joined by commas inside the quotes, which the csv reader took off."""
    return tuple(part for part in (part.strip() for part in cell.split(",")) if part)
