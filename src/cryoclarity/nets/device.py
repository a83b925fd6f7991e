"""Choosing where tensors live."""

from __future__ import annotations

import logging

import torch
import torch.nn.functional as functional

from cryoclarity.errors import ConfigError

LOGGER = logging.getLogger(__name__)
CPU = torch.device("cpu")


def choose_device(name: str, *, double: bool = False) -> torch.device:
    """Device for 'auto', 'cpu', 'cuda', 'cuda:N' or 'mps'.

    'auto' takes a GPU that CUDA sees, else that of an Apple-silicon machine, else the CPU. The
    latter knows no float64 and not every operator: where it cannot serve, the CPU does, with a
    warning.

    Parameters
    ----------
    name : str
    double : bool
        The work has sums in float64.

    Raises
    ------
    ConfigError
        When a GPU is asked for and torch sees none.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return _apple(double) if torch.backends.mps.is_available() else CPU
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise ConfigError(f"device {name!r}: torch sees no GPU", remedy="use --device cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ConfigError(f"device {name!r} is unknown", remedy="auto, cpu, cuda, mps") from error
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        last = torch.cuda.device_count() - 1
        raise ConfigError(f"device {name!r}: the last GPU is cuda:{last}", remedy="--device cuda:0")
    if device.type == "mps":
        if not torch.backends.mps.is_available():
            raise ConfigError(
                f"device {name!r}: torch sees no Apple GPU", remedy="use --device cpu"
            )
        return _apple(double)
    return device


def _apple(double: bool) -> torch.device:
    """The GPU of an Apple-silicon machine, or the CPU where that one cannot do the work."""
    if double:
        LOGGER.warning("mps knows no float64, which this work needs: the CPU does it")
        return CPU
    device = torch.device("mps")
    try:
        try_operators(device)
    except (NotImplementedError, RuntimeError, TypeError) as error:
        LOGGER.warning("mps fails (%s): the CPU does the work", str(error).splitlines()[0])
        return CPU
    return device


def try_operators(device: torch.device) -> None:
    """Run on a device, in small, each kind of operator that the networks are made of.

    Raises
    ------
    NotImplementedError, RuntimeError, TypeError
        As torch says that it cannot.
    """
    with torch.inference_mode():
        x = torch.zeros(1, 2, 4, 4, 4, device=device)
        kernel = torch.zeros(2, 2, 2, 2, 2, device=device)
        functional.conv3d(x, kernel)
        functional.conv_transpose3d(x, kernel, stride=2)
        functional.avg_pool3d(x, 2)
        functional.max_pool3d(x, 2)
        functional.interpolate(x, scale_factor=2, mode="trilinear", align_corners=False)
        torch.softmax(torch.roll(x, (1, 1, 1), (2, 3, 4)), dim=-1).cpu()
