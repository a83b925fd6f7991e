"""The small DAG through a real SLURM cluster on this machine, and what may happen to it there."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from cryoclarity.io.files import read_json, sha256_of
from cryoclarity.io.tables import read_table
from tests.slurm.cluster import ask, jobs, running_cluster, wait_for, why_not
from tests.snakemake_run import ROOT, snakemake, working_folder
from tests.workflow.test_dag import configuration

pytestmark = pytest.mark.slurm
PROFILE = ("--profile", str(ROOT / "profiles" / "slurm-test"))
# What may differ between two ways of running: times, and what names the job.
EXCEPTIONS = re.compile(r"\.bench\.tsv$|^benchmarks/|provenance\.json$|progress\.tsv$")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    reason = why_not()
    if reason:
        pytest.skip(reason)
    with running_cluster(tmp_path_factory.mktemp("slurm")):
        yield


@pytest.fixture(scope="module")
def finished(cluster, tmp_path_factory):
    """A working folder in which the small DAG has run through SLURM, and what was said."""
    folder = tmp_path_factory.mktemp("through_slurm")
    working_folder(folder, configuration(folder))
    result = snakemake(folder, *PROFILE, timeout=1500)
    assert result.returncode == 0, result.stdout[-4000:]
    return folder, result.stdout


@pytest.fixture(scope="module")
def workstation(tmp_path_factory):
    """The same run on this machine alone."""
    folder = tmp_path_factory.mktemp("workstation")
    working_folder(folder, configuration(folder))
    result = snakemake(folder)
    assert result.returncode == 0, result.stdout[-4000:]
    return folder


def start(folder: Path, *arguments: str) -> subprocess.Popen:
    """Start Snakemake in the background, with the interrupt as a terminal gives it."""
    command = [
        str(Path(sys.executable).with_name("snakemake")),
        *arguments,
        *("--snakefile", str(ROOT / "Snakefile"), "--directory", str(folder), "--cores", "2"),
        *("--configfile", str(folder / "test_config.yaml")),
    ]
    return subprocess.Popen(
        command,
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )


def hashes(folder: Path) -> dict[str, str]:
    results = folder / "results"
    return {
        str(path.relative_to(results)): sha256_of(path)
        for path in sorted(results.rglob("*"))
        if path.is_file() and not EXCEPTIONS.search(str(path.relative_to(results)))
    }


def test_a_bad_entry_is_a_row(finished):
    folder, _ = finished
    rejected = read_table(folder / "results" / "rejected.tsv")
    assert ("EMD-90009", "VAL_NONFINITE") in {(row["emdb_id"], row["code"]) for row in rejected}


def test_results_equal_those_of_a_workstation_file_by_file(finished, workstation):
    ours, theirs = hashes(finished[0]), hashes(workstation)
    assert ours.keys() == theirs.keys()
    assert [name for name in ours if ours[name] != theirs[name]] == []
    assert len(ours) > 50


def test_training_had_a_gpu_of_the_cluster(finished):
    folder, said = finished
    logs = [path.read_text() for path in folder.glob("logs/slurm/**/rule_train/**/*.log")]
    assert logs and "rule train" in said
    assert any("gpu=1" in log for log in logs)


def test_a_killed_job_is_tried_again(cluster, tmp_path):
    folder = working_folder(tmp_path, configuration(tmp_path))
    driver = start(folder, *PROFILE, "qscore_all")
    try:
        script = "workflow_scripts/qscore.py"
        wait_for(lambda: _processes(script), 300, "no Q-score job came up")
        for process in _processes(script):
            os.kill(process, signal.SIGKILL)
        said, _ = driver.communicate(timeout=600)
    finally:
        driver.kill()
    assert driver.returncode == 0, said[-3000:]
    assert "Trying to restart job" in said
    statuses = [
        r["status"] for p in (folder / "results/qscore").glob("????.tsv") for r in read_table(p)
    ]
    assert statuses.count("ok") == 3


def test_a_preempted_training_ends_as_an_undisturbed_one(cluster, finished, tmp_path):
    config = configuration(tmp_path)
    folder = working_folder(tmp_path, config)
    card = "results/train/enhance_1.0/card.json"
    driver = start(folder, *PROFILE, card)
    try:
        wait_for(lambda: _processes("workflow_scripts/train.py"), 600, "no training came up")
        urgent = ("-p", "urgent", "-w", "n1", "--exclusive", "--mem=0", "-o", "/dev/null")
        ask("sbatch", *urgent, "--wrap", "sleep 8")
        said, _ = driver.communicate(timeout=900)
    finally:
        driver.kill()
    assert driver.returncode == 0, said[-3000:]
    weights = "results/train/enhance_1.0/weights.safetensors"
    assert sha256_of(folder / weights) == sha256_of(finished[0] / weights)
    assert read_json(folder / card)["status"] == "ok"


def test_cancelling_leaves_nothing_behind(cluster, tmp_path):
    folder = working_folder(tmp_path, configuration(tmp_path))
    driver = start(folder, *PROFILE, "simulate_all")
    try:
        wait_for(lambda: any("RUNNING" in job for job in jobs()), 120, "no job came up")
        driver.send_signal(signal.SIGINT)
        driver.communicate(timeout=120)
    finally:
        driver.kill()
    wait_for(lambda: not jobs(), 20, f"jobs are left: {jobs()}")
    entries = list((folder / "results").rglob("entries/*"))
    assert all((path / "stamp.json").is_file() for path in entries if path.name[0] != ".")


def _processes(script: str) -> list[int]:
    """Processes of this machine that run a script, the shells around them left out."""
    found = subprocess.run(["pgrep", "-f", f"^python {script}"], capture_output=True, text=True)
    return [int(line) for line in found.stdout.split()]
