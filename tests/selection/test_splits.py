"""Splits: shares, determinism, pins, and a proof that can fail."""

from __future__ import annotations

import os
import random
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cryoclarity.errors import ConfigError, CryoClarityError
from cryoclarity.selection.clusters import Entity
from cryoclarity.selection.facts import EntryFacts
from cryoclarity.selection.graph import build_graph, render
from cryoclarity.selection.proof import find_leaks, hub_leaks, prove
from cryoclarity.selection.settings import split_settings
from cryoclarity.selection.splits import assign, tie_break
from tests.selection.makers import brute_force_edges, random_pool, relations


def families(sizes) -> list[EntryFacts]:
    """Return entries of families of the given sizes: a family shares a model."""
    pool = []
    for family, size in enumerate(sizes):
        for _ in range(size):
            pool.append(EntryFacts(f"EMD-{len(pool) + 1:04d}", pdb_ids=(f"{family + 1:04d}",)))
    return pool


def assigned(pool, made=None, pinned=None, **given):
    graph = build_graph(pool, made or relations({}))
    return assign(graph, split_settings(given), pinned)


def test_largest_first_to_the_split_that_lacks_most():
    result = assigned(families([5, 2, 1, 1, 1]))
    # 8 / 1 / 1: 5 and 2 train (deficits 8, 3), then all lack one: ties in the order of splits.
    assert result.counts == {"train": 8, "val": 1, "test": 1}
    assert [result.split[f"EMD-{n:04d}"] for n in (1, 6, 8, 9, 10)] == [
        "train",
        "train",
        "train",
        "val",
        "test",
    ]
    assert result.group["EMD-0003"] == "EMD-0001"
    assert len(result.largest.members) == 5
    assert not result.notices


def test_order_of_ratios_does_not_matter():
    ratios = {"test": 0.1, "val": 0.1, "train": 0.8}
    assert assigned(families([5, 2, 1, 1, 1]), ratios=ratios) == assigned(families([5, 2, 1, 1, 1]))


def test_seed_breaks_ties_only():
    pool = families([4, 3, *[1] * 40])
    plain, first, second = (assigned(pool, seed=seed) for seed in (None, 1, 2))
    assert plain.counts == first.counts == second.counts
    assert first.split != second.split
    assert first.split == assigned(pool, seed=1).split
    big = [f"EMD-{n:04d}" for n in range(1, 8)]
    assert all(plain.split[one] == first.split[one] == second.split[one] for one in big)
    assert tie_break(None, "EMD-0012") == ("", 12)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(1, 12), min_size=1, max_size=30), st.randoms(), st.integers(0, 3))
def test_invariants_of_any_families(sizes, rng, seed):
    pool = families(sizes)
    made = relations({})
    result = assigned(pool, made, seed=seed or None)
    assert set(result.split) == {facts.emdb_id for facts in pool}
    prove(pool, made, result.split)
    allowed = max(0.02 * len(pool), max(sizes)) + 1e-6
    for name, count in result.counts.items():
        assert count == list(result.split.values()).count(name)
        assert abs(count - result.targets[name]) <= allowed
    rng.shuffle(pool)
    assert assigned(pool, made, seed=seed or None) == result


@pytest.mark.parametrize("case", [{}, {"seq": "major"}, {"hub_limit": 3}, {"xref": "named"}])
def test_leaks_are_found_by_comparing_all_pairs(case):
    """The proof against the rules themselves, on splits that ignore all relations."""
    for seed in range(25):
        pool, clusters = random_pool(seed)
        made = relations(clusters, **case)
        rng = random.Random(seed)
        split = {facts.emdb_id: rng.choice(["train", "val", "test", ""]) for facts in pool}
        found = find_leaks(pool, made, split)
        across = {
            tuple(sorted(pair, key=lambda one: "train val test".index(split[one])))
            for pair in brute_force_edges(pool, clusters, made.settings)
            if split[pair[0]] and split[pair[1]] and split[pair[0]] != split[pair[1]]
        }
        assert {(leak.related_split, leak.emdb_id) for leak in found} == {
            (split[first], second) for first, second in across
        }
        assert {(leak.related, leak.emdb_id) for leak in found} <= across


@pytest.mark.parametrize("case", [{}, {"seq": "major"}, {"xref": "named", "seq": "off"}])
def test_proof_fails_when_one_member_is_moved(case):
    failures = 0
    for seed in range(15):
        pool, clusters = random_pool(seed)
        made = relations(clusters, **case)
        graph = build_graph(pool, made)
        result = assign(graph, split_settings())
        prove(pool, made, result.split)
        for component in graph.components:
            for member in component.members if len(component.members) > 1 else ():
                other = "val" if result.split[member] != "val" else "test"
                with pytest.raises(CryoClarityError, match="SEL_SPLIT_LEAK"):
                    prove(pool, made, result.split | {member: other})
                failures += 1
    assert failures > 50


def test_giant_component_trains_and_the_others_fill_the_rest():
    result = assigned(families([90, *[1] * 10]))
    assert [notice.code for notice in result.notices] == ["SEL_COMPONENT_GIANT"]
    assert "90 of 100" in result.notices[0].message
    assert result.counts == {"train": 90, "val": 5, "test": 5}
    ratios = {"train": 0.3, "val": 0.6, "test": 0.1}
    assert assigned(families([90, *[1] * 10]), ratios=ratios).counts["train"] >= 90


def test_pin_takes_its_component_along():
    pins = {"EMD-0002": "test", "EMD-9999": "val", "EMD-0006": ""}
    result = assigned(families([3, 3, *[1] * 24]), pinned=pins)
    assert {result.split[f"EMD-000{n}"] for n in (1, 2, 3)} == {"test"}
    assert result.counts == {"train": 24, "val": 3, "test": 3}


def three_in_a_row():
    pool = [
        EntryFacts("EMD-0001", pdb_ids=("9za1",)),
        EntryFacts("EMD-0002", pdb_ids=("9za1", "9za2")),
        EntryFacts("EMD-0003", pdb_ids=("9za3",)),
        EntryFacts("EMD-0004", pdb_ids=("9za4",)),
    ]
    clusters = {"9za2": (Entity("4411", 80.0),), "9za3": (Entity("4411", 80.0),)}
    return pool, relations(clusters)


def test_pins_apart_stop_with_the_chain():
    pool, made = three_in_a_row()
    with pytest.raises(ConfigError) as caught:
        assigned(pool, made, {"EMD-0001": "train", "EMD-0003": "test"})
    assert caught.value.code == "SEL_SPLIT_LEAK"
    assert "EMD-0001 -pdb:9za1- EMD-0002 -seq30:4411- EMD-0003" in str(caught.value)
    assert "pinned to train" in str(caught.value)


def test_pins_apart_are_kept_and_told_when_asked():
    pool, made = three_in_a_row()
    pins = {"EMD-0001": "train", "EMD-0003": "test", "EMD-0004": "val"}
    result = assigned(pool, made, pins, pins="report")
    assert result.split == pins | {"EMD-0002": "train"}
    assert result.notices[0].code == "SEL_SPLIT_LEAK"
    assert render(result.conflicts[0]).startswith("EMD-0001 -pdb")
    (leak,) = prove(pool, made, result.split, apart=result.apart)
    assert leak.row() == {
        "emdb_id": "EMD-0003",
        "split": "test",
        "related": "EMD-0002",
        "related_split": "train",
        "edge": "seq30:4411",
    }
    assert result.apart == {"EMD-0001", "EMD-0002", "EMD-0003"}
    with pytest.raises(CryoClarityError, match="SEL_SPLIT_LEAK"):
        prove(pool, made, result.split)


def test_pins_that_spoil_the_shares_stop_with_the_numbers():
    pool = families([1] * 100)
    pins = {facts.emdb_id: "test" for facts in pool[:40]}
    with pytest.raises(ConfigError, match="train 60 of 80, val 0 of 10, test 40 of 10"):
        assigned(pool, pinned=pins)
    assert assigned(pool, pinned=pins, tolerance=0.5).counts["test"] == 40
    # Nothing is left to choose: a published split stays as it is.
    everything = {facts.emdb_id: "test" for facts in pool}
    assert assigned(pool, pinned=everything).counts == {"train": 0, "val": 0, "test": 100}


def test_held_out_set_takes_pinned_entries_only():
    pool = families([1] * 110)
    pins = {facts.emdb_id: "held_out" for facts in pool[:10]}
    result = assigned(pool, pinned=pins)
    assert result.counts == {"train": 80, "val": 10, "test": 10, "held_out": 10}


@pytest.mark.parametrize("name", ["trian", "held-out", "held_out_", "Test"])
def test_no_split_is_called_so(name):
    with pytest.raises(ConfigError, match=name):
        assigned(families([1] * 20), pinned={"EMD-0001": name})


def test_no_entries():
    result = assigned([])
    assert result.split == {} and result.counts == {"train": 0, "val": 0, "test": 0}


def test_pairs_that_the_hub_limit_left_apart():
    pool = [EntryFacts(f"EMD-{n:04d}", pdb_ids=(f"1a{n:02d}",)) for n in range(1, 31)]
    clusters = {facts.pdb_ids[0]: (Entity("7", 90.0),) for facts in pool}
    made = relations(clusters, hub_limit=10)
    graph = build_graph(pool, made)
    result = assign(graph, split_settings())
    prove(pool, made, result.split)
    leaks, count = hub_leaks(graph.hubs, result.split)
    assert count == len(leaks) == 24 * 3 + 24 * 3 + 3 * 3
    assert all(result.split[leak.emdb_id] == leak.split != leak.related_split for leak in leaks)
    few, same = hub_leaks(graph.hubs, result.split, limit=5)
    assert (len(few), same) == (5, count)


def test_wrong_settings():
    with pytest.raises(ConfigError, match=r"add to 1\.1"):
        split_settings({"ratios": {"train": 0.9, "val": 0.2}})
    with pytest.raises(ConfigError, match="unknown setting"):
        split_settings({"ratio": 1})


def test_one_entry_is_no_giant():
    result = assigned(families([1]))
    assert result.counts == {"train": 1, "val": 0, "test": 0} and not result.notices


HASHES = """
from cryoclarity.selection.graph import build_graph, render
from cryoclarity.selection.proof import find_leaks
from tests.selection.makers import random_pool, relations
for mode in ("any", "major"):
    pool, clusters = random_pool(5, 40)
    made = relations(clusters, seq=mode, hub_limit=6)
    graph = build_graph(pool, made)
    print(graph.groups, graph.hubs)
    for component in graph.components:
        print(render(graph.chain([component.name], component.members[1:])))
    split = {one: ("train", "val", "test")[n % 3] for n, one in enumerate(graph.ids)}
    print(find_leaks(pool, made, split))
"""


def test_nothing_depends_on_the_hashes_of_a_run(root):
    """Sets of texts come in another order in each process."""
    answers = {
        subprocess.run(
            [sys.executable, "-c", HASHES],
            cwd=root,
            env=os.environ | {"PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("0", "1", "2")
    }
    assert len(answers) == 1
