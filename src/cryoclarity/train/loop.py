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

import torch
from torch import Tensor, nn

from cryoclarity.errors import InputError
from cryoclarity.train.schedule import average_decay, learning_rate
from cryoclarity.train.settings import TrainSettings

LOGGER = logging.getLogger(__name__)
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
BAD_STEPS_ALLOWED = 10
PROGRESS_SECONDS = 10.0

Batch = dict[str, Tensor]
Loss = Callable[[Tensor, Batch], tuple[Tensor, dict[str, Tensor]]]


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
    loss : callable (output, batch) -> (loss, terms)
    device : torch.device
    """

    def __init__(
        self, network: nn.Module, settings: TrainSettings, loss: Loss, device: torch.device
    ):
        self.settings, self.loss, self.device = settings, loss, device
        self.network = network.to(device)
        self.average = copy.deepcopy(self.network).eval().requires_grad_(False)
        self.optimizer = torch.optim.AdamW(
            parameter_groups(self.network, settings.weight_decay),
            lr=settings.learning_rate,
            betas=(0.9, 0.999),
        )
        self.parameters = [p for p in self.network.parameters() if p.requires_grad]
        self.step = self.updates = self.bad_steps = 0
        self.window = Window()
        self.rows: list[dict[str, float]] = []

    def learning_rate(self) -> float:
        """Rate of the next step."""
        s = self.settings
        return learning_rate(self.step, s.steps, s.warmup_steps, s.learning_rate)

    def train_step(self, batch: Batch) -> None:
        """One optimiser step; a step that is not finite changes nothing but the counters.

        Raises
        ------
        InputError
            TRAIN_NONFINITE after ten such steps in a row.
        """
        batch = {name: t.to(self.device, non_blocking=True) for name, t in batch.items()}
        self.network.train()
        for group in self.optimizer.param_groups:
            group["lr"] = self.learning_rate()
        self.optimizer.zero_grad(set_to_none=True)
        loss, terms = self.loss(self.forward(self.network, batch["input"]), batch)
        loss.backward()
        norm = nn.utils.clip_grad_norm_(self.parameters, self.settings.gradient_clip).item()
        self.step += 1
        if not (math.isfinite(norm) and math.isfinite(loss.item())):
            self._count_bad_step()
            return
        self.bad_steps = 0
        self.optimizer.step()
        self._update_average()
        values = {"loss": loss.item(), **{name: term.item() for name, term in terms.items()}}
        self.window.add(values, norm > self.settings.gradient_clip)

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
            "torch_rng": torch.get_rng_state(),
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
        torch.set_rng_state(state["torch_rng"])
        if self.device.type == "cuda" and state["cuda_rng"]:
            torch.cuda.set_rng_state_all(state["cuda_rng"])


@dataclass
class Hooks:
    """What the loop calls at its edges.

    Attributes
    ----------
    validate : callable () -> dict of metrics, called for every row of the table
    save : callable () writes a checkpoint
    stop : request set by a signal
    continue_after_stop : save on a signal and go on (for schedulers that requeue)
    """

    validate: Callable[[], dict[str, float]]
    save: Callable[[], None]
    stop: StopRequest = field(default_factory=StopRequest)
    continue_after_stop: bool = False


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
    for batch in source:
        trainer.train_step(batch)
        if trainer.step % every == 0 or trainer.step == settings.steps:
            _add_row(trainer, steps_per_epoch, hooks.validate())
        now = time.monotonic()
        if now - reported > PROGRESS_SECONDS:
            _report(trainer, (now - started) / (trainer.step - first))
            reported = now
        if hooks.stop and trainer.step < settings.steps:
            hooks.save()
            if not hooks.continue_after_stop:
                raise Stopped(trainer.step)
            hooks.stop.clear()
            saved = now
        elif now - saved > 60 * settings.checkpoint_minutes and trainer.step < settings.steps:
            hooks.save()
            saved = now
    elapsed = time.monotonic() - started
    LOGGER.info("%d steps in %.0f s", trainer.step - first, elapsed)


def _add_row(trainer: Trainer, steps_per_epoch: int, validation: dict[str, float]) -> None:
    row = {
        "epoch": trainer.step / steps_per_epoch,
        "step": trainer.step,
        "lr": learning_rate(
            trainer.step - 1,
            trainer.settings.steps,
            trainer.settings.warmup_steps,
            trainer.settings.learning_rate,
        ),
        **trainer.window.means(),
        **validation,
    }
    trainer.rows.append(row)
    trainer.window = Window()
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
