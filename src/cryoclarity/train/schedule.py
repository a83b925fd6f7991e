"""Learning rate and averaging as pure functions of the step."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

FLOOR = 0.01
PLATEAU_FACTOR = 0.3
SCORE = "val_loss"


def learning_rate(step: int, steps: int, warmup_steps: int, peak: float) -> float:
    """Linear warm-up to `peak`, then a cosine to 1 % of it at the last step.

    Parameters
    ----------
    step : int
        0 for the first optimiser step.
    steps, warmup_steps : int
        A warm-up longer than half of the run is cut to half.
    """
    warmup = min(warmup_steps, steps // 2)
    if step < warmup:
        return peak * (step + 1) / warmup
    progress = (step - warmup) / max(steps - 1 - warmup, 1)
    return peak * (FLOOR + (1 - FLOOR) * 0.5 * (1 + math.cos(math.pi * min(progress, 1.0))))


def plateau_rate(step: int, warmup_steps: int, peak: float, reductions: int) -> float:
    """Linear warm-up to `peak`, times 0.3 for each reduction, down to 1 % of the peak.

    Parameters
    ----------
    step : int
        0 for the first optimiser step.
    reductions : int
        See `rate_reductions`.
    """
    if step < warmup_steps:
        return peak * (step + 1) / warmup_steps
    return peak * max(PLATEAU_FACTOR**reductions, FLOOR)


def rate_reductions(rows: Sequence[Mapping[str, float]], patience: int) -> int:
    """How often `patience` rows of validation in a row brought nothing better."""
    best, waited, reductions = math.inf, 0, 0
    for row in rows:
        score = row.get(SCORE, math.nan)
        waited = 0 if score < best else waited + 1
        best = score if score < best else best
        if waited == patience:
            reductions, waited = reductions + 1, 0
    return reductions


def rows_since_best(rows: Sequence[Mapping[str, float]]) -> int:
    """How many rows of validation lie behind the best one; 0 without any."""
    scores = [row[SCORE] for row in rows if SCORE in row]
    if not scores:
        return 0
    return len(scores) - 1 - scores.index(min(scores))


def average_decay(updates: int, largest: float) -> float:
    """Decay of the exponential average of the weights after `updates` earlier updates."""
    return min(largest, (1 + updates) / (10 + updates))
