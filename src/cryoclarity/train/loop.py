"""The training loop: one optimiser step at a time, resumable to the bit, stoppable by a signal."""

from __future__ import annotations

import contextlib
import copy
import logging
import math
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor, nn

from cryoclarity.errors import InputError
from cryoclarity.train.memory import checkpoint_blocks
from cryoclarity.train.ranks import Ranks
from cryoclarity.train.schedule import (
    average_decay,
    learning_rate,
    plateau_rate,
    rate_reductions,
    rows_since_best,
)
from cryoclarity.train.settings import TrainSettings

LOGGER = logging.getLogger(__name__)
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
BAD_STEPS_ALLOWED = 10
PROGRESS_SECONDS = 10.0

Batch = dict[str, Tensor]


class Loss(Protocol):
    """A loss that says what it is the mean over."""

    def weight(self, batch: Batch) -> Tensor: ...

    def __call__(self, output: Tensor, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]: ...


class Stopped(Exception):
    """Training was stopped by a signal after its state was saved."""

    exit_status = 85

    def __init__(self, step: int):
        super().__init__(f"stopped after step {step}; the same command resumes")
        self.step = step


class StopRequest:
    """Remembers that a signal asked to stop; the loop looks after each step."""

    def __init__(self) -> None:
        self.signal: int | None = None

    def __bool__(self) -> bool:
        return self.signal is not None

    def set(self, number: int, _frame: object = None) -> None:
        """Signal handler: takes note, nothing else."""
        self.signal = number

    def clear(self) -> None:
        """Forget the request."""
        self.signal = None


@contextlib.contextmanager
def stop_on_signals() -> Iterator[StopRequest]:
    """Turn SIGTERM, SIGINT and SIGUSR1 into a request inside the block (main thread only)."""
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    previous = {number: signal.signal(number, request.set) for number in SIGNALS}
    try:
        yield request
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


@dataclass
class Window:
    """Sums since the last row of the metrics table."""

    steps: int = 0
    clipped: int = 0
    skipped: int = 0
    sums: dict[str, float] = field(default_factory=dict)

    def add(self, terms: dict[str, float], clipped: bool) -> None:
        """Count one good step."""
        self.steps += 1
        self.clipped += clipped
        for name, value in terms.items():
            self.sums[name] = self.sums.get(name, 0.0) + value

    def means(self) -> dict[str, float]:
        """Mean of every term, and the fraction of clipped steps."""
        count = max(self.steps, 1)
        result = {f"train_{name}": value / count for name, value in self.sums.items()}
        return {**result, "clip_fraction": self.clipped / count, "skipped_steps": self.skipped}


def parameter_groups(network: nn.Module, weight_decay: float) -> list[dict[str, object]]:
    """Split parameters: kernels and matrices decay; biases, norms and position tables do not."""
    decayed, free = [], []
    for name, parameter in network.named_parameters():
        if parameter.requires_grad:
            kernel = name.endswith("weight") and parameter.ndim >= 2
            (decayed if kernel else free).append(parameter)
    return [
        {"params": decayed, "weight_decay": weight_decay},
        {"params": free, "weight_decay": 0.0},
    ]


class Trainer:
    """Network, averaged network, optimiser and counters of one run.

    Parameters
    ----------
    network : torch.nn.Module
        Moved to `device` and trained in place.
    settings : TrainSettings
    loss : callable (output, batch) -> (loss, terms), with `weight(batch)`
    device : torch.device
    ranks : processes that share the work; by default this one alone
    """

    def __init__(
        self,
        network: nn.Module,
        settings: TrainSettings,
        loss: Loss,
        device: torch.device,
        ranks: Ranks | None = None,
    ):
        self.settings, self.loss, self.device = settings, loss, device
        self.ranks = ranks or Ranks()
        self.dtype = torch.float64 if settings.precision == "float64" else torch.float32
        self.network = network.to(device, self.dtype)
        self.average = copy.deepcopy(self.network).eval().requires_grad_(False)
        self.running: nn.Module = self.network
        if settings.activation_checkpointing:
            checkpoint_blocks(self.network)
        if settings.compile != "off":
            # The compiled module shares the parameters; state dicts are those of the inner one.
            self.running = torch.compile(self.network, backend=settings.compile)
        self.optimizer = torch.optim.AdamW(
            parameter_groups(self.network, settings.weight_decay),
            lr=settings.learning_rate,
            betas=(0.9, 0.999),
        )
        self.parameters = [p for p in self.network.parameters() if p.requires_grad]
        self.step = self.updates = self.bad_steps = 0
        self.window = Window()
        self.rows: list[dict[str, float]] = []
        self.best: dict[str, Tensor] = {}

    def learning_rate(self, step: int | None = None) -> float:
        """Rate of a step, by default of the next one."""
        s = self.settings
        step = self.step if step is None else step
        if s.schedule == "plateau":
            reductions = rate_reductions(self.rows, s.plateau_rows)
            return plateau_rate(step, s.warmup_steps, s.learning_rate, reductions)
        return learning_rate(step, s.steps, s.warmup_steps, s.learning_rate)

    def train_step(self, batch: Batch) -> None:
        """One optimiser step; a step that is not finite changes nothing but the counters.

        Raises
        ------
        InputError
            TRAIN_NONFINITE after ten such steps in a row.
        """
        self.network.train()
        for group in self.optimizer.param_groups:
            group["lr"] = self.learning_rate()
        self.optimizer.zero_grad(set_to_none=True)
        values = self._backward(self.on_device(batch))
        self.ranks.sum_gradients(self.parameters)
        norm = nn.utils.clip_grad_norm_(self.parameters, self.settings.gradient_clip).item()
        self.step += 1
        if not (math.isfinite(norm) and math.isfinite(values["loss"])):
            self._count_bad_step()
            return
        self.bad_steps = 0
        self.optimizer.step()
        self._update_average()
        self.window.add(values, norm > self.settings.gradient_clip)

    def on_device(self, batch: Batch) -> Batch:
        """A batch on the device, real numbers in the precision of the parameters."""
        moved = {name: t.to(self.device, non_blocking=True) for name, t in batch.items()}
        if self.dtype == torch.float64:
            moved = {n: t.double() if t.is_floating_point() else t for n, t in moved.items()}
        return moved

    def _backward(self, batch: Batch) -> dict[str, float]:
        """Add the gradients of a batch, part by part; return the loss and its terms.

        Every part counts by its weight (boxes, or labelled voxels) in the batch of all processes.
        """
        size = len(batch["input"]) // self.settings.accumulate or 1
        parts = [
            {name: t[first : first + size] for name, t in batch.items()}
            for first in range(0, len(batch["input"]), size)
        ]
        weights = [self.loss.weight(part) for part in parts]
        whole = self.ranks.total(torch.stack(weights).sum()).clamp(min=1.0)
        values: dict[str, Tensor] = {}
        for part, weight in zip(parts, weights, strict=True):
            share = weight.clamp(min=1.0) / whole
            loss, terms = self.loss(self.forward(self.running, part["input"]), part)
            (loss * share.to(loss.dtype)).backward()
            for name, value in {"loss": loss.detach(), **terms}.items():
                values[name] = values.get(name, 0.0) + value.double() * share
        totals = self.ranks.total(torch.stack(list(values.values())))
        return dict(zip(values, totals.tolist(), strict=True))

    def forward(self, network: nn.Module, inputs: Tensor) -> Tensor:
        """Network output, under autocast when the precision asks for it."""
        half = self.settings.precision == "bf16"
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=half):
            return network(inputs)

    def _count_bad_step(self) -> None:
        self.bad_steps += 1
        self.window.skipped += 1
        LOGGER.warning("step %d: loss or gradient is not finite, step left out", self.step)
        if self.bad_steps >= BAD_STEPS_ALLOWED:
            raise InputError(
                f"loss or gradient not finite {self.bad_steps} times in a row at step {self.step}",
                code="TRAIN_NONFINITE",
                remedy="lower the learning rate or look for bad boxes",
            )

    @torch.no_grad()
    def _update_average(self) -> None:
        decay = average_decay(self.updates, self.settings.ema)
        self.updates += 1
        averaged = list(self.average.parameters())
        torch._foreach_lerp_(averaged, list(self.network.parameters()), 1.0 - decay)
        for mine, theirs in zip(self.average.buffers(), self.network.buffers(), strict=True):
            mine.copy_(theirs)

    def exported(self) -> tuple[dict[str, Tensor], dict[str, float]]:
        """The averaged weights that are kept, and their row of the metrics table."""
        if not self.best:
            return self.average.state_dict(), self.rows[-1] if self.rows else {}
        return self.best, self.rows[-1 - rows_since_best(self.rows)]

    def state(self) -> dict[str, object]:
        """Everything that a bitwise resume needs: tensors and plain values only."""
        cuda = torch.cuda.get_rng_state_all() if self.device.type == "cuda" else []
        return {
            "step": self.step,
            "updates": self.updates,
            "bad_steps": self.bad_steps,
            "network": self.network.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "window": vars(self.window),
            "rows": self.rows,
            "best": self.best,
            "torch_rng": self.ranks.gathered(torch.get_rng_state()),
            "cuda_rng": cuda,
        }

    def restore(self, state: dict[str, object]) -> None:
        """Continue from `state`."""
        self.step, self.updates = state["step"], state["updates"]
        self.bad_steps = state["bad_steps"]
        self.network.load_state_dict(state["network"])
        self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.window = Window(**state["window"])
        self.rows = list(state["rows"])
        self.best = dict(state["best"])
        # Resumed by another number of processes, the new ones keep the state of their seed.
        if self.ranks.rank < len(state["torch_rng"]):
            torch.set_rng_state(state["torch_rng"][self.ranks.rank])
        if self.device.type == "cuda" and state["cuda_rng"]:
            torch.cuda.set_rng_state_all(state["cuda_rng"])


@dataclass
class Pace:
    """Boxes since the last row, and the time that went into waiting for them."""

    boxes: int = 0
    waited: float = 0.0
    began: float = field(default_factory=time.monotonic)

    def watched(self, source: Iterable[Batch]) -> Iterator[Batch]:
        """The batches of a source, with the time until each arrives."""
        batches = iter(source)
        while True:
            asked = time.monotonic()
            batch = next(batches, None)
            self.waited += time.monotonic() - asked
            if batch is None:
                return
            yield batch

    def taken(self) -> dict[str, float]:
        """Boxes per second and share of waiting since the last call."""
        seconds = max(time.monotonic() - self.began, 1e-9)
        found = {"boxes_per_second": self.boxes / seconds, "data_wait_share": self.waited / seconds}
        self.boxes, self.waited, self.began = 0, 0.0, time.monotonic()
        return found


@dataclass
class Hooks:
    """What the loop calls at its edges.

    Attributes
    ----------
    validate : callable () -> dict of metrics, called for every row of the table
    save : callable () writes a checkpoint
    stop : request set by a signal
    continue_after_stop : save on a signal and go on (for schedulers that requeue)
    note : callable (row with the pace) writes down how the run goes
    """

    validate: Callable[[], dict[str, float]]
    save: Callable[[], None]
    stop: StopRequest = field(default_factory=StopRequest)
    continue_after_stop: bool = False
    note: Callable[[dict[str, float]], None] = lambda row: None


def run(trainer: Trainer, source: Iterable[Batch], steps_per_epoch: int, hooks: Hooks) -> None:
    """Train from the trainer's step to the last one.

    Parameters
    ----------
    trainer : Trainer
        Changed in place; `trainer.rows` collects the metrics table.
    source : iterable of batches
        Must begin with the batch of `trainer.step`.
    steps_per_epoch : int
    hooks : Hooks

    Raises
    ------
    Stopped
        After a signal, with the state saved.
    """
    settings = trainer.settings
    every = settings.validate_every or steps_per_epoch
    saved = reported = started = time.monotonic()
    first = trainer.step
    pace = Pace()
    if should_stop(trainer):
        return
    for batch in pace.watched(source):
        trainer.train_step(batch)
        pace.boxes += len(batch["input"]) * trainer.ranks.world
        if trainer.step % every == 0 or trainer.step == settings.steps:
            _add_row(trainer, steps_per_epoch, trainer.ranks.of_leader(hooks.validate()))
            hooks.note(trainer.rows[-1] | pace.taken())
            if should_stop(trainer):
                LOGGER.info("no better row for %d: stopped early", settings.early_stop_rows)
                break
        now = time.monotonic()
        if now - reported > PROGRESS_SECONDS:
            _report(trainer, (now - started) / (trainer.step - first))
            reported = now
        if trainer.ranks.any(bool(hooks.stop), trainer.device) and trainer.step < settings.steps:
            hooks.save()
            if not hooks.continue_after_stop:
                raise Stopped(trainer.step)
            hooks.stop.clear()
            saved = now
        elif _is_time(trainer, now - saved) and trainer.step < settings.steps:
            hooks.save()
            saved = now
    elapsed = time.monotonic() - started
    LOGGER.info("%d steps in %.0f s", trainer.step - first, elapsed)


def should_stop(trainer: Trainer) -> bool:
    """Whether validation has brought nothing better for as many rows as the settings allow."""
    limit = trainer.settings.early_stop_rows
    return limit > 0 and rows_since_best(trainer.rows) >= limit


def _is_time(trainer: Trainer, seconds: float) -> bool:
    """Whether a checkpoint is due; the first process's clock counts for all."""
    return trainer.ranks.of_leader(seconds > 60 * trainer.settings.checkpoint_minutes)


def _add_row(trainer: Trainer, steps_per_epoch: int, validation: dict[str, float]) -> None:
    row = {
        "epoch": trainer.step / steps_per_epoch,
        "step": trainer.step,
        "lr": trainer.learning_rate(trainer.step - 1),
        **trainer.window.means(),
        **validation,
    }
    trainer.rows.append(row)
    trainer.window = Window()
    if trainer.settings.export == "best" and rows_since_best(trainer.rows) == 0:
        trainer.best = {name: t.clone() for name, t in trainer.average.state_dict().items()}
    text = " ".join(f"{key}={value:.4g}" for key, value in row.items())
    LOGGER.info("metrics %s", text)


def _report(trainer: Trainer, seconds_per_step: float) -> None:
    settings = trainer.settings
    LOGGER.info(
        "step %d of %d, %.1f boxes/s, %.0f s to go",
        trainer.step,
        settings.steps,
        settings.batch_size / seconds_per_step,
        seconds_per_step * (settings.steps - trainer.step),
    )
