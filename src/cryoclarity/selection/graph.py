"""The graph of relatives: groups of entries that share a token, components, shortest chains."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from cryoclarity.selection.edges import (
    Relations,
    sequence_clusters,
    sequence_weights,
    tokens_of,
    user_tokens,
)
from cryoclarity.selection.facts import EntryFacts, accession_number
from cryoclarity.selection.majority import majority_centres, remaining_pairs


class Group(NamedTuple):
    """Entries (by index) that one token joins.

    Without centres each member is joined with each other; with centres a pair is joined when
    either of the two is a centre.
    """

    label: str
    members: tuple[int, ...]
    centres: tuple[int, ...] | None = None


class Link(NamedTuple):
    """One step of a chain."""

    first: str
    label: str
    second: str


class Hub(NamedTuple):
    """A cluster that too many entries hold for it to say that they are related."""

    label: str
    members: tuple[str, ...]


class Component(NamedTuple):
    """Entries that stand in one split together; named by its smallest accession number."""

    name: str
    members: tuple[str, ...]


class UnionFind:
    """Disjoint sets of the numbers 0 .. n-1, by size and with path halving."""

    def __init__(self, count: int) -> None:
        self._parent = list(range(count))
        self._size = [1] * count

    def find(self, item: int) -> int:
        """Return the representative of an item's set."""
        parent = self._parent
        while parent[item] != item:
            parent[item] = parent[parent[item]]
            item = parent[item]
        return item

    def union(self, first: int, second: int) -> bool:
        """Join two sets; tell whether they were two."""
        first, second = self.find(first), self.find(second)
        if first == second:
            return False
        if self._size[first] < self._size[second]:
            first, second = second, first
        self._parent[second] = first
        self._size[first] += self._size[second]
        return True

    def sets(self) -> list[list[int]]:
        """Return all sets, each sorted, by their smallest item."""
        found: dict[int, list[int]] = {}
        for item in range(len(self._parent)):
            found.setdefault(self.find(item), []).append(item)
        return list(found.values())


@dataclass(frozen=True)
class Graph:
    """Entries and what joins them.

    Attributes
    ----------
    ids : tuple of str
        EMDB ids by accession number; groups hold indices into it.
    groups : list of Group
    hubs : list of Hub
        Clusters left out by the hub limit.
    components : list of Component
        By smallest accession number.
    """

    ids: tuple[str, ...]
    groups: list[Group]
    hubs: list[Hub]
    components: list[Component]

    @cached_property
    def index(self) -> dict[str, int]:
        """Index of each EMDB id."""
        return {emdb_id: place for place, emdb_id in enumerate(self.ids)}

    @cached_property
    def _groups_of(self) -> dict[int, list[int]]:
        found: dict[int, list[int]] = {}
        for place, group in enumerate(self.groups):
            for member in group.members:
                found.setdefault(member, []).append(place)
        return found

    def neighbours(self, item: int, visited: set[int]) -> Iterator[tuple[int, str]]:
        """Yield the entries joined with one, and by what.

        `visited` keeps the groups that have told all they know: a search looks at each once.
        """
        for place in self._groups_of.get(item, ()):
            if place in visited:
                continue
            group = self.groups[place]
            others: Sequence[int] = group.members
            if group.centres is None or item in group.centres:
                visited.add(place)
            elif ~place in visited:
                continue
            else:
                visited.add(~place)  # the centres are told, the other members are not
                others = group.centres
            for other in others:
                if other != item:
                    yield other, group.label

    def chain(self, starts: Collection[str], goals: Collection[str]) -> list[Link]:
        """Return a shortest chain from any start to any goal; empty when there is none."""
        wanted = {self.index[emdb_id] for emdb_id in goals}
        begin = sorted(self.index[emdb_id] for emdb_id in starts)
        came: dict[int, tuple[int, str] | None] = dict.fromkeys(begin)
        queue, visited = deque(begin), set()
        while queue:
            item = queue.popleft()
            if item in wanted and came[item] is not None:
                return self._trace(item, came)
            for other, label in self.neighbours(item, visited):
                if other not in came:
                    came[other] = (item, label)
                    queue.append(other)
        return []

    def _trace(self, item: int, came: Mapping[int, tuple[int, str] | None]) -> list[Link]:
        links = []
        step = came[item]
        while step is not None:
            before, label = step
            links.append(Link(self.ids[before], label, self.ids[item]))
            item, step = before, came[before]
        return links[::-1]


def render(chain: Sequence[Link]) -> str:
    """Write a chain on one line: ``EMD-1 -pdb:9za1- EMD-2 -seq30:4411- EMD-3``."""
    if not chain:
        return ""
    return chain[0].first + "".join(f" -{link.label}- {link.second}" for link in chain)


def grouped(tokens: Iterable[Iterable[str]]) -> dict[str, list[int]]:
    """Return the holders (indices, ascending) of each token that two or more hold."""
    holders: dict[str, list[int]] = {}
    for index, own in enumerate(tokens):
        for token in own:
            members = holders.get(token)
            if members is None:
                holders[token] = [index]
            elif members[-1] != index:  # an entry may hold a token twice
                members.append(index)
    return {token: members for token, members in holders.items() if len(members) > 1}


def build_graph(entries: Iterable[EntryFacts], relations: Relations) -> Graph:
    """Join entries by all that they share.

    Parameters
    ----------
    entries : iterable of EntryFacts
        The pool; its order does not matter.
    relations : Relations

    Returns
    -------
    Graph
    """
    pool = sorted(entries, key=lambda facts: accession_number(facts.emdb_id))
    ids = tuple(facts.emdb_id for facts in pool)
    by_user = user_tokens(relations.pairs)
    held = grouped(tokens_of(facts, relations, by_user) for facts in pool)
    groups = [Group(label, tuple(members)) for label, members in held.items()]
    if relations.settings["xref"] == "named":
        groups += _named(pool, ids)
    union = UnionFind(len(ids))
    _join(union, groups)
    more, hubs = _sequence_groups(pool, relations, union)
    groups += more
    components = [
        Component(ids[items[0]], tuple(ids[item] for item in items)) for items in union.sets()
    ]
    hubs = [Hub(hub.label, tuple(ids[item] for item in hub.members)) for hub in hubs]
    return Graph(ids, groups, hubs, components)


def _join(union: UnionFind, groups: Iterable[Group]) -> None:
    for group in groups:
        centre = (group.centres or group.members)[0]
        for member in group.members:
            union.union(centre, member)


def _named(pool: Sequence[EntryFacts], ids: Sequence[str]) -> list[Group]:
    """Return the entries that each document names, as far as they are in the pool."""
    index = {emdb_id: place for place, emdb_id in enumerate(ids)}
    groups = []
    for place, facts in enumerate(pool):
        others = {index[other] for other in facts.related if other in index} - {place}
        if others:
            members = tuple(sorted({place, *others}))
            groups.append(Group(f"xref:{facts.emdb_id}", members, (place,)))
    return groups


def _sequence_groups(
    pool: Sequence[EntryFacts], relations: Relations, union: UnionFind
) -> tuple[list[Group], list[Group]]:
    """Join by sequence clusters; return the groups and the hubs that were left out."""
    holders = grouped(sequence_clusters(facts, relations) for facts in pool)
    limit = relations.settings["hub_limit"]
    prefix = relations.seq_label
    hubs = [
        Group(f"{prefix}:{cluster}", tuple(members))
        for cluster, members in holders.items()
        if limit and len(members) > limit
    ]
    if limit:
        holders = {name: members for name, members in holders.items() if len(members) <= limit}
    if relations.settings["seq"] == "any":
        groups = [Group(f"{prefix}:{name}", tuple(members)) for name, members in holders.items()]
        _join(union, groups)
        return groups, hubs
    weights = [sequence_weights(facts, relations) for facts in pool]
    return _majority_groups(weights, holders, relations, union), hubs


def _majority_groups(
    weights: Sequence[Mapping[str, float]],
    holders: Mapping[str, Sequence[int]],
    relations: Relations,
    union: UnionFind,
) -> list[Group]:
    prefix, share = relations.seq_label, relations.settings["seq_major_share"]
    groups = [
        Group(f"{prefix}:{name}", tuple(holders[name]), tuple(centres))
        for name, centres in majority_centres(weights, share).items()
        if name in holders
    ]
    _join(union, groups)
    find: Callable[[int], int] = union.find
    pairs = [
        Group(f"{prefix}:{_some(clusters)}", (first, second))
        for first, second, clusters in remaining_pairs(weights, holders, find, share)
    ]
    _join(union, pairs)
    return groups + pairs


def _some(clusters: Sequence[str], shown: int = 3) -> str:
    more = f"+{len(clusters) - shown}more" if len(clusters) > shown else ""
    return "+".join(clusters[:shown]) + more
