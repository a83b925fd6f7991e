"""Kinship between entries, groups that must stay together, and proof that splits keep them so."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import combinations

from cryoclarity.boxes.sequences import (
    LEAST_ALIGNED,
    ChainSequence,
    encode,
    long_words,
    related_by_identity,
    telling,
)
from cryoclarity.errors import ConfigError

# Two models are the same molecule when chains found in both hold this share of either.
SAME_CHAINS_SHARE = 0.5
SHORTEST_CHAIN = 5


@dataclass(frozen=True)
class EntryFacts:
    """What kinship is judged by.

    Attributes
    ----------
    emdb_id, split, group, pdb_id : str
        As in the entry table; empty when unknown.
    content : mapping of kind to sha256
        Canonical content of the map and half maps.
    sequences : different chain sequences of the model
    """

    emdb_id: str
    split: str = ""
    group: str = ""
    pdb_id: str = ""
    content: Mapping[str, str] = field(default_factory=dict)
    sequences: tuple[ChainSequence, ...] = ()


@dataclass(frozen=True, order=True)
class Edge:
    """Two entries, first id smaller, and what joins them.

    Attributes
    ----------
    kind : 'group', 'pdb', 'data', 'chains', 'word', 'nucleic' or 'seq30'
    detail : str
        The value that both share.
    """

    first: str
    second: str
    kind: str
    detail: str


def find_edges(entries: Iterable[EntryFacts]) -> list[Edge]:
    """Return every kinship between entries, sorted; one edge per pair and kind.

    Kinds
    -----
    pdb : the same model
    data : a map or half map of identical content
    chains : chains of equal sequence (5 residues or more) that make up half of either model
    word : 12 equal residues in a row, at least 5 of them different
    nucleic : 50 equal nucleotides in a row
    seq30 : protein chains of 40 residues or more with 30 % identity; looked for only where nothing
        above joins the pair already, since every alignment costs about a millisecond
    """
    entries = sorted(entries, key=lambda entry: entry.emdb_id)
    edges = {}
    for edge in (*_shared_facts(entries), *_shared_chains(entries), *_shared_words(entries)):
        edges.setdefault((edge.first, edge.second, edge.kind), edge)
    joined = {(first, second) for first, second, _ in edges}
    return sorted([*edges.values(), *_similar_chains(entries, joined)])


def _pairs(members: Mapping[str, Iterable[str]], kind: str) -> Iterator[Edge]:
    """Edges between all entries that have a value in common, value by value."""
    for value in sorted(members):
        for first, second in combinations(sorted(set(members[value])), 2):
            yield Edge(first, second, kind, value)


def _shared_facts(entries: list[EntryFacts]) -> Iterator[Edge]:
    models: dict[str, list[str]] = {}
    content: dict[str, list[str]] = {}
    for entry in entries:
        if entry.pdb_id:
            models.setdefault(entry.pdb_id.lower(), []).append(entry.emdb_id)
        for sha256 in entry.content.values():
            content.setdefault(sha256, []).append(entry.emdb_id)
    yield from _pairs(models, "pdb")
    yield from _pairs(content, "data")


def _shared_chains(entries: list[EntryFacts]) -> Iterator[Edge]:
    """Entries whose models consist of equal chains, however short these are."""
    owners: dict[ChainSequence, list[EntryFacts]] = {}
    for entry in entries:
        for sequence in entry.sequences:
            if sequence.residues >= SHORTEST_CHAIN and telling(sequence.letters, sequence.kind):
                owners.setdefault(sequence, []).append(entry)
    shared: dict[tuple[str, str], int] = {}
    for sequence, members in owners.items():
        for a, b in combinations(members, 2):
            pair = (a.emdb_id, b.emdb_id)
            shared[pair] = shared.get(pair, 0) + sequence.residues
    totals = {e.emdb_id: sum(s.residues for s in e.sequences) for e in entries}
    for (first, second), residues in shared.items():
        share = residues / min(totals[first], totals[second])
        if share >= SAME_CHAINS_SHARE:
            yield Edge(first, second, "chains", f"{share:.0%} of the smaller model")


def _shared_words(entries: list[EntryFacts]) -> Iterator[Edge]:
    owners: dict[str, dict[str, set[str]]] = {"protein": {}, "nucleic": {}}
    for entry in entries:
        for sequence in entry.sequences:
            for word in long_words(sequence):
                owners[sequence.kind].setdefault(word, set()).add(entry.emdb_id)
    for kind, name in (("protein", "word"), ("nucleic", "nucleic")):
        shared = {word: ids for word, ids in owners[kind].items() if len(ids) > 1}
        yield from _pairs(shared, name)


def _similar_chains(entries: list[EntryFacts], joined: set[tuple[str, str]]) -> Iterator[Edge]:
    owners: dict[str, set[str]] = {}
    for entry in entries:
        for sequence in entry.sequences:
            if sequence.kind == "protein" and sequence.residues >= LEAST_ALIGNED:
                owners.setdefault(sequence.letters, set()).add(entry.emdb_id)
    # Longest first: a long query amortises the rows over many short sequences.
    letters = sorted(owners, key=lambda s: (-len(s), s))
    encoded = [encode(sequence) for sequence in letters]
    found: dict[tuple[str, str], float] = {}
    for number, query in enumerate(encoded):
        others = [
            k
            for k in range(number + 1, len(letters))
            if _unjoined(owners[letters[number]], owners[letters[k]], joined)
        ]
        for hit, share in related_by_identity(query, [encoded[k] for k in others]):
            for pair in _unjoined(owners[letters[number]], owners[letters[others[hit]]], joined):
                found[pair] = max(share, found.get(pair, 0.0))
    for (first, second), share in found.items():
        yield Edge(first, second, "seq30", f"identity {share:.0%}")


def _unjoined(
    mine: set[str], theirs: set[str], joined: set[tuple[str, str]]
) -> list[tuple[str, str]]:
    pairs = {(min(a, b), max(a, b)) for a in mine for b in theirs if a != b}
    return sorted(pairs - joined)


def group_edges(entries: Iterable[EntryFacts]) -> list[Edge]:
    """Return the edges that the group column of the entry table claims."""
    groups: dict[str, list[str]] = {}
    for entry in entries:
        if entry.group:
            groups.setdefault(entry.group, []).append(entry.emdb_id)
    return list(_pairs(groups, "group"))


def leaking(edges: Iterable[Edge], entries: Iterable[EntryFacts]) -> list[Edge]:
    """Return the edges whose two entries are in different splits; entries without one are free."""
    split = {entry.emdb_id: entry.split for entry in entries}
    return [
        edge
        for edge in edges
        if split[edge.first] and split[edge.second] and split[edge.first] != split[edge.second]
    ]


def refuse_leaks(edges: Iterable[Edge], entries: Iterable[EntryFacts]) -> None:
    """Stop when kin are in different splits.

    Raises
    ------
    ConfigError
        SEL_SPLIT_LEAK with the first pair, its splits and what joins it.
    """
    entries = list(entries)
    leaks = leaking(edges, entries)
    if not leaks:
        return
    split = {entry.emdb_id: entry.split for entry in entries}
    edge = leaks[0]
    more = f" ({len(leaks)} such edges in all)" if len(leaks) > 1 else ""
    raise ConfigError(
        f"{edge.first} ({split[edge.first]}) and {edge.second} ({split[edge.second]}) are joined "
        f"by {edge.kind} {edge.detail}{more}",
        code="SEL_SPLIT_LEAK",
        remedy="put both entries into one split in the entry table",
    )


def compute_groups(entries: Iterable[EntryFacts]) -> dict[str, str]:
    """Return the group of every entry: the smallest id of all that are kin, near or far.

    What the table says already counts too: groups grow, they never break up.
    """
    entries = list(entries)
    parent = {entry.emdb_id: entry.emdb_id for entry in entries}

    def root(name: str) -> str:
        while parent[name] != name:
            parent[name] = parent[parent[name]]
            name = parent[name]
        return name

    for edge in (*find_edges(entries), *group_edges(entries)):
        low, high = sorted((root(edge.first), root(edge.second)))
        parent[high] = low
    return {name: root(name) for name in sorted(parent)}
