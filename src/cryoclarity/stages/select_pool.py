"""The pool of a selection: entries of a query, a published list or a table, with their facts."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from cryoclarity.archive.documents import merged
from cryoclarity.archive.entries import Documents, Lost, Misfits, Named, follow
from cryoclarity.archive.search import facts_of_row, search
from cryoclarity.errors import ConfigError, InputError
from cryoclarity.selection.facts import EntryFacts
from cryoclarity.selection.filters import Finding, Parameters, screen
from cryoclarity.selection.lists import ListEntry, published_list, read_list, split_of_role

LOGGER = logging.getLogger(__name__)
# Columns of a user's table that go into the manifest as they are.
OWN_COLUMNS = (
    "contour",
    "half_maps",
    "weight",
    "map_sha256",
    "half1_sha256",
    "half2_sha256",
    "mask_sha256",
    "model_sha256",
)


@dataclass
class Pool:
    """Entries that were asked for, and what became of them.

    Attributes
    ----------
    asked : list of str
        EMDB ids that could be read, kept or not.
    kept : list of EntryFacts
        Those that pass the filters of single entries; with their documents.
    findings : list of Finding
    lost : list of Lost
        Entries of which nothing could be read.
    models, pins, sources : dict
        By EMDB id: the model that a list names, the split it pins, where the entry was named.
    columns : dict
        By EMDB id: what the user's table says for the manifest.
    pairs : list of (str, str)
        Entries that a user calls relatives.
    trusted : frozenset of str
        Entries that no filter drops.
    """

    asked: list[str]
    kept: list[EntryFacts]
    findings: list[Finding]
    lost: list[Lost]
    models: dict[str, str] = field(default_factory=dict)
    pins: dict[str, str] = field(default_factory=dict)
    sources: dict[str, str] = field(default_factory=dict)
    columns: dict[str, dict[str, str]] = field(default_factory=dict)
    pairs: list[tuple[str, str]] = field(default_factory=list)
    trusted: frozenset[str] = frozenset()


Complete = Callable[[Sequence[EntryFacts]], list[EntryFacts]]


def pool_of_query(
    documents: Documents, query: str, filters: Mapping[str, Parameters], complete: Complete = list
) -> Pool:
    """Search, filter by the rows, and read the documents of those that are left.

    Parameters
    ----------
    documents : Documents
    query : str
    filters : settings of the filters
    complete : callable
        Adds to the facts of the documents what is known of the models.

    Raises
    ------
    InputError
        NET_*.
    """
    misfits = Misfits()
    rows: dict[str, EntryFacts] = {}
    found = search(documents.responses, documents.api, query)
    for row in found:
        try:
            facts = facts_of_row(row)
        except InputError as error:
            misfits.add(row["emdb_id"], error)
        else:
            rows[facts.emdb_id] = facts
    misfits.check(len(found))
    LOGGER.info("%d entries answer the query", len(found))
    kept, findings = screen(list(rows.values()), filters, "search")
    LOGGER.info("%d are left by their search rows", len(kept))
    read, lost = documents.facts(facts.emdb_id for facts in kept)
    known = complete(
        [merged(facts, read[facts.emdb_id]) for facts in kept if facts.emdb_id in read]
    )
    missing = {one.emdb_id for one in lost.lost}
    kept, more = screen(known, filters, "document")
    return Pool(
        asked=[name for name in rows if name not in missing],
        kept=kept,
        findings=[*(one for one in findings if one.emdb_id not in missing), *more],
        lost=[*misfits.lost, *lost.lost],
        sources=dict.fromkeys(rows, "query"),
    )


def pool_of_list(
    documents: Documents,
    entries: Sequence[ListEntry],
    name: str,
    filters: Mapping[str, Parameters],
    *,
    trust: bool,
    successors: bool,
    complete: Complete = list,
) -> Pool:
    """Look up the entries of a list and filter them; a trusted list is only warned about.

    Parameters
    ----------
    documents : Documents
    entries : sequence of ListEntry
    name : str
        Goes into the manifest's column `source`.
    filters : settings of the filters
    trust, successors : bool
        Whether hits only warn, and whether obsolete entries give way to their successors.
    complete : callable
        See :func:`pool_of_query`.

    Raises
    ------
    InputError
        NET_*.
    """
    by_id = {entry.emdb_id: entry for entry in entries}
    pins = _pins(entries)
    pool = Pool([], [], [], [], pairs=_groups(entries))
    known: list[EntryFacts] = []
    # Entries named themselves come before successors of others.
    named = sorted(
        follow(documents, by_id, successors=successors), key=lambda one: bool(one.message)
    )
    for one in named:
        entry = by_id[one.asked]
        if one.facts is None:
            pool.lost.append(Lost(one.asked, one.code, one.message))
        elif one.facts.emdb_id in pool.sources:
            message = f"{one.facts.emdb_id}, {one.message}, is in the selection already"
            pool.lost.append(Lost(one.asked, "ID_DUPLICATE", message))
        else:
            known.append(one.facts)
            _take_over(pool, entry, one, name, pins.get(one.asked, ""))
    pool.asked = [facts.emdb_id for facts in known]
    pool.trusted = frozenset(pool.asked if trust else ())
    judged = [_with_model(facts, pool.models.get(facts.emdb_id, "")) for facts in known]
    judged = complete(judged)
    kept, pool.findings = screen(judged, filters, "document", trusted=pool.trusted)
    left = {facts.emdb_id for facts in kept}
    pool.kept = [facts for facts in known if facts.emdb_id in left]
    return pool


def _take_over(pool: Pool, entry: ListEntry, one: Named, name: str, pin: str) -> None:
    emdb_id = one.facts.emdb_id
    pool.sources[emdb_id] = ", ".join(filter(None, (name, one.message)))
    if pin:
        pool.pins[emdb_id] = pin
    if entry.pdb_id:
        if entry.pdb_id not in one.facts.pdb_ids:
            LOGGER.warning("%s does not name model %s of the list", emdb_id, entry.pdb_id)
        pool.models[emdb_id] = entry.pdb_id
    columns = {key: entry.columns[key] for key in OWN_COLUMNS if entry.columns.get(key)}
    if emdb_id == entry.emdb_id and columns:
        pool.columns[emdb_id] = columns  # a successor has other files


def _with_model(facts: EntryFacts, pdb_id: str) -> EntryFacts:
    """Facts as the filters see them: a model that the list names is no longer a choice."""
    if not pdb_id:
        return facts
    overlaps = tuple(pair for pair in facts.overlaps if pair[0] == pdb_id)
    return dataclasses.replace(facts, pdb_ids=(pdb_id,), overlaps=overlaps)


def _pins(entries: Iterable[ListEntry]) -> dict[str, str]:
    """Splits that roles or a column `split` pin; an entry may have several roles of one side."""
    pins: dict[str, str] = {}
    for entry in entries:
        pin = entry.columns.get("split", "") or split_of_role(entry.role)
        before = pins.setdefault(entry.emdb_id, pin)
        if pin and before and pin != before:
            raise ConfigError(
                f"{entry.emdb_id} is listed for {before} and for {pin}",
                code="SEL_SPLIT_LEAK",
                remedy="list it once",
            )
        pins[entry.emdb_id] = before or pin
    return pins


def _groups(entries: Iterable[ListEntry]) -> list[tuple[str, str]]:
    """Pairs of the entries that a user's table puts into one group."""
    first: dict[str, str] = {}
    pairs = []
    for entry in entries:
        group = entry.columns.get("group", "")
        if group and first.setdefault(group, entry.emdb_id) != entry.emdb_id:
            pairs.append((first[group], entry.emdb_id))
    return pairs


def listed_entries(list_name: str, table: str) -> tuple[list[ListEntry], str]:
    """Return the entries of a published list or of a user's table, and the name of the source.

    Raises
    ------
    ConfigError
        Every malformed or repeated id of a table (ID_BAD, ID_DUPLICATE); an unknown list.
    """
    if list_name:
        return published_list(list_name), f"list:{list_name}"
    return read_list(table), "table"
