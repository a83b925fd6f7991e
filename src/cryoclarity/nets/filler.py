"""Deterministic filler weights: networks whose outputs can be compared without shipping weights.

Each tensor is drawn from its own PCG64 stream seeded with the CRC-32 of its name, so the values
depend neither on the order of the names nor on the framework's random numbers.
"""

from __future__ import annotations

import zlib

import numpy as np
import torch
from torch import nn


def stream(name: str, seed: int) -> np.random.Generator:
    """Random generator of one named tensor."""
    return np.random.Generator(np.random.PCG64(zlib.crc32(name.encode("utf-8")) ^ seed))


def filler_input(shape: tuple[int, ...], seed: int, factor: float = 1.0) -> np.ndarray:
    """Standard-normal input of a parity case times ``factor``, float32."""
    return (stream("input", seed).standard_normal(shape) * factor).astype(np.float32)


def scunet_values(name: str, shape: tuple[int, ...], seed: int) -> np.ndarray:
    """Filler of one SCUNet tensor, float32."""
    z = stream(name, seed).standard_normal(shape)
    kind = name.rsplit(".", 1)[-1]
    if kind == "gamma":
        z = 1 + 0.1 * z
    elif kind in ("beta", "tau"):
        z = 0.1 * z
    elif kind == "eps":
        z = 0.01 * z
    elif len(shape) >= 2:
        z = z / np.sqrt(np.prod(shape[1:]))
        if name.endswith("conv1_2.weight"):
            z = 0.5 * z
    elif kind == "weight":
        z = 1 + 0.1 * z
    else:
        z = 0.1 * z
    return z.astype(np.float32)


def unet3d_values(
    name: str, shape: tuple[int, ...], seed: int, gain: float = np.sqrt(2)
) -> np.ndarray:
    """Filler of one tensor of the 3-D U-Net, float32."""
    z = stream(name, seed).standard_normal(shape)
    kind = name.rsplit(".", 1)[-1]
    if len(shape) >= 2:
        z = gain * z / np.sqrt(np.prod(shape[1:]))
    elif kind == "running_var":
        z = 1 + 0.1 * np.abs(z)
    elif kind == "weight":
        z = 1 + 0.1 * z
    else:
        z = 0.1 * z
    return z.astype(np.float32)


def fill(module: nn.Module, values, seed: int) -> nn.Module:
    """Fill every floating-point tensor of a module's state dict.

    Parameters
    ----------
    module : torch.nn.Module
        Changed in place; a float64 module takes the float32 values widened.
    values : callable (name, shape, seed) -> ndarray
        `scunet_values` or `unet3d_values`.
    seed : int
    """
    with torch.no_grad():
        for name, tensor in module.state_dict().items():
            if tensor.is_floating_point():
                tensor.copy_(torch.from_numpy(values(name, tuple(tensor.shape), seed)))
    return module
