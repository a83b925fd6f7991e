"""The 3-D U-Net for local resolution, with the published parameter names and arithmetic.

Layout of danon6868/CryoEM_Resolution_Estimation: five levels, trilinear upsampling with aligned
corners, channel halving after upsampling, dropout of whole channels or batch normalisation after
the second convolution of each encoder level and of the root.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as functional
from torch import Tensor, nn

BOX_MULTIPLE = 16
DROPOUT = 0.25


def convolution(inputs: int, outputs: int) -> nn.Conv3d:
    """A 3x3x3 convolution, zero padding 1, with bias."""
    return nn.Conv3d(inputs, outputs, 3, padding=1)


def double(inputs: int, outputs: int) -> nn.Sequential:
    """Two convolutions, each followed by ReLU."""
    return nn.Sequential(
        convolution(inputs, outputs), nn.ReLU(), convolution(outputs, outputs), nn.ReLU()
    )


class UNet3D(nn.Module):
    """Local resolution per voxel: (batch, in_channels, z, y, x) -> (batch, out_channels, z, y, x).

    The output is linear. Sizes must be multiples of 16; the aligned-corner upsampling makes the
    answer depend on the tile size, so tiles of another size than in training are another network.

    Parameters
    ----------
    in_channels, out_channels : int
    channels : sequence of five ints
        Widths of the levels, (64, 128, 256, 512, 1024) in the published network.
    regulariser : {'dropout', 'batchnorm'}
    """

    def __init__(
        self,
        in_channels: int = 1,
        out_channels: int = 1,
        channels: tuple[int, ...] | list[int] = (64, 128, 256, 512, 1024),
        regulariser: str = "dropout",
    ):
        super().__init__()
        if len(channels) != 5:
            raise ValueError(f"channels has {len(channels)} levels, expected 5")
        if regulariser not in ("dropout", "batchnorm"):
            raise ValueError(f"unknown regulariser {regulariser!r}: dropout or batchnorm")
        c1, c2, c3, c4, c5 = channels

        def single(inputs: int, outputs: int) -> nn.Sequential:
            return nn.Sequential(convolution(inputs, outputs), nn.ReLU())

        def regularised(width: int) -> nn.Sequential:
            last = nn.Dropout3d(DROPOUT) if regulariser == "dropout" else nn.BatchNorm3d(width)
            return nn.Sequential(convolution(width, width), nn.ReLU(), last)

        self.conv1_1, self.conv1_2 = single(in_channels, c1), regularised(c1)
        self.conv2_1, self.conv2_2 = single(c1, c2), regularised(c2)
        self.conv3_1, self.conv3_2 = single(c2, c3), regularised(c3)
        self.conv4_1, self.conv4_2 = single(c3, c4), regularised(c4)
        self.conv_root1, self.conv_root2 = single(c4, c5), regularised(c5)
        self.deconv4_1, self.deconv4_2 = single(c5, c4), double(2 * c4, c4)
        self.deconv3_1, self.deconv3_2 = single(c4, c3), double(2 * c3, c3)
        self.deconv2_1, self.deconv2_2 = single(c3, c2), double(2 * c2, c2)
        self.deconv1_1 = single(c2, c1)
        self.deconv1_2 = nn.Sequential(*double(2 * c1, c1), convolution(c1, out_channels))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Kaiming uniform with ReLU gain for every convolution, biases zero (as published)."""
        for module in self.modules():
            if isinstance(module, nn.Conv3d):
                bound = math.sqrt(6.0 / module.weight[0].numel())
                nn.init.uniform_(module.weight, -bound, bound)
                nn.init.zeros_(module.bias)

    def forward(self, x: Tensor) -> Tensor:
        if any(side % BOX_MULTIPLE for side in x.shape[2:]):
            raise ValueError(f"tile {tuple(x.shape[2:])} is not a multiple of {BOX_MULTIPLE}")
        skip1 = self.conv1_2(self.conv1_1(x))
        skip2 = self.conv2_2(self.conv2_1(functional.max_pool3d(skip1, 2)))
        skip3 = self.conv3_2(self.conv3_1(functional.max_pool3d(skip2, 2)))
        skip4 = self.conv4_2(self.conv4_1(functional.max_pool3d(skip3, 2)))
        root = functional.max_pool3d(skip4, 2)
        root = run_root(self.conv_root2, run_root(self.conv_root1, root))
        x = self.deconv4_2(torch.cat((skip4, self.deconv4_1(upsample(root))), dim=1))
        x = self.deconv3_2(torch.cat((skip3, self.deconv3_1(upsample(x))), dim=1))
        x = self.deconv2_2(torch.cat((skip2, self.deconv2_1(upsample(x))), dim=1))
        return self.deconv1_2(torch.cat((skip1, self.deconv1_1(upsample(x))), dim=1))


def upsample(x: Tensor) -> Tensor:
    """Trilinear upsampling by two with aligned corners."""
    return functional.interpolate(x, scale_factor=2, mode="trilinear", align_corners=True)


def run_root(stage: nn.Sequential, x: Tensor) -> Tensor:
    """Run a root stage; on a 1x1x1 grid only the kernel's centre tap can meet data.

    The other 26 taps of both root convolutions (39.5 % of the published network) multiply zero
    padding for every 16^3 tile. Leaving them out changes neither output nor gradient.
    """
    layer, *rest = stage
    if x.shape[2:] == (1, 1, 1):
        x = functional.conv3d(x, layer.weight[:, :, 1:2, 1:2, 1:2], layer.bias)
    else:
        x = layer(x)
    for module in rest:
        x = module(x)
    return x
