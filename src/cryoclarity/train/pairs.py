"""Training boxes from whole pairs in memory, of which the simulated ones are drawn ever anew.

Shards freeze a pair when it is made. Here a pool of simulated pairs is renewed while the network
learns, and measured pairs are mixed in. What a step sees follows from the seed and its number.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from cryoclarity.boxes.augment import random_placement, rotate

INSIDE_LEVEL = 0.1  # of the target's maximum: boxes are centred on such voxels


@dataclass(frozen=True)
class Pair:
    """An input and its target on the network's grid.

    Attributes
    ----------
    name : str
    input : (nz, ny, nx) float32, 0..1
    target : (nz, ny, nx) float32, on the scale of the input
    resolution : float, angstrom
        Stated or drawn: up to it the two are compared.
    """

    name: str
    input: np.ndarray
    target: np.ndarray
    resolution: float

    @classmethod
    def scaled(cls, name: str, given: np.ndarray, target: np.ndarray, resolution: float) -> Pair:
        """Bring a target in 0..1 to the scale of the input inside the molecule.

        The input's scale is that of its few highest voxels, which says little of the molecule;
        without this a network would spend itself on learning one factor per map.
        """
        inside = target > INSIDE_LEVEL
        square = float(np.square(target[inside], dtype=np.float64).sum())
        product = float((target[inside].astype(np.float64) * given[inside]).sum())
        factor = product / square if square > 0 and product > 0 else 1.0
        return cls(
            name,
            np.ascontiguousarray(given, dtype=np.float32),
            np.float32(factor) * target.astype(np.float32),
            float(resolution),
        )

    def centres(self) -> np.ndarray:
        """Voxels of the molecule, (n, 3) int32; the middle where there are none."""
        found = np.argwhere(self.target > INSIDE_LEVEL * self.target.max()).astype(np.int32)
        return found if len(found) else np.array([self.target.shape], dtype=np.int32) // 2


@dataclass(frozen=True)
class PairBatches:
    """Batches of boxes from measured and simulated pairs.

    Attributes
    ----------
    measured : pairs, may be empty
    simulate : callable (number of the draw) -> Pair or None, optional
        None where a draw came to nothing.
    box, batch_size, seed : int
    measured_share : float
        Of each batch, when there are both.
    pool : int
        Simulated pairs at hand.
    renew_every : int
        Steps after which the oldest simulated pair is replaced.
    gain : float
        Input and target are multiplied by 1 +- this.
    first_draw : int
        Number of the first simulated pair.
    """

    measured: Sequence[Pair]
    simulate: Callable[[int], Pair] | None
    box: int = 32
    batch_size: int = 8
    seed: int = 1
    measured_share: float = 0.5
    pool: int = 32
    renew_every: int = 4
    gain: float = 0.2
    first_draw: int = 0

    def batches(self, steps: int) -> Iterator[dict[str, torch.Tensor]]:
        """Yield ``input``, ``target`` (batch, 1, n, n, n) and ``resolution`` of each step."""
        draw = self.first_draw
        pool: deque[tuple[Pair, np.ndarray]] = deque(maxlen=self.pool)
        measured = [(pair, pair.centres()) for pair in self.measured]
        for step in range(steps):
            while self.simulate and (len(pool) < self.pool or step % self.renew_every == 0):
                found = self.simulate(draw)
                draw += 1
                if found is not None:
                    pool.append((found, found.centres()))
                    if len(pool) == self.pool:
                        break
            yield self._batch(np.random.default_rng([self.seed, step]), measured, list(pool))

    def _batch(self, rng: np.random.Generator, measured, simulated) -> dict[str, torch.Tensor]:
        share = self.measured_share if simulated else 1.0
        n_measured = round(share * self.batch_size) if measured else 0
        boxes = []
        for number in range(self.batch_size):
            source = measured if number < n_measured else simulated
            boxes.append(self._box(rng, *source[int(rng.integers(len(source)))]))
        given, target, resolution = zip(*boxes, strict=True)
        return {
            "input": torch.from_numpy(np.stack(given)[:, None]),
            "target": torch.from_numpy(np.stack(target)[:, None]),
            "resolution": torch.tensor(resolution, dtype=torch.float32),
        }

    def _box(self, rng: np.random.Generator, pair: Pair, centres: np.ndarray):
        centre = centres[int(rng.integers(len(centres)))]
        start = centre + rng.integers(-self.box // 4, self.box // 4 + 1, 3) - self.box // 2
        _, rotation = random_placement(rng, self.box, self.box)
        gain = np.float32(1.0 + self.gain * rng.uniform(-1.0, 1.0))
        given, target = (
            rotate(padded_cut(values, start, self.box), rotation) * gain
            for values in (pair.input, pair.target)
        )
        return np.minimum(given, 1.0), target, pair.resolution


def padded_cut(values: np.ndarray, start: np.ndarray, side: int) -> np.ndarray:
    """Cut a cube that may reach beyond the array; zero there."""
    cube = np.zeros((side,) * 3, dtype=values.dtype)
    low = np.maximum(start, 0)
    high = np.minimum(start + side, values.shape)
    if (high > low).all():
        inner = tuple(slice(a - s, b - s) for a, b, s in zip(low, high, start, strict=True))
        cube[inner] = values[tuple(slice(a, b) for a, b in zip(low, high, strict=True))]
    return cube
