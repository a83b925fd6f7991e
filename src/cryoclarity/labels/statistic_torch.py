"""The separable statistic on a torch device."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as functional

from cryoclarity.labels.statistic import MOMENTS, LevelBasis, mask_bounds

__all__ = ["statistic_map_torch"]

_SLAB = 48


def _along(volume: torch.Tensor, filters: torch.Tensor, axis: int) -> torch.Tensor:
    """Correlate (z, y, x) with one-dimensional filters (k, w): (k, z, y, x), no padding."""
    shape = [1, 1, 1]
    shape[axis] = filters.shape[1]
    kernel = filters.reshape(filters.shape[0], 1, *shape)
    return functional.conv3d(volume[None, None], kernel)[0]


def statistic_map_torch(
    density: np.ndarray, mask: np.ndarray, basis: LevelBasis, device: str = "cuda"
) -> np.ndarray:
    """As :func:`cryoclarity.labels.statistic.statistic_map`, on a torch device.

    Parameters
    ----------
    density : (z, y, x) float32
    mask : (z, y, x) bool
        Not nearer to a face than the window radius.
    basis : LevelBasis
    device : str

    Returns
    -------
    (count,) float32
        Values in raster order of the mask.
    """
    radius = basis.radius
    low, high = mask_bounds(mask)
    filters = torch.as_tensor(basis.filters.astype(np.float32), device=device)
    missing = torch.as_tensor(basis.missing.astype(np.float32), device=device)
    planes = (slice(low[1] - radius, high[1] + radius), slice(low[2] - radius, high[2] + radius))
    found = []
    for start in range(low[0], high[0], _SLAB):
        stop = min(start + _SLAB, high[0])
        slab = np.ascontiguousarray(density[(slice(start - radius, stop + radius), *planes)])
        energy = _energy(torch.as_tensor(slab, device=device), filters, missing).cpu().numpy()
        found.append(energy[mask[start:stop, low[1] : high[1], low[2] : high[2]]])
    return np.concatenate(found)


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
