"""Networks that judge local resolution from band powers on a 2 angstrom grid.

The channels (:mod:`cryoclarity.density.bands`) carry most of the skill; the U-Net adds what the
neighbourhood knows, the network per voxel is the baseline that it has to beat.
"""

from __future__ import annotations

import torch
import torch.nn.functional as functional
from torch import Tensor, nn

# Two poolings by 2.
BOX_MULTIPLE = 4
# A voxel of the output depends on none farther away than this: convolutions, poolings and
# upsamplings of the three levels add up to 25.
HALO = 28
LAST_LAYER_SD = 0.02


def _double(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv3d(inputs, outputs, 3, padding=1),
        nn.ReLU(),
        nn.Conv3d(outputs, outputs, 3, padding=1),
        nn.ReLU(),
    )


def _last(inputs: int, outputs: int) -> nn.Conv3d:
    """A 1^3 layer whose first answers are near the mean of standardised labels, which is 0."""
    layer = nn.Conv3d(inputs, outputs, 1)
    nn.init.normal_(layer.weight, std=LAST_LAYER_SD)
    nn.init.zeros_(layer.bias)
    return layer


class BandUNet(nn.Module):
    """U-Net of three levels: (batch, channels, z, y, x) -> (batch, out_channels, z, y, x).

    Average pooling and trilinear upsampling (corners not aligned): the answer does not depend on
    the size of the tile. Sizes must be multiples of 4.

    Parameters
    ----------
    in_channels : int
        42: band powers, the flag, and voxels.
    out_channels : int
    channels : three ints
        Widths of the levels.
    """

    def __init__(
        self,
        in_channels: int = 42,
        out_channels: int = 1,
        channels: tuple[int, ...] | list[int] = (16, 32, 48),
    ):
        super().__init__()
        if len(channels) != 3:
            raise ValueError(f"channels has {len(channels)} levels, expected 3")
        first, second, third = channels
        self.down1 = _double(in_channels, first)
        self.down2 = _double(first, second)
        self.root = _double(second, third)
        self.up2 = _double(second + third, second)
        self.up1 = _double(first + second, first)
        self.last = _last(first, out_channels)

    def forward(self, x: Tensor) -> Tensor:
        if any(side % BOX_MULTIPLE for side in x.shape[2:]):
            raise ValueError(f"tile {tuple(x.shape[2:])} is not a multiple of {BOX_MULTIPLE}")
        skip1 = self.down1(x)
        skip2 = self.down2(functional.avg_pool3d(skip1, 2))
        x = self.root(functional.avg_pool3d(skip2, 2))
        x = self.up2(torch.cat((skip2, _upsample(x)), dim=1))
        return self.last(self.up1(torch.cat((skip1, _upsample(x)), dim=1)))


class BandVoxelwise(nn.Module):
    """The same answer for every voxel by itself, from band powers and the flag alone.

    Parameters
    ----------
    in_channels : int
        How many of the leading channels are used; the voxels behind them are not.
    out_channels : int
    channels : widths of the hidden layers
    """

    def __init__(
        self,
        in_channels: int = 34,
        out_channels: int = 1,
        channels: tuple[int, ...] | list[int] = (48, 48),
    ):
        super().__init__()
        self.in_channels = in_channels
        layers: list[nn.Module] = []
        width = in_channels
        for wanted in channels:
            layers += [nn.Conv3d(width, wanted, 1), nn.ReLU()]
            width = wanted
        self.layers = nn.Sequential(*layers, _last(width, out_channels))

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x[:, : self.in_channels])


def _upsample(x: Tensor) -> Tensor:
    return functional.interpolate(x, scale_factor=2, mode="trilinear", align_corners=False)
