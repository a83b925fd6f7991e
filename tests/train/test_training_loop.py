"""The loop: steps, averages, bad steps, schedule, checkpoints."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from torch import nn

from cryoclarity.errors import ConfigError, InputError
from cryoclarity.nets.losses import EnhanceLoss
from cryoclarity.nets.scunet import SCUNet
from cryoclarity.train import schedule
from cryoclarity.train.checkpoint import CheckpointStore
from cryoclarity.train.loop import Hooks, Stopped, StopRequest, Trainer, parameter_groups, run
from cryoclarity.train.settings import settings_from

NARROW = {"name": "scunet", "dim": 4, "head_dim": 2, "config": [1] * 7, "residual": True}
SPEC = {
    "network": NARROW,
    "box": 24,
    "batch_size": 1,
    "learning_rate": 4e-3,
    "warmup_steps": 3,
    "steps": 16,
}


def make_trainer(**changes) -> Trainer:
    settings = settings_from("enhance", {**SPEC, **changes})
    torch.manual_seed(settings.seed)
    network = SCUNet(**{k: v for k, v in settings.network.items() if k != "name"})
    return Trainer(network, settings, EnhanceLoss(), torch.device("cpu"))


def make_batch(seed: int = 0) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    target = torch.rand((1, 1, 24, 24, 24), generator=generator)
    target = nn.functional.avg_pool3d(target, 3, 1, 1)
    target = (target - target.min()) / (target.max() - target.min())
    noise = 0.1 * torch.randn(target.shape, generator=generator)
    return {"input": (target * 0.6 + noise).clamp(0, 1), "target": target}


def test_one_box_is_learned_beyond_the_identity():
    trainer, batch = make_trainer(), make_batch()
    identity = EnhanceLoss()(batch["input"], batch)[0].item()
    for _ in range(trainer.settings.steps):
        trainer.train_step(batch)
    means = trainer.window.means()
    assert means["skipped_steps"] == 0
    assert 0 <= means["clip_fraction"] <= 1
    with torch.no_grad():
        assert EnhanceLoss()(trainer.average(batch["input"]), batch)[0].item() < 0.9 * identity


def test_a_step_that_is_not_finite_changes_nothing_and_ten_stop_the_run():
    trainer, batch = make_trainer(), make_batch()
    bad = {"input": batch["input"] * float("nan"), "target": batch["target"]}
    before = {k: v.clone() for k, v in trainer.network.state_dict().items()}
    trainer.train_step(bad)
    assert trainer.step == 1 and trainer.window.skipped == 1
    assert all(torch.equal(v, before[k]) for k, v in trainer.network.state_dict().items())
    trainer.train_step(batch)
    assert trainer.bad_steps == 0
    with pytest.raises(InputError) as caught:
        for _ in range(10):
            trainer.train_step(bad)
    assert caught.value.code == "TRAIN_NONFINITE"


def test_average_follows_the_rule():
    trainer, batch = make_trainer(), make_batch()
    name, parameter = next(iter(trainer.network.named_parameters()))
    wanted = parameter.detach().clone()
    for step in range(4):
        trainer.train_step(batch)
        decay = min(0.999, (1 + step) / (10 + step))
        wanted = decay * wanted + (1 - decay) * parameter.detach()
    torch.testing.assert_close(dict(trainer.average.named_parameters())[name], wanted)


def test_weight_decay_spares_norms_biases_and_position_tables():
    network = SCUNet(dim=4, head_dim=2, config=[1] * 7)
    decayed, free = parameter_groups(network, 0.1)
    names = {id(p): name for name, p in network.named_parameters()}
    kept = {names[id(p)].rsplit(".", 1)[-1] for p in free["params"]}
    assert kept == {"bias", "weight", "gamma", "beta", "tau", "relative_position_params"}
    assert all(p.ndim == 1 for p in free["params"] if names[id(p)].endswith("weight"))
    assert all(p.ndim >= 2 for p in decayed["params"])
    assert (decayed["weight_decay"], free["weight_decay"]) == (0.1, 0.0)


def test_learning_rate_rises_then_falls_to_one_percent():
    rates = [schedule.learning_rate(s, 100, 10, 2.0) for s in range(100)]
    np.testing.assert_allclose(rates[:10], 0.2 * np.arange(1, 11))
    assert rates[10] == 2.0
    assert all(a > b for a, b in itertools.pairwise(rates[10:]))
    assert rates[-1] == pytest.approx(0.02)
    assert schedule.learning_rate(0, 1, 5, 2.0) == 2.0
    assert math.isclose(schedule.average_decay(0, 0.999), 0.1)
    assert schedule.average_decay(10**6, 0.999) == 0.999


def test_stop_request_saves_and_raises_and_continue_goes_on():
    trainer, saved = make_trainer(steps=4), []
    stop = StopRequest()
    stop.set(15)
    hooks = Hooks(dict, lambda: saved.append(trainer.step), stop)
    with pytest.raises(Stopped):
        run(trainer, iter([make_batch()] * 4), 2, hooks)
    assert saved == [1] and trainer.step == 1
    hooks.continue_after_stop = True
    run(trainer, iter([make_batch()] * 3), 2, hooks)
    assert saved == [1, 2] and trainer.step == 4
    assert [row["step"] for row in trainer.rows] == [2, 4]
    assert [row["epoch"] for row in trainer.rows] == [1, 2]


def test_checkpoints_roll_and_damage_falls_back(tmp_path):
    store = CheckpointStore(tmp_path / "state", keep=2)
    assert store.latest() is None
    for step in (1, 2, 3):
        store.save(step, {"step": step, "tensor": torch.full((3,), step), "text": "x"})
    assert [p.name for p in store.paths()] == ["step_000000003.pt", "step_000000002.pt"]
    path, state = store.latest()
    assert state["step"] == 3 and state["tensor"].tolist() == [3, 3, 3]
    path.write_bytes(path.read_bytes()[:-5])
    assert store.latest()[1]["step"] == 2
    # A kill between the file and its hash.
    path = store.save(4, {"step": 4})
    store.save(5, {"step": 5})
    (store.folder / "step_000000005.pt.sha256").unlink()
    assert store.latest() == (path, {"step": 4})
    store.clear()
    assert not store.paths()


def test_trainer_state_loads_without_code_and_restores(tmp_path):
    trainer, batch = make_trainer(), make_batch()
    trainer.train_step(batch)
    store = CheckpointStore(tmp_path)
    store.save(1, trainer.state())
    trainer.train_step(batch)
    other = make_trainer(seed=9)
    other.restore(store.latest()[1])
    other.train_step(batch)
    for a, b in zip(trainer.average.parameters(), other.average.parameters(), strict=True):
        assert torch.equal(a, b)
    assert other.window == trainer.window


def test_settings_refuse_what_they_do_not_know():
    with pytest.raises(ConfigError, match="steps"):
        settings_from("enhance", {"stepss": 3})
    with pytest.raises(ConfigError, match="beta"):
        settings_from("enhance", {"loss": {"betta": 3}})
    with pytest.raises(ConfigError, match="multiple of 24"):
        settings_from("enhance", {"box": 30})
    with pytest.raises(ConfigError, match="scunet"):
        settings_from("enhance", {"network": {"name": "resnet"}})
    with pytest.raises(ConfigError, match="enhance or resolution"):
        settings_from("denoise", {})
    with pytest.raises(ConfigError, match="positive"):
        settings_from("enhance", {"steps": 0})
    full = settings_from("enhance", {})
    assert full.network["dim"] == 32 and full.network["config"] == [2] * 7
    assert full.loss["beta"] == 0.1 and full.ema == 0.999
    changed = settings_from("enhance", {"workers": 3, "checkpoint_minutes": 1})
    assert changed.fingerprint() == full.fingerprint()
    assert settings_from("enhance", {"seed": 2}).fingerprint() != full.fingerprint()
