"""Choosing where tensors live."""

from __future__ import annotations

import torch

from cryoclarity.errors import ConfigError


def choose_device(name: str) -> torch.device:
    """Device for 'auto', 'cpu', 'cuda' or 'cuda:N'; 'auto' takes a GPU when there is one.

    Raises
    ------
    ConfigError
        When a GPU is asked for and torch sees none.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise ConfigError(f"device {name!r}: torch sees no GPU", remedy="use --device cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ConfigError(f"device {name!r} is unknown", remedy="auto, cpu, cuda") from error
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        last = torch.cuda.device_count() - 1
        raise ConfigError(f"device {name!r}: the last GPU is cuda:{last}", remedy="--device cuda:0")
    return device
