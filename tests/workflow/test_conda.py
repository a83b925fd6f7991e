"""`snakemake --use-conda`, literally, with a stand-in for conda (see conda_stand_in.py)."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

from cryoclarity.io.tables import read_table
from tests.snakemake_run import ROOT, snakemake, working_folder
from tests.workflow.conda_stand_in import ACTIVATE
from tests.workflow.test_dag import configuration

pytestmark = pytest.mark.conda


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A working folder in which the small DAG has run with one environment per rule."""
    if shutil.which("conda"):
        pytest.skip("a real conda is here: run snakemake --cores 2 --use-conda itself")
    folder = tmp_path_factory.mktemp("conda")
    stand_in = folder / "stand_in" / "bin"
    stand_in.mkdir(parents=True)
    shutil.copy(Path(__file__).with_name("conda_stand_in.py"), stand_in)
    (stand_in / "conda").write_text(
        f'#!/bin/sh\nexec "{sys.executable}" "{stand_in}/conda_stand_in.py" "$@"\n'
    )
    (stand_in / "conda").chmod(0o755)
    (stand_in / "activate").write_text(ACTIVATE)
    work = working_folder(folder / "work", configuration(folder / "work"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", str(stand_in), prepend=":")
        patch.setenv("CRYOCLARITY_CONDA_TRACE", str(folder / "trace.tsv"))
        patch.setenv("CRYOCLARITY_CONDA_SOURCES", f"{ROOT / 'src'}:{ROOT / 'workflow_scripts'}")
        result = snakemake(work, "--use-conda", timeout=1800)
        assert result.returncode == 0, result.stdout[-4000:]
        again = snakemake(work, "-n", "--use-conda")
    return work, folder / "trace.tsv", again.stdout


def test_the_whole_workflow_ran_and_is_up_to_date(finished):
    work, _, again = finished
    rows = read_table(work / "results" / "summary" / "summary.tsv")
    assert "EMD-90008" in {row["emdb_id"] for row in rows}
    assert "Nothing to be done" in again


def test_every_stage_ran_in_an_environment_of_its_own_and_nothing_leaked(finished):
    work, trace, _ = finished
    runs = [line.split("\t") for line in trace.read_text().splitlines()]
    scripts = {script: (prefix, foreign) for prefix, script, foreign in runs}
    expected = {"fetch.py", "qscore.py", "train.py", "predict.py", "evaluate.py", "report.py"}
    assert expected <= scripts.keys()
    for prefix, script, foreign in runs:
        if script in scripts and script.endswith(".py") and script != "conda_stand_in.py":
            assert str(work / ".snakemake" / "conda") in prefix, script
            assert foreign == "", f"{script} imported {foreign} from outside its environment"
    assert scripts["train.py"][0] != scripts["fetch.py"][0] != scripts["report.py"][0]
