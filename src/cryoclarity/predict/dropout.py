"""Dropout kept on at inference: how far the answers of a network's thinned copies lie apart.

Gal, Ghahramani, ICML 2016 (arXiv 1506.02142). Each box has its own random numbers, so the result
depends neither on the batch size nor on what else is in a batch.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.dropout import _DropoutNd

from cryoclarity.errors import ConfigError
from cryoclarity.predict.engine import Runner, Start, Tiling, predict_tiles

# torch's generator on a CPU takes 32 bits of a seed: 255 passes of 16 million boxes never meet.
BOXES_PER_PASS = 1 << 24
LEAST_PASSES, MOST_PASSES = 2, 255


class DropoutRunner(Runner):
    """A runner whose dropout layers stay active, with one stream of random numbers per box."""

    def __init__(self, network: nn.Module, device: torch.device, batch_size: int, seed: int):
        super().__init__(network, device, batch_size)
        self.next_seed = seed
        self.streams: list[torch.Generator] = []

    def _forward(self, boxes: np.ndarray) -> Tensor:
        # An exhausted memory repeats this call with fewer boxes: the seeds move on success only.
        seeds = range(self.next_seed, self.next_seed + len(boxes))
        self.streams = [torch.Generator().manual_seed(seed) for seed in seeds]
        layers = dropout_layers(self.network)
        hooks = [layer.register_forward_hook(self._thin) for layer in layers]
        try:
            output = super()._forward(boxes)
        finally:
            for hook in hooks:
                hook.remove()
        self.next_seed += len(boxes)
        return output

    def _thin(self, layer: _DropoutNd, arguments: tuple[Tensor, ...], output: Tensor) -> Tensor:
        whole = isinstance(layer, nn.Dropout)
        shape = output.shape[1:] if whole else (output.shape[1], *[1] * (output.ndim - 2))
        draws = torch.stack([torch.rand(shape, generator=stream) for stream in self.streams])
        kept = (draws >= layer.p).to(output.dtype) / (1.0 - layer.p)
        return output * kept.to(output.device)


def dropout_layers(network: nn.Module) -> list[_DropoutNd]:
    """Return the dropout layers of a network that drop anything."""
    return [m for m in network.modules() if isinstance(m, _DropoutNd) and m.p > 0]


def dropout_spread(
    runner: Runner,
    density: np.ndarray,
    tiling: Tiling,
    wanted: Callable[[np.ndarray, Start], bool],
    decode: Callable[[np.ndarray], np.ndarray],
    passes: int,
) -> np.ndarray:
    """Return the standard deviation over passes with dropout.

    Parameters
    ----------
    runner : Runner
        Gives network, device and batch size.
    density : (nz, ny, nx) float32
        As for :func:`cryoclarity.predict.engine.predict_tiles`.
    tiling, wanted
        As there.
    decode : callable
        Turns a blended output into the unit of the result; may work in place.
    passes : int, 2 to 255

    Returns
    -------
    (nz, ny, nx) float32
        Sample standard deviation; two arrays of the density's size are held beside a pass.

    Raises
    ------
    ConfigError
        Too few or too many passes, or a network without dropout.
    """
    if not LEAST_PASSES <= passes <= MOST_PASSES:
        raise ConfigError(
            f"{passes} passes", remedy=f"--passes from {LEAST_PASSES} to {MOST_PASSES}"
        )
    if not dropout_layers(runner.network):
        raise ConfigError("the network has no dropout layers", remedy="leave out --passes")
    mean = np.zeros(density.shape, dtype=np.float32)
    squares = np.zeros(density.shape, dtype=np.float32)
    for number in range(passes):
        thinned = DropoutRunner(
            runner.network, runner.device, runner.batch_size, number * BOXES_PER_PASS
        )
        output, _ = predict_tiles(thinned, density, tiling, lambda cut: cut, wanted)
        output = decode(output)
        # Welford's update, section by section to keep temporaries small.
        for new, m, s in zip(output, mean, squares, strict=True):
            step = new - m
            m += step / np.float32(number + 1)
            s += step * (new - m)
    squares /= np.float32(passes - 1)
    return np.sqrt(squares, out=squares)
