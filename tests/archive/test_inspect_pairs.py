"""The inspection of an entry: frames, half maps and the filters that need the files."""

import json

import numpy as np
import pytest

from cryoclarity.archive.paths import half_map_paths, map_path, model_paths
from cryoclarity.io.maps import read_header
from cryoclarity.stages.batch import EntryJob, Upstream
from cryoclarity.stages.common import fetched
from tests.archive.test_fetch_inspect_stages import (
    EMDB,
    PDB,
    ROW,
    archive_files,
    batch,
    facts_of,
    folder_archive,
    model_density,
    packed,
)
from tests.gates.zoo import cif_text, map_bytes

AWAY = {"start": (0, 0, 0), "origin": (500.0, 0.0, 0.0)}


def upstream(tmp_path, **stages):
    """An entry's job as a stage after the inspection gets it."""
    folders = {name: tmp_path / name / "entries" / EMDB for name in ("fetch", "inspect")}
    states = {name: Upstream("ok", "", "", folder) for name, folder in folders.items()}
    return EntryJob(row=ROW, spec={}, upstream=states, folder=tmp_path)


def run(tmp_path, spec=None, half_maps=False, row=None, **words):
    files = archive_files(half_maps=half_maps)
    for number, path in enumerate([map_path(EMDB), *half_map_paths(EMDB)]):
        if path in files:
            files[path] = packed(map_bytes(model_density(number), **words))
    base = folder_archive(tmp_path / "archive", files)
    return batch(tmp_path, base, [row or ROW], spec)["inspect"][EMDB]


def report_of(tmp_path):
    path = tmp_path / "inspect" / "entries" / EMDB / "inspect.json"
    return json.loads(path.read_text())


def test_the_model_tells_which_place_is_meant(tmp_path):
    """NSTART and ORIGIN disagree, and the model lies where NSTART says: all stages use that."""
    words = {"start": (1, 1, 1), "origin": (0.0, 0.0, 12.0)}
    row = run(tmp_path, half_maps=True, **words)
    assert (row["status"], row["code"]) == ("ok", "")
    facts = facts_of(tmp_path, "inspect")
    assert (facts["frame"], facts["half_maps"]) == ("zero", "yes")
    report = report_of(tmp_path)
    assert report["frames"]["zero"] > (report["frames"]["origin"] or 0) + 1
    assert report["map"]["origin"] == [0.0, 0.0, 0.0]
    files = fetched(upstream(tmp_path))
    for path in (files.map, *files.half_maps):
        assert "inspect" in str(path)
        assert read_header(path).origin == (0.0, 0.0, 0.0)


def test_agreeing_words_need_no_copy(tmp_path):
    assert run(tmp_path)["status"] == "ok"
    assert "fetch" in str(fetched(upstream(tmp_path)).map)
    assert facts_of(tmp_path, "inspect")["frame"] == "nstart"
    assert "frames" not in report_of(tmp_path)


def test_a_forced_frame_that_fits_is_used(tmp_path):
    words = {"start": (1, 1, 1), "origin": (0.0, 0.0, 12.0)}
    assert run(tmp_path, {"frame": "zero"}, **words)["status"] == "ok"
    assert read_header(fetched(upstream(tmp_path)).map).origin == (0.0, 0.0, 0.0)


@pytest.mark.parametrize(
    ("frame", "words"),
    [
        ("origin", {"start": (1, 1, 1), "origin": (0.0, 0.0, 12.0)}),
        ("nstart", {"start": (0, 0, 20), "origin": (0.01, 0.0, 0.0)}),
    ],
)
def test_a_forced_frame_that_does_not_fit_is_refused(tmp_path, frame, words):
    row = run(tmp_path, {"frame": frame}, **words)
    assert (row["status"], row["code"]) == ("rejected", "PAIR_FRAME")
    assert "fits with" in row["detail"]


def test_a_model_outside_names_the_frame_that_fits(tmp_path):
    row = run(tmp_path, **AWAY)
    assert row["code"] == "PAIR_OUTSIDE"
    (tmp_path / "forced").mkdir()
    assert run(tmp_path / "forced", {"frame": "nstart"}, **AWAY)["status"] == "ok"


def test_masked_half_maps_are_flagged(tmp_path):
    files = archive_files()
    for number, path in enumerate(half_map_paths(EMDB), start=1):
        half = model_density(number)
        half[:, :, 20:] = 0
        files[path] = packed(map_bytes(half))
    row = batch(tmp_path, folder_archive(tmp_path / "archive", files), [ROW])["inspect"][EMDB]
    assert row["status"] == "ok"
    facts = facts_of(tmp_path, "inspect")
    assert facts["half_maps"] == "yes"
    assert "W_HALF_MASKED" in facts["warnings"]
    assert report_of(tmp_path)["half_map_1"]["zero_share"] == pytest.approx(0.5, abs=0.01)


LOOSE = {
    name: {"enabled": False}
    for name in (
        "F08_map_size",
        "F09_voxel",
        "F14_model_size",
        "F15_nucleic",
        "F16_unknown",
        "F17_backbone",
        "F18_coverage",
        "F19_fit",
        "F20_res_mismatch",
    )
}


@pytest.mark.parametrize(
    ("name", "settings", "code"),
    [
        ("F08_map_size", {"max_voxels": 1000}, "SEL_F08_MAP_SIZE"),
        ("F09_voxel", {"max": 1.4}, "SEL_F09_VOXEL"),
        ("F14_model_size", {}, "SEL_F14_MODEL_SIZE"),
        ("F15_nucleic", {"min": 0.5}, "SEL_F15_NUCLEIC"),
        ("F16_unknown", {}, ""),
        ("F17_backbone", {}, ""),
        ("F18_coverage", {}, ""),
        ("F18_coverage", {"min_explained": 1.0, "min_in_box": 1.0}, ""),
        ("F19_fit", {}, ""),
        ("F19_fit", {"min_cc_mask": 0.999}, "SEL_F19_FIT"),
        ("F20_res_mismatch", {"missing": "drop"}, "SEL_F20_RES_MISMATCH"),
    ],
)
def test_filters_with_the_files_at_hand(tmp_path, name, settings, code):
    filters = LOOSE | {name: {"enabled": True} | settings}
    assert run(tmp_path, {"filters": filters})["code"] == code
    facts = report_of(tmp_path)["filters"] if not code else {}
    assert not facts or facts["polymer_residues"] == 4
    (tmp_path / "trusted").mkdir()
    row = run(tmp_path / "trusted", {"filters": filters, "trust_list": True})
    assert row["status"] == "ok"
    if code:
        assert code in facts_of(tmp_path / "trusted", "inspect")["warnings"]


def test_after_a_selection_the_filter_names_a_model_outside(tmp_path):
    filters = LOOSE | {"F18_coverage": {"enabled": True}}
    assert run(tmp_path, {"filters": filters}, **AWAY)["code"] == "SEL_F18_COVERAGE"


def test_filters_without_data_warn_where_asked(tmp_path):
    filters = LOOSE | {"F20_res_mismatch": {"enabled": True, "missing": "warn"}}
    assert run(tmp_path, {"filters": filters})["status"] == "ok"
    assert "SEL_F20_RES_MISMATCH" in facts_of(tmp_path, "inspect")["warnings"]


def test_backbone_and_unknown_residues(tmp_path):
    files = archive_files(half_maps=False)
    for number, (residue, code) in enumerate(
        (("LEU", "SEL_F17_BACKBONE"), ("UNK", "SEL_F16_UNKNOWN"))
    ):
        text = cif_text(change=lambda _, residue=residue: {"label_comp_id": residue})
        files[model_paths(PDB)[0]] = packed(text.encode())
        folder = tmp_path / str(number)
        folder.mkdir()
        base = folder_archive(folder / "archive", files)
        filters = LOOSE | {"F16_unknown": {}, "F17_backbone": {}}
        row = batch(folder, base, [ROW], {"filters": filters})["inspect"][EMDB]
        assert row["code"] == code


def test_a_contour_of_the_row_decides_about_inclusion(tmp_path):
    filters = LOOSE | {"F18_coverage": {"enabled": True}}
    row = ROW | {"contour": "0.2"}
    base = folder_archive(tmp_path / "archive", archive_files(half_maps=False))
    assert batch(tmp_path, base, [row], {"filters": filters})["inspect"][EMDB]["code"] == ""
    assert np.isclose(report_of(tmp_path)["filters"]["atom_inclusion"], 1.0)
