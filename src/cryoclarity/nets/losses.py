"""Losses: smooth L1, structural similarity in three dimensions, masked Huber.

Everything here works in float32 (or float64 when given so), also inside an autocast region.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import torch
import torch.nn.functional as functional
from torch import Tensor

K1, K2 = 0.01, 0.03


def gaussian_window(size: int, sigma: float) -> np.ndarray:
    """Normalised Gaussian weights of an odd window, shape (size,), float64.

    Raises
    ------
    ValueError
        If `size` is even.
    """
    if size % 2 == 0:
        raise ValueError(f"window size {size} is even")
    offset = np.arange(size) - size // 2
    weights = np.exp(-0.5 * (offset / sigma) ** 2)
    return weights / weights.sum()


@cache
def gaussian_band(
    length: int, size: int, sigma: float, dtype: torch.dtype, device: torch.device
) -> Tensor:
    """Matrix that blurs one axis and keeps the valid region, shape (length - size + 1, length)."""
    window = gaussian_window(size, sigma)
    band = np.zeros((length - size + 1, length))
    for row in range(len(band)):
        band[row, row : row + size] = window
    return torch.from_numpy(band).to(device=device, dtype=dtype)


def blur_valid(x: Tensor, size: int, sigma: float) -> Tensor:
    """Gaussian blur of the last three axes, valid region, as three banded matrix products."""
    bands = [gaussian_band(n, size, sigma, x.dtype, x.device) for n in x.shape[-3:]]
    x = x @ bands[2].t()
    x = bands[1] @ x
    return torch.einsum("ij,...jkl->...ikl", bands[0], x)


def ssim_map(
    output: Tensor, target: Tensor, size: int = 7, sigma: float = 1.5, data_range: float = 1.0
) -> Tensor:
    """Structural similarity at every voxel of the valid region.

    Parameters
    ----------
    output, target : Tensor, shape (..., z, y, x)
        Gradients flow to `output` only.
    size, sigma : window, in voxels
    data_range : float
        Largest possible difference of values; 1 for maps in [0, 1].

    Returns
    -------
    Tensor, shape (..., z - size + 1, y - size + 1, x - size + 1)

    Raises
    ------
    ValueError
        If the shapes differ or an axis is shorter than the window.

    Notes
    -----
    Wang et al., IEEE TIP 13, 600 (2004), with population covariances. Both maps are shifted by
    the target's mean before squaring: w*a^2 - (w*a)^2 cancels badly far from zero.
    """
    if output.shape != target.shape:
        raise ValueError(f"shapes differ: {tuple(output.shape)} and {tuple(target.shape)}")
    if min(output.shape[-3:]) < size:
        raise ValueError(f"box {tuple(output.shape[-3:])} is smaller than the window {size}")
    c1, c2 = (K1 * data_range) ** 2, (K2 * data_range) ** 2
    with torch.no_grad():
        shift = target.mean(dim=(-3, -2, -1), keepdim=True)
        b = target - shift
        mean_b = blur_valid(b, size, sigma)
        blurred_bb = blur_valid(b * b, size, sigma)
    a = output - shift
    mean_a = blur_valid(a, size, sigma)
    variance_sum = blur_valid(a * a, size, sigma) - mean_a**2 + blurred_bb - mean_b**2
    covariance = blur_valid(a * b, size, sigma) - mean_a * mean_b
    level_a, level_b = mean_a + shift, mean_b + shift
    luminance = (2 * level_a * level_b + c1) / (level_a**2 + level_b**2 + c1)
    return luminance * (2 * covariance + c2) / (variance_sum + c2)


class EnhanceLoss:
    """Smooth L1 plus (1 - SSIM), the published form of the map-improvement loss.

    Parameters
    ----------
    smooth_l1, ssim : float
        Weights of the two terms.
    beta : float
        Where smooth L1 turns from quadratic to linear, in units of maps in [0, 1].
    window, sigma : SSIM window, voxels
    """

    def __init__(
        self,
        smooth_l1: float = 1.0,
        ssim: float = 1.0,
        beta: float = 0.1,
        window: int = 7,
        sigma: float = 1.5,
    ):
        self.smooth_l1, self.ssim = smooth_l1, ssim
        self.beta, self.window, self.sigma = beta, window, sigma

    @staticmethod
    def weight(batch: dict[str, Tensor]) -> Tensor:
        """What the loss of a batch is the mean over: its boxes."""
        return batch["target"].new_tensor(len(batch["target"]), dtype=torch.float64)

    def __call__(self, output: Tensor, batch: dict[str, Tensor]) -> tuple[Tensor, dict]:
        """Return the loss and the terms ``l1`` and ``ssim`` (mean similarity), as tensors."""
        with torch.autocast(output.device.type, enabled=False):
            output = output.float() if output.dtype != torch.float64 else output
            target = batch["target"].to(output.dtype)
            l1 = functional.smooth_l1_loss(output, target, beta=self.beta)
            similarity = ssim_map(output, target, self.window, self.sigma).mean()
            loss = self.smooth_l1 * l1 + self.ssim * (1 - similarity)
        return loss, {"l1": l1.detach(), "ssim": similarity.detach()}


def masked_mean(values: Tensor, weight: Tensor) -> Tensor:
    """Sum of weighted values over max(sum of weights, 1): 0, not NaN, for an empty mask."""
    return (values * weight).sum() / weight.sum().clamp(min=1.0)


class ResolutionLoss:
    """Huber loss on standardised labels, averaged over labelled voxels.

    Parameters
    ----------
    huber_delta : float
        Where the loss turns linear, in standard deviations of the labels.
    censored : float
        Weight of voxels known only to be worse than their target: they cost only where the
        output is better than that.
    """

    def __init__(self, huber_delta: float = 1.0, censored: float = 1.0):
        self.huber_delta, self.censored = huber_delta, censored

    def weight(self, batch: dict[str, Tensor]) -> Tensor:
        """What the loss of a batch is the mean over: labelled voxels, and censored ones."""
        labelled, censored = ((batch["mask"] == code).sum(dtype=torch.float64) for code in (1, 2))
        return labelled + self.censored * censored

    def __call__(self, output: Tensor, batch: dict[str, Tensor]) -> tuple[Tensor, dict]:
        """Return the loss and ``abs`` (mean absolute error in label units), as tensors.

        ``batch`` holds ``target`` (standardised, finite), ``mask`` (1 labelled, 2 censored).
        """
        with torch.autocast(output.device.type, enabled=False):
            output = output.float() if output.dtype != torch.float64 else output
            target = batch["target"].to(output.dtype)
            labelled = (batch["mask"] == 1).to(output.dtype)
            censored = (batch["mask"] == 2).to(output.dtype)
            error = output - target
            error = torch.where(censored > 0, error.clamp(max=0.0), error)
            values = functional.huber_loss(
                error, torch.zeros_like(error), reduction="none", delta=self.huber_delta
            )
            loss = masked_mean(values, labelled + self.censored * censored)
            absolute = masked_mean(error.detach().abs(), labelled)
        return loss, {"abs": absolute}
