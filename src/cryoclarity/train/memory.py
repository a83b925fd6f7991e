"""Less memory for activations: keep what enters a block, compute the inside again going back."""

from __future__ import annotations

from functools import partial

from torch import nn
from torch.utils.checkpoint import checkpoint

from cryoclarity.nets.scunet import SwinConvBlock

BLOCKS = (SwinConvBlock,)


def checkpoint_blocks(network: nn.Module) -> int:
    """Recompute the blocks of a network in the backward pass; return how many there are.

    Outputs and gradients stay the same, random layers included: the generator's state is kept.
    """
    blocks = [module for module in network.modules() if isinstance(module, BLOCKS)]
    for block in blocks:
        block.forward = partial(checkpoint, block.forward, use_reentrant=False)
    return len(blocks)
