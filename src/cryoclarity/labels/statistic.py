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
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import product

import numpy as np

__all__ = [
    "MOMENTS",
    "LevelBasis",
    "block_variance",
    "level_basis",
    "level_radius",
    "mask_bounds",
    "statistic_map",
]

_GOLDEN = (1 + math.sqrt(5)) / 2
_CUBIC_FACTOR = 2.254
_SLAB = 8
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
    tiles = [size // width for size in noise.shape]
    cut = tuple(slice(0, count * width) for count in tiles)
    shape = (tiles[0], width, tiles[1], width, tiles[2], width)
    whole = region[cut].reshape(shape).all(axis=(1, 3, 5))
    count = int(whole.sum())
    if count == 0:
        return np.float32(0), 0
    tiled = noise[cut].reshape(shape).transpose(0, 2, 4, 1, 3, 5)
    root = basis.root_weight.astype(np.float32)
    contrast = basis.contrast.astype(np.float32)
    variances = []
    places = np.argwhere(whole)
    for chunk in np.array_split(places, math.ceil(count / 4096)):
        values = tiled[tuple(chunk.T)].reshape(len(chunk), -1)
        values = (values - values.mean(axis=1, keepdims=True)) * root
        explained = values @ contrast
        energy = np.einsum("ij,ij->i", values, values) - np.einsum("ij,ij->i", explained, explained)
        variances.append(energy / np.float32(basis.trace))
    return np.concatenate(variances).mean(dtype=np.float32), count


def _band(filters: np.ndarray, count: int) -> np.ndarray:
    """Banded matrices (4, count, count + 2r) that correlate with the four filters."""
    width = filters.shape[1]
    band = np.zeros((4, count, count + width - 1), np.float32)
    rows = np.arange(count)
    for offset in range(width):
        band[:, rows, rows + offset] = filters[:, offset, None]
    return band


def statistic_map(
    density: np.ndarray, mask: np.ndarray, basis: LevelBasis, threads: int = 1
) -> np.ndarray:
    """Energy that the 16 functions explain, at the voxels of a mask.

    Parameters
    ----------
    density : (n, n, n) float32
    mask : (n, n, n) bool
        Not nearer to a face than the window radius.
    basis : LevelBasis
    threads : int
        Slabs worked on at a time; the values do not depend on it.

    Returns
    -------
    (count,) float32
        Values in raster order of the mask.
    """
    radius = basis.radius
    low, high = mask_bounds(mask)
    box = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    rows, columns = high[1] - low[1], high[2] - low[2]
    along_y = _band(basis.filters, rows)
    # (X, 4 * columns): the first (4 - a - b) * columns columns are the wanted moments.
    along_x = np.concatenate(list(_band(basis.filters, columns)), axis=0).T.copy()
    window = (
        slice(low[1] - radius, high[1] + radius),
        slice(low[2] - radius, high[2] + radius),
    )

    def one_slab(start: int) -> np.ndarray:
        stop = min(start + _SLAB, high[0])
        chosen = mask[start:stop, box[1], box[2]]
        if not chosen.any():
            return np.zeros(0, np.float32)
        slab = density[(slice(start - radius, stop + radius), *window)]
        bands = _band(basis.filters, stop - start)
        return _slab_energy(slab, bands, along_y, along_x, basis)[chosen]

    starts = range(low[0], high[0], _SLAB)
    if threads == 1:
        return np.concatenate([one_slab(start) for start in starts])
    with ThreadPoolExecutor(threads) as pool:
        return np.concatenate(list(pool.map(one_slab, starts)))


def mask_bounds(mask: np.ndarray) -> tuple[list[int], list[int]]:
    """First and one-past-last index of a non-empty mask on each axis."""
    low, high = [], []
    for axis in range(3):
        others = tuple(i for i in range(3) if i != axis)
        index = np.flatnonzero(mask.any(axis=others))
        low.append(int(index[0]))
        high.append(int(index[-1]) + 1)
    return low, high


def _slab_energy(
    slab: np.ndarray,
    along_z: np.ndarray,
    along_y: np.ndarray,
    along_x: np.ndarray,
    basis: LevelBasis,
) -> np.ndarray:
    """Statistic of a slab of z planes from the 19 separable moments, (z, y, x) float32."""
    planes, rows = along_z.shape[1], along_y.shape[1]
    columns = along_x.shape[1] // 4
    moments = np.empty((len(MOMENTS), planes, rows, columns), np.float32)
    missing = basis.missing.astype(np.float32)
    depth, height, width = slab.shape
    flat = np.ascontiguousarray(slab).reshape(depth, -1)
    index = {abc: i for i, abc in enumerate(MOMENTS)}
    for a in range(4):
        first = (along_z[a] @ flat).reshape(planes, height, width)
        for b in range(4 - a):
            kinds = 4 - a - b
            second = np.matmul(along_y[b], first).reshape(planes * rows, width)
            third = second @ along_x[:, : kinds * columns]
            third = third.reshape(planes, rows, kinds, columns)
            for c in range(kinds):
                if a + b + c:
                    moments[index[a, b, c]] = third[:, :, c]
    moments = moments.reshape(len(MOMENTS), -1)
    outside = missing @ moments
    energy = np.einsum("ij,ij->j", moments, moments) - np.einsum("ij,ij->j", outside, outside)
    return energy.reshape(planes, rows, columns)
