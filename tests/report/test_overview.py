"""The lines and answers of the page, against results made by hand."""

import pytest

from cryoclarity.report.overview import answers, flags, overview_rows, shares, worst


def result(name, before, after, **checks):
    def row(cc):
        return {"CC_mask": cc, "mean_fsc_model": cc, "mean_fsc_model_masked": cc, "Q_mean": 0.5}

    rows = {"input": row(before), "clipped": row(before + 0.01), "enhanced": row(after)}
    return {"emdb_id": name, "split": "test", "resolution": 3.0, "rows": rows, "checks": checks}


RESULTS = [
    result("EMD-1", 0.6, 0.7, shift_voxels=0.001),
    result("EMD-2", 0.6, 0.5, shift_voxels=0.2, finer_than_data=True),
    result("EMD-3", 0.6, 0.58, shift_voxels=0.0),
    {"emdb_id": "EMD-4", "split": "train", "resolution": None, "rows": {}},
]


def test_the_map_that_lost_most_comes_first():
    rows = overview_rows(RESULTS)
    assert [row["emdb_id"] for row in rows] == ["EMD-2", "EMD-3", "EMD-1"]
    assert rows[0]["CC_mask_change"] == pytest.approx(-0.1)
    assert rows[2]["beyond_references"] == pytest.approx(0.09)
    assert [row["emdb_id"] for row in worst(rows)] == ["EMD-2", "EMD-3"]


def test_shares_count_rises_and_falls_and_leave_undefined_numbers_out():
    table = {line["metric"]: line for line in shares(overview_rows(RESULTS))}
    assert (table["CC in mask"]["improved"], table["CC in mask"]["worse"]) == (1, 2)
    assert table["CC in mask"]["worse_share"] == "67%"
    assert (table["mean Q"]["improved"], table["mean Q"]["worse"]) == (0, 0)


def test_flags_say_what_to_beware_of():
    assert flags(RESULTS[1]["checks"]) == [
        "moved by 0.200 voxel",
        "detail finer than the data: invented",
    ]
    assert flags({"shift_voxels": 0.0099, "finer_than_data": False}) == []


def test_answers_hold_the_numbers():
    said = dict(answers(overview_rows(RESULTS), has_trust=False))
    assert "Yes, 1 of 3 maps by 0.01 voxel or more" in said["Did it move my map?"]
    assert "1 of 3 maps show detail finer" in said["Which parts can I trust?"]
    assert "rose in 1 and fell in 2" in said["Did it help?"]
    ((_, nothing),) = answers([], has_trust=False)
    assert "nothing is claimed" in nothing
