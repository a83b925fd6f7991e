"""A small residual network for map improvement: what it adds to the clipped input is bounded.

It works on blocks of 2^3 voxels as channels, so that a layer reaches 2 voxels farther at an eighth
of the cost: enough to be trained on one core. Its last layer starts at zero, so that untrained it
is the clip at zero, and `strength` scales what it learned; 0 is the clip again.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

BLOCK = 2
BOX_MULTIPLE = BLOCK
CELLS = BLOCK**3


class RefineNet(nn.Module):
    """Clipped input plus a bounded residual: (batch, 1, z, y, x) -> the same shape.

    Sizes must be even. While training the sum is not clipped: gradients reach every voxel.

    Parameters
    ----------
    width : int
        Channels on the grid of blocks.
    blocks : int
        Residual pairs of 3x3x3 convolutions.
    limit : float
        Largest change of a voxel, of a map in 0..1.
    """

    def __init__(self, width: int = 24, blocks: int = 2, limit: float = 0.5):
        super().__init__()
        if width < 1 or blocks < 0 or not limit > 0:
            raise ValueError(f"width {width}, blocks {blocks} or limit {limit} is not positive")
        self.limit = limit
        self.first = nn.Conv3d(CELLS, width, 3, padding=1)
        self.inner = nn.ModuleList(nn.Conv3d(width, width, 3, padding=1) for _ in range(2 * blocks))
        self.last = nn.Conv3d(width, CELLS, 3, padding=1)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)
        self.register_buffer("strength", torch.ones(1))

    def forward(self, x: Tensor) -> Tensor:
        if any(side % BLOCK for side in x.shape[2:]):
            raise ValueError(f"box {tuple(x.shape[2:])} is not even")
        x = x.clamp(0.0, 1.0)
        result = x + self.strength * self.residual(x)
        return result if self.training else result.clamp(min=0.0)

    def residual(self, x: Tensor) -> Tensor:
        """What is added at strength 1, within the limit."""
        features = torch.relu(self.first(to_blocks(x)))
        for first, second in zip(self.inner[::2], self.inner[1::2], strict=True):
            features = features + second(torch.relu(first(features)))
        return self.limit * torch.tanh(from_blocks(self.last(features)) / self.limit)


def to_blocks(x: Tensor) -> Tensor:
    """Voxels of 2^3 blocks as channels: (batch, 1, 2z, 2y, 2x) -> (batch, 8, z, y, x)."""
    batch, _, z, y, x_size = x.shape
    x = x.reshape(batch, z // BLOCK, BLOCK, y // BLOCK, BLOCK, x_size // BLOCK, BLOCK)
    x = x.permute(0, 2, 4, 6, 1, 3, 5)
    return x.reshape(batch, CELLS, z // BLOCK, y // BLOCK, x_size // BLOCK)


def from_blocks(x: Tensor) -> Tensor:
    """Undo :func:`to_blocks`."""
    batch, _, z, y, x_size = x.shape
    x = x.reshape(batch, BLOCK, BLOCK, BLOCK, z, y, x_size).permute(0, 4, 1, 5, 2, 6, 3)
    return x.reshape(batch, 1, z * BLOCK, y * BLOCK, x_size * BLOCK)
