"""Learning rate and averaging as pure functions of the step."""

from __future__ import annotations

import math

FLOOR = 0.01


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


def average_decay(updates: int, largest: float) -> float:
    """Decay of the exponential average of the weights after `updates` earlier updates."""
    return min(largest, (1 + updates) / (10 + updates))
