"""Filters: each on both sides of its limit, missing data, switches, the funnel."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from cryoclarity.codes import CODES
from cryoclarity.errors import ConfigError
from cryoclarity.selection.clusters import Entity
from cryoclarity.selection.facts import EntryFacts, accession_number
from cryoclarity.selection.file_filters import CHECKS, FileFacts, judge_files
from cryoclarity.selection.filters import FILTERS, code_of, dropped, find_word, judge, screen
from cryoclarity.selection.funnel import ORDER, funnel
from cryoclarity.selection.rivals import (
    ModelFacts,
    chosen_model,
    content_key,
    copies_weight,
    duplicate_data,
    redundant,
)
from cryoclarity.selection.settings import filter_settings
from tests.selection.makers import good_entry

# Filter, change that fails it, text of the value; settings when not the defaults.
FAILS = [
    ("F01_method", {"method": "tomography"}, "tomography", {}),
    ("F01_method", {"method": "singleParticle"}, "singleParticle", {"methods": ["helical"]}),
    ("F02_resolution", {"resolution": 6.01}, "6.01", {}),
    ("F02_resolution", {"resolution": 1.99}, "1.99", {}),
    ("F02_resolution", {"resolution": None}, "not stated", {}),
    ("F03_status", {"status": "OBS"}, "OBS", {}),
    ("F04_no_model", {"pdb_ids": ()}, "0", {}),
    ("F05_model_count", {"pdb_ids": ("1abc", "1abd")}, "2", {}),
    ("F06_overlap", {"overlaps": (("1abc", "PARTIALOVERLAP"),)}, "PARTIALOVERLAP", {}),
    ("F07_half_maps", {"half_maps": ("one",)}, "1", {"enabled": True}),
    ("F08_map_size", {"size": (601, 600, 600)}, "601 x 600 x 600", {}),
    ("F08_map_size", {"size_kbytes": 864001.0}, "864001 kB", {}),
    ("F09_voxel", {"voxel_size": (0.39, 0.39, 0.39)}, "0.39 x 0.39 x 0.39", {}),
    ("F09_voxel", {"voxel_size": (1.2, 1.2, 1.22)}, "1.2 x 1.2 x 1.22", {}),
    ("F09_voxel", {"voxel_size": (3.1, 3.1, 3.1), "resolution": 6.0}, "3.1 x 3.1 x 3.1", {}),
    ("F09_voxel", {"voxel_size": (1.61,) * 3}, "1.61 x 1.61 x 1.61 at 3.2 Å", {}),
    ("F10_composite", {"title": "Composite map of X"}, "title says 'Composite'", {}),
    ("F10_composite", {"details": "from focused\n maps"}, "details say 'focused maps'", {}),
    ("F10_composite", {"software": ("UCSF ChimeraX",)}, "reconstructed by 'UCSF ChimeraX'", {}),
    (
        "F10_composite",
        {"related_words": ("focused EM volume", "consensus EM volume")},
        "2 focused or consensus volumes",
        {},
    ),
    ("F11_sharpened", {"details": "unsharpened map"}, "unsharpened", {"kind": "sharpened"}),
    (
        "F11_sharpened",
        {"details": "sharpened map", "half_maps": ()},
        "sharpened",
        {"kind": "raw"},
    ),
    ("F13_date", {"release_date": "2021-06-10"}, "2021-06-10", {"to": "2021-06-09"}),
    ("F13_date", {"release_date": "2021-06-08"}, "2021-06-08", {"from": "2021-06-09"}),
    ("F14_model_size", {"protein_residues": 49.0}, "49", {}),
    ("F14_model_size", {"protein_residues": 19000.0, "nucleic_residues": 1001.0}, "20001", {}),
    ("F15_nucleic", {"nucleic_residues": 200.0}, "0.250", {"max": 0.2}),
    ("F20_res_mismatch", {"model_resolution": 3.75}, "map 3.2, model 3.75 Å", {}),
]


@pytest.mark.parametrize("case", range(len(FAILS)))
def test_filter_drops_and_can_be_switched(case):
    name, change, value, given = FAILS[case]
    settings = filter_settings({name: given})
    entry = good_entry(**change)
    (finding,) = [one for one in judge(entry, settings, "document") if one.name == name]
    assert (finding.outcome, finding.value) == ("drop", value)
    assert finding.code == code_of(name) and finding.code in CODES
    assert finding.message.startswith(f"F{int(name[1:3])} ")
    settings[name]["action"] = "warn"
    assert [one.outcome for one in judge(entry, settings, "document") if one.name == name] == [
        "warn"
    ]
    settings[name]["enabled"] = False
    assert not [one for one in judge(entry, settings, "document") if one.name == name]


PASSES = [
    {},
    {"method": "HELICAL"},
    {"resolution": 6.0, "model_resolution": 6.5},
    {"resolution": 2.0, "model_resolution": 2.0, "voxel_size": (1.0, 1.0, 1.0)},
    {"status": "rel"},
    {"size": (600, 600, 600), "size_kbytes": 864000.0},
    {"voxel_size": (1.6, 1.6, 1.6)},
    {"voxel_size": (1.2, 1.2, 1.2119)},
    {"title": "A decomposited, recombined and emerged complex"},
    {"related_words": ("consensus EM volume", "other EM volume")},
    {"overlaps": (("1abc", "FULLOVERLAP"), ("1abd", "NOOVERLAP"))},
    {"half_maps": ()},
    {"protein_residues": None},
    {"size": None, "size_kbytes": None, "voxel_size": None, "method": "", "status": ""},
    {"resolution_method": "FSC 1/2 BIT CUT-OFF"},
    {"resolution_method": "FSC 3 SIGMA CUT-OFF"},
    {"resolution_method": ""},
]


@pytest.mark.parametrize("case", range(len(PASSES)))
def test_good_entries_pass(case):
    assert judge(good_entry(**PASSES[case]), filter_settings(), "document") == []


def test_resolution_not_by_fsc_warns():
    entry = good_entry(resolution_method="DIFFRACTION PATTERN/LAYERLINES")
    (finding,) = judge(entry, filter_settings(), "document")
    assert (finding.name, finding.outcome) == ("F12_res_method", "warn")


def test_missing_data_of_three_filters_warn():
    entry = good_entry(has_document=False, model_resolution=None, details="")
    found = judge(entry, filter_settings({"F11_sharpened": {"kind": "sharpened"}}), "document")
    assert [(one.name, one.outcome) for one in found] == [
        ("F10_composite", "warn"),
        ("F11_sharpened", "warn"),
        ("F20_res_mismatch", "warn"),
    ]
    strict = filter_settings({"F20_res_mismatch": {"missing": "drop"}})
    assert [
        one.outcome for one in judge(good_entry(model_resolution=None), strict, "document")
    ] == ["drop"]


def test_unknown_entry_is_not_an_entry_without_model():
    settings = filter_settings({"F02_resolution": {"missing": "pass"}})
    assert not dropped(judge(EntryFacts("EMD-1234"), settings, "document"))


def test_search_phase_asks_what_the_row_says():
    row = EntryFacts(
        "EMD-1234", status="REL", method="singleParticle", resolution=3.0, title="merged map"
    )
    found = {one.name for one in judge(row, filter_settings(), "search")}
    assert found == {"F04_no_model", "F05_model_count", "F10_composite"}
    assert judge(replace(row, title="", pdb_ids=("1abc",)), filter_settings(), "search") == []


def test_best_mode_keeps_several_models():
    settings = filter_settings({"F05_model_count": {"mode": "best"}})
    entry = good_entry(
        pdb_ids=("1aaa", "1aab", "1aac"),
        overlaps=(("1aaa", "PARTIALOVERLAP"), ("1aab", "FULLOVERLAP"), ("1aac", "FULLOVERLAP")),
    )
    assert judge(entry, settings, "document") == []
    assert chosen_model(entry) == ""
    assert chosen_model(entry, "best") == "1aab"
    models = {"1aab": ModelFacts(residues=10), "1aac": ModelFacts(residues=11)}
    assert chosen_model(entry, "best", models) == "1aac"
    models = {"1aab": ModelFacts(resolution=3.3), "1aac": ModelFacts(resolution=3.1)}
    assert chosen_model(entry, "best", models) == "1aac"
    assert chosen_model(good_entry(pdb_ids=("1abc",))) == "1abc"
    assert chosen_model(good_entry(pdb_ids=()), "best") == ""


def test_trusted_entries_only_warn():
    entry = good_entry(resolution=9.0)
    kept, found = screen([entry], filter_settings(), "document", trusted={entry.emdb_id})
    assert kept == [entry]
    assert {one.outcome for one in found} == {"warn"}


def test_wrong_settings():
    with pytest.raises(ConfigError, match="unknown filter 'F99'"):
        filter_settings({"F99": {}})
    with pytest.raises(ConfigError, match="unknown setting 'low'"):
        filter_settings({"F02_resolution": {"low": 1}})
    with pytest.raises(ConfigError, match="min 7"):
        filter_settings({"F02_resolution": {"min": 7.0}})
    with pytest.raises(ConfigError, match="lies above"):
        filter_settings({"F13_date": {"from": "2022-01-01", "to": "2021-01-01"}})


def test_words_are_whole_words():
    assert find_word("A COMPOSITE-map", ["composite"]) == "COMPOSITE"
    assert find_word("unsharpened", ["sharpened"]) == ""
    assert find_word("anything", []) == ""


def test_every_filter_has_a_code_and_a_place():
    names = [item.name for item in FILTERS]
    assert names == [name for name in ORDER if name in names]
    assert set(ORDER) == {*names, *CHECKS, "F21_redundant", "F22_duplicate_data"}
    assert ORDER[-1] == "F21_redundant"
    assert all(code_of(name) in CODES for name in ORDER)


def random_entries(count=300):
    rng = random.Random(4)
    changes = [FAILS[n][1] for n in range(len(FAILS)) if not FAILS[n][3]]
    pool = []
    for number in range(1000, 1000 + count):
        change = {}
        for one in rng.sample(changes, rng.choice([0, 0, 1, 2, 3])):
            change |= one
        pool.append(good_entry(number, **change))
    return pool


def test_funnel_charges_the_first_filter():
    pool, settings = random_entries(), filter_settings()
    kept, found = screen(pool, settings, "document")
    result = funnel([facts.emdb_id for facts in pool], found, settings)
    assert result.rows[0]["in"] == len(pool)
    assert result.rows[-1]["out"] == len(kept)
    for before, after in zip(result.rows, result.rows[1:], strict=False):
        assert before["out"] == after["in"] == before["in"] - before["dropped"]
    # One filter after the other on what is left, the plain way.
    left = pool
    for row in result.rows:
        alone = {
            name: values | {"enabled": name == row["filter"]} for name, values in settings.items()
        }
        out = dropped(screen(left, alone, "document")[1])
        assert row["dropped"] == len(out)
        assert row["fails"] == len(dropped(screen(pool, alone, "document")[1]))
        assert row["examples"] == " ".join(sorted(out, key=accession_number)[:5])
        left = [facts for facts in left if facts.emdb_id not in out]
    assert len(result.charged) == len(pool) - len(kept)


def test_rejected_lists_every_filter_an_entry_fails():
    entry = good_entry(method="tomography", resolution=9.0, pdb_ids=())
    settings = filter_settings()
    row_facts = replace(entry, has_document=False)
    found = judge(row_facts, settings, "search") + judge(entry, settings, "document")
    result = funnel([entry.emdb_id], found, settings)
    drops = [row["filter"] for row in result.rejected if row["outcome"] == "drop"]
    assert drops == [
        "F01_method",
        "F02_resolution",
        "F04_no_model",
        "F05_model_count",
        "F20_res_mismatch",
    ]
    assert [row["filter"] for row in result.rejected if row["charged"] == "yes"] == ["F01_method"]
    assert result.rejected[1]["message"] == "F2 resolution: 9 (limit 2-6 Å)"


def test_duplicates_leave_the_lowest_number():
    settings = filter_settings()["F22_duplicate_data"]
    same = {"statistics": (-1.0, 2.0, 0.1, 0.5)}
    near = {"statistics": (-1.0, 2.0, 0.1, 0.50000001)}
    far = {"statistics": (-1.0, 2.0, 0.1, 0.500001)}
    other_size = {**same, "size": (64, 64, 65)}
    pool = [
        good_entry(30, **same),
        good_entry(20, **near),
        good_entry(100, **same),
        good_entry(5, **far),
        good_entry(6, **other_size),
    ]
    found = duplicate_data(pool, settings)
    assert [one.emdb_id for one in found] == ["EMD-0030", "EMD-0100"]
    assert "EMD-0020" in found[0].value
    assert {one.outcome for one in found} == {"drop"}
    assert duplicate_data(pool, settings | {"enabled": False}) == []
    trusted = duplicate_data(pool, settings, trusted={"EMD-0030"})
    assert [one.outcome for one in trusted] == ["warn", "drop"]


def test_duplicates_proved_by_hash():
    settings = filter_settings()["F22_duplicate_data"]
    pool = [good_entry(3), good_entry(2), good_entry(1)]
    keys = {"EMD-0003": "ab", "EMD-0002": "ab", "EMD-0001": ""}
    assert [one.emdb_id for one in duplicate_data(pool, settings, keys=keys)] == ["EMD-0003"]
    assert content_key(replace(pool[0], statistics=(1.0, 2.0, 1.5))) == ""


def test_redundant_entries():
    settings = filter_settings({"F21_redundant": {"enabled": True}})["F21_redundant"]
    clusters = {
        "1aaa": (Entity("1"), Entity("2")),
        "1aab": (Entity("1"),),
        "1aac": (Entity("2"), Entity("3")),
        "1aad": (Entity("1"), Entity("2")),
    }
    pool = [
        good_entry(1, pdb_ids=("1aaa",), resolution=3.0),
        good_entry(2, pdb_ids=("1aab",), resolution=3.5),  # all of it is in 1
        good_entry(3, pdb_ids=("1aac",), resolution=4.0),  # 3 is nowhere else
        good_entry(4, pdb_ids=("1aad",), resolution=3.0, mean_q=0.6),  # equal, but with a Q
        good_entry(5, pdb_ids=("1zzz",), resolution=5.0),  # no cluster known
    ]
    found = redundant(pool, clusters, settings)
    assert [one.emdb_id for one in found] == ["EMD-0001", "EMD-0002"]
    assert all("EMD-0004" in one.value for one in found)
    assert redundant(pool, clusters, settings | {"enabled": False}) == []


def test_redundant_against_comparing_all():
    settings = filter_settings({"F21_redundant": {"enabled": True}})["F21_redundant"]
    for seed in range(30):
        rng = random.Random(seed)
        pool = [
            good_entry(n, pdb_ids=(f"1a{n:02d}",), resolution=rng.choice([3.0, 3.5]))
            for n in range(1, 20)
        ]
        own = {facts.emdb_id: set(rng.sample("abcde", rng.randint(0, 3))) for facts in pool}
        clusters = {
            facts.pdb_ids[0]: tuple(map(Entity, sorted(own[facts.emdb_id]))) for facts in pool
        }
        expected = {
            one.emdb_id
            for one in pool
            for other in pool
            if own[one.emdb_id]
            and own[one.emdb_id] <= own[other.emdb_id]
            and (other.resolution, other.emdb_id) < (one.resolution, one.emdb_id)
        }
        found = redundant(rng.sample(pool, len(pool)), clusters, settings)
        assert {one.emdb_id for one in found} == expected


def test_weight_of_copies():
    assert copies_weight(1) == copies_weight(0) == 1
    assert copies_weight(60) == pytest.approx(60**-0.5)
    assert copies_weight(60, 0) == 1


GOOD_FILES = {
    "resolution": 3.2,
    "size": (64, 64, 64),
    "voxel_size": (1.2, 1.2, 1.2),
    "polymer_residues": 600,
    "nucleic_residues": 0,
    "unknown_residues": 30,
    "side_chain_residues": 500,
    "backbone_only_residues": 250,
    "atoms_in_box": 0.9,
    "voxels_explained": 0.5,
    "atom_inclusion": 0.5,
    "cc_mask": 0.5,
    "mean_q": 0.3,
    "expected_q": 0.55,
    "model_resolution": 3.2,
    "half_map_resolution": 3.3,
}
FILE_FAILS = [
    ("F08_map_size", {"size": (700, 700, 700)}, {}),
    ("F09_voxel", {"voxel_size": (1.7, 1.7, 1.7)}, {}),
    ("F14_model_size", {"polymer_residues": 49, "unknown_residues": 0}, {}),
    ("F15_nucleic", {"nucleic_residues": 61}, {"max": 0.1}),
    ("F16_unknown", {"unknown_residues": 31}, {}),
    ("F17_backbone", {"backbone_only_residues": 251}, {}),
    ("F18_coverage", {"atoms_in_box": 0.89}, {}),
    ("F18_coverage", {"voxels_explained": 0.49}, {}),
    ("F18_coverage", {"atom_inclusion": 0.49}, {}),
    ("F19_fit", {"cc_mask": 0.49}, {}),
    ("F19_fit", {"mean_q": 0.29}, {}),
    ("F20_res_mismatch", {"model_resolution": 3.8}, {}),
    ("F20_res_mismatch", {"half_map_resolution": 5.0}, {"half_maps": True}),
    ("F20_res_mismatch", {"half_map_resolution": 2.0}, {"half_maps": True}),
]


@pytest.mark.parametrize("case", range(len(FILE_FAILS)))
def test_filters_of_files(case):
    name, change, given = FILE_FAILS[case]
    settings = filter_settings({name: given})
    assert judge_files(FileFacts("EMD-0001", **GOOD_FILES), settings) == []
    bad = FileFacts("EMD-0001", **(GOOD_FILES | change))
    (finding,) = judge_files(bad, settings)
    assert (finding.name, finding.outcome, finding.code in CODES) == (name, "drop", True)
    assert [one.outcome for one in judge_files(bad, settings, trusted=True)] == ["warn"]
    assert judge_files(bad, settings, only=()) == []
    settings[name]["enabled"] = False
    assert judge_files(bad, settings) == []


def test_files_not_measured_pass():
    found = judge_files(FileFacts("EMD-0001"), filter_settings())
    assert [(one.name, one.outcome) for one in found] == [("F20_res_mismatch", "warn")]
    glycine = FileFacts("EMD-0001", side_chain_residues=0, backbone_only_residues=0)
    assert judge_files(glycine, filter_settings(), only=("F17_backbone",)) == []
