"""Entries for the tests."""

from __future__ import annotations

import random
from itertools import combinations

from cryoclarity.selection.clusters import Entity
from cryoclarity.selection.edges import Relations
from cryoclarity.selection.facts import EntryFacts
from cryoclarity.selection.settings import edge_settings


def good_entry(number: int = 9001, **changed) -> EntryFacts:
    """Return an entry that passes every filter."""
    facts = {
        "status": "REL",
        "method": "singleParticle",
        "resolution": 3.2,
        "resolution_method": "FSC 0.143 CUT-OFF",
        "title": "Structure of an example",
        "release_date": "2021-06-09",
        "pdb_ids": (f"{1 + number % 9}{number % 36**3:03x}"[:4],),
        "half_maps": ("a.map.gz", "b.map.gz"),
        "size": (64, 64, 64),
        "voxel_size": (1.2, 1.2, 1.2),
        "size_kbytes": 1049.0,
        "statistics": (-0.031, 0.086, -1.2e-05, 0.0033 + number * 1e-6),
        "details": "example",
        "software": ("RELION",),
        "protein_residues": 600.0,
        "model_resolution": 3.2,
        "has_document": True,
    }
    return EntryFacts(f"EMD-{number:04d}", **(facts | changed))


def relations(clusters=None, pairs=(), content=None, **settings) -> Relations:
    """Return relations with the defaults of all settings not named."""
    return Relations(edge_settings(settings), clusters, pairs, content or {})


def random_pool(seed: int, count: int = 14) -> tuple[list[EntryFacts], dict]:
    """Return a small pool with every kind of relation, and its clusters."""
    rng = random.Random(seed)
    pool, clusters = [], {}
    for number in range(1, count + 1):
        pdb_ids = tuple({f"1ab{rng.randint(0, 9)}" for _ in range(rng.randint(0, 2))})
        pool.append(
            EntryFacts(
                f"EMD-{number:04d}",
                pdb_ids=tuple(sorted(pdb_ids)) if rng.random() < 0.3 else (f"2a{number:02d}",),
                related=tuple(
                    f"EMD-{rng.randint(1, 30):04d}" for _ in range(rng.choice([0, 0, 1]))
                ),
                size=(8, 8, 8),
                statistics=(0.0, 1.0, 0.5, float(rng.choice([0.1, 0.2, number + 1]))),
                doi=rng.choice(["", "", f"doi:10.1/{rng.randint(0, 9)}"]),
                uniprot=(f"P{rng.randint(0, 30)}",),
                nucleic_sequences=(rng.choice("ACGT") + "ACGT" * rng.randint(10, 16),),
                has_document=True,
            )
        )
    for pdb_id in sorted({pdb_id for facts in pool for pdb_id in facts.pdb_ids}):
        clusters[pdb_id] = tuple(
            Entity(str(rng.randint(1, 25)), float(rng.choice([20, 40, 100, 300])))
            for _ in range(rng.randint(0, 4))
        )
    return pool, clusters


def _weights(facts, clusters, min_residues):
    weights = {}
    for pdb_id in facts.pdb_ids:
        for entity in clusters.get(pdb_id, ()):
            if entity.residues >= min_residues:
                weights[entity.cluster] = weights.get(entity.cluster, 0) + entity.residues
    return weights


def _rna(text):
    return text.replace("T", "U")


def brute_force_edges(pool, clusters, settings, pairs=()) -> set[tuple[str, str]]:
    """Compare each entry with each other, straight from the rules."""
    weights = {facts.emdb_id: _weights(facts, clusters, 40) for facts in pool}
    counts = {}
    for own in weights.values():
        for name in own:
            counts[name] = counts.get(name, 0) + 1
    limit = settings["hub_limit"]
    edges = set()
    for a, b in combinations(sorted(pool, key=lambda facts: facts.emdb_id), 2):
        named_a, named_b = {a.emdb_id, *a.related}, {b.emdb_id, *b.related}
        rules = {
            "pdb": bool(set(a.pdb_ids) & set(b.pdb_ids)),
            "data": bool(a.statistics) and a.statistics == b.statistics and a.size == b.size,
            "citation": bool(a.doi) and a.doi == b.doi,
            "nucleic": any(
                len(one) >= 50 and _rna(one) == _rna(other)
                for one in a.nucleic_sequences
                for other in b.nucleic_sequences
            ),
        }
        joined = any(rules[name] and settings[name] for name in rules)
        joined |= settings["uniprot"] == "on" and bool(set(a.uniprot) & set(b.uniprot))
        joined |= settings["xref"] == "shared" and bool(named_a & named_b)
        named = a.emdb_id in b.related or b.emdb_id in a.related
        joined |= settings["xref"] == "named" and named
        joined |= (a.emdb_id, b.emdb_id) in pairs or (b.emdb_id, a.emdb_id) in pairs
        own, other = weights[a.emdb_id], weights[b.emdb_id]
        shared = [name for name in set(own) & set(other) if not limit or counts[name] <= limit]
        if settings["seq"] == "any":
            joined |= bool(shared)
        elif settings["seq"] == "major" and shared:
            joined |= any(
                2 * sum(side[name] for name in shared) >= sum(side.values())
                for side in (own, other)
            )
        if joined:
            edges.add((a.emdb_id, b.emdb_id))
    return edges


def brute_force_components(pool, edges) -> set[frozenset[str]]:
    """Grow sets of relatives until nothing changes."""
    sets = [{facts.emdb_id} for facts in pool]
    for a, b in edges:
        first = next(one for one in sets if a in one)
        second = next(one for one in sets if b in one)
        if first is not second:
            first |= second
            sets.remove(second)
    return {frozenset(one) for one in sets}
