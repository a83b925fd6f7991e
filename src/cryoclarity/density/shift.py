"""How far one map was moved against another, far below a voxel."""

from __future__ import annotations

import numpy as np
from scipy import fft

# Frequencies above this share of Nyquist carry interpolation, not position.
HIGHEST_SHARE = 0.5
ROUNDS = 3


def relative_shift(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """Return the translation that carries one map onto another.

    A translation by s multiplies every Fourier coefficient by exp(-2 pi i k.s). The phase of the
    cross spectrum is fitted by a plane through the origin, weighted with the product of both
    amplitudes, over the lower half of the frequencies; what the fit found is taken out and the
    rest fitted again, so that the answer does not depend on phases being small at first.

    Parameters
    ----------
    before, after : (nz, ny, nx) float
        On the same grid. Periodic: translations of more than a few voxels are not found.

    Returns
    -------
    (3,) float64
        Voxels along z, y, x; positive where `after` lies at higher indices. Zeros when the maps
        have nothing in common.
    """
    if before.shape != after.shape:
        raise ValueError(f"maps of {before.shape} and {after.shape} voxels")
    axes = [fft.fftfreq(n) for n in before.shape[:2]] + [fft.rfftfreq(before.shape[2])]
    keep = [np.abs(axis) <= HIGHEST_SHARE / 2 for axis in axes]
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


def translated(density: np.ndarray, shift: np.ndarray) -> np.ndarray:
    """Move a map by a fraction of a voxel, exactly for what its grid can hold.

    Parameters
    ----------
    density : (nz, ny, nx) float
        Periodic.
    shift : (3,) float
        Voxels along z, y, x; positive towards higher indices.

    Returns
    -------
    (nz, ny, nx) float32
    """
    transform = fft.rfftn(np.asarray(density, dtype=np.float32))
    shape = density.shape
    axes = [fft.fftfreq(shape[0]), fft.fftfreq(shape[1]), fft.rfftfreq(shape[2])]
    for number, (frequency, part) in enumerate(zip(axes, shift, strict=True)):
        ramp = np.exp(-2j * np.pi * frequency * part).astype(np.complex64)
        transform *= ramp.reshape([-1 if axis == number else 1 for axis in range(3)])
    return fft.irfftn(transform, s=shape).astype(np.float32, copy=False)
