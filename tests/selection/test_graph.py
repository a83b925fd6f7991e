"""Components against comparison of each entry with each other; chains; union-find."""

from __future__ import annotations

import random
from collections import deque

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cryoclarity.selection.clusters import Entity, parse_clusters
from cryoclarity.selection.edges import nucleic_token, plain_doi
from cryoclarity.selection.facts import EntryFacts
from cryoclarity.selection.graph import UnionFind, build_graph, render
from tests.selection.makers import (
    brute_force_components,
    brute_force_edges,
    random_pool,
    relations,
)

CASES = (
    {},
    {"xref": "named", "citation": True},
    {"seq": "major"},
    {"seq": "major", "hub_limit": 3, "pdb": False, "xref": "off"},
    {"seq": "any", "hub_limit": 2, "data": False, "nucleic": False},
    {"seq": "off", "uniprot": "on", "pdb": False},
)


def components(graph):
    return {frozenset(component.members) for component in graph.components}


@pytest.mark.parametrize("case", range(len(CASES)))
def test_components_are_those_of_comparing_all_pairs(case):
    for seed in range(40):
        pool, clusters = random_pool(seed)
        pairs = [("EMD-0001", "EMD-0002"), ("EMD-0005", "EMD-0099")] if seed % 3 == 0 else []
        made = relations(clusters, pairs, **CASES[case])
        expected = brute_force_edges(pool, clusters, made.settings, pairs)
        assert components(build_graph(pool, made)) == brute_force_components(pool, expected)


@pytest.mark.parametrize("case", [2, 3])
def test_majority_by_several_clusters_together(case):
    """Models of many small chains: nobody has half of the residues in one cluster."""
    for seed in range(40):
        rng = random.Random(seed)
        pool = [EntryFacts(f"EMD-{n:04d}", pdb_ids=(f"3a{n:02d}",)) for n in range(1, 21)]
        clusters = {
            facts.pdb_ids[0]: tuple(
                Entity(str(name), 100.0) for name in rng.sample(range(14), rng.randint(3, 6))
            )
            for facts in pool
        }
        made = relations(clusters, **CASES[case])
        expected = brute_force_edges(pool, clusters, made.settings)
        assert components(build_graph(pool, made)) == brute_force_components(pool, expected)


def test_order_of_entries_does_not_matter():
    pool, clusters = random_pool(3, 30)
    made = relations(clusters)
    first = build_graph(pool, made)
    random.Random(0).shuffle(pool)
    assert build_graph(pool, made) == first


def shortest(edges, start, goal):
    near = {}
    for a, b in edges:
        near.setdefault(a, set()).add(b)
        near.setdefault(b, set()).add(a)
    steps, queue = {start: 0}, deque([start])
    while queue:
        item = queue.popleft()
        for other in near.get(item, ()):
            if other not in steps:
                steps[other] = steps[item] + 1
                queue.append(other)
    return steps.get(goal)


@pytest.mark.parametrize("xref", ["shared", "named"])
def test_chain_is_a_shortest_one_and_each_link_is_an_edge(xref):
    for seed in range(25):
        pool, clusters = random_pool(seed)
        made = relations(clusters, xref=xref)
        graph = build_graph(pool, made)
        edges = brute_force_edges(pool, clusters, made.settings)
        for component in graph.components:
            for goal in component.members[1:]:
                chain = graph.chain([component.name], [goal])
                assert len(chain) == shortest(edges, component.name, goal)
                assert all(tuple(sorted((one.first, one.second))) in edges for one in chain)
                assert chain[0].first == component.name and chain[-1].second == goal


def test_chain_reads_as_one_line():
    pool = [
        EntryFacts("EMD-0001", pdb_ids=("9za1",)),
        EntryFacts("EMD-0002", pdb_ids=("9za1", "9za2")),
        EntryFacts("EMD-0003", pdb_ids=("9za3",)),
    ]
    clusters = {"9za2": (Entity("4411", 80.0),), "9za3": (Entity("4411", 80.0),)}
    graph = build_graph(pool, relations(clusters))
    chain = graph.chain(["EMD-0001"], ["EMD-0003"])
    assert render(chain) == "EMD-0001 -pdb:9za1- EMD-0002 -seq30:4411- EMD-0003"
    assert render([]) == ""
    alone = build_graph(pool, relations(clusters, seq="off"))
    assert alone.chain(["EMD-0001"], ["EMD-0003"]) == []


def test_hub_joins_nobody_and_is_listed():
    pool = [EntryFacts(f"EMD-{n:04d}", pdb_ids=(f"1ab{n}",)) for n in range(1, 6)]
    clusters = {facts.pdb_ids[0]: (Entity("7", 90.0),) for facts in pool}
    clusters["1ab1"] += (Entity("8", 200.0),)
    clusters["1ab2"] += (Entity("8", 200.0),)
    graph = build_graph(pool, relations(clusters, hub_limit=4))
    assert [hub.label for hub in graph.hubs] == ["seq30:7"]
    assert len(graph.hubs[0].members) == 5
    assert [len(one.members) for one in graph.components] == [2, 1, 1, 1]
    assert not build_graph(pool, relations(clusters, hub_limit=5)).hubs


def test_short_entities_join_nobody():
    pool = [EntryFacts("EMD-0001", pdb_ids=("1aaa",)), EntryFacts("EMD-0002", pdb_ids=("1aab",))]
    for residues, count in ((39.0, 2), (40.0, 1), (None, 1)):
        clusters = {"1aaa": (Entity("1", residues),), "1aab": (Entity("1", residues),)}
        assert len(build_graph(pool, relations(clusters)).components) == count


def test_uniprot_stands_in_for_missing_clusters_only():
    pool = [EntryFacts("EMD-0001", uniprot=("P1",)), EntryFacts("EMD-0002", uniprot=("p1",))]
    assert len(build_graph(pool, relations(None)).components) == 1
    assert len(build_graph(pool, relations({})).components) == 2
    assert len(build_graph(pool, relations(None, uniprot="off")).components) == 2


def test_known_content_joins():
    pool = [EntryFacts("EMD-0001"), EntryFacts("EMD-0002"), EntryFacts("EMD-0003")]
    content = {"EMD-0001": ("ab",), "EMD-0003": ("cd", "ab")}
    graph = build_graph(pool, relations({}, content=content))
    assert [one.members for one in graph.components] == [("EMD-0001", "EMD-0003"), ("EMD-0002",)]


def test_constant_statistics_make_no_twins():
    for numbers in ((0.0, 0.0, 0.0, 0.0), (0.0, 1.0, 0.5, float("nan")), (1.0, 1.0, 1.0, 0.3)):
        pool = [EntryFacts(f"EMD-000{n}", size=(8, 8, 8), statistics=numbers) for n in (1, 2)]
        assert len(build_graph(pool, relations({})).components) == 2


def test_entries_that_name_one_outside_the_pool():
    pool = [EntryFacts(f"EMD-000{n}", related=("EMD-9999",)) for n in (1, 2)]
    assert len(build_graph(pool, relations({})).components) == 1
    assert len(build_graph(pool, relations({}, xref="named")).components) == 2


def test_nucleic_sequences():
    rna, dna = "ACGU" * 13, "ACGT" * 13
    assert nucleic_token(rna, 50) == nucleic_token(f" {dna[:20]} {dna[20:].lower()}\n", 50) != ""
    assert nucleic_token("ACGU" * 12, 50) == ""
    assert nucleic_token("N" * 60, 50) == ""
    assert nucleic_token("(PSU)" + "A" * 49, 50) == nucleic_token("(5MC)" + "A" * 49, 50) != ""
    assert nucleic_token("(PSU)" + "A" * 48, 50) == ""


def test_doi_is_one_in_any_spelling():
    texts = ("doi:10.1/AB", "10.1/ab", "https://doi.org/10.1/ab", " DOI:10.1/ab")
    assert {plain_doi(text) for text in texts} == {"10.1/ab"}


def test_cluster_file(shared):
    path = shared / "reference/api/clusters-by-entity-30.txt"
    lines = path.read_text().splitlines()
    wanted = {"9za1", "9zb1", "9zb2", "9ze1"}
    found = parse_clusters(lines, wanted, {"9za1_1": 250.0})
    assert found["9za1"] == (Entity("1", 250.0, "9za1_1"),)
    assert found["9zb1"][0].cluster == found["9zb2"][0].cluster
    assert set(found) == wanted


def test_computed_models_and_other_tokens_are_skipped():
    lines = ["1ABC_1 AF_AFP00000F1_1 1ABC 1abc_x", "", "PDB_00001ABC_2 1ABC_2"]
    found = parse_clusters(lines, {"pdb_00001abc", "af_afp00000f1"})
    assert {name: [one.cluster for one in found[name]] for name in found} == {
        "1abc": ["1", "3", "3"]
    }


def test_long_and_short_pdb_ids_are_one():
    pool = [
        EntryFacts("EMD-0001", pdb_ids=("1abc",)),
        EntryFacts("EMD-0002", pdb_ids=("pdb_00001abc",)),
        EntryFacts("EMD-0003", pdb_ids=("pdb_10001abc",)),
    ]
    assert len(build_graph(pool, relations({})).components) == 2
    clusters = parse_clusters(["1ABC_1", "PDB_10001ABC_1"], ["pdb_00001abc", "pdb_10001abc"])
    assert set(clusters) == {"1abc", "pdb_10001abc"}
    assert len(build_graph(pool, relations(clusters, pdb=False)).components) == 2


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 29), st.integers(0, 29)), max_size=60))
def test_union_find_holds_its_invariants(pairs):
    union = UnionFind(30)
    joined = sum(union.union(a, b) for a, b in pairs)
    sets = union.sets()
    assert len(sets) == 30 - joined
    assert sorted(item for one in sets for item in one) == list(range(30))
    assert all(union.find(a) == union.find(b) for a, b in pairs)
    assert [one[0] for one in sets] == sorted(min(one) for one in sets)
    edges = {(f"{a:02d}", f"{b:02d}") for a, b in pairs if a != b}
    pool = [EntryFacts(f"{n:02d}") for n in range(30)]
    expected = brute_force_components(pool, edges)
    assert {frozenset(f"{item:02d}" for item in one) for one in sets} == expected
