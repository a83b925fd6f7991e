"""Proof of a split: edges computed afresh, without the graph and without its components."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
from scipy.sparse import csr_array

from cryoclarity.errors import CryoClarityError
from cryoclarity.selection.edges import (
    Relations,
    sequence_clusters,
    sequence_weights,
    tokens_of,
    user_tokens,
)
from cryoclarity.selection.facts import EntryFacts, accession_number
from cryoclarity.selection.graph import Hub
from cryoclarity.selection.majority import least

LEAKAGE_COLUMNS = tuple("emdb_id split related related_split edge".split())
ROWS_AT_ONCE = 512


class Leak(NamedTuple):
    """Two relatives in two splits."""

    emdb_id: str
    split: str
    related: str
    related_split: str
    edge: str

    def row(self) -> dict[str, str]:
        """Return a row of the leakage table."""
        return self._asdict()


def find_leaks(
    entries: Iterable[EntryFacts],
    relations: Relations,
    split: Mapping[str, str],
    order: Sequence[str] = ("train", "val", "test"),
) -> list[Leak]:
    """Find edges that join two splits.

    Parameters
    ----------
    entries : iterable of EntryFacts
        The pool; entries without a split are looked at for the hub limit only.
    relations : Relations
    split : mapping
        EMDB id to split.
    order : sequence of str
        A leak is told from the side of the later split: test against train.

    Returns
    -------
    list of Leak
        One per entry and other split, by accession number; the partner is the one of smallest
        number with the first edge found.
    """
    pool = sorted(entries, key=lambda facts: accession_number(facts.emdb_id))
    rank = {name: place for place, name in enumerate(order)}
    leaks: dict[tuple[str, str], Leak] = {}
    crossing = _crossing(pool, relations, split)
    for facts, token in _held(pool, relations) if crossing else ():
        side = split.get(facts.emdb_id, "")
        for other_side, other in crossing.get(token, {}).items() if side else ():
            if rank.get(other_side, len(rank)) < rank.get(side, len(rank)):
                leak = Leak(facts.emdb_id, side, other, other_side, token)
                leaks.setdefault((facts.emdb_id, other_side), leak)
    for first, second, edge in _pairs(pool, relations, split):
        if rank.get(split[first], len(rank)) < rank.get(split[second], len(rank)):
            first, second = second, first
        leak = Leak(first, split[first], second, split[second], edge)
        leaks.setdefault((first, split[second]), leak)
    return sorted(leaks.values(), key=lambda leak: (accession_number(leak.emdb_id), leak))


def _crossing(
    pool: Sequence[EntryFacts], relations: Relations, split: Mapping[str, str]
) -> dict[str, dict[str, str]]:
    """Return the tokens held in more than one split, with their first holder in each."""
    first: dict[str, str] = {}
    crossing: dict[str, dict[str, str]] = {}
    for facts, token in _held(pool, relations):
        side = split.get(facts.emdb_id, "")
        if not side:
            continue
        holder = first.setdefault(token, facts.emdb_id)
        if split[holder] != side:
            sides = crossing.setdefault(token, {split[holder]: holder})
            sides.setdefault(side, facts.emdb_id)
    return crossing


def _held(pool: Sequence[EntryFacts], relations: Relations) -> Iterator[tuple[EntryFacts, str]]:
    """Yield each entry with each token that it holds, sequence clusters included."""
    by_user = user_tokens(relations.pairs)
    by_sequence = relations.settings["seq"] == "any"
    hubs = _hubs(pool, relations) if by_sequence else frozenset()
    for facts in pool:
        for token in tokens_of(facts, relations, by_user):
            yield facts, token
        for cluster in sequence_clusters(facts, relations) if by_sequence else ():
            if cluster not in hubs:
                yield facts, f"{relations.seq_label}:{cluster}"


def _hubs(pool: Sequence[EntryFacts], relations: Relations) -> frozenset[str]:
    """Return the clusters beyond the hub limit."""
    limit = relations.settings["hub_limit"]
    if not limit:
        return frozenset()
    counts: dict[str, int] = {}
    for facts in pool:
        for cluster in sequence_clusters(facts, relations):
            counts[cluster] = counts.get(cluster, 0) + 1
    return frozenset(cluster for cluster, count in counts.items() if count > limit)


def _pairs(
    pool: Sequence[EntryFacts], relations: Relations, split: Mapping[str, str]
) -> Iterator[tuple[str, str, str]]:
    """Yield pairs across splits that no single token joins."""
    if relations.settings["xref"] == "named":
        for facts in pool:
            for other in facts.related:
                here, there = split.get(facts.emdb_id, ""), split.get(other, "")
                if here and there and here != there:
                    yield facts.emdb_id, other, f"xref:{facts.emdb_id}"
    if relations.settings["seq"] == "major":
        yield from _majority_pairs(pool, relations, split)


def _majority_pairs(
    pool: Sequence[EntryFacts], relations: Relations, split: Mapping[str, str]
) -> Iterator[tuple[str, str, str]]:
    """Compare all entries of each two splits by the residues that their clusters share."""
    total = [sequence_weights(facts, relations) for facts in pool]
    hubs = _hubs(pool, relations)
    shared = [{name: own[name] for name in own if name not in hubs} for own in total]
    columns = {name: place for place, name in enumerate(sorted(set().union(*shared)))}
    share = relations.settings["seq_major_share"]
    needed = np.array([least(own, share) or np.inf for own in total])
    amounts = csr_array(_matrix(shared, columns))
    holds = amounts.copy()
    holds.data[:] = 1
    sides = np.array([split.get(facts.emdb_id, "") for facts in pool])
    for first, second in combinations(sorted(set(sides.tolist()) - {""}), 2):
        for here, there in ((first, second), (second, first)):
            rows, others = np.flatnonzero(sides == here), np.flatnonzero(sides == there)
            partners = holds[others].T.tocsr()
            for start in range(0, len(rows), ROWS_AT_ONCE):
                block = rows[start : start + ROWS_AT_ONCE]
                sums = (amounts[block] @ partners).tocoo()
                hits = sums.data >= needed[block[sums.row]]
                for row, column in zip(sums.row[hits], sums.col[hits], strict=True):
                    names = pool[block[row]].emdb_id, pool[others[column]].emdb_id
                    yield *names, f"{relations.seq_label}:majority"


def _matrix(weights: Sequence[Mapping[str, float]], columns: Mapping[str, int]) -> Any:
    counts = np.cumsum([0, *map(len, weights)])
    indices = np.array([columns[name] for own in weights for name in own], dtype=np.int64)
    data = np.array([value for own in weights for value in own.values()], dtype=np.float64)
    return csr_array((data, indices, counts), shape=(len(weights), max(len(columns), 1)))


def prove(
    entries: Iterable[EntryFacts],
    relations: Relations,
    split: Mapping[str, str],
    order: Sequence[str] = ("train", "val", "test"),
    apart: Collection[str] = (),
) -> list[Leak]:
    """Assert that no edge joins two splits, but for components that pins were to cut.

    Parameters
    ----------
    entries, relations, split, order
        See :func:`find_leaks`.
    apart : collection of str
        EMDB ids of the components that pins cut (:attr:`Assignment.apart`).

    Returns
    -------
    list of Leak
        Those of the components that pins cut.

    Raises
    ------
    CryoClarityError
        SEL_SPLIT_LEAK, with the first pair, when one does.
    """
    found = find_leaks(entries, relations, split, order)
    leaks = [leak for leak in found if leak.emdb_id not in apart]
    if leaks:
        first = leaks[0]
        raise CryoClarityError(
            f"{first.emdb_id} ({first.split}) and {first.related} ({first.related_split}) are "
            f"joined by {first.edge}; {len(leaks)} such entries",
            code="SEL_SPLIT_LEAK",
        )
    return found


def hub_leaks(
    hubs: Iterable[Hub], split: Mapping[str, str], limit: int = 10_000
) -> tuple[list[Leak], int]:
    """List the pairs across splits that the hub limit left unjoined.

    Parameters
    ----------
    hubs : iterable of Hub
    split : mapping
        EMDB id to split.
    limit : int
        Pairs listed at most: a hub of 3,000 entries has millions.

    Returns
    -------
    leaks : list of Leak
        The first pairs, hub by hub; a pair counts once per hub.
    count : int
        All of them.
    """
    leaks, count = [], 0
    for hub in hubs:
        sides: dict[str, list[str]] = {}
        for member in hub.members:
            if split.get(member):
                sides.setdefault(split[member], []).append(member)
        for first, second in combinations(sorted(sides), 2):
            count += len(sides[first]) * len(sides[second])
            pairs = ((one, other) for one in sides[first] for other in sides[second])
            for one, other in pairs:
                if len(leaks) >= limit:
                    break
                leaks.append(Leak(one, first, other, second, hub.label))
    return leaks, count
