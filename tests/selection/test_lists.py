"""Published lists, a user's own list, leakage between lists."""

from __future__ import annotations

from collections import Counter

import pytest

from cryoclarity.errors import ConfigError
from cryoclarity.io.tables import read_table, write_table
from cryoclarity.selection.facts import EntryFacts
from cryoclarity.selection.graph import build_graph
from cryoclarity.selection.lists import (
    check_list,
    known_leakage,
    list_leakage,
    neighbours_apart,
    published_list,
    published_lists,
    read_list,
    split_of_role,
)
from cryoclarity.selection.settings import split_settings
from cryoclarity.selection.splits import assign
from tests.selection.makers import relations

LEAKAGE = {
    ("cryofem_30_identity:train", "cryofem_first:test"): 82,
    ("cryofem_30_identity:train", "emmivox:benchmark"): 2,
    ("cryofem_30_identity:train", "half_map_cohort:cohort"): 1,
    ("cryofem_30_identity:val", "cryofem_first:test"): 3,
    ("cryofem_30_identity:val", "cryofem_first:train"): 9,
    ("cryofem_30_identity:val", "emmivox:benchmark"): 1,
    ("cryofem_first:test", "emmivox:benchmark"): 1,
    ("cryofem_first:train", "half_map_cohort:cohort"): 1,
    ("cryoten:test", "cryofem_30_identity:train"): 29,
    ("cryoten:test", "cryofem_30_identity:val"): 7,
    ("cryoten:test", "cryofem_first:train"): 12,
    ("cryoten:train", "cryofem_30_identity:val"): 26,
    ("cryoten:train", "cryofem_first:test"): 17,
    ("cryoten:train", "emmivox:benchmark"): 2,
    ("cryoten:train", "half_map_cohort:cohort"): 1,
    ("cryoten:val", "cryofem_30_identity:train"): 10,
    ("cryoten:val", "cryofem_first:train"): 3,
}
ROLES = {
    "cryoten": {"train": 1295, "val": 76, "test": 150},
    "cryoten_test_subsets": {"test-benchmark20": 20, "test-half70": 70},
    "cryofem_30_identity": {"train": 1082, "val": 117},
    "cryofem_first": {"train": 478, "test": 128},
    "half_map_cohort": {"cohort": 41},
    "emmivox": {"benchmark": 9},
}


@pytest.mark.parametrize("name", sorted(ROLES))
def test_published_list_is_whole(name):
    entries = published_list(name)
    assert Counter(entry.role for entry in entries) == ROLES[name]
    (about,) = [row for row in published_lists() if row["name"] == name]
    assert int(about["rows"]) == len(entries)
    assert about["source"] and about["licence"]
    rows = [{"emdb_id": entry.emdb_id, "pdb_id": entry.pdb_id} for entry in entries]
    faults = check_list(rows)[1]
    # One list names its smaller subset again.
    assert {fault.code for fault in faults} <= {"ID_DUPLICATE"}
    assert len(faults) == (20 if name == "cryoten_test_subsets" else 0)


@pytest.mark.parametrize("name", sorted(ROLES))
def test_published_list_says_what_its_source_says(shared, name):
    source = read_table(shared / "manifests" / f"{name}.tsv")
    expected = sorted((row["emdb_id"], row["pdb_id"], row["role"]) for row in source)
    assert sorted(entry[:3] for entry in published_list(name)) == expected
    if name == "half_map_cohort":
        contours = {row["emdb_id"]: row["contour"] for row in source}
        assert {one.emdb_id: one.columns["contour"] for one in published_list(name)} == contours


def test_known_leakage():
    rows = known_leakage()
    assert len(rows) == 207
    assert Counter((row["list_a"], row["list_b"]) for row in rows) == LEAKAGE


def test_known_leakage_row_by_row(shared):
    expected = read_table(shared / "manifests/leakage.tsv")

    def ordered(rows):
        return sorted(tuple(row.values()) for row in rows)

    assert ordered(known_leakage()) == ordered(expected)


def test_same_role_in_two_lists_is_no_leakage():
    lists = {"a": published_list("emmivox"), "b": published_list("emmivox")}
    assert list_leakage(lists) == []


def test_close_numbers_on_two_sides():
    assert len(neighbours_apart(published_list("cryoten"))) == 67
    assert len(neighbours_apart(published_list("cryofem_30_identity"))) == 60


def test_roles_and_splits():
    roles = ("train", "val", "test", "test-half70", "benchmark", "cohort", "")
    assert [split_of_role(role) for role in roles] == [
        "train",
        "val",
        "test",
        "test",
        "test",
        "",
        "",
    ]


def test_unknown_published_list():
    with pytest.raises(ConfigError, match="no published list 'emready'"):
        published_list("emready")


def test_own_list_needs_ids_only(tmp_path):
    path = tmp_path / "mine.tsv"
    rows = [
        {"emdb_id": "emd-3488 ", "pdb_id": "5NI1", "split": "test"},
        {"emdb_id": "EMD-0282", "pdb_id": "", "split": ""},
    ]
    write_table(path, rows, ["emdb_id", "pdb_id", "split"])
    first, second = read_list(path)
    assert (first.emdb_id, first.pdb_id, first.columns) == ("EMD-0282", "", {"split": ""})
    assert (second.emdb_id, second.pdb_id, second.columns["split"]) == ("EMD-3488", "5ni1", "test")


def test_all_faults_of_a_list_are_told_at_once(tmp_path):
    path = tmp_path / "mine.tsv"
    ids = [
        ("EMD-3488", "5ni1"),
        ("EMD-12", "1abc"),
        ("EMD-3489", "5ni"),
        ("", ""),
        ("EMD-3488", "5ni2"),
        ("EMD-3490", "pdb_00005ni1"),
    ]
    write_table(path, [{"emdb_id": a, "pdb_id": b} for a, b in ids], ["emdb_id", "pdb_id"])
    entries, faults = check_list(read_table(path))
    assert [entry.emdb_id for entry in entries] == ["EMD-3488", "EMD-3490"]
    assert [(fault.line, fault.code) for fault in faults] == [
        (3, "ID_BAD"),
        (4, "ID_BAD"),
        (5, "ID_BAD"),
        (6, "ID_DUPLICATE"),
    ]
    with pytest.raises(ConfigError) as caught:
        read_list(path)
    assert caught.value.code == "ID_BAD"
    assert "'EMD-12' is no EMDB id" in str(caught.value)
    assert "line 6: EMD-3488 is already on line 2" in str(caught.value)


def test_list_without_ids(tmp_path):
    path = tmp_path / "mine.tsv"
    path.write_text("pdb_id\n1abc\n")
    with pytest.raises(ConfigError, match="no column emdb_id"):
        read_list(path)


def test_published_split_stays_as_it_is():
    """Within one list no model stands on two sides: its roles can all be pinned."""
    entries = published_list("cryoten")
    pool = [EntryFacts(entry.emdb_id, pdb_ids=(entry.pdb_id,)) for entry in entries]
    pins = {entry.emdb_id: split_of_role(entry.role) for entry in entries}
    graph = build_graph(pool, relations({}))
    assert assign(graph, split_settings(), pins).split == pins
