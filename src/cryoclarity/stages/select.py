"""Stage select: from a query or a list to the manifest, with a reason for every entry left out.

Nothing but search rows, entry documents and one cluster file is asked for: never a map.
"""

from __future__ import annotations

import hashlib
import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cryoclarity import __version__
from cryoclarity.archive.entries import Documents, Lost
from cryoclarity.archive.http import Limits
from cryoclarity.archive.models import GRAPHQL_URL
from cryoclarity.archive.responses import Politeness, Responses
from cryoclarity.errors import ConfigError
from cryoclarity.io.files import sha256_of, write_json
from cryoclarity.io.tables import read_table, write_table
from cryoclarity.report.funnel import save_funnel_figure
from cryoclarity.selection.edges import Relations
from cryoclarity.selection.facts import EntryFacts, accession_number
from cryoclarity.selection.filters import Finding, dropped
from cryoclarity.selection.funnel import FUNNEL_COLUMNS, REJECTED_COLUMNS, Funnel, funnel
from cryoclarity.selection.graph import Graph, build_graph
from cryoclarity.selection.lists import published_list, published_lists, split_of_role
from cryoclarity.selection.manifest import keep_hashes, manifest_row, write_manifest
from cryoclarity.selection.proof import LEAKAGE_COLUMNS, Leak, hub_leaks, prove
from cryoclarity.selection.rivals import ModelFacts, chosen_model, duplicate_data, redundant
from cryoclarity.selection.settings import edge_settings, filter_settings, split_settings
from cryoclarity.selection.splits import Assignment, assign
from cryoclarity.stages.select_models import Models
from cryoclarity.stages.select_pool import Pool, listed_entries, pool_of_list, pool_of_query

LOGGER = logging.getLogger(__name__)
MANIFEST = "manifest.tsv"
FUNNEL = "funnel.tsv"
REJECTED = "rejected_all.tsv"
HUBS = "hubs.tsv"
LEAKAGE = "leakage.tsv"
PROVENANCE = "manifest.provenance.json"
FIGURE = "funnel.png"
HUB_COLUMNS = ("cluster", "entries", "examples")
EXAMPLES = 5
SOURCES = ("list", "table", "query")


@dataclass(frozen=True)
class Services:
    """Where answers come from and how they are asked for.

    Attributes
    ----------
    responses : Path
        Folder of saved answers.
    api_url, metadata, base_url
        Of :class:`cryoclarity.archive.entries.Documents`.
    graphql_url : str
        RCSB's service for facts of models.
    offline, update : bool
        Ask nothing; ask everything once more.
    politeness : Politeness
    """

    responses: Path = Path("responses")
    api_url: str = "https://www.ebi.ac.uk/emdb/api"
    metadata: str = "api"
    base_url: str = "https://files.wwpdb.org/pub"
    graphql_url: str = GRAPHQL_URL
    offline: bool = False
    update: bool = False
    politeness: Politeness = field(default_factory=Politeness)

    def documents(self) -> Documents:
        """Open the folder of answers."""
        answers = Responses(
            self.responses, self.politeness, offline=self.offline, update=self.update
        )
        return Documents(answers, self.api_url, self.metadata, self.base_url)


def services_of(archive: Mapping[str, Any]) -> Services:
    """Return the services of a configuration's section `archive`."""
    politeness = Politeness(
        requests_per_s=archive["requests_per_s"],
        attempts=archive["attempts"],
        contact=archive["contact"],
        limits=Limits(timeout_s=archive["timeout_s"]),
    )
    return Services(
        responses=Path(archive["responses"]),
        api_url=archive["api_url"],
        metadata=archive["metadata"],
        base_url=(archive["mirrors"] or [archive["base_url"]])[0],
        graphql_url=archive["graphql_url"],
        offline=archive["offline"],
        update=archive["update"],
        politeness=politeness,
    )


@dataclass(frozen=True)
class Selection:
    """What a selection has found.

    Attributes
    ----------
    rows : list of dict
        The manifest.
    funnel : Funnel
    lost : list of Lost
    assignment : Assignment
    graph : Graph
    leaks : list of Leak
        Relatives in different splits, as far as pins and the hub limit have left any.
    hub_pairs : int
        All pairs that the hub limit has left; `leaks` lists the first of them.
    """

    rows: list[dict[str, str]]
    funnel: Funnel
    lost: list[Lost]
    assignment: Assignment
    graph: Graph
    leaks: list[Leak]
    hub_pairs: int = 0


def run_files(
    settings: Mapping[str, Any], services: Services, out: str | Path, code: str = ""
) -> Selection:
    """Select entries and write the manifest with all that explains it.

    Parameters
    ----------
    settings : mapping
        The section `selection` of the configuration: one of `list`, `table`, `query`; `filters`,
        `edges`, `split`, `trust_list`, `follow_obsolete`, `sequences`, `clusters`, `pairs`,
        `hashes`, `copies_power`.
    services : Services
    out : path
        Folder; gets ``manifest.tsv funnel.tsv rejected_all.tsv hubs.tsv leakage.tsv
        manifest.provenance.json funnel.png``. The same answers give the same bytes.
    code : str
        Hash of the code, for the record.

    Returns
    -------
    Selection

    Raises
    ------
    ConfigError
        Not exactly one source; ID_BAD or ID_DUPLICATE with all such lines of a table;
        SEL_SPLIT_LEAK; nothing left.
    InputError
        NET_*.
    """
    source, name = _source(settings)
    documents = services.documents()
    models = Models(
        documents.responses,
        settings.get("sequences", "file"),
        settings.get("clusters", ""),
        services.graphql_url,
        edge_settings(settings.get("edges"))["seq_identity"],
    )
    selection = _select(settings, documents, models, source, name)
    _write(selection, settings, documents, Path(out), code)
    return selection


def _source(settings: Mapping[str, Any]) -> tuple[str, str]:
    given = [(kind, settings.get(kind, "")) for kind in SOURCES if settings.get(kind, "")]
    if len(given) != 1:
        found = " and ".join(kind for kind, _ in given) or "none"
        raise ConfigError(
            f"selection needs one of list, table or query, found {found}",
            remedy="see config/README.md",
        )
    return given[0]


def _select(
    settings: Mapping[str, Any],
    documents: Documents,
    models: Models,
    source: str,
    name: str,
) -> Selection:
    filters = filter_settings(settings.get("filters"))
    edges = edge_settings(settings.get("edges"))
    split = split_settings(settings.get("split"))
    pool = _pool(settings, documents, models, source, name, filters)
    twins = duplicate_data(pool.kept, filters["F22_duplicate_data"], trusted=pool.trusted)
    kept = _without(pool.kept, twins)
    clusters = None if edges["seq"] == "off" else models.clusters(kept)
    kin = redundant(kept, clusters or {}, filters["F21_redundant"], trusted=pool.trusted)
    kept = _without(kept, kin)
    counts = funnel(pool.asked, [*pool.findings, *twins, *kin], filters)
    if not kept:
        raise ConfigError(_nothing_left(counts, pool.lost))
    pairs = [*pool.pairs, *_user_pairs(settings.get("pairs", ""))]
    relations = Relations(edges, clusters, pairs)
    graph = build_graph(kept, relations)
    assignment = assign(graph, split, pool.pins)
    for notice in assignment.notices:
        LOGGER.warning("%s: %s", notice.code, notice.message)
    leaks = prove(kept, relations, assignment.split, apart=assignment.apart)
    parted, hub_pairs = hub_leaks(graph.hubs, assignment.split)
    if hub_pairs:
        LOGGER.warning(
            "the hub limit leaves %d pairs in different splits, %d of them listed in %s",
            *(hub_pairs, len(parted), LEAKAGE),
        )
    choice = _Choice(filters["F05_model_count"]["mode"], models.facts)
    rows = _rows(kept, pool, assignment, choice, settings.get("copies_power", 0.5))
    if settings.get("hashes"):
        rows = keep_hashes(rows, read_table(settings["hashes"]))
    lost = _ordered(pool.lost)
    return Selection(rows, counts, lost, assignment, graph, [*leaks, *parted], hub_pairs)


def _pool(
    settings: Mapping[str, Any],
    documents: Documents,
    models: Models,
    source: str,
    name: str,
    filters: Mapping[str, Mapping[str, Any]],
) -> Pool:
    if source == "query":
        return pool_of_query(documents, name, filters, models.complete)
    # Faults of the list are all told before the first request.
    entries, label = listed_entries(settings.get("list", ""), settings.get("table", ""))
    return pool_of_list(
        documents,
        entries,
        label,
        filters,
        trust=settings.get("trust_list", False),
        successors=settings.get("follow_obsolete", True),
        complete=models.complete,
    )


def _without(kept: Sequence[EntryFacts], findings: Sequence[Finding]) -> list[EntryFacts]:
    gone = dropped(findings)
    return [facts for facts in kept if facts.emdb_id not in gone]


def _user_pairs(table: str) -> list[tuple[str, str]]:
    if not table:
        return []
    rows = read_table(table)
    if rows and not {"emdb_id", "related"} <= rows[0].keys():
        raise ConfigError("needs the columns emdb_id and related", file=table)
    return [(row["emdb_id"], row["related"]) for row in rows]


def _nothing_left(counts: Funnel, lost: Sequence[Lost]) -> str:
    worst = sorted(counts.rows, key=lambda row: -row["dropped"])[:3]
    reasons = [f"{row['filter']} dropped {row['dropped']}" for row in worst if row["dropped"]]
    codes = Counter(one.code for one in lost)
    reasons += [f"{number} lost by {code}" for code, number in sorted(codes.items())]
    asked = counts.rows[0]["in"] + len(lost)
    return f"no entry is left of {asked}: {', '.join(reasons) or 'none was found'}"


@dataclass(frozen=True)
class _Choice:
    """How one of several models is chosen."""

    mode: str
    facts: Mapping[str, ModelFacts]

    def of(self, facts: EntryFacts, pool: Pool) -> str:
        # A trusted entry with several models passed F5 without a choice: the best one serves.
        mode = "best" if facts.emdb_id in pool.trusted else self.mode
        return pool.models.get(facts.emdb_id) or chosen_model(facts, mode, self.facts)


def _rows(
    kept: Sequence[EntryFacts],
    pool: Pool,
    assignment: Assignment,
    choice: _Choice,
    copies_power: float,
) -> list[dict[str, str]]:
    rows = []
    for facts in kept:
        name = facts.emdb_id
        row = manifest_row(
            facts,
            pdb_id=choice.of(facts, pool),
            split=assignment.split[name],
            group=assignment.group[name],
            source=pool.sources[name],
            copies_power=copies_power,
        )
        rows.append(row | pool.columns.get(name, {}))
    return rows


def _ordered(lost: Sequence[Lost]) -> list[Lost]:
    return sorted(lost, key=lambda one: (accession_number(one.emdb_id), one.code))


def listed_elsewhere(split: Mapping[str, str]) -> list[Leak]:
    """Entries that a published list uses on another side than this selection does.

    A network trained on one and tested on the other has seen them.
    """
    leaks = []
    for about in published_lists():
        for entry in published_list(about["name"]):
            here, there = split.get(entry.emdb_id, ""), split_of_role(entry.role)
            if here and there and here != there:
                label = f"list:{about['name']}"
                leaks.append(Leak(entry.emdb_id, here, entry.emdb_id, there, label))
    return sorted(set(leaks), key=lambda leak: (accession_number(leak.emdb_id), leak))


def _write(
    selection: Selection,
    settings: Mapping[str, Any],
    documents: Documents,
    out: Path,
    code: str,
) -> None:
    elsewhere = listed_elsewhere(selection.assignment.split)
    write_manifest(out / MANIFEST, selection.rows)
    counts = funnel_rows(selection)
    write_table(out / FUNNEL, counts, FUNNEL_COLUMNS)
    write_table(out / REJECTED, rejected_rows(selection), REJECTED_COLUMNS)
    write_table(out / HUBS, _hub_rows(selection.graph), HUB_COLUMNS)
    leaks = [leak.row() for leak in (*selection.leaks, *elsewhere)]
    write_table(out / LEAKAGE, leaks, LEAKAGE_COLUMNS)
    lost = Counter(one.code for one in selection.lost)
    splits = dict(selection.assignment.counts)
    title = f"{len(selection.rows):,} of {_asked(selection):,} entries selected"
    save_funnel_figure(out / FIGURE, selection.funnel.rows, lost, splits, title)
    record = _provenance(selection, settings, documents, code)
    record["outputs"] = {name: sha256_of(out / name) for name in (MANIFEST, FUNNEL, REJECTED)}
    record["listed_elsewhere"] = len(elsewhere)
    write_json(out / PROVENANCE, record)


def _asked(selection: Selection) -> int:
    return int(selection.funnel.rows[0]["in"]) + len(selection.lost)


def funnel_rows(selection: Selection) -> list[dict[str, Any]]:
    """Rows of the funnel table, headed by the entries of which nothing could be read."""
    remaining, rows = _asked(selection), []
    by_code: dict[str, list[str]] = {}
    for one in selection.lost:
        by_code.setdefault(one.code, []).append(one.emdb_id)
    for code, names in sorted(by_code.items()):
        row = {
            "filter": "readable",
            "code": code,
            "enabled": "yes",
            "in": remaining,
            "out": remaining - len(names),
            "dropped": len(names),
            "warned": 0,
            "fails": len(names),
            "examples": " ".join(names[:EXAMPLES]),
        }
        remaining = row["out"]
        rows.append(row)
    return [*rows, *selection.funnel.rows]


def rejected_rows(selection: Selection) -> list[dict[str, str]]:
    """Rows of the table of all hits, with the entries of which nothing could be read."""
    lost = [
        {
            "emdb_id": one.emdb_id,
            "filter": "readable",
            "code": one.code,
            "outcome": "drop",
            "charged": "yes",
            "value": "",
            "limit": "",
            "message": one.message,
        }
        for one in selection.lost
    ]
    rows = [*lost, *selection.funnel.rejected]
    return sorted(rows, key=lambda row: accession_number(row["emdb_id"]))


def _hub_rows(graph: Graph) -> list[dict[str, Any]]:
    return [
        {
            "cluster": hub.label,
            "entries": len(hub.members),
            "examples": " ".join(hub.members[:EXAMPLES]),
        }
        for hub in sorted(graph.hubs, key=lambda hub: (-len(hub.members), hub.label))
    ]


def _provenance(
    selection: Selection,
    settings: Mapping[str, Any],
    documents: Documents,
    code: str,
) -> dict[str, Any]:
    """What the manifest depends on. Days are those of the answers, never the one of the run."""
    used = sorted(documents.responses.used.values(), key=lambda record: record.url)
    single = [record for record in used if "/entry/" not in record.url]
    entries = [record for record in used if "/entry/" in record.url]
    together = hashlib.sha256("".join(f"{r.url} {r.sha256}\n" for r in entries).encode())
    assignment = selection.assignment
    return {
        "schema": 1,
        "tool": {"name": "cryoclarity", "version": __version__, "code": code},
        "selection": dict(settings),
        "answers": [
            {"url": r.url, "date": r.date, "sha256": r.sha256, "bytes": r.size} for r in single
        ],
        "documents": {
            "count": len(entries),
            "first_date": min((r.date for r in entries), default=""),
            "last_date": max((r.date for r in entries), default=""),
            "sha256": together.hexdigest(),
        },
        "entries": {"asked": _asked(selection), "selected": len(selection.rows)},
        "splits": dict(assignment.counts),
        "components": len(selection.graph.components),
        "largest_component": {
            "name": assignment.largest.name,
            "entries": len(assignment.largest.members),
        },
        "leaks_left": len(selection.leaks),
        "pairs_left_by_hub_limit": selection.hub_pairs,
        "notices": [f"{notice.code}: {notice.message}" for notice in assignment.notices],
    }
