"""The local Fourier shell correlation on a torch device."""

from __future__ import annotations

import numpy as np
import torch

from cryoclarity.labels.local_fsc import ArrayEngine

__all__ = ["TorchEngine"]


class TorchEngine(ArrayEngine):
    """Array operations of the scan on a torch device (``cpu``, ``cuda``)."""

    def __init__(self, device: str = "cuda") -> None:
        super().__init__()
        self.device = torch.device(device)

    def load(self, values: np.ndarray) -> torch.Tensor:
        """Array to the device."""
        return torch.as_tensor(np.ascontiguousarray(values), device=self.device)

    def fetch(self, values: torch.Tensor) -> np.ndarray:
        """Array from the device."""
        return values.cpu().numpy()

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """Real Fourier transform over three axes."""
        return torch.fft.rfftn(values)

    def back(self, values: torch.Tensor, shape: tuple[int, int, int]) -> torch.Tensor:
        """Inverse of `forward`."""
        return torch.fft.irfftn(values, s=shape)

    def where(self, condition, first, second) -> torch.Tensor:
        """Choose per voxel."""
        return torch.where(condition, first, second)

    def exp(self, values: torch.Tensor) -> torch.Tensor:
        """Exponential."""
        return torch.exp(values)
