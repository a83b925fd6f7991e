"""The stage and its script: outputs, resume to the byte, signals, refusals."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from cryoclarity.errors import ConfigError, InputError
from cryoclarity.io.tables import read_table
from cryoclarity.train import run as stage
from cryoclarity.train.loop import Stopped
from cryoclarity.train.radial_filter import read_radial_filter
from cryoclarity.train.weights import load_weights
from tests.train.training_shards import write_dataset

NARROW = {"name": "scunet", "dim": 4, "head_dim": 2, "config": [1] * 7, "drop_path_rate": 0.2}
ENHANCE = {
    "network": {**NARROW, "residual": True},
    "box": 24,
    "batch_size": 2,
    "learning_rate": 1e-3,
    "warmup_steps": 2,
    "steps": 7,
}
RESOLUTION = {
    "network": {"name": "unet3d", "channels": [2, 4, 4, 4, 4]},
    "batch_size": 4,
    "learning_rate": 1e-3,
    "warmup_steps": 2,
    "steps": 7,
}


def make_job(folder: Path, task: str = "enhance", **changes) -> stage.TrainJob:
    spec = ENHANCE if task == "enhance" else RESOLUTION
    job = stage.TrainJob(
        task=task,
        dataset=f"{task}_1.0",
        index=write_dataset(folder, task, 26 if task == "enhance" else 16),
        out=folder / "out",
        state_folder=folder / "state",
        spec=spec,
        data_folder=folder,
        device="cpu",
    )
    return replace(job, **changes)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture
def stop_after(monkeypatch):
    """Make the loop see a stop request after a number of steps."""

    def apply(steps: int) -> None:
        class Request:
            looks = 0

            def __bool__(self) -> bool:
                self.looks += 1
                return self.looks == steps

        class Context:
            def __enter__(self):
                return Request()

            def __exit__(self, *_):
                return None

        monkeypatch.setattr(stage, "stop_on_signals", Context)

    yield apply


def test_outputs_of_an_enhance_run(tmp_path):
    card = stage.run_files(make_job(tmp_path))
    out = tmp_path / "out"
    names = {"weights.safetensors", "card.json", "metrics.tsv", "radial_filter.tsv"}
    assert set(contents(out)) == names
    assert json.loads((out / "card.json").read_text()) == card
    assert (card["status"], card["voxel_size"], card["box"]) == ("ok", 1.0, 24)
    assert card["stored_box"] == 26 and card["normalisation"] == {
        "rule": "percentile",
        "percentile": 99.999,
    }
    rows = read_table(out / "metrics.tsv")
    assert [row["step"] for row in rows] == ["4", "7"]
    assert not any("second" in name or "time" in name for name in rows[0])
    assert all(np.isfinite(float(row["val_ssim"])) for row in rows)
    frequency, gain = read_radial_filter(out / "radial_filter.tsv")
    assert len(frequency) == len(gain) == 13
    network, loaded = load_weights(out)
    assert loaded == card and not network.training
    assert network.residual
    assert not (tmp_path / "state").exists()


@pytest.mark.parametrize("task", ["enhance", "resolution"])
def test_resume_gives_the_same_bytes(tmp_path, monkeypatch, stop_after, task):
    whole = make_job(tmp_path / "whole", task)
    stage.run_files(whole)
    job = make_job(tmp_path / "parts", task)
    for steps in (2, 3):
        stop_after(steps)
        with pytest.raises(Stopped):
            stage.run_files(job)
        assert not job.out.exists()
    monkeypatch.undo()
    stage.run_files(job)
    assert contents(job.out) == contents(whole.out)


def test_resolution_run_has_label_constants_and_constant_baseline(tmp_path):
    card = stage.run_files(make_job(tmp_path, "resolution"))
    assert card["labels"]["kind"] == "log2" and card["labels"]["std"] > 0
    assert 3 < card["training_median"] < 8
    assert card["metrics"]["val_constant_mae"] > 0
    assert not (tmp_path / "out/radial_filter.tsv").exists()


def test_checkpoint_of_other_settings_is_refused_unless_forced(tmp_path, stop_after):
    job = make_job(tmp_path)
    stop_after(3)
    with pytest.raises(Stopped):
        stage.run_files(job)
    other = replace(job, spec={**ENHANCE, "seed": 5})
    with pytest.raises(InputError) as caught:
        stage.run_files(other)
    assert caught.value.code == "TRAIN_OTHER_DATA"
    stop_after(2)
    with pytest.raises(Stopped, match="step 5"):
        stage.run_files(replace(other, other_checkpoint="resume"))
    with pytest.raises(Stopped, match="step 2"):
        stage.run_files(replace(job, other_checkpoint="restart"))
    with pytest.raises(ConfigError):
        stage.run_files(replace(job, other_checkpoint="ask"))


def test_no_training_box(tmp_path):
    job = make_job(tmp_path)
    job.index.write_text(job.index.read_text().replace("\ttrain\t", "\ttest\t"))
    with pytest.raises(InputError) as caught:
        stage.run_files(job)
    assert caught.value.code == "TRAIN_NO_DATA" and not job.out.exists()
    card = stage.run_files(replace(job, allow_empty=True))
    assert (card["status"], card["code"]) == ("skipped", "TRAIN_NO_DATA")
    assert load_file(job.out / "weights.safetensors") == {}
    assert read_table(job.out / "metrics.tsv") == read_table(job.out / "radial_filter.tsv") == []
    with pytest.raises(InputError) as caught:
        load_weights(job.out)
    assert caught.value.code == "TRAIN_NO_DATA"


@pytest.mark.parametrize(("task", "other"), [("enhance", "resolution"), ("resolution", "enhance")])
def test_shards_of_the_other_task_are_wrong_usage(tmp_path, task, other):
    job = make_job(tmp_path, task)
    spec = ENHANCE if other == "enhance" else RESOLUTION
    with pytest.raises(ConfigError, match="not of the task"):
        stage.run_files(replace(job, task=other, spec=spec))
    assert not job.out.exists()


def test_a_missing_index_is_bad_input(tmp_path):
    with pytest.raises(InputError) as caught:
        stage.run_files(replace(make_job(tmp_path), index=tmp_path / "none.tsv"))
    assert caught.value.code == "FILE_MISSING"


@pytest.mark.parametrize("wrong", [{"learning_rate": float("nan")}, {"workers": -1}])
def test_impossible_settings_are_wrong_usage(tmp_path, wrong):
    job = make_job(tmp_path)
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        stage.run_files(replace(job, spec={**ENHANCE, **wrong}))


def test_empty_validation_split_is_no_obstacle(tmp_path, caplog):
    job = make_job(tmp_path, spec={**ENHANCE, "steps": 2})
    job.index.write_text(job.index.read_text().replace("\tval\t", "\ttest\t"))
    stage.run_files(job)
    assert "no validation" in caplog.text
    assert read_table(job.out / "metrics.tsv")[-1]["val_loss"] == ""


def test_fine_tuning_starts_from_given_weights(tmp_path):
    first = make_job(tmp_path / "a", "resolution")
    card = stage.run_files(first)
    spec = {"steps": 1, "batch_size": 4, "learning_rate": 1e-12, "warmup_steps": 0, "box": 16}
    job = make_job(tmp_path / "b", "resolution", spec=spec, initial_weights=first.out)
    tuned = stage.run_files(job)
    assert tuned["network"] == card["network"] and tuned["labels"] == card["labels"]
    before, after = (load_file(j.out / "weights.safetensors") for j in (first, job))
    assert all(torch.allclose(before[k], after[k], atol=1e-6) for k in before)
    with pytest.raises(InputError, match="resolution"):
        stage.run_files(make_job(tmp_path / "c", initial_weights=first.out))


def command(job: stage.TrainJob, root: Path, spec: dict) -> list[str]:
    return [
        *(sys.executable, str(root / "workflow_scripts/train.py"), "--verbose"),
        *("--task", job.task, "--index", str(job.index), "--out", str(job.out)),
        *("--state-folder", str(job.state_folder), "--data-folder", str(job.data_folder)),
        *("--device", "cpu", "--spec", json.dumps(spec)),
    ]


def wait_for(text: str, process: subprocess.Popen) -> None:
    for line in process.stderr:
        if text in line:
            return
    raise AssertionError(f"the script ended without {text!r}")


def test_sigterm_saves_exits_85_and_the_next_run_ends_alike(tmp_path, root):
    spec = {**RESOLUTION, "steps": 40, "validate_every": 3}
    whole = make_job(tmp_path / "whole", "resolution", spec=spec)
    stage.run_files(whole)
    job = make_job(tmp_path / "parts", "resolution")
    with subprocess.Popen(
        command(job, root, spec), stderr=subprocess.PIPE, text=True, env=os.environ
    ) as process:
        wait_for("metrics", process)
        process.send_signal(signal.SIGTERM)
        text = process.stderr.read()
        assert process.wait() == 85, text
    assert "resumes" in text and not job.out.exists()
    assert len(list(job.state_folder.glob("*.pt"))) == 1
    done = subprocess.run(command(job, root, spec), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "resumed at step" in done.stderr
    assert contents(job.out) == contents(whole.out)


@pytest.mark.long
def test_kill_during_saves_leaves_a_usable_checkpoint(tmp_path, root):
    spec = {**RESOLUTION, "steps": 150, "checkpoint_minutes": 0}
    whole = make_job(tmp_path / "whole", "resolution", spec=spec)
    stage.run_files(whole)
    job = make_job(tmp_path / "parts", "resolution")
    for attempt in range(4):
        with subprocess.Popen(
            command(job, root, spec), stderr=subprocess.PIPE, text=True
        ) as process:
            wait_for("saved", process)
            time.sleep(0.05 * attempt)
            process.kill()
    done = subprocess.run(command(job, root, spec), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert contents(job.out) == contents(whole.out)


def test_script_reports_bad_use_in_one_line(tmp_path, root):
    job = make_job(tmp_path)
    job.index.write_text(job.index.read_text().replace("\ttrain\t", "\ttest\t"))
    done = subprocess.run(command(job, root, ENHANCE), capture_output=True, text=True, check=False)
    assert done.returncode == 3
    assert done.stderr.count("\n") == 1 and done.stderr.startswith("TRAIN_NO_DATA")
