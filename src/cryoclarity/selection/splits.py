"""Assignment of whole components to splits."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from cryoclarity.errors import ConfigError
from cryoclarity.selection.facts import accession_number
from cryoclarity.selection.graph import Component, Graph, Link, render

ORDER = ("train", "val", "test")
# Sets of a name of their own that nothing is trained on or chosen by.
HELD_OUT = re.compile(r"held_out(_[a-z0-9_]+)?")


class Notice(NamedTuple):
    """A warning with its reason code."""

    code: str
    message: str


@dataclass(frozen=True, slots=True)
class Assignment:
    """Where each entry stands.

    Attributes
    ----------
    split, group : dict
        EMDB id to split, and to the name of its component.
    counts : dict
        Entries in each split.
    targets : dict
        Entries each split should have.
    largest : Component
        The largest component.
    notices : list of Notice
    conflicts : list of tuple of Link
        Shortest chains between entries pinned to different splits (`pins: report` only).
    apart : frozenset of str
        EMDB ids of all components that such pins cut.
    """

    split: dict[str, str]
    group: dict[str, str]
    counts: dict[str, int]
    targets: dict[str, float]
    largest: Component
    notices: list[Notice]
    conflicts: list[tuple[Link, ...]]
    apart: frozenset[str]


def is_split(name: str) -> bool:
    """Whether a split may be called so: train, val, test, held_out, held_out_NAME."""
    return name in ORDER or bool(HELD_OUT.fullmatch(name))


def _place_of(name: str) -> tuple[int, str]:
    """Order splits: train, val, test, then other names."""
    return (ORDER.index(name) if name in ORDER else len(ORDER), name)


def tie_break(seed: int | None, emdb_id: str) -> tuple[str, int]:
    """Return what orders components of equal size: smallest id, or a hash when a seed is given."""
    digest = hashlib.sha256(f"{seed}{emdb_id}".encode()).hexdigest()
    digest = "" if seed is None else digest
    return digest, accession_number(emdb_id)


def assign(
    graph: Graph,
    settings: Mapping[str, Any],
    pins: Mapping[str, str] | None = None,
) -> Assignment:
    """Give each component to a split: the largest first, to the split that lacks most.

    Parameters
    ----------
    graph : Graph
    settings : dict
        Of :func:`cryoclarity.selection.settings.split_settings`.
    pins : mapping, optional
        EMDB id to the split that it must stand in; it takes its whole component along. Splits
        without a share (held-out sets) take pinned components only.

    Returns
    -------
    Assignment
        The same for any order of the entries.

    Raises
    ------
    ConfigError
        SEL_SPLIT_LEAK: one component holds entries pinned to different splits; CONFIG: a pinned
        entry's split is unknown, or a split misses its share by more than the tolerance.
    """
    pins = {emdb_id: name for emdb_id, name in (pins or {}).items() if name}
    pins = {emdb_id: name for emdb_id, name in pins.items() if emdb_id in graph.index}
    ratios = {name: settings["ratios"][name] for name in sorted(settings["ratios"], key=_place_of)}
    order = [*ratios, *sorted(set(pins.values()) - set(ratios))]
    ordered = sorted(
        graph.components,
        key=lambda item: (-len(item.members), *tie_break(settings["seed"], item.name)),
    )
    strange = [name for name in order if not is_split(name)]
    if strange:
        raise ConfigError(
            f"{strange[0]!r} is no split", remedy="name it train, val, test or held_out_NAME"
        )
    pinned, free, conflicts = _divide(ordered, pins)
    chains = [_conflict_chain(graph, component, pins) for component in conflicts]
    if conflicts and settings["pins"] == "stop":
        raise _leak(chains, pins)
    counts = dict.fromkeys(order, 0)
    split: dict[str, str] = {}
    for component in pinned:
        role = next(pins[one] for one in component.members if one in pins)
        _place(component, role, split, counts)
    for component in conflicts:
        _place_conflict(component, pins, order, split, counts)
    # A held-out set has no share: what it takes is not there to be shared.
    total = len(graph.ids) - sum(counts[name] for name in order if not ratios.get(name))
    targets = {name: ratios.get(name, 0.0) * total for name in order}
    giant = max(targets.values(), default=0.0)
    _place_free(free, targets, giant, split, counts)
    notices = [Notice("SEL_SPLIT_LEAK", f"pins kept apart: {render(chain)}") for chain in chains]
    notices += _giants(ordered, giant, len(graph.ids))
    largest = ordered[0] if ordered else Component("", ())
    if free:
        _check_shares(counts, targets, total, len(largest.members), settings["tolerance"])
    group = {one: component.name for component in ordered for one in component.members}
    apart = frozenset(one for component in conflicts for one in component.members)
    return Assignment(split, group, counts, targets, largest, notices, chains, apart)


def _divide(
    components: Sequence[Component], pins: Mapping[str, str]
) -> tuple[list[Component], list[Component], list[Component]]:
    """Return the components with one pinned split, with none, and with several."""
    kinds: tuple[list[Component], ...] = ([], [], [])
    for component in components:
        roles = {pins[one] for one in component.members if one in pins}
        kinds[(1, 0, 2)[min(len(roles), 2)]].append(component)
    return kinds


def _conflict_chain(
    graph: Graph, component: Component, pins: Mapping[str, str]
) -> tuple[Link, ...]:
    """Return the shortest chain between two entries of a component pinned apart."""
    by_role: dict[str, list[str]] = {}
    for one in component.members:
        if one in pins:
            by_role.setdefault(pins[one], []).append(one)
    chains = []
    for role in sorted(by_role, key=_place_of):
        starts = by_role[role]
        goals = [one for other, ones in by_role.items() if other != role for one in ones]
        chains.append(graph.chain(starts, goals))
    return tuple(min(chains, key=len))


def _leak(chains: Sequence[tuple[Link, ...]], pins: Mapping[str, str]) -> ConfigError:
    chain = min(chains, key=len)
    first, last = chain[0].first, chain[-1].second
    return ConfigError(
        f"{first} is pinned to {pins[first]}, {last} to {pins[last]}, and they are relatives: "
        f"{render(chain)}; groups of relatives pinned apart: {len(chains)}",
        code="SEL_SPLIT_LEAK",
        remedy="pin relatives to one split, or set pins to report to keep a published split",
    )


def _place(component: Component, name: str, split: dict[str, str], counts: dict[str, int]) -> None:
    for one in component.members:
        split[one] = name
    counts[name] += len(component.members)


def _place_conflict(
    component: Component,
    pins: Mapping[str, str],
    order: Sequence[str],
    split: dict[str, str],
    counts: dict[str, int],
) -> None:
    """Keep each pin; the others go where most of the pinned ones are."""
    roles = [pins[one] for one in component.members if one in pins]
    common = max(order, key=roles.count)
    for one in component.members:
        split[one] = pins.get(one, common)
        counts[split[one]] += 1


def _place_free(
    free: Sequence[Component],
    targets: Mapping[str, float],
    giant: float,
    split: dict[str, str],
    counts: dict[str, int],
) -> None:
    """Give each component to the split that lacks most; one beyond any share trains."""
    shared = [name for name, target in targets.items() if target > 0] or list(targets)
    for component in free:
        name = max(shared, key=lambda one: targets[one] - counts[one])
        if len(component.members) > giant:
            name = shared[0]
        _place(component, name, split, counts)


def _giants(ordered: Sequence[Component], giant: float, total: int) -> list[Notice]:
    """Warn of components that are larger than the largest split should be."""
    return [
        Notice(
            "SEL_COMPONENT_GIANT",
            f"group {component.name} holds {len(component.members)} of {total} entries "
            f"({len(component.members) / total:.1%}), more than any split's share",
        )
        for component in ordered
        if len(component.members) > max(giant, 1)  # one entry alone is no giant
    ]


def _check_shares(
    counts: Mapping[str, int],
    targets: Mapping[str, float],
    total: int,
    largest: int,
    tolerance: float,
) -> None:
    """Stop when a split misses its share; a component cannot be cut, so its size is allowed."""
    allowed = max(tolerance * total, largest) + 1e-6
    missed = [name for name in counts if abs(counts[name] - targets[name]) > allowed]
    # Held-out sets have no share to miss.
    missed = [name for name in missed if targets[name] > 0]
    if missed:
        numbers = ", ".join(f"{name} {counts[name]} of {targets[name]:.0f}" for name in counts)
        raise ConfigError(
            f"splits miss their shares by more than {allowed:.0f} entries: {numbers}",
            remedy="unpin entries, change the ratios or raise the tolerance",
        )
