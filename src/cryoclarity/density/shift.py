"""How far one map was moved against another, far below a voxel."""

from __future__ import annotations

import numpy as np
from scipy import fft

# Frequencies above this share of Nyquist carry interpolation, not position.
HIGHEST_SHARE = 0.5
ROUNDS = 3


def relative_shift(
    before: np.ndarray, after: np.ndarray, highest_share: float = HIGHEST_SHARE
) -> np.ndarray:
    """Return the translation that carries one map onto another.

    A translation by s multiplies every Fourier coefficient by exp(-2 pi i k.s). The phase of the
    cross spectrum is fitted by a plane through the origin, weighted with the product of both
    amplitudes, over the lower half of the frequencies; what the fit found is taken out and the
    rest fitted again, so that the answer does not depend on phases being small at first.

    Parameters
    ----------
    before, after : (nz, ny, nx) float
        On the same grid. Periodic: translations of more than a few voxels are not found.
    highest_share : float
        Frequencies up to this share of Nyquist are used.

    Returns
    -------
    (3,) float64
        Voxels along z, y, x; positive where `after` lies at higher indices. Zeros when the maps
        have nothing in common.
    """
    if before.shape != after.shape:
        raise ValueError(f"maps of {before.shape} and {after.shape} voxels")
    axes = [fft.fftfreq(n) for n in before.shape[:2]] + [fft.rfftfreq(before.shape[2])]
    keep = [np.abs(axis) <= highest_share / 2 for axis in axes]
    frequency = np.stack(
        np.meshgrid(*(axis[kept] for axis, kept in zip(axes, keep, strict=True)), indexing="ij"),
        axis=-1,
    ).reshape(-1, 3)
    first, second = (
        fft.rfftn(np.asarray(density, dtype=np.float32))[np.ix_(*keep)].ravel()
        for density in (before, after)
    )
    cross = (second * np.conj(first)).astype(np.complex128)
    cross[(frequency == 0).all(axis=1)] = 0  # the mean value has no phase
    weight = np.abs(cross)
    normal = (frequency * weight[:, None]).T @ frequency
    if not np.linalg.matrix_rank(normal) == 3:
        return np.zeros(3)
    shift = np.zeros(3)
    for _ in range(ROUNDS):
        phase = np.angle(cross * np.exp(2j * np.pi * (frequency @ shift)))
        shift += np.linalg.solve(normal, frequency.T @ (weight * -phase)) / (2 * np.pi)
    return shift


def coarse_shift(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """Return :func:`relative_shift` at an eighth of its memory.

    Both maps are averaged over blocks of 2 x 2 x 2 voxels, which keeps the frequencies that the
    fit uses and moves neither against the other.

    Parameters
    ----------
    before, after : (nz, ny, nx) float

    Returns
    -------
    (3,) float64
        Voxels of the given maps along z, y, x.
    """
    return 2 * relative_shift(_blocks(before), _blocks(after), highest_share=1.0)


def _blocks(density: np.ndarray) -> np.ndarray:
    nz, ny, nx = (size // 2 for size in density.shape)
    whole = density[: 2 * nz, : 2 * ny, : 2 * nx]
    return whole.reshape(nz, 2, ny, 2, nx, 2).mean(axis=(1, 3, 5))
