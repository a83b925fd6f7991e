"""Settings of one training run: defaults per task, unknown keys refused."""

from __future__ import annotations

import dataclasses
import difflib
import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass

from cryoclarity.errors import ConfigError
from cryoclarity.nets.registry import box_multiple, network_description

# Settings that change neither order nor arithmetic: a run may be resumed with others.
FREE_SETTINGS = ("checkpoint_minutes", "workers", "keep_checkpoints", "activation_checkpointing")
CHOICES = {
    "labels": ("log2", "angstrom"),
    "precision": ("float32", "bf16", "float64"),
    "schedule": ("cosine", "plateau"),
    "compile": ("off", "inductor", "aot_eager"),
    "export": ("last", "best"),
}
ENHANCE_LOSS = {"smooth_l1": 1.0, "ssim": 1.0, "beta": 0.1, "window": 7, "sigma": 1.5}
RESOLUTION_LOSS = {"huber_delta": 1.0, "censored": 1.0}
TASK_DEFAULTS: dict[str, dict[str, object]] = {
    "enhance": {
        "network": {"name": "scunet", "drop_path_rate": 0.1},
        "box": 48,
        "batch_size": 32,
        "learning_rate": 5e-4,
        "warmup_steps": 1000,
        "loss": ENHANCE_LOSS,
    },
    "resolution": {
        "network": {"name": "bands"},
        "box": 16,
        "batch_size": 8,
        "learning_rate": 2e-3,
        "warmup_steps": 40,
        "loss": RESOLUTION_LOSS,
    },
}
# Networks that another recipe suits than the one of their task: the published layout.
NETWORK_DEFAULTS: dict[str, dict[str, object]] = {
    "unet3d": {"batch_size": 400, "learning_rate": 3e-4, "warmup_steps": 1000},
}


@dataclass(frozen=True)
class TrainSettings:
    """Everything that decides the numbers of a training run.

    Attributes
    ----------
    task : 'enhance' or 'resolution'
    network : complete description, see `cryoclarity.nets.registry.network_description`
    box : side of the cube the network sees, voxels; cropped from the stored boxes
    steps : optimiser steps in all; the schedule is a function of it
    batch_size : boxes per step
    learning_rate : peak value
    warmup_steps : steps of linear growth; then cosine to 1 % of the peak
    weight_decay : for matrices and kernels only
    gradient_clip : largest gradient norm
    ema : largest decay of the averaged weights
    seed : of initial weights, order and augmentation
    validate_every : steps between rows of the metrics table; 0 means once per epoch
    validate_boxes : largest number of validation boxes per row
    rotations : draw one of the 24 rotations per box
    labels : 'log2' or 'angstrom' (resolution only)
    precision : 'float32', 'bf16' (autocast on a GPU), or 'float64' for comparisons
    accumulate : parts into which a batch is cut to save memory; the sums stay those of the batch
    schedule : 'cosine' over all steps, or 'plateau': times 0.3 when validation stands still
    plateau_rows : rows of validation without a better one before the rate is reduced
    early_stop_rows : rows of validation without a better one that end a run; 0 never does
    export : weights of the 'last' step, or of the 'best' row of validation
    compile : 'off', or the backend of torch.compile
    activation_checkpointing : compute the blocks of SCUNet again instead of keeping them
    deterministic : refuse operations whose sums depend on timing, on a GPU
    checkpoint_minutes : time between rolling checkpoints
    keep_checkpoints : rolling checkpoints kept
    workers : loader processes; 0 reads in the training process
    licence : of the weights
    """

    task: str
    network: dict[str, object]
    loss: dict[str, float]
    box: int
    batch_size: int
    learning_rate: float
    warmup_steps: int
    steps: int = 50_000
    weight_decay: float = 1e-4
    gradient_clip: float = 1.0
    ema: float = 0.999
    seed: int = 1
    validate_every: int = 0
    validate_boxes: int = 256
    rotations: bool = True
    labels: str = "log2"
    precision: str = "float32"
    accumulate: int = 1
    schedule: str = "cosine"
    plateau_rows: int = 5
    early_stop_rows: int = 0
    export: str = "last"
    compile: str = "off"
    activation_checkpointing: bool = False
    deterministic: bool = False
    checkpoint_minutes: float = 10.0
    keep_checkpoints: int = 2
    workers: int = 0
    licence: str = "CC-BY-4.0"

    def to_dict(self) -> dict[str, object]:
        """The settings that decide the result, as plain content."""
        content = dataclasses.asdict(self)
        for key in FREE_SETTINGS:
            content.pop(key)
        return content

    def fingerprint(self) -> str:
        """Hash of the settings that decide the result."""
        text = json.dumps(self.to_dict(), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()


def settings_from(task: str, spec: Mapping[str, object]) -> TrainSettings:
    """Fill a spec with the defaults of its task and check it.

    Parameters
    ----------
    task : 'enhance' or 'resolution'
    spec : mapping
        Any attributes of `TrainSettings`; ``network`` and ``loss`` may be partial.

    Raises
    ------
    ConfigError
        Unknown task, key or network; a value of the wrong kind; a box that does not fit.
    """
    if task not in TASK_DEFAULTS:
        raise ConfigError(f"unknown task {task!r}", remedy="enhance or resolution")
    defaults = TASK_DEFAULTS[task]
    known = {f.name for f in dataclasses.fields(TrainSettings)} - {"task"}
    _refuse_unknown(spec, known, "setting")
    loss = dict(spec.get("loss", {}))
    _refuse_unknown(loss, set(defaults["loss"]), "loss term")
    network = network_description(spec.get("network", defaults["network"]))
    defaults = {**defaults, **NETWORK_DEFAULTS.get(network["name"], {})}
    values = {**defaults, **spec, "loss": {**defaults["loss"], **loss}, "network": network}
    settings = TrainSettings(task=task, **values)
    _check(settings)
    return settings


def _refuse_unknown(given: Mapping[str, object], known: set[str], what: str) -> None:
    for key in given:
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1)
            remedy = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(sorted(known))}"
            raise ConfigError(f"unknown {what} {key!r}", remedy=remedy)


def _check(settings: TrainSettings) -> None:
    multiple = box_multiple(settings.network["name"])
    if settings.box % multiple or settings.box <= 0:
        raise ConfigError(
            f"box {settings.box} does not suit {settings.network['name']}",
            remedy=f"use a multiple of {multiple}",
        )
    for name in ("steps", "batch_size", "learning_rate", "gradient_clip"):
        if not 0 < getattr(settings, name) < math.inf:
            raise ConfigError(f"{name} is {getattr(settings, name)}", remedy="must be positive")
    if settings.workers < 0:
        raise ConfigError(f"workers is {settings.workers}", remedy="must not be negative")
    if settings.seed < 0 or settings.warmup_steps < 0:
        raise ConfigError("seed and warmup_steps must not be negative")
    if settings.accumulate < 1 or settings.batch_size % settings.accumulate:
        raise ConfigError(f"accumulate is {settings.accumulate}", remedy="must divide batch_size")
    if settings.plateau_rows < 1 or settings.early_stop_rows < 0:
        raise ConfigError("plateau_rows must be positive, early_stop_rows not negative")
    for name, known in CHOICES.items():
        if getattr(settings, name) not in known:
            raise ConfigError(f"{name} {getattr(settings, name)!r}", remedy=" or ".join(known))
