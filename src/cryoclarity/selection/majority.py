"""Sequence edges by majority: entries whose shared clusters hold half of either one's residues.

An entry with most of its residues in one cluster is joined with all of that cluster by grouping.
Only entries without such a cluster have to be compared, and only with those whom they are not yet
joined with: a large family costs one comparison, not one per pair.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

Weights = Sequence[Mapping[str, float]]


def majority_centres(weights: Weights, share: float) -> dict[str, list[int]]:
    """Return for each cluster the entries that hold at least a share of their residues in it."""
    centres: dict[str, list[int]] = {}
    for index, own in enumerate(weights):
        needed = least(own, share)
        for cluster, weight in own.items():
            if 0 < needed <= weight:
                centres.setdefault(cluster, []).append(index)
    return centres


class _Labels:
    """Component labels of all entries at once: the smaller component is relabelled."""

    def __init__(self, labels: np.ndarray) -> None:
        self.labels = labels
        order = np.argsort(labels, kind="stable")
        values, starts = np.unique(labels[order], return_index=True)
        self.members = dict(zip(values.tolist(), np.split(order, starts[1:].tolist()), strict=True))

    def join(self, first: int, second: int) -> None:
        a, b = int(self.labels[first]), int(self.labels[second])
        if a == b:
            return
        if len(self.members[a]) < len(self.members[b]):
            a, b = b, a
        moved = self.members.pop(b)
        self.labels[moved] = a
        self.members[a] = np.concatenate([self.members[a], moved])


def remaining_pairs(
    weights: Weights,
    holders: Mapping[str, Sequence[int]],
    component: Callable[[int], int],
    share: float,
) -> list[tuple[int, int, tuple[str, ...]]]:
    """Find pairs that share enough residues only by several clusters together.

    Parameters
    ----------
    weights : sequence of dict
        Clusters of each entry and its residues in each.
    holders : mapping
        Cluster to the entries that hold it; two or more.
    component : callable
        Component of an entry, after all joins by grouping.
    share : float
        Share of either entry's residues.

    Returns
    -------
    list of (int, int, tuple of str)
        Pairs and the clusters they share. Not every pair there is: enough to join all that
        belong together.
    """
    state = _Labels(np.fromiter(map(component, range(len(weights))), np.int64, len(weights)))
    arrays = {cluster: np.asarray(members) for cluster, members in holders.items()}
    closed: set[str] = set()  # clusters whose holders are one component: nothing left to join
    pairs = []
    for index, own in enumerate(weights):
        # With one shared cluster a pair needs a majority in it, and is joined by grouping.
        shared = sorted(cluster for cluster in own if cluster in arrays)
        if len(shared) < 2 or sum(own[cluster] for cluster in shared) < least(own, share):
            continue
        for other in _partners(index, own, shared, arrays, closed, state, share):
            if state.labels[other] != state.labels[index]:
                common = tuple(cluster for cluster in shared if cluster in weights[other])
                pairs.append((index, other, common))
                state.join(index, other)
    return pairs


def _partners(
    index: int,
    own: Mapping[str, float],
    shared: Sequence[str],
    arrays: Mapping[str, np.ndarray],
    closed: set[str],
    state: _Labels,
    share: float,
) -> list[int]:
    """Return entries of other components that hold at least a share of this one's residues."""
    candidates, amounts = [], []
    for cluster in shared:
        if cluster in closed:
            continue
        members = arrays[cluster]
        others = members[state.labels[members] != state.labels[index]]
        if not len(others):
            closed.add(cluster)
            continue
        candidates.append(others)
        amounts.append(np.full(len(others), own[cluster]))
    if not candidates:
        return []
    found, place = np.unique(np.concatenate(candidates), return_inverse=True)
    sums = np.bincount(place, weights=np.concatenate(amounts))
    return found[sums >= least(own, share)].tolist()


def least(own: Mapping[str, float], share: float) -> float:
    """Return the residues that make a majority; sums in another order must not decide."""
    return share * sum(own.values()) * (1 - 1e-9)
