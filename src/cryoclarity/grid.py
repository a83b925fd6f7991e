"""Grids and volumes: where voxels lie in space.

Arrays are indexed (z, y, x); every triple of lengths or coordinates is (x, y, z) in angstrom.
This module and :mod:`cryoclarity.io.maps` are the only ones that know about the change of order.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

VOXEL_TOLERANCE = 1e-4  # relative; header words are float32
ORIGIN_TOLERANCE = 1e-3  # angstrom


@dataclass(frozen=True)
class Grid:
    """An orthogonal sampling of space.

    Parameters
    ----------
    shape : (nz, ny, nx)
        Number of voxels per array axis.
    voxel_size : (x, y, z), angstrom
    origin : (x, y, z), angstrom
        Position of the centre of the first voxel.
    """

    shape: tuple[int, int, int]
    voxel_size: tuple[float, float, float]
    origin: tuple[float, float, float] = (0.0, 0.0, 0.0)

    def __post_init__(self) -> None:
        object.__setattr__(self, "shape", tuple(int(n) for n in self.shape))
        object.__setattr__(self, "voxel_size", tuple(float(v) for v in self.voxel_size))
        object.__setattr__(self, "origin", tuple(float(v) for v in self.origin))

    @property
    def size(self) -> int:
        """Number of voxels."""
        return int(np.prod(self.shape))

    @property
    def voxel_size_zyx(self) -> tuple[float, float, float]:
        """Voxel size (z, y, x) in angstrom, in the order of the array axes."""
        return self.voxel_size[::-1]

    @property
    def origin_zyx(self) -> tuple[float, float, float]:
        """Origin (z, y, x) in angstrom, in the order of the array axes."""
        return self.origin[::-1]

    @property
    def extent(self) -> tuple[float, float, float]:
        """Box edges n * voxel size (x, y, z) in angstrom."""
        return tuple(n * v for n, v in zip(self.shape[::-1], self.voxel_size, strict=True))

    def index_of(self, position: np.ndarray) -> np.ndarray:
        """Fractional array index (z, y, x) of positions (n, 3) given as (x, y, z) in angstrom."""
        position = np.asarray(position, dtype=np.float64)
        index_xyz = (position - np.asarray(self.origin)) / np.asarray(self.voxel_size)
        return index_xyz[..., ::-1]

    def position_of(self, index: np.ndarray) -> np.ndarray:
        """Position (x, y, z) in angstrom of array indices (n, 3) given as (z, y, x)."""
        index_xyz = np.asarray(index, dtype=np.float64)[..., ::-1]
        return index_xyz * np.asarray(self.voxel_size) + np.asarray(self.origin)

    def contains(self, position: np.ndarray) -> np.ndarray:
        """Whether positions (n, 3) lie within the hull of the voxel centres, (n,) bool."""
        index = self.index_of(position)
        return np.all((index >= 0) & (index <= np.asarray(self.shape) - 1), axis=-1)

    def same_frame(self, other: Grid) -> bool:
        """Whether two grids describe the same voxels within the precision of map headers."""
        return (
            self.shape == other.shape
            and np.allclose(self.voxel_size, other.voxel_size, rtol=VOXEL_TOLERANCE, atol=0)
            and np.allclose(self.origin, other.origin, rtol=0, atol=ORIGIN_TOLERANCE)
        )


def squared_frequency(
    shape: tuple[int, int, int], voxel_size_zyx: tuple[float, float, float]
) -> np.ndarray:
    """Return s^2 in 1/angstrom^2 of each ``rfftn`` coefficient, (nz, ny, nx // 2 + 1) float64.

    Parameters
    ----------
    shape : (nz, ny, nx)
        Of the density.
    voxel_size_zyx : (z, y, x), angstrom
    """
    (nz, ny, nx), (vz, vy, vx) = shape, voxel_size_zyx
    z, y, x = np.fft.fftfreq(nz, vz), np.fft.fftfreq(ny, vy), np.fft.rfftfreq(nx, vx)
    return z[:, None, None] ** 2 + y[:, None] ** 2 + x**2


@dataclass(frozen=True)
class Volume:
    """A density on a grid, with the raw header words of the file that it came from.

    Parameters
    ----------
    density : (nz, ny, nx) float32
    grid : Grid
    header : cryoclarity.io.maps.MapHeader or None
        Kept so that a result can be written back in the exact frame of its input.
    warnings : tuple of (code, message)
        What was odd, but harmless, in the file.
    """

    density: np.ndarray
    grid: Grid
    header: Any = None
    warnings: tuple[tuple[str, str], ...] = field(default=())

    def __post_init__(self) -> None:
        if self.density.shape != self.grid.shape:
            raise ValueError(f"density is {self.density.shape}, grid is {self.grid.shape}")

    def with_density(self, density: np.ndarray) -> Volume:
        """Return another density of the same shape in the same frame."""
        return replace(self, density=np.ascontiguousarray(density, dtype=np.float32))
