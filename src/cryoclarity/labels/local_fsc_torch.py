"""The local Fourier shell correlation on a torch device."""

from __future__ import annotations

import numpy as np
import torch

from cryoclarity.labels.local_fsc_scan import ArrayEngine

__all__ = ["TorchEngine"]


class TorchEngine(ArrayEngine):
    """Array operations of the scan on a torch device (``cpu``, ``cuda``)."""

    planes = 32

    def __init__(self, device: str = "cuda") -> None:
        super().__init__()
        self.device = torch.device(device)

    def load(self, values: np.ndarray) -> torch.Tensor:
        """Array to the device."""
        return torch.as_tensor(np.ascontiguousarray(values), device=self.device)

    def fetch(self, values: torch.Tensor) -> np.ndarray:
        """Array from the device."""
        return values.cpu().numpy()

    def empty(self, shape: tuple[int, ...], like: torch.Tensor) -> torch.Tensor:
        """Array of the type of another one, not set."""
        return torch.empty(shape, dtype=like.dtype, device=self.device)

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """Real Fourier transform over the last three axes."""
        return torch.fft.rfftn(values, dim=(-3, -2, -1))

    def back(self, values: torch.Tensor, axis: int) -> torch.Tensor:
        """Inverse Fourier transform along one axis."""
        return torch.fft.ifft(values, dim=axis)

    def back_real(self, values: torch.Tensor, length: int) -> torch.Tensor:
        """Inverse of a real transform along the last axis."""
        return torch.fft.irfft(values, n=length)

    def where(self, condition, first, second) -> torch.Tensor:
        """Choose per voxel."""
        return torch.where(condition, first, second)

    def exp(self, values: torch.Tensor) -> torch.Tensor:
        """Exponential."""
        return torch.exp(values)

    def each(self, function, items) -> None:
        """Call a function for every item; the device works on one at a time."""
        for item in items:
            function(item)
