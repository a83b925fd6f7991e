"""Sequence clusters: which chains of which models are alike."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from typing import NamedTuple

from cryoclarity.selection.facts import EntryFacts, plain_pdb_id

# Computed models stand in the same file and are no entries of ours.
TOKEN = re.compile(r"([0-9][A-Z0-9]{3}|PDB_[0-9A-Z]{8})_[0-9]+")


class Entity(NamedTuple):
    """One protein entity of a model: its cluster, and its residues where they are known."""

    cluster: str
    residues: float | None = None
    name: str = ""


Clusters = Mapping[str, tuple[Entity, ...]]


def parse_clusters(
    lines: Iterable[str],
    wanted: Collection[str],
    lengths: Mapping[str, float] | None = None,
) -> dict[str, tuple[Entity, ...]]:
    """Read a cluster file line by line; memory grows with the pool, not with the file.

    Parameters
    ----------
    lines : iterable of str
        One cluster a line, blank-separated tokens ``1ABC_1`` (PDB id, entity). The line number
        is the cluster's name; it holds for one release of the file.
    wanted : collection of str
        PDB ids of the pool, in any spelling.
    lengths : mapping, optional
        Residues by entity (``1abc_1``).

    Returns
    -------
    dict of str to tuple of Entity
        Only models of the pool, by their short PDB id where there is one; sorted.
    """
    wanted, lengths = frozenset(map(plain_pdb_id, wanted)), lengths or {}
    found: dict[str, list[Entity]] = {}
    for number, line in enumerate(lines, start=1):
        for token in line.split():
            pdb_id = plain_pdb_id(token.rpartition("_")[0])
            if pdb_id in wanted and TOKEN.fullmatch(token.upper()):
                name = token.lower()
                found.setdefault(pdb_id, []).append(Entity(str(number), lengths.get(name), name))
    return {pdb_id: tuple(found[pdb_id]) for pdb_id in sorted(found)}


def names_of(facts: EntryFacts, clusters: Clusters, min_residues: float = 0) -> dict[str, None]:
    """Return the clusters of an entry's models, each once; see :func:`clusters_of`."""
    # No set: its order, and with it the first edge that is named, changes from run to run.
    return dict.fromkeys(entity.cluster for entity in _entities(facts, clusters, min_residues))


def _entities(facts: EntryFacts, clusters: Clusters, min_residues: float) -> list[Entity]:
    return [
        entity
        for pdb_id in facts.pdb_ids
        for entity in clusters.get(plain_pdb_id(pdb_id), ())
        if entity.residues is None or entity.residues >= min_residues
    ]


def clusters_of(facts: EntryFacts, clusters: Clusters, min_residues: float = 0) -> dict[str, float]:
    """Return the clusters of an entry's models and the residues in each.

    Parameters
    ----------
    facts : EntryFacts
    clusters : mapping
        By PDB id.
    min_residues : float
        Shorter entities are left out; those of unknown length stay.

    Returns
    -------
    dict of str to float
        When the length of any entity is unknown, every entity counts one: lengths known in part
        would make the others vanish.
    """
    entities = _entities(facts, clusters, min_residues)
    known = all(entity.residues is not None for entity in entities)
    weights: dict[str, float] = {}
    for entity in entities:
        weight = entity.residues if known else 1.0
        weights[entity.cluster] = weights.get(entity.cluster, 0.0) + weight
    return weights
