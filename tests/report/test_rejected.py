"""Rejected rows, the funnel, and the limit on failures."""

import pytest

from cryoclarity.errors import InputError
from cryoclarity.io.tables import write_table
from cryoclarity.report.rejected import (
    REJECTED_COLUMNS,
    check_failed_fraction,
    funnel,
    gather_rejected,
)

COLUMNS = ("emdb_id", "status", "code", "detail", "key", "outputs_sha256")


def manifest(folder, stage, rows, batch="batch_0"):
    path = folder / stage / f"{batch}.tsv"
    full = [
        {"emdb_id": f"EMD-{n}", "status": status, "code": code, "detail": "why", "key": "k" * 64}
        for n, (status, code) in enumerate(rows)
    ]
    write_table(path, full, COLUMNS)
    return path


def test_only_rejections_are_gathered_with_stage_and_pdb_id(tmp_path):
    fetch = manifest(tmp_path, "fetch", [("ok", ""), ("rejected", "NET_NOT_FOUND")])
    inspect = manifest(
        tmp_path, "inspect", [("rejected", "HDR_MODE"), ("skipped", "NET_NOT_FOUND")]
    )
    rows = gather_rejected([inspect, fetch], [{"emdb_id": "EMD-0", "pdb_id": "1abc"}])
    assert [(r["emdb_id"], r["stage"], r["code"]) for r in rows] == [
        ("EMD-0", "inspect", "HDR_MODE"),
        ("EMD-1", "fetch", "NET_NOT_FOUND"),
    ]
    assert rows[0]["pdb_id"] == "1abc" and rows[0]["file"] == "map"
    assert rows[0]["severity"] == "quarantine" and rows[0]["time_utc"] == ""
    assert set(rows[0]) == set(REJECTED_COLUMNS)


def test_funnel_counts_each_stage_over_its_batches(tmp_path):
    paths = [
        manifest(tmp_path, "fetch", [("ok", ""), ("ok", "")], "a"),
        manifest(tmp_path, "fetch", [("rejected", "NET_NOT_FOUND")], "b"),
        manifest(tmp_path, "inspect", [("ok", ""), ("skipped", "NET_NOT_FOUND")]),
    ]
    rows = [(r["stage"], r["status"], r["code"], r["entries"]) for r in funnel(paths)]
    assert rows == [
        ("fetch", "ok", "", 2),
        ("fetch", "rejected", "NET_NOT_FOUND", 1),
        ("inspect", "ok", "", 1),
        ("inspect", "skipped", "NET_NOT_FOUND", 1),
    ]


def test_shards_are_named_with_their_data_set(tmp_path):
    path = manifest(tmp_path, "shards/enhance_1.0", [("rejected", "SHARD_EMPTY")])
    assert gather_rejected([path])[0]["stage"] == "shards_enhance_1.0"


@pytest.mark.parametrize(
    ("rows", "stops"),
    [
        ([("rejected", "NET_NOT_FOUND")] * 4, False),
        ([("rejected", "NET_NOT_FOUND")] * 5 + [("ok", "")] * 5, True),
        ([("rejected", "NET_NOT_FOUND")] * 5 + [("ok", "")] * 20, False),
        ([("rejected", "NET_NOT_FOUND")] * 5 + [("skipped", "CONFIG")] * 20, True),
        ([("rejected", "LABEL_EMPTY")] * 9, False),
        ([("rejected", "SEL_F02_RESOLUTION")] * 9, False),
        ([("rejected", "INTERNAL")] * 9, True),
    ],
)
def test_failed_fraction(tmp_path, rows, stops):
    path = manifest(tmp_path, "fetch", rows)
    if not stops:
        check_failed_fraction([path], 0.2)
        return
    with pytest.raises(InputError, match="stage fetch: "):
        check_failed_fraction([path], 0.2)
