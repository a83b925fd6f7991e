"""Simulated entries in the DAG: off unless a table is configured, then one more batch of boxes."""

from __future__ import annotations

from pathlib import Path

import pytest

from cryoclarity.errors import ConfigError
from cryoclarity.io.model import write_mmcif
from cryoclarity.io.tables import read_table, write_table
from cryoclarity.stages import degrade
from cryoclarity.workflow.plan import SIMULATED_BATCH, make_plan
from tests.degrade.models import small_model
from tests.snakemake_run import ROOT, planned_rules, snakemake, working_folder

MEASURED = "EMD-90006"


@pytest.fixture
def project(tmp_path, monkeypatch) -> Path:
    """A folder with one measured entry and one simulated model."""
    entries = read_table(ROOT / "config" / "demo_entries.tsv")
    rows = [row for row in entries if row["emdb_id"] == MEASURED]
    write_table(tmp_path / "entries.tsv", rows, tuple(entries[0]))
    write_mmcif(tmp_path / "1aaa.cif.gz", small_model(), "1AAA")
    found = degrade.models_below(tmp_path)
    degrade.make_table(found, tmp_path / "sim.tsv", draws=2, seed=1, shares=(0.0, 0.0))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_without_a_table_nothing_is_simulated(project, root) -> None:
    plan = make_plan({"entries": "entries.tsv"}, root)
    assert plan.training_batches == list(plan.batches) == ["0001"]
    assert plan.manifest("fetch", "enhance_1.0", "0001") == "results/fetch/0001.tsv"
    assert plan.rows_table("0001") == "results/batches/0001.tsv"


def test_with_a_table_it_is_one_more_batch_of_boxes(project, root) -> None:
    plan = make_plan({"entries": "entries.tsv", "simulated": {"entries": "sim.tsv"}}, root)
    assert plan.training_batches == ["0001", SIMULATED_BATCH]
    assert list(plan.batches) == ["0001"]
    assert plan.rows_table(SIMULATED_BATCH) == "sim.tsv"
    for stage in ("fetch", "inspect", "labels"):
        manifest = plan.manifest(stage, "resolution_1.0", SIMULATED_BATCH)
        assert manifest == "results/degrade/resolution/manifest.tsv"
    assert plan.box_source("enhance_1.0", SIMULATED_BATCH) == "results/degrade/enhance/manifest.tsv"
    assert plan.box_source("enhance_1.0", "0001") == "results/simulate/0001.tsv"


def test_a_table_that_is_not_there_is_refused(project, root) -> None:
    with pytest.raises(ConfigError, match="no table"):
        make_plan({"entries": "entries.tsv", "simulated": {"entries": "none.tsv"}}, root)


def test_the_rules_find_each_other(project) -> None:
    config = {
        "entries": "entries.tsv",
        "simulated": {"entries": "sim.tsv"},
        "archive": {"demo": True, "base_url": "results/demo_archive"},
    }
    working_folder(project, config)
    done = snakemake(project, "--dry-run", "results/index/resolution_1.0.tsv")
    assert done.returncode == 0, done.stdout
    assert "degrade" in planned_rules(done.stdout)
    assert f"results/shards/resolution_1.0/{SIMULATED_BATCH}.tsv" in done.stdout
