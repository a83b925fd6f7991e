"""The local likelihood-ratio statistic: basis, separable moments, noise variance.

At a voxel the density in a window, weighted by a Gaussian k, is explained by a constant or by 17
functions: the constant, six quadratic and ten cubic Hermite-like functions along the axes of an
icosahedron and a dodecahedron. The statistic is the energy that the 16 extra functions explain.
All of them are polynomials of degree <= 3, and k is a product of one-dimensional weights, so the
energy follows from 20 separable moments minus the 3 cubic directions the basis lacks; a plain
evaluation costs one window-sized matrix product per voxel instead.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from cryoclarity.labels.banded import in_threads

__all__ = [
    "MOMENTS",
    "TILE",
    "LevelBasis",
    "block_variance",
    "level_basis",
    "level_radius",
    "mask_bounds",
    "mask_box",
    "statistic_map",
    "whole_blocks",
]

_GOLDEN = (1 + math.sqrt(5)) / 2
_CUBIC_FACTOR = 2.254
TILE = (8, 8, 16)
"""Voxels along z, y, x whose moments are computed together."""
_TILES = 8
MOMENTS = [(a, b, c) for a, b, c in product(range(4), repeat=3) if 0 < a + b + c <= 3]


@dataclass(frozen=True)
class LevelBasis:
    """Everything of one level that does not depend on the data.

    radius : window radius in voxels; filters (4, w) 1-D filters of the separable moments;
    missing (3, 19) directions of the cubic polynomials outside the basis; root_weight (w^3,)
    square root of k; contrast (w^3, 16) orthonormal basis without the constant;
    trace : expected energy of unit white noise outside `contrast`; eigenvalues (16,) descending.
    """

    radius: int
    filters: np.ndarray
    missing: np.ndarray
    root_weight: np.ndarray
    contrast: np.ndarray
    trace: float
    eigenvalues: np.ndarray


def level_radius(level: float, voxel_size: float) -> int:
    """Window radius in voxels of a level of `level` angstrom."""
    return math.ceil(0.5 * level / voxel_size)


def _directions() -> tuple[np.ndarray, np.ndarray]:
    """Unit axes of the six quadratic and ten cubic functions, (6, 3) and (10, 3)."""

    def cyclic(v: tuple[float, float, float]) -> list[tuple[float, float, float]]:
        return [v, (v[1], v[2], v[0]), (v[2], v[0], v[1])]

    g = _GOLDEN
    six = cyclic((1, 0, g)) + cyclic((1, 0, -g))
    ten = cyclic((1, g, 1 / g)) + cyclic((1, -g, 1 / g))
    ten += [(1, 1, 1), (-1, 1, 1), (1, -1, 1), (-1, -1, 1)]
    return tuple(np.array(d, float) / np.linalg.norm(d, axis=1, keepdims=True) for d in (six, ten))


def _functions(scaled: np.ndarray) -> np.ndarray:
    """The 16 functions besides the constant on the window, (w^3, 16)."""
    points = np.stack(np.meshgrid(scaled, scaled, scaled, indexing="ij"), -1).reshape(-1, 3)
    quadratic, cubic = _directions()
    second = points @ quadratic.T
    third = points @ cubic.T
    return np.concatenate([4 * second**2 - 2, third**3 - _CUBIC_FACTOR * third], axis=1)


def _orthonormal_polynomials(scaled: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Polynomials of degree 0..3 orthonormal under the weight, (4, w); Gram-Schmidt twice."""
    basis = np.zeros((4, len(scaled)))
    for degree in range(4):
        vector = scaled**degree
        for _ in range(2):
            vector = vector - basis[:degree].T @ (basis[:degree] @ (weight * vector))
        basis[degree] = vector / np.sqrt(np.sum(weight * vector * vector))
    return basis


def _sparse_complement(projected: np.ndarray) -> np.ndarray:
    """Rows (3, 19) spanning what the (19, 16) coefficients miss, as sparse as symmetry allows.

    Pivoted Cholesky factor of the complement's projector: its columns are orthonormal, and
    for this basis each involves one axis only.
    """
    left, values, _ = np.linalg.svd(projected)
    missing = left[:, int(np.sum(values > 1e-9)) :]
    rest = missing @ missing.T
    rows = []
    for _ in range(missing.shape[1]):
        pivot = int(np.argmax(np.diag(rest)))
        row = rest[pivot] / np.sqrt(rest[pivot, pivot])
        rows.append(row)
        rest = rest - np.outer(row, row)
    found = np.array(rows)
    found[np.abs(found) < 1e-12] = 0
    return found


def level_basis(level: float, voxel_size: float) -> LevelBasis:
    """Basis, filters and null distribution of one level (angstrom) at a voxel size (angstrom)."""
    radius = level_radius(level, voxel_size)
    scale = (2 * math.pi / level) * math.sqrt(0.4) * voxel_size
    scaled = scale * np.arange(-radius, radius + 1)
    line = np.exp(-(scaled**2))
    weight = np.einsum("i,j,k->ijk", line, line, line).ravel()
    root = np.sqrt(weight)
    functions = root[:, None] * _functions(scaled)
    constant = (root / np.linalg.norm(root))[:, None]
    contrast, _ = np.linalg.qr(functions)
    # Basis of the 16-dimensional space that the full model adds to the constant.
    added = functions - constant @ (constant.T @ functions)
    added -= constant @ (constant.T @ added)
    added, _ = np.linalg.qr(added)
    polynomials = _orthonormal_polynomials(scaled, line)
    cubic = np.stack(
        [root * np.einsum("i,j,k->ijk", *(polynomials[d] for d in abc)).ravel() for abc in MOMENTS],
        axis=1,
    )
    return LevelBasis(
        radius=radius,
        filters=polynomials * line,
        missing=_sparse_complement(cubic.T @ added),
        root_weight=root,
        contrast=contrast,
        trace=float(weight.sum() - np.sum(weight[:, None] * contrast**2)),
        eigenvalues=np.linalg.eigvalsh(added.T @ (weight[:, None] * added))[::-1].copy(),
    )


def _blocks(volume: np.ndarray, width: int) -> np.ndarray:
    """View of the blocks of `width` voxels from voxel 0, (z, y, x, width, width, width)."""
    tiles = [size // width for size in volume.shape]
    cut = volume[tuple(slice(0, count * width) for count in tiles)]
    shape = (tiles[0], width, tiles[1], width, tiles[2], width)
    return cut.reshape(shape).transpose(0, 2, 4, 1, 3, 5)


def whole_blocks(region: np.ndarray, width: int) -> np.ndarray:
    """Blocks of `width` voxels that lie wholly in a region, one bool per block of the box."""
    whole = region[tuple(slice(0, size // width * width) for size in region.shape)]
    for axis in range(3):
        every = (slice(None),) * axis
        parts = [whole[(*every, slice(first, None, width))] for first in range(width)]
        whole = np.logical_and.reduce(parts)
    return whole


def block_variance(
    noise: np.ndarray, region: np.ndarray, basis: LevelBasis
) -> tuple[np.float32, int]:
    """Noise variance from the blocks of window size that lie wholly in the noise region.

    Parameters
    ----------
    noise : (n, n, n) float32
    region : (n, n, n) bool
    basis : LevelBasis

    Returns
    -------
    variance : float32
        Mean over blocks; 0 when there is none.
    count : int
        Number of blocks.
    """
    width = 2 * basis.radius + 1
    places = np.argwhere(whole_blocks(region, width))
    count = len(places)
    if count == 0:
        return np.float32(0), 0
    tiled = _blocks(noise, width)
    root = basis.root_weight.astype(np.float32)
    contrast = basis.contrast.astype(np.float32)
    variances = []
    for chunk in np.array_split(places, math.ceil(count / 4096)):
        values = tiled[tuple(chunk.T)].reshape(len(chunk), -1)
        values = (values - values.mean(axis=1, keepdims=True)) * root
        explained = values @ contrast
        energy = np.einsum("ij,ij->i", values, values) - np.einsum("ij,ij->i", explained, explained)
        variances.append(energy / np.float32(basis.trace))
    return np.concatenate(variances).mean(dtype=np.float32), count


def statistic_map(
    density: np.ndarray, mask: np.ndarray, basis: LevelBasis, threads: int = 1
) -> np.ndarray:
    """Energy that the 16 functions explain, at the voxels of a mask.

    The box of the mask is cut into small tiles, and tiles without a voxel of the mask are left
    out. Within a tile the banded matrices of the 1-D correlations are nearly full, and the 19
    moments stay in the cache.

    Parameters
    ----------
    density : (z, y, x) float32
    mask : (z, y, x) bool
        Not nearer to a face than the window radius.
    basis : LevelBasis
    threads : int
        Slabs worked on at a time; the values do not depend on it.

    Returns
    -------
    (count,) float32
        Values in raster order of the mask.
    """
    density, chosen = mask_box(density, mask, basis.radius)
    slabs = _Slabs(density, chosen, basis)
    starts = range(0, chosen.shape[0], TILE[0])
    return np.concatenate(in_threads(slabs.energy, starts, threads))


def mask_box(density: np.ndarray, mask: np.ndarray, radius: int) -> tuple[np.ndarray, np.ndarray]:
    """Views of the box of a mask: the density with `radius` voxels around it, and the mask."""
    low, high = mask_bounds(mask)
    pairs = list(zip(low, high, strict=True))
    window = tuple(slice(a - radius, b + radius) for a, b in pairs)
    return density[window], mask[tuple(slice(a, b) for a, b in pairs)]


def mask_bounds(mask: np.ndarray) -> tuple[list[int], list[int]]:
    """First and one-past-last index of a non-empty mask on each axis."""
    planes = mask.any(axis=0)
    lines = mask.any(axis=(1, 2)), planes.any(axis=1), planes.any(axis=0)
    places = [np.flatnonzero(line) for line in lines]
    return [int(place[0]) for place in places], [int(place[-1]) + 1 for place in places]


def _band(filters: np.ndarray, count: int) -> np.ndarray:
    """Banded matrices (4, count, count + 2r) that correlate with the four filters."""
    width = filters.shape[1]
    band = np.zeros((4, count, count + width - 1), np.float32)
    rows = np.arange(count)
    for offset in range(width):
        band[:, rows, rows + offset] = filters[:, offset, None]
    return band


class _Slabs:
    """The statistic of one slab of z planes after the other.

    density : (z + 2r, y + 2r, x + 2r) float32, the box of the mask and a window around it.
    mask : (z, y, x) bool.
    """

    def __init__(self, density: np.ndarray, mask: np.ndarray, basis: LevelBasis) -> None:
        self.density, self.mask, self.margin = density, mask, 2 * basis.radius
        bands = [_band(basis.filters, edge) for edge in TILE]
        self.along_z = bands[0]
        # Cubic polynomials only: degree a along z leaves degrees below 4 - a along y.
        self.along_y = [bands[1][: 4 - a].reshape((4 - a) * TILE[1], -1) for a in range(4)]
        # (X, 4 * columns): the first (4 - a - b) * columns columns are the wanted moments.
        self.along_x = np.concatenate(list(bands[2]), axis=0).T.copy()
        self.missing = basis.missing.astype(np.float32)

    def energy(self, start: int) -> np.ndarray:
        """Statistic at the voxels of the mask in the planes from `start`, in raster order."""
        mask = self.mask[start : start + TILE[0]]
        if not mask.any():
            return np.zeros(0, np.float32)
        slab = self.density[start : start + TILE[0] + self.margin]
        rows, columns = (-(-n // tile) for n, tile in zip(mask.shape[1:], TILE[1:], strict=True))
        whole = (TILE[0], rows * TILE[1], columns * TILE[2])
        padded = np.zeros([edge + self.margin for edge in whole], np.float32)
        padded[tuple(slice(0, edge) for edge in slab.shape)] = slab
        active = np.zeros(whole, bool)
        active[tuple(slice(0, edge) for edge in mask.shape)] = mask
        tiled = active.reshape(TILE[0], rows, TILE[1], columns, TILE[2])
        places = np.argwhere(tiled.any(axis=(0, 2, 4)))
        window = (TILE[1] + self.margin, TILE[2] + self.margin)
        inputs = sliding_window_view(padded, window, axis=(1, 2))[:, :: TILE[1], :: TILE[2]]
        result = np.empty((rows, columns, *TILE), np.float32)
        for first in range(0, len(places), _TILES):
            row, column = places[first : first + _TILES].T
            result[row, column] = self._tiles(inputs[:, row, column].swapaxes(0, 1))
        return result.transpose(2, 0, 3, 1, 4)[tiled]

    def _tiles(self, inputs: np.ndarray) -> np.ndarray:
        """Statistic of tiles with a margin, (tiles, z, y, x): the separable moments and energy.

        Every matrix product is one of many small ones, because BLAS would start threads of its
        own for a large one.
        """
        count, depth, height, width = inputs.shape
        planes, rows, columns = TILE
        moments = np.empty((len(MOMENTS) + 1, count, planes * rows, columns), np.float32)
        number = 0
        flat = inputs.reshape(count, 1, depth, -1)
        first = np.matmul(self.along_z, flat).reshape(count, 4, planes, height, width)
        for a in range(4):
            second = np.matmul(self.along_y[a], first[:, a])
            second = second.reshape(count, planes, 4 - a, rows, width)
            for b in range(4 - a):
                kinds = 4 - a - b
                third = np.matmul(second[:, :, b], self.along_x[:, : kinds * columns])
                third = third.reshape(count, planes * rows, kinds, columns)
                moments[number : number + kinds] = third.transpose(2, 0, 1, 3)
                number += kinds
        # The first moment is the mean, which the statistic leaves out.
        used = moments[1:].reshape(len(MOMENTS), -1)
        energy = np.einsum("ij,ij->j", used, used).reshape(count, -1)
        outside = np.matmul(self.missing, used.reshape(len(MOMENTS), count, -1).swapaxes(0, 1))
        energy -= np.einsum("tqi,tqi->ti", outside, outside)
        return energy.reshape(count, *TILE)
