"""The statistic as its definition reads: one window, one projection, float64."""

from __future__ import annotations

import numpy as np


class PlainLevel:
    """Weights and orthonormal bases of one level on the full window."""

    def __init__(self, level: float, voxel_size: float) -> None:
        self.radius = int(np.ceil(0.5 * level / voxel_size))
        t = np.arange(-self.radius, self.radius + 1) * voxel_size
        t = t * (2 * np.pi / level) * np.sqrt(2 / 5)
        z, y, x = (axis.ravel() for axis in np.meshgrid(t, t, t, indexing="ij"))
        self.weight = np.exp(-(z**2 + y**2 + x**2))
        root = np.sqrt(self.weight)
        golden = (1 + 5**0.5) / 2
        columns = [np.ones_like(z)]
        for sign in (1, -1):
            for d in self._cyclic(1, 0, sign * golden):
                columns.append(4 * self._along(d, z, y, x) ** 2 - 2)
        cubic = [d for sign in (1, -1) for d in self._cyclic(1, sign * golden, 1 / golden)]
        cubic += [(1, 1, 1), (-1, 1, 1), (1, -1, 1), (-1, -1, 1)]
        for d in cubic:
            s = self._along(d, z, y, x)
            columns.append(s**3 - 2.254 * s)
        weighted = root[:, None] * np.stack(columns, axis=1)
        self.root = root
        self.full = np.linalg.qr(weighted)[0]
        self.contrast = np.linalg.qr(weighted[:, 1:])[0]
        self.constant = root / np.linalg.norm(root)

    @staticmethod
    def _cyclic(a: float, b: float, c: float):
        return [(a, b, c), (b, c, a), (c, a, b)]

    @staticmethod
    def _along(d, z, y, x):
        d = np.array(d) / np.linalg.norm(d)
        return d[0] * z + d[1] * y + d[2] * x

    def window(self, volume: np.ndarray, z: int, y: int, x: int) -> np.ndarray:
        r = self.radius
        return volume[z - r : z + r + 1, y - r : y + r + 1, x - r : x + r + 1].ravel()

    def statistic(self, volume: np.ndarray, z: int, y: int, x: int) -> float:
        weighted = self.root * self.window(volume, z, y, x)
        return np.sum((self.full.T @ weighted) ** 2) - (self.constant @ weighted) ** 2

    def statistics(self, volume: np.ndarray, mask: np.ndarray) -> np.ndarray:
        """One Python step per voxel, as the original goes."""
        return np.array([self.statistic(volume, *place) for place in np.argwhere(mask)])

    def block_variance(self, block: np.ndarray) -> float:
        weighted = self.root * (block.ravel() - block.mean())
        energy = weighted @ weighted - np.sum((self.contrast.T @ weighted) ** 2)
        return energy / self.trace()

    def trace(self) -> float:
        return np.sum(self.weight) - np.sum(self.weight[:, None] * self.contrast**2)

    def eigenvalues(self) -> np.ndarray:
        projector = self.full @ self.full.T - np.outer(self.constant, self.constant)
        matrix = self.root[:, None] * projector * self.root
        return np.sort(np.linalg.eigvalsh(matrix))[::-1][:16]
