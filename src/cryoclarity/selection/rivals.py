"""Choices among entries and among models: duplicates, redundancy, rank, weight."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cryoclarity.selection.clusters import Clusters, clusters_of
from cryoclarity.selection.facts import EntryFacts, accession_number
from cryoclarity.selection.filters import Finding, Verdict, finding_of


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """What is known of one of several models of a map; None or empty: not known."""

    residues: float | None = None
    resolution: float | None = None
    mean_q: float | None = None
    release_date: str = ""


def rank(facts: EntryFacts) -> tuple[float, float, str, int]:
    """Return a sort key, best first: resolution, mean Q, earlier release, accession number."""
    return (
        math.inf if facts.resolution is None else facts.resolution,
        math.inf if facts.mean_q is None else -facts.mean_q,
        facts.release_date or "9999",
        accession_number(facts.emdb_id),
    )


def chosen_model(
    facts: EntryFacts,
    mode: str = "one",
    models: Mapping[str, ModelFacts] | None = None,
) -> str:
    """Return the model that stands in the manifest.

    Parameters
    ----------
    facts : EntryFacts
    mode : {'one', 'best'}
        `one` answers only when there is no choice.
    models : mapping, optional
        PDB id to what is known of it.

    Returns
    -------
    str
        PDB id, empty without a model. `best` prefers FULLOVERLAP, then most residues, then the
        order of :func:`rank`.
    """
    if len(facts.pdb_ids) < 2:
        return facts.pdb_ids[0] if facts.pdb_ids else ""
    if mode == "one":
        return ""
    words = dict(facts.overlaps)
    unknown = ModelFacts()

    def key(pdb_id: str) -> tuple:
        model = (models or {}).get(pdb_id, unknown)
        return (
            words.get(pdb_id, "").upper() != "FULLOVERLAP",
            -(model.residues or 0),
            math.inf if model.resolution is None else model.resolution,
            math.inf if model.mean_q is None else -model.mean_q,
            model.release_date or "9999",
            pdb_id,
        )

    return min(facts.pdb_ids, key=key)


def copies_weight(copies: int, power: float = 0.5) -> float:
    """Return the sampling weight of an entry: 1 / copies^power.

    A capsid of sixty equal chains shows one fold sixty times.
    """
    return 1 / max(copies, 1) ** power


def content_key(facts: EntryFacts, digits: int = 7) -> str:
    """Return a text that equal maps share: sizes and statistics; empty when it says nothing.

    Parameters
    ----------
    facts : EntryFacts
    digits : int
        Significant digits of the statistics.
    """
    numbers = facts.statistics
    if facts.size is None or numbers is None or len(numbers) < 4:
        return ""
    # Constant or unset statistics would make twins of all maps of one size.
    if not all(map(math.isfinite, numbers)) or not numbers[3] > 0 or numbers[0] == numbers[1]:
        return ""
    size = "x".join(map(str, facts.size))
    return f"{size}:" + ":".join(f"{number:.{digits}g}" for number in numbers[:4])


def duplicate_data(
    kept: Sequence[EntryFacts],
    p: Mapping[str, Any],
    *,
    keys: Mapping[str, str] | None = None,
    trusted: Collection[str] = (),
) -> list[Finding]:
    """F22: of entries with the same map the lowest accession number stays.

    Parameters
    ----------
    kept : sequence of EntryFacts
        Entries that passed the filters before.
    p : settings of the filter
    keys : mapping, optional
        EMDB id to sha256 of the map's canonical content: proof after download. Without it the
        statistics of the documents are compared: a guess.
    trusted : collection of str
        EMDB ids whose hits only warn.
    """
    if not p["enabled"]:
        return []
    groups: dict[str, list[str]] = {}
    for facts in kept:
        key = content_key(facts, p["digits"]) if keys is None else keys.get(facts.emdb_id, "")
        if key:
            groups.setdefault(key, []).append(facts.emdb_id)
    findings = []
    for key, members in groups.items():
        first, *others = sorted(members, key=accession_number)
        for other in others:
            verdict = Verdict(f"same map as {first} ({key})", "one entry per map")
            findings.append(finding_of(other, "F22_duplicate_data", verdict, p, other in trusted))
    return _sorted(findings)


def redundant(
    kept: Sequence[EntryFacts],
    clusters: Clusters,
    p: Mapping[str, Any],
    *,
    trusted: Collection[str] = (),
) -> list[Finding]:
    """F21: an entry goes when a better one has all its sequence clusters.

    Parameters
    ----------
    kept : sequence of EntryFacts
        Entries that passed all other filters.
    clusters : mapping
        Sequence clusters by PDB id.
    p, trusted
        See :func:`duplicate_data`. A trusted entry stays and still stands for others.
    """
    if not p["enabled"]:
        return []
    findings = []
    holders: dict[str, list[int]] = {}  # cluster -> better entries that hold it, best first
    better: list[tuple[str, frozenset[str]]] = []
    for facts in sorted(kept, key=rank):
        own = frozenset(clusters_of(facts, clusters))
        if not own:
            continue
        rarest = min((holders.get(cluster, ()) for cluster in own), key=len)
        first = next((better[place][0] for place in rarest if own <= better[place][1]), "")
        if first:
            verdict = Verdict(f"{first} has all its sequences", "one entry per set of clusters")
            trust = facts.emdb_id in trusted
            findings.append(finding_of(facts.emdb_id, "F21_redundant", verdict, p, trust))
            if findings[-1].outcome == "drop":
                continue  # the better one stands for it
        for cluster in own:
            holders.setdefault(cluster, []).append(len(better))
        better.append((facts.emdb_id, own))
    return _sorted(findings)


def _sorted(findings: list[Finding]) -> list[Finding]:
    return sorted(findings, key=lambda finding: accession_number(finding.emdb_id))
