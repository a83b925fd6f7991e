"""Put a density on another grid: one small matrix per axis, applied one axis after the other.

Two rules are offered. The default one is Fourier cropping or padding with mirrored ends: content
that both grids can carry comes through unchanged (a finer grid and back is the identity), content
beyond the Nyquist frequency of the target is removed. The published one is the cubic convolution
of Keys (1981) with a = -1/2, which neither filters nor extrapolates.
"""

from __future__ import annotations

import math

import numpy as np
from scipy.fft import dct

from cryoclarity.grid import Grid

# Absorbs the float32 rounding of header words before a size is rounded.
SIZE_TOLERANCE = 1e-4
# Source frequencies up to this multiple of the target's Nyquist frequency pass.
PASS_TOLERANCE = 1e-6
KEYS_A = -0.5
# Angstrom: maps with a smaller voxel take the 0.5 A network, in training as in use.
FINE_VOXEL = 0.8
FINE_TOLERANCE = 1e-3
SLAB_VALUES = 1 << 20


def network_grid(grid: Grid, spacing: float) -> Grid:
    """Return the isotropic grid that starts at the same voxel and covers all voxel centres.

    Parameters
    ----------
    grid : Grid
    spacing : float, angstrom

    Returns
    -------
    Grid
        Its last point per axis lies on or less than one step beyond the last voxel centre, so
        that sampling back never leaves it.
    """
    shape = tuple(
        math.ceil(v * (n - 1) / spacing - SIZE_TOLERANCE) + 1
        for n, v in zip(grid.shape, grid.voxel_size_zyx, strict=True)
    )
    return Grid(shape, (spacing,) * 3, grid.origin)


def wants_fine_network(grid: Grid) -> bool:
    """Whether the smallest voxel is below 0.8 angstrom, with a tolerance for rounded headers."""
    return min(grid.voxel_size) < FINE_VOXEL - FINE_TOLERANCE


def resample(
    density: np.ndarray, source: Grid, target: Grid, *, overwrite: bool = False
) -> np.ndarray:
    """Resample with band limit; just beyond the source it is mirrored, further out constant.

    Parameters
    ----------
    density : (nz, ny, nx), on `source`
    source, target : Grid
        Any spacings and origins.
    overwrite : bool
        `density` may be used as working memory; it is worthless afterwards.

    Returns
    -------
    ndarray, shape of `target`, float32

    Notes
    -----
    Per axis the samples are expanded in cosines cos(pi k u / (n - 1)) (DCT-I, mirror at the first
    and last voxel centre), frequencies above the target's Nyquist frequency are dropped, and the
    series is evaluated at the target's points.
    """
    if source.same_frame(target):
        return density.astype(np.float32)
    operators = _operators(source, target, _fourier_operator)
    return apply_separable(density, operators, overwrite=overwrite)


def resample_linear(density: np.ndarray, source: Grid, target: Grid) -> np.ndarray:
    """Resample linearly, 0 beyond the source: for masks, which must not over- or undershoot.

    Parameters
    ----------
    density : (nz, ny, nx), on `source`
    source, target : Grid

    Returns
    -------
    ndarray, shape of `target`, float32

    Notes
    -----
    Works section by section of the result: nothing is held beside input and output.
    """
    if source.same_frame(target):
        return density.astype(np.float32)
    operators = _operators(source, target, _linear_operator)
    z, y, x = (operator.astype(np.float32) for operator in operators)
    result = np.zeros(target.shape, dtype=np.float32)
    for weights, section in zip(z, result, strict=True):
        held = np.flatnonzero(weights)
        if held.size:
            between = sum(weights[k] * density[k] for k in held)
            section[:] = y @ (between @ x.T)
    return result


def resample_published(
    density: np.ndarray,
    voxel_size: tuple[float, float, float],
    spacing: tuple[float, float, float],
    shift: tuple[float, float, float],
    shape: tuple[int, int, int],
) -> np.ndarray:
    """Resample by the published cubic convolution.

    Parameters
    ----------
    density : (nz, ny, nx)
    voxel_size, spacing : (z, y, x) angstrom
        Of the input and of the output.
    shift : (z, y, x) angstrom
        Position of the first output point from the first input point.
    shape : (z, y, x) of the output

    Returns
    -------
    ndarray, `shape`, float32
        Points without two neighbours on an axis are 0; taps beyond the map count as 0.
    """
    points = (
        (np.arange(n) * float(g) + float(s)) / float(v)
        for n, g, s, v in zip(shape, spacing, shift, voxel_size, strict=True)
    )
    operators = [
        cubic_operator(size, point) for size, point in zip(density.shape, points, strict=True)
    ]
    return apply_separable(density, operators)


def apply_separable(
    density: np.ndarray, operators: list[np.ndarray], *, overwrite: bool = False
) -> np.ndarray:
    """Apply one matrix per axis, (z, y, x), to a density.

    Parameters
    ----------
    density : (nz, ny, nx)
    operators : three arrays (n_out, n_in)
    overwrite : bool
        `density` may be used as working memory.

    Returns
    -------
    ndarray, (mz, my, mx) float32

    Notes
    -----
    Works section by section: beside input and output only one array (nz, my, mx) is held, and
    not even that where it fits into an input that may be overwritten.
    """
    z, y, x = (operator.astype(np.float32) for operator in operators)
    shape = (density.shape[0], y.shape[0], x.shape[0])
    reusable = density.flags.c_contiguous and density.dtype == np.float32
    if overwrite and reusable and math.prod(shape) <= density.size:
        # Plane k ends before section k + 1 begins: nothing is overwritten before it is read.
        planes = density.reshape(-1)[: math.prod(shape)].reshape(shape)
    else:
        planes = np.empty(shape, dtype=np.float32)
    for k, section in enumerate(density):
        planes[k] = y @ (section.astype(np.float32, copy=False) @ x.T)
    result = np.empty((z.shape[0], *planes.shape[1:]), dtype=np.float32)
    rows = max(SLAB_VALUES // (planes.shape[0] * planes.shape[2]), 1)
    for first in range(0, planes.shape[1], rows):
        slab = planes[:, first : first + rows]
        flat = z @ slab.reshape(slab.shape[0], -1)
        result[:, first : first + rows] = flat.reshape(-1, *slab.shape[1:])
    return result


def cubic_operator(size: int, point: np.ndarray) -> np.ndarray:
    """Matrix of the published interpolation on one axis.

    Parameters
    ----------
    size : number of samples
    point : (m,) positions in voxels

    Returns
    -------
    (m, size) float32
        Cubic convolution, R. Keys, IEEE Trans. ASSP 29, 1153 (1981), eq. 15, with a = -1/2.
    """
    first = np.floor(point).astype(int)
    inside = np.flatnonzero((first >= 0) & (first + 1 < size))
    operator = np.zeros((len(point), size), dtype=np.float32)
    for tap in (-1, 0, 1, 2):
        column = first[inside] + tap
        distance = np.abs(point[inside] - column)
        real = (column >= 0) & (column < size)
        operator[inside[real], column[real]] = _keys(distance[real])
    return operator


def _keys(d: np.ndarray) -> np.ndarray:
    a = KEYS_A
    near = (a + 2) * d**3 - (a + 3) * d**2 + 1
    far = a * d**3 - 5 * a * d**2 + 8 * a * d - 4 * a
    return np.where(d <= 1, near, np.where(d <= 2, far, 0.0))


def _operators(source: Grid, target: Grid, build) -> list[np.ndarray]:
    operators = []
    for axis in range(3):
        voxel, spacing = source.voxel_size_zyx[axis], target.voxel_size_zyx[axis]
        shift = target.origin_zyx[axis] - source.origin_zyx[axis]
        point = (np.arange(target.shape[axis]) * spacing + shift) / voxel
        operators.append(build(source.shape[axis], point, spacing / voxel))
    return operators


def _fourier_operator(size: int, point: np.ndarray, ratio: float) -> np.ndarray:
    """Matrix (m, size) of band-limited sampling at `point`, whose step is `ratio` voxels."""
    if size == 1:
        return np.ones((len(point), 1))
    # The series is mirrored at its ends, which serves the one step by which a grid may stand out.
    point = np.clip(point, -ratio, size - 1 + ratio)
    order = np.arange(size)
    coefficients = dct(np.eye(size), type=1, axis=0) / (size - 1)
    coefficients[[0, -1]] /= 2
    frequency = order / (2.0 * (size - 1))  # cycles per voxel
    coefficients[frequency > 0.5 / ratio * (1 + PASS_TOLERANCE)] = 0
    return np.cos(np.pi * np.outer(point, order) / (size - 1)) @ coefficients


def _linear_operator(size: int, point: np.ndarray, ratio: float) -> np.ndarray:
    """Matrix (m, size) of linear interpolation, 0 beyond the samples; `ratio` plays no part."""
    weight = 1.0 - np.abs(point[:, None] - np.arange(size))
    outside = (point < -SIZE_TOLERANCE) | (point > size - 1 + SIZE_TOLERANCE)
    return np.where(outside[:, None], 0.0, np.maximum(weight, 0.0))
