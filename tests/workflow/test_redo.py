"""Forgetting one entry of one stage leaves all others alone."""

import pytest

from cryoclarity.errors import ConfigError
from cryoclarity.io.tables import write_table
from cryoclarity.workflow.redo import STAGES, forget


@pytest.fixture
def results(tmp_path):
    folder = tmp_path / "results"
    rows = [{"emdb_id": "EMD-1", "batch": "0001"}, {"emdb_id": "EMD-2", "batch": "0001"}]
    write_table(folder / "batches.tsv", rows, ("emdb_id", "batch"))
    for stage in STAGES:
        for row in rows:
            entry = folder / stage / "entries" / row["emdb_id"]
            entry.mkdir(parents=True)
            (entry / "stamp.json").write_text("{}")
    return folder


@pytest.mark.parametrize("stage", ["qscore", "shards/enhance_1.0"])
def test_only_the_entry_of_the_stage_goes(results, stage):
    before = {path for path in results.rglob("stamp.json")}
    manifest = forget(stage, "EMD-1", results)
    assert manifest == results / stage / "0001.tsv"
    gone = before - {path for path in results.rglob("stamp.json")}
    assert gone == {results / stage / "entries" / "EMD-1" / "stamp.json"}


@pytest.mark.parametrize(("stage", "entry"), [("qscores", "EMD-1"), ("qscore", "EMD-3")])
def test_a_wrong_name_removes_nothing(results, stage, entry):
    before = sorted(results.rglob("*"))
    with pytest.raises(ConfigError):
        forget(stage, entry, results)
    assert sorted(results.rglob("*")) == before
