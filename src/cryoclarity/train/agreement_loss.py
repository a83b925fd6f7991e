"""A loss that asks for what maps are judged by: level, structure, correlation, Fourier shells."""

from __future__ import annotations

from functools import cache

import numpy as np
import torch
from torch import Tensor

from cryoclarity.grid import squared_frequency
from cryoclarity.nets.losses import EnhanceLoss

MASK_LEVEL = 0.05  # of the target's maximum: voxels above it count for the correlation
TINY = 1e-8


class AgreementLoss:
    """Smooth L1 + (1 - SSIM) + (1 - masked correlation) + (1 - mean FSC up to the resolution).

    Parameters
    ----------
    smooth_l1, ssim, correlation, fsc : float
        Weights of the terms; those of the first two as in :class:`EnhanceLoss`.
    change : float
        Weight of the mean square difference from the input: a pull towards leaving it as it is.
    voxel_size : float, angstrom
    """

    def __init__(
        self,
        smooth_l1: float = 1.0,
        ssim: float = 1.0,
        correlation: float = 1.0,
        fsc: float = 1.0,
        change: float = 0.0,
        voxel_size: float = 1.0,
    ):
        self.base = EnhanceLoss(smooth_l1, ssim)
        self.correlation, self.fsc, self.change = correlation, fsc, change
        self.voxel_size = voxel_size

    def weight(self, batch: dict[str, Tensor]) -> Tensor:
        """What the loss of a batch is the mean over: its boxes."""
        return self.base.weight(batch)

    def __call__(self, output: Tensor, batch: dict[str, Tensor]) -> tuple[Tensor, dict]:
        """Return the loss and its terms.

        ``batch`` holds ``input``, ``target`` (batch, 1, n, n, n) and ``resolution`` (batch,).
        """
        loss, terms = self.base(output, batch)
        correlation = masked_correlation(output, batch["target"]).mean()
        shells = mean_fsc(output, batch["target"], batch["resolution"], self.voxel_size).mean()
        loss = loss + self.correlation * (1 - correlation) + self.fsc * (1 - shells)
        if self.change:
            loss = loss + self.change * (output - batch["input"]).square().mean()
        return loss, terms | {"cc": correlation.detach(), "fsc": shells.detach()}


def masked_correlation(output: Tensor, target: Tensor) -> Tensor:
    """Pearson correlation of each box where its target is not empty, (batch,); 0 without such."""
    mask = (target > MASK_LEVEL).to(output.dtype).flatten(1)
    count = mask.sum(1, keepdim=True).clamp(min=1.0)
    first, second = output.flatten(1), target.flatten(1)
    first = (first - (first * mask).sum(1, keepdim=True) / count) * mask
    second = (second - (second * mask).sum(1, keepdim=True) / count) * mask
    norm = (first.square().sum(1) * second.square().sum(1) + TINY).sqrt()
    return (first * second).sum(1) / norm


@cache
def _shells(side: int, voxel_size: float) -> tuple[Tensor, Tensor, Tensor]:
    """Shell number of each coefficient, a Hann window, and the shells' frequencies."""
    frequency = np.sqrt(squared_frequency((side,) * 3, (voxel_size,) * 3))
    number = np.minimum(np.rint(frequency * side * voxel_size).astype(np.int64), side // 2 + 1)
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * (np.arange(side) + 0.5) / side)
    window = hann[:, None, None] * hann[None, :, None] * hann
    centres = np.arange(side // 2 + 2) / (side * voxel_size)
    return (
        torch.from_numpy(number.ravel()),
        torch.from_numpy(window.astype(np.float32)),
        torch.from_numpy(centres.astype(np.float32)),
    )


def mean_fsc(output: Tensor, target: Tensor, resolution: Tensor, voxel_size: float) -> Tensor:
    """Mean Fourier shell correlation of each box from shell 1 up to its resolution, (batch,).

    Boxes are multiplied by a Hann window first: cut faces would leak into all shells. Of the
    half-complex transform every coefficient counts once, which changes shells by a few percent.
    """
    number, window, centres = _shells(output.shape[-1], float(voxel_size))
    first = torch.fft.rfftn(output[:, 0] * window, dim=(1, 2, 3)).flatten(1)
    second = torch.fft.rfftn(target[:, 0] * window, dim=(1, 2, 3)).flatten(1)

    def summed(values: Tensor) -> Tensor:
        empty = values.new_zeros(len(values), len(centres))
        return empty.index_add(1, number, values)

    cross = summed(first.real * second.real + first.imag * second.imag)
    power = summed(first.abs().square()) * summed(second.abs().square())
    shells = cross / (power + TINY).sqrt()
    wanted = ((centres > 0) & (centres <= 1.0 / resolution[:, None])).to(shells.dtype)
    wanted[:, -1] = 0.0
    return (shells * wanted).sum(1) / wanted.sum(1).clamp(min=1.0)
