"""A network run in batches of one size: on a GPU as a captured graph, without launches in between.

An eager forward of SCUNet launches hundreds of kernels, which takes longer than a small batch
computes. A captured graph replays them by one call; its tensors stay where they are, so batches
are copied into one place and short ones are filled up.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

WARM_UP = 3


class Captured:
    """Runs batches of at most `size` boxes; what a device other than a GPU does is the same.

    Parameters
    ----------
    network : torch.nn.Module
        On its device, in evaluation mode.
    device : torch.device
    """

    def __init__(self, network: nn.Module, device: torch.device):
        self.network, self.device = network, device
        self.forget()

    def forget(self) -> None:
        """Free graph and buffers: the next call makes new ones."""
        self.given: Tensor | None = None
        self.answer: Tensor | None = None
        self.graph = None

    def __call__(self, boxes: Tensor, size: int) -> Tensor:
        """Return the answer to boxes (n, 1, z, y, x), n <= size; a copy of its own.

        Memory that runs out raises as it does without capture.
        """
        shape = (size, *boxes.shape[1:])
        if self.given is None or self.given.shape != shape:
            self.forget()
            self.given = torch.zeros(shape, device=self.device)
        self.given[: len(boxes)].copy_(boxes)
        # What an earlier batch left in the rest is finite, and no box sees another.
        if self.device.type != "cuda":
            return self.network(self.given)[: len(boxes)].clone()
        if self.graph is None:
            self._capture()
        self.graph.replay()
        return self.answer[: len(boxes)].clone()

    def _capture(self) -> None:
        stream = torch.cuda.Stream(self.device)
        stream.wait_stream(torch.cuda.current_stream(self.device))
        with torch.cuda.stream(stream):
            for _ in range(WARM_UP):
                self.network(self.given)
        torch.cuda.current_stream(self.device).wait_stream(stream)
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph):
            self.answer = self.network(self.given)
