"""The separable statistic on a torch device."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as functional

from cryoclarity.labels.statistic import MOMENTS, LevelBasis, mask_box

__all__ = ["TorchStatistic"]

_VOXELS = 2**24
"""Voxels worked on at a time: about a gigabyte of the device."""


class TorchStatistic:
    """:func:`cryoclarity.labels.statistic.statistic_map` on a torch device.

    device : ``cpu``, ``cuda`` or ``cuda:N``.
    """

    def __init__(self, device: str) -> None:
        self.device = torch.device(device)

    def __call__(
        self, density: np.ndarray, mask: np.ndarray, basis: LevelBasis, threads: int = 1
    ) -> np.ndarray:
        """Energy that the 16 functions explain, (count,) float32 in raster order of the mask.

        Parameters
        ----------
        density : (z, y, x) float32
        mask : (z, y, x) bool
            Not nearer to a face than the window radius.
        basis : LevelBasis
        threads : int
            Unused: torch has its own.
        """
        density, mask = mask_box(density, mask, basis.radius)
        filters = self._load(basis.filters)
        missing = self._load(basis.missing)
        planes = max(1, _VOXELS // mask[0].size)
        found = []
        for start in range(0, len(mask), planes):
            part = mask[start : start + planes]
            slab = self._load(density[start : start + len(part) + 2 * basis.radius])
            chosen = torch.as_tensor(np.ascontiguousarray(part), device=self.device)
            # TF32 would keep three digits only.
            with torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False):
                found.append(_energy(slab, filters, missing)[chosen].cpu().numpy())
        return np.concatenate(found)

    def _load(self, values: np.ndarray) -> torch.Tensor:
        return torch.as_tensor(np.ascontiguousarray(values, np.float32), device=self.device)


def _along(volume: torch.Tensor, filters: torch.Tensor, axis: int) -> torch.Tensor:
    """Correlate (z, y, x) with one-dimensional filters (k, w): (k, z, y, x), no padding."""
    shape = [1, 1, 1]
    shape[axis] = filters.shape[1]
    kernel = filters.reshape(filters.shape[0], 1, *shape)
    return functional.conv3d(volume[None, None], kernel)[0]


def _energy(slab: torch.Tensor, filters: torch.Tensor, missing: torch.Tensor) -> torch.Tensor:
    """Statistic from the 19 separable moments, without holding them all."""
    index = {abc: number for number, abc in enumerate(MOMENTS)}
    total = outside = None
    for a in range(4):
        first = _along(slab, filters[a : a + 1], 0)[0]
        for b in range(4 - a):
            second = _along(first, filters[b : b + 1], 1)[0]
            third = _along(second, filters[: 4 - a - b], 2)
            for c in range(4 - a - b):
                if not a + b + c:
                    continue
                moment = third[c]
                part = missing[:, index[a, b, c], None, None, None] * moment
                total = moment**2 if total is None else total + moment**2
                outside = part if outside is None else outside + part
    return total - (outside**2).sum(dim=0)
