"""Several processes that train one network, each on its share of every batch.

Gradients are summed, not averaged: the loss of each process is divided by the weight of the whole
batch already, so that masks of different sizes count as they would in one process.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeVar

import torch
import torch.distributed as distributed
from torch import Tensor, nn

Content = TypeVar("Content")


@dataclass(frozen=True)
class Ranks:
    """This process among those of a run; alone, nothing is communicated.

    Attributes
    ----------
    rank : 0 for the process that validates and writes
    world : number of processes
    """

    rank: int = 0
    world: int = 1

    @property
    def leads(self) -> bool:
        """Whether this process validates and writes."""
        return self.rank == 0

    def total(self, value: Tensor) -> Tensor:
        """Sum of a tensor over all processes."""
        if self.world == 1:
            return value
        value = value.clone()
        distributed.all_reduce(value)
        return value

    def sum_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Replace gradients by their sums, in one message."""
        gradients = [p.grad for p in parameters if p.grad is not None]
        if self.world == 1 or not gradients:
            return
        flat = torch.cat([g.reshape(-1) for g in gradients])
        distributed.all_reduce(flat)
        parts = flat.split([g.numel() for g in gradients])
        for gradient, part in zip(gradients, parts, strict=True):
            gradient.copy_(part.view_as(gradient))

    def any(self, flag: bool, device: torch.device) -> bool:
        """Whether any process says yes; all of them must ask."""
        if self.world == 1:
            return flag
        return bool(self.total(torch.tensor(float(flag), device=device)) > 0)

    def of_leader(self, content: Content) -> Content:
        """What the first process holds."""
        if self.world == 1:
            return content
        box = [content]
        distributed.broadcast_object_list(box, src=0)
        return box[0]

    def gathered(self, content: Content) -> list[Content]:
        """What every process holds, by rank."""
        if self.world == 1:
            return [content]
        found: list[Content | None] = [None] * self.world
        distributed.all_gather_object(found, content)
        return found


def join(device: torch.device, rendezvous: str = "env://") -> Ranks:
    """Join the processes that ``torchrun`` started; alone when it did not.

    Parameters
    ----------
    device : of this process: NCCL for a GPU, Gloo otherwise
    rendezvous : URL where the processes meet
    """
    world, rank = int(os.environ.get("WORLD_SIZE", 1)), int(os.environ.get("RANK", 0))
    if world == 1:
        return Ranks()
    if not distributed.is_initialized():
        backend = "nccl" if device.type == "cuda" else "gloo"
        distributed.init_process_group(backend, rendezvous, world_size=world, rank=rank)
    return Ranks(rank, world)


def leave() -> None:
    """Part from the other processes."""
    if distributed.is_initialized():
        distributed.destroy_process_group()


def device_of_rank(device: torch.device) -> torch.device:
    """The GPU of this process on its machine, as ``torchrun`` numbers them."""
    if device.type == "cuda" and device.index is None and "LOCAL_RANK" in os.environ:
        return torch.device("cuda", int(os.environ["LOCAL_RANK"]))
    return device
