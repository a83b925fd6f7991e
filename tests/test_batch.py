"""The batch contract: rows, stamps, skips; a killed batch goes on where it stopped."""

import multiprocessing
import time

import pytest

from cryoclarity.errors import InputError, ResourceError
from cryoclarity.io.tables import read_table
from cryoclarity.stages.batch import Batch, Skip, run_batch

ROWS = [{"emdb_id": f"EMD-{number}"} for number in (1001, 1002, 1003)]


def batch(folder, stage="first", **changes):
    return Batch(stage=stage, manifest=folder / stage / "0001.tsv", rows=ROWS, **changes)


class Compute:
    """Writes one file per entry and remembers for whom it was called."""

    def __init__(self, failures=None):
        self.failures, self.called = failures or {}, []

    def __call__(self, job):
        emdb_id = job.row["emdb_id"]
        self.called.append(emdb_id)
        (job.folder / "out.txt").write_text(emdb_id + str(job.spec))
        if emdb_id in self.failures:
            raise self.failures[emdb_id]
        return {"atoms": 3}


def test_good_bad_and_skipped_entries_are_rows(tmp_path):
    failures = {
        "EMD-1001": InputError("all values are 0", code="VAL_CONSTANT"),
        "EMD-1002": Skip("not wanted", code="SEL_F04_NO_MODEL"),
    }
    rows = run_batch(batch(tmp_path), Compute(failures))
    assert [(row["status"], row["code"]) for row in rows] == [
        ("rejected", "VAL_CONSTANT"),
        ("skipped", "SEL_F04_NO_MODEL"),
        ("ok", ""),
    ]
    assert read_table(tmp_path / "first" / "0001.tsv") == rows
    # A rejected entry leaves its stamp and nothing else.
    left = {path.name for path in (tmp_path / "first/entries/EMD-1001").iterdir()}
    assert left == {"stamp.json"}
    assert (tmp_path / "first/entries/EMD-1003/facts.json").exists()


def test_an_unexpected_exception_is_one_row_and_is_tried_again(tmp_path):
    compute = Compute({"EMD-1002": RuntimeError("boom")})
    rows = run_batch(batch(tmp_path), compute)
    assert rows[1]["code"] == "INTERNAL" and "boom" in rows[1]["detail"]
    again = Compute()
    assert all(row["status"] == "ok" for row in run_batch(batch(tmp_path), again))
    assert again.called == ["EMD-1002"]


def test_what_the_network_refused_is_tried_again_and_a_bad_file_is_not(tmp_path):
    failures = {
        "EMD-1001": InputError("gave up", code="NET_DEADLINE"),
        "EMD-1003": InputError("cut", code="FILE_TRUNCATED"),
    }
    run_batch(batch(tmp_path), Compute(failures))
    again = Compute()
    assert [row["status"] for row in run_batch(batch(tmp_path), again)] == ["ok", "ok", "rejected"]
    assert again.called == ["EMD-1001"]


def test_resources_stop_the_batch_and_keep_what_is_done(tmp_path):
    full = ResourceError("no space left", code="DISK_FULL")
    with pytest.raises(ResourceError):
        run_batch(batch(tmp_path), Compute({"EMD-1002": full}))
    assert not (tmp_path / "first" / "0001.tsv").exists()
    again = Compute()
    run_batch(batch(tmp_path), again)
    assert again.called == ["EMD-1002", "EMD-1003"]


def test_same_inputs_same_manifest_bytes(tmp_path):
    for name in ("a", "b"):
        run_batch(batch(tmp_path / name), Compute())
    a, b = (tmp_path / name / "first" / "0001.tsv" for name in "ab")
    assert a.read_bytes() == b.read_bytes()


@pytest.mark.parametrize(
    "change", [{"spec": {"sigma": 0.4}}, {"code": "abc"}, {"rows": [{"emdb_id": "EMD-1001"}]}]
)
def test_only_a_changed_key_computes_again(tmp_path, change):
    run_batch(batch(tmp_path), Compute())
    compute = Compute()
    run_batch(Batch(**{**vars(batch(tmp_path)), **change}), compute)
    assert bool(compute.called) is ("rows" not in change)


def test_a_missing_output_is_computed_again(tmp_path):
    run_batch(batch(tmp_path), Compute())
    (tmp_path / "first/entries/EMD-1002/out.txt").unlink()
    compute = Compute()
    run_batch(batch(tmp_path), compute)
    assert compute.called == ["EMD-1002"]


def test_what_failed_upstream_is_skipped_with_its_code(tmp_path):
    run_batch(batch(tmp_path), Compute({"EMD-1001": InputError("x", code="HDR_CELL")}))
    first = tmp_path / "first" / "0001.tsv"
    rows = run_batch(
        batch(tmp_path, "second", upstream={"first": first}, required=("first",)), Compute()
    )
    assert [(row["status"], row["code"]) for row in rows] == [
        ("skipped", "HDR_CELL"),
        ("ok", ""),
        ("ok", ""),
    ]


def entries_computed(folder):
    calls = []

    def compute(job):
        time.sleep(0.1)
        calls.append(job.row["emdb_id"])
        (job.folder / "out.txt").write_text(job.row["emdb_id"])

    run_batch(batch(folder), compute)
    return len(calls)


def test_two_processes_on_one_batch_compute_each_entry_once(tmp_path):
    """As when a job outlives the driver that sent it and the next run sends it again."""
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        computed = pool.map(entries_computed, [tmp_path, tmp_path], chunksize=1)
    assert sorted(computed) == [0, 3]
    assert not list(tmp_path.rglob(".lock*"))
