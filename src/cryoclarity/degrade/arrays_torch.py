"""The torch twin of :mod:`cryoclarity.degrade.arrays`: simulations on the training device."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

__all__ = ["TorchArrays"]


class TorchArrays:
    """Tensors of a device in float32.

    Parameters
    ----------
    device : device or str
    host_noise : bool
        Draw large random arrays with numpy on the host, so that results equal those of numpy to
        rounding. Otherwise they are drawn on the device, from a seed that the host draws: other
        numbers, the same distribution, and nothing but atoms travels.
    """

    xp = torch

    def __init__(self, device: torch.device | str = "cpu", *, host_noise: bool = False) -> None:
        self.device = torch.device(device)
        self.host_noise = host_noise

    def floats(self, values) -> torch.Tensor:
        """Return values as float32 on the device."""
        return torch.as_tensor(values, dtype=torch.float32, device=self.device)

    def integers(self, values) -> torch.Tensor:
        """Return values as 64-bit integers on the device."""
        return torch.as_tensor(values, dtype=torch.int64, device=self.device)

    def zeros(self, shape: Sequence[int], kind: str = "float") -> torch.Tensor:
        """Return zeros; `kind` is 'float' or 'bool'."""
        dtype = torch.float32 if kind == "float" else torch.bool
        return torch.zeros(tuple(shape), dtype=dtype, device=self.device)

    def normal(self, rng: np.random.Generator, shape: Sequence[int]) -> torch.Tensor:
        """Return standard normal numbers of a shape."""
        if self.host_noise:
            return self.floats(rng.standard_normal(tuple(shape), dtype=np.float32))
        generator = torch.Generator(self.device).manual_seed(int(rng.integers(2**62)))
        return torch.randn(tuple(shape), generator=generator, device=self.device)

    def rfftn(self, density: torch.Tensor) -> torch.Tensor:
        """Return the half-complex transform of a real volume."""
        return torch.fft.rfftn(density)

    def irfftn(self, spectrum: torch.Tensor, shape: Sequence[int]) -> torch.Tensor:
        """Return the real volume of a half-complex transform."""
        return torch.fft.irfftn(spectrum, s=tuple(shape))

    def power(self, spectrum: torch.Tensor) -> torch.Tensor:
        """Return squared magnitudes."""
        return spectrum.real.square() + spectrum.imag.square()

    def bin_sums(self, number: torch.Tensor, values: torch.Tensor, count: int) -> np.ndarray:
        """Return sums of values by bin, on the host in float64."""
        sums = torch.bincount(number.reshape(-1), values.reshape(-1).double(), minlength=count)
        return sums.cpu().numpy()

    def ndtr(self, values: torch.Tensor) -> torch.Tensor:
        """Return the normal distribution function."""
        return torch.special.ndtr(values)

    def quantile(self, values: torch.Tensor, share: float) -> float:
        """Return a quantile by linear interpolation; torch's own refuses large arrays."""
        ordered = values.reshape(-1).sort().values
        place = share * (len(ordered) - 1)
        low = int(place)
        first, second = ordered[low], ordered[min(low + 1, len(ordered) - 1)]
        return float(first + (place - low) * (second - first))

    def outer_sum(self, z: torch.Tensor, y: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        """Return the sum over n of z[n, :, None, None] y[n, :, None] x[n], (nz, ny, nx)."""
        plane = (z[:, :, None] * y[:, None, :]).reshape(len(z), -1)
        # In float64: a trainer may have allowed TF32, whose digits the deblurring would magnify.
        total = plane.double().T @ x.double()
        return total.float().reshape(z.shape[1], y.shape[1], x.shape[1])

    def host(self, values: torch.Tensor) -> np.ndarray:
        """Return a tensor as numpy's."""
        return values.detach().cpu().numpy()
