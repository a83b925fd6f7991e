"""Parts of a batch, several processes, compilation, recomputation, schedules that look back."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from cryoclarity.errors import ConfigError
from cryoclarity.io.tables import read_table
from cryoclarity.nets.losses import EnhanceLoss, ResolutionLoss
from cryoclarity.nets.registry import build_network
from cryoclarity.train import run as stage
from cryoclarity.train.data import StepSampler, read_index
from cryoclarity.train.loop import Trainer
from cryoclarity.train.progress import Progress, progress_path
from cryoclarity.train.schedule import plateau_rate, rate_reductions, rows_since_best
from cryoclarity.train.settings import settings_from
from tests.scripts import load_script
from tests.train.training_shards import write_dataset

NARROW = {"name": "scunet", "dim": 4, "head_dim": 2, "config": [1] * 7, "drop_path_rate": 0.0}
# One level of convolutions without dropout: every bit of the difference is the sums' own.
EXACT = {
    "network": {"name": "bands", "in_channels": 1, "channels": [2, 3, 4]},
    "precision": "float64",
    "batch_size": 4,
    "box": 16,
    "learning_rate": 1e-3,
    "warmup_steps": 1,
    "steps": 3,
    "validate_every": 2,
    "validate_boxes": 2,
}
# In a process of its own, as torchrun would start it.
CHILD = """
import json, sys
from pathlib import Path
from unittest import mock
from cryoclarity.train import run as stage
settings = json.loads(sys.argv[1])
paths = {key: Path(value) for key, value in settings.pop("paths").items()}
with mock.patch.object(stage, "box_layout", return_value="voxels"):
    stage.run_files(stage.TrainJob(**settings, **paths))
"""


def uneven_batch(seed: int = 0) -> dict[str, torch.Tensor]:
    """Boxes of very different numbers of labels, one without any, with censored voxels."""
    generator = torch.Generator().manual_seed(seed)
    share = torch.tensor([0.9, 0.02, 0.0, 0.3]).reshape(4, 1, 1, 1, 1)
    draw = torch.rand(4, 1, 8, 8, 8, generator=generator)
    mask = (draw < share).to(torch.uint8) + (draw > 0.97).to(torch.uint8) * 2
    return {
        "input": torch.randn(4, 1, 8, 8, 8, generator=generator),
        "target": torch.randn(4, 1, 8, 8, 8, generator=generator),
        "mask": mask,
    }


def exact_trainer(**changes) -> Trainer:
    settings = settings_from("resolution", {**EXACT, "box": 8, **changes})
    torch.manual_seed(2)
    loss = ResolutionLoss(**settings.loss)
    return Trainer(build_network(settings.network), settings, loss, torch.device("cpu"))


def parameters(trainer: Trainer) -> torch.Tensor:
    return torch.cat([p.detach().reshape(-1) for p in trainer.parameters])


@pytest.mark.parametrize("accumulate", [2, 4])
def test_parts_of_a_batch_give_the_sums_of_the_batch(accumulate):
    whole, parts = exact_trainer(), exact_trainer(accumulate=accumulate)
    for step in range(3):
        for trainer in (whole, parts):
            trainer.train_step(uneven_batch(step))
    assert torch.allclose(parameters(whole), parameters(parts), rtol=0, atol=1e-12)
    assert whole.window.sums["loss"] == pytest.approx(parts.window.sums["loss"], abs=1e-12)
    local = exact_trainer()
    for part in range(4):  # what the mean of means would give
        local.train_step({k: v[part : part + 1] for k, v in uneven_batch(0).items()})
    assert not torch.allclose(parameters(whole), parameters(local), atol=1e-6)


def test_weights_of_losses_count_boxes_and_voxels():
    batch = uneven_batch()
    assert EnhanceLoss().weight(batch) == 4
    labelled, censored = (int((batch["mask"] == code).sum()) for code in (1, 2))
    assert ResolutionLoss(censored=0.5).weight(batch) == labelled + 0.5 * censored


def run_processes(folder: Path, index: Path, world: int) -> dict[str, torch.Tensor]:
    settings = {
        "task": "resolution",
        "dataset": "resolution_1.0",
        "spec": EXACT,
        "device": "cpu",
        "rendezvous": f"file://{folder / 'meeting'}",
        "paths": {
            "index": str(index),
            "out": str(folder / "out"),
            "state_folder": str(folder / "state"),
            "data_folder": str(index.parent),
        },
    }
    folder.mkdir()
    processes = []
    for rank in range(world):
        environment = os.environ | {"WORLD_SIZE": str(world), "RANK": str(rank)}
        command = [sys.executable, "-c", CHILD, json.dumps(settings)]
        processes.append(subprocess.Popen(command, env=environment | {"OMP_NUM_THREADS": "1"}))
    assert [process.wait(timeout=240) for process in processes] == [0] * world
    return load_file(folder / "out/weights.safetensors")


def test_two_processes_equal_one(tmp_path, monkeypatch):
    index = write_dataset(tmp_path, "resolution", 16)
    monkeypatch.setattr(stage, "box_layout", lambda _: "voxels")
    alone = make_job(tmp_path, index, tmp_path / "1", EXACT)
    stage.run_files(alone)
    one = load_file(alone.out / "weights.safetensors")
    two = run_processes(tmp_path / "2", index, 2)
    assert one.keys() == two.keys() and all(t.dtype == torch.float64 for t in one.values())
    assert max(float((one[k] - two[k]).abs().max()) for k in one) < 1e-12
    rows = [read_table(tmp_path / n / "out/metrics.tsv") for n in ("1", "2")]
    assert [r["step"] for r in rows[0]] == [r["step"] for r in rows[1]] == ["2", "3"]
    assert [r["val_loss"] for r in rows[0]] == [r["val_loss"] for r in rows[1]]


def test_processes_share_every_batch(tmp_path):
    entries = read_index(write_dataset(tmp_path, "resolution", 16), "train")
    whole = list(StepSampler(entries, 1, 4, 1, 5))
    shares = [list(StepSampler(entries, 1, 4, 1, 5, rank, 2)) for rank in (0, 1)]
    for batch, first, second in zip(whole, *shares, strict=True):
        assert batch[::2] == first and batch[1::2] == second


def trained(spec: dict, shape: tuple[int, ...], **changes) -> dict[str, torch.Tensor]:
    """State after two steps of the enhance loss on one box."""
    settings = settings_from("enhance", {**spec, "batch_size": 1, "steps": 2, **changes})
    torch.manual_seed(1)
    network = build_network(settings.network)
    trainer = Trainer(network, settings, EnhanceLoss(), torch.device("cpu"))
    box = torch.rand(shape, generator=torch.Generator().manual_seed(3))
    torch.manual_seed(4)
    for _ in range(2):
        trainer.train_step({"input": box, "target": box**2})
    return trainer.network.state_dict()


def test_recomputed_blocks_change_no_number():
    spec = {"network": {**NARROW, "drop_path_rate": 0.3}, "box": 24}
    plain = trained(spec, (1, 1, 24, 24, 24))
    frugal = trained(spec, (1, 1, 24, 24, 24), activation_checkpointing=True)
    assert plain.keys() == frugal.keys()
    assert all(torch.allclose(plain[k], frugal[k], atol=1e-6) for k in plain)


@pytest.mark.long
def test_compilation_changes_no_number():
    spec = {"network": EXACT["network"], "box": 8}
    plain = trained(spec, (1, 1, 8, 8, 8))
    compiled = trained(spec, (1, 1, 8, 8, 8), compile="aot_eager")
    assert plain.keys() == compiled.keys()
    assert all(torch.allclose(plain[k], compiled[k], atol=1e-5) for k in plain)


def test_plateau_and_early_stop_look_at_the_rows():
    rows = [{"val_loss": v} for v in (3.0, 2.0, 2.5, 2.1, 2.2, 1.9, 2.0)]
    assert rate_reductions(rows, 3) == 1 and rate_reductions(rows, 2) == 1
    assert rate_reductions(rows[:4], 2) == 1 and rate_reductions(rows[:4], 3) == 0
    assert rows_since_best(rows) == 1 and rows_since_best(rows[:5]) == 3
    assert rows_since_best([]) == rows_since_best([{"step": 1}]) == 0
    assert plateau_rate(0, 4, 1.0, 0) == 0.25 and plateau_rate(9, 4, 1.0, 0) == 1
    assert plateau_rate(9, 4, 1.0, 2) == pytest.approx(0.09)
    assert plateau_rate(9, 4, 1.0, 9) == 0.01


def make_job(data: Path, index: Path, folder: Path, spec: dict) -> stage.TrainJob:
    return stage.TrainJob(
        task="resolution",
        dataset="resolution_1.0",
        index=index,
        out=folder / "out",
        state_folder=folder / "state",
        spec=spec,
        data_folder=data,
        device="cpu",
    )


def quick_job(folder: Path, **spec) -> stage.TrainJob:
    spec = {
        "network": {"name": "unet3d", "channels": [2, 2, 2, 2, 2]},
        "batch_size": 2,
        "warmup_steps": 1,
        "validate_every": 1,
        "validate_boxes": 2,
        **spec,
    }
    return make_job(folder, write_dataset(folder, "resolution", 16), folder, spec)


def test_a_run_ends_early_with_its_best_weights_and_leaves_its_pace(tmp_path, monkeypatch):
    scores = iter([3.0, 1.0, 2.0, 2.5, 2.5, 2.5])
    monkeypatch.setattr(
        stage.validation, "validate_resolution", lambda *_: {"val_loss": next(scores)}
    )
    kept = []
    update = Trainer._update_average
    monkeypatch.setattr(
        Trainer,
        "_update_average",
        lambda self: (
            update(self),
            kept.append(self.average.state_dict()["conv1_1.0.weight"].clone()),
        ),
    )
    job = quick_job(tmp_path, steps=50, early_stop_rows=2, export="best", schedule="plateau")
    card = stage.run_files(job)
    assert [row["step"] for row in read_table(job.out / "metrics.tsv")] == ["1", "2", "3", "4"]
    assert card["metrics"]["val_loss"] == 1.0
    weights = load_file(job.out / "weights.safetensors")
    assert torch.equal(weights["conv1_1.0.weight"], kept[1])
    rows = read_table(progress_path(job.state_folder))
    assert len(rows) == 4 and not job.state_folder.exists()
    assert all(float(row["boxes_per_second"]) > 0 for row in rows)
    assert all(0 <= float(row["data_wait_share"]) <= 1 for row in rows)


def test_the_table_of_pace_goes_on_where_a_run_does(tmp_path):
    path = tmp_path / "p.tsv"
    first = Progress(path)
    for step in (2, 4, 6):
        first.add({"step": step, "boxes_per_second": 1.5})
    again = Progress(path, 4)
    again.add({"step": 6, "boxes_per_second": 2.0, "val_loss": 0.5})
    assert [row["step"] for row in read_table(path)] == ["2", "4", "6"]
    assert Progress(path).rows == []


def test_deterministic_sums_are_asked_for(tmp_path):
    try:
        stage.run_files(quick_job(tmp_path, steps=1, deterministic=True))
        assert torch.are_deterministic_algorithms_enabled()
    finally:
        torch.use_deterministic_algorithms(False)


@pytest.mark.parametrize(
    "wrong",
    [
        {"accumulate": 3},
        {"schedule": "steps"},
        {"compile": "fast"},
        {"export": "first"},
        {"early_stop_rows": -1},
        {"precision": "fp8"},
    ],
    ids=lambda wrong: next(iter(wrong)),
)
def test_impossible_switches_are_wrong_usage(wrong):
    with pytest.raises(ConfigError):
        settings_from("resolution", {"network": {"name": "bands"}, "batch_size": 8, **wrong})


@pytest.mark.parametrize(
    "arguments",
    [("--data-folder", "/nonexistent"), ("--spec", "[1]"), ("--spec", "{")],
    ids=["folder", "list", "text"],
)
def test_wrong_arguments_end_with_status_2(tmp_path, capsys, arguments):
    index = write_dataset(tmp_path, "resolution", 16)
    options = ["--task", "resolution", "--index", str(index), "--out", str(tmp_path / "out")]
    assert load_script("train").main([*options, *arguments]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_empty_parts_do_not_divide_by_nothing():
    trainer = exact_trainer(accumulate=4)
    batch = uneven_batch()
    batch["mask"] = torch.zeros_like(batch["mask"])
    before = parameters(trainer)
    trainer.train_step(batch)
    assert trainer.window.sums["loss"] == 0
    assert np.isfinite(parameters(trainer).numpy()).all()
    assert torch.allclose(parameters(trainer), before, atol=1e-3)
