"""What RCSB says of models, asked in batches: sizes, resolution, chain lengths and clusters.

For a few hundred models; for more the weekly cluster file is the polite way, without lengths.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from dataclasses import dataclass

from cryoclarity.archive.documents import at, listify, number, text
from cryoclarity.archive.responses import Responses
from cryoclarity.archive.search import check_json, parse_json
from cryoclarity.errors import InputError
from cryoclarity.selection.clusters import Entity
from cryoclarity.selection.rivals import ModelFacts

GRAPHQL_URL = "https://data.rcsb.org/graphql"
BATCH = 100
PROTEIN = "protein"
QUERY = (
    "query($ids: [String!]!) { entries(entry_ids: $ids) { rcsb_id"
    " rcsb_entry_info { resolution_combined }"
    " rcsb_accession_info { initial_release_date }"
    " polymer_entities { rcsb_id"
    " entity_poly { rcsb_entity_polymer_type rcsb_sample_sequence_length }"
    " rcsb_cluster_membership { cluster_id identity } } } }"
)


@dataclass(frozen=True)
class Model:
    """One model: facts for choices among models, and its protein entities."""

    facts: ModelFacts
    entities: tuple[Entity, ...]


def read_models(
    responses: Responses, url: str, pdb_ids: Collection[str], identity: int
) -> dict[str, Model]:
    """Return what is known of models, by PDB id in lower case; unknown ones are left out.

    Parameters
    ----------
    responses : Responses
    url : str
        The GraphQL service.
    pdb_ids : collection of str
    identity : int
        Of the clusters, in percent.

    Raises
    ------
    InputError
        NET_*.
    """
    found = {}
    for names in _batches(sorted({name.upper() for name in pdb_ids})):
        question = json.dumps({"query": QUERY, "variables": {"ids": names}}, sort_keys=True)
        body = responses.post(url, question.encode(), check=_check)
        for entry in _entries(body):
            if entry is not None:
                found[text(at(entry, "rcsb_id")).lower()] = _model(entry, identity)
    return found


def _batches(names: list[str]) -> Iterator[list[str]]:
    for start in range(0, len(names), BATCH):
        yield names[start : start + BATCH]


def _check(body: bytes) -> None:
    check_json(body, "GraphQL")
    _entries(body)


def _entries(body: bytes) -> list:
    content = parse_json(body, "GraphQL")
    # The service reports its errors with status 200.
    if isinstance(content, dict) and content.get("errors"):
        message = str(content["errors"])[:200]
        raise InputError(f"GraphQL answer: {message}", code="NET_PROTOCOL")
    entries = at(content, "data.entries")
    if not isinstance(entries, list):
        raise InputError("GraphQL answer lacks data.entries", code="NET_SCHEMA")
    return entries


def _model(entry: dict, identity: int) -> Model:
    polymers = listify(at(entry, "polymer_entities"))
    lengths = [number(at(item, "entity_poly.rcsb_sample_sequence_length")) for item in polymers]
    resolutions = listify(at(entry, "rcsb_entry_info.resolution_combined"))
    facts = ModelFacts(
        residues=sum(length for length in lengths if length) or None,
        resolution=number(resolutions[0]) if resolutions else None,
        release_date=text(at(entry, "rcsb_accession_info.initial_release_date"))[:10],
    )
    entities = []
    for item, length in zip(polymers, lengths, strict=True):
        kind = text(at(item, "entity_poly.rcsb_entity_polymer_type")).lower()
        for membership in listify(at(item, "rcsb_cluster_membership")):
            # Nucleic chains are joined by equal sequence instead.
            if kind == PROTEIN and number(at(membership, "identity")) == identity:
                cluster = text(str(at(membership, "cluster_id")))
                entities.append(Entity(cluster, length, text(at(item, "rcsb_id")).lower()))
    return Model(facts, tuple(entities))
