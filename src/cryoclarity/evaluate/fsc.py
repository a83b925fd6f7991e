"""Fourier shell correlation on orthogonal boxes, and where a curve falls below a threshold."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy import fft

from cryoclarity.grid import squared_frequency


@dataclass(frozen=True)
class FscCurve:
    """A Fourier shell correlation.

    Attributes
    ----------
    frequency : (n_shells,) float64
        Mean spatial frequency of each shell, 1/angstrom.
    correlation : (n_shells,) float64
        FSC of the shell; NaN where one side has no power.
    """

    frequency: np.ndarray
    correlation: np.ndarray

    def mean_up_to(self, resolution: float) -> float:
        """Plain mean over the shells whose frequency does not exceed 1/`resolution`."""
        values = self.correlation[self.frequency <= 1.0 / resolution]
        values = values[np.isfinite(values)]
        return float(values.mean()) if values.size else math.nan


@dataclass(frozen=True)
class FourierShells:
    """Shell number, frequency and Hermitian weight of the coefficients of a box.

    The shell of a coefficient at frequency s is ``rint(s L)`` with the longest box edge L; shells
    1 to ``floor(L / (2 max voxel))`` are kept, so every shell is complete on the coarsest axis.
    """

    number: np.ndarray
    weight: np.ndarray
    frequency: np.ndarray
    n_shells: int

    @classmethod
    def of_box(
        cls, shape: tuple[int, int, int], voxel_size_zyx: tuple[float, float, float]
    ) -> FourierShells:
        """Number the half-complex coefficients of ``rfftn`` on a box.

        Parameters
        ----------
        shape : (nz, ny, nx)
        voxel_size_zyx : (z, y, x), angstrom
        """
        frequency = np.sqrt(squared_frequency(shape, voxel_size_zyx))
        edge = max(n * v for n, v in zip(shape, voxel_size_zyx, strict=True))
        n_shells = math.floor(edge / (2.0 * max(voxel_size_zyx)) + 1e-9)
        number = np.rint(frequency * edge).astype(np.int32)
        number[number > n_shells] = 0  # shell 0 holds F(000) and the corners: both left out
        weight = np.full(frequency.shape, 2.0, dtype=np.float32)
        weight[..., 0] = 1.0
        if shape[2] % 2 == 0:
            weight[..., -1] = 1.0
        weights = np.bincount(number.ravel(), weight.ravel(), n_shells + 1)
        sums = np.bincount(number.ravel(), (weight * frequency).ravel(), n_shells + 1)
        with np.errstate(invalid="ignore"):
            mean = (sums / weights)[1:]
        return cls(number, weight, mean, n_shells)

    def _sum(self, values: np.ndarray) -> np.ndarray:
        values = (self.weight * values).ravel()
        return np.bincount(self.number.ravel(), values, self.n_shells + 1)[1:]

    def correlate(self, first: np.ndarray, second: np.ndarray) -> FscCurve:
        """Correlate two sets of ``rfftn`` coefficients shell by shell.

        Returns
        -------
        FscCurve
            ``Re sum F1 F2* / sqrt(sum |F1|^2 sum |F2|^2)`` per shell; empty shells are left out.
        """
        cross = self._sum(first.real * second.real + first.imag * second.imag)
        first_power = self._sum(np.square(np.abs(first)))
        second_power = self._sum(np.square(np.abs(second)))
        with np.errstate(invalid="ignore", divide="ignore"):
            correlation = cross / np.sqrt(first_power * second_power)
        filled = np.isfinite(self.frequency)
        return FscCurve(self.frequency[filled], correlation[filled])


def transform(density: np.ndarray) -> np.ndarray:
    """Half-complex Fourier coefficients of a real map, in the precision of the array."""
    return fft.rfftn(density)


def fsc(
    first: np.ndarray, second: np.ndarray, voxel_size_zyx: tuple[float, float, float]
) -> FscCurve:
    """Fourier shell correlation of two real maps on one grid.

    Parameters
    ----------
    first, second : (nz, ny, nx)
    voxel_size_zyx : (z, y, x), angstrom
    """
    shells = FourierShells.of_box(first.shape, voxel_size_zyx)
    return shells.correlate(transform(first), transform(second))


def crossing(curve: FscCurve, threshold: float) -> tuple[float | None, bool]:
    """Resolution at which a curve first falls below a threshold.

    Parameters
    ----------
    curve : FscCurve
    threshold : float

    Returns
    -------
    resolution : float or None
        Angstrom, linear in frequency between the last shell at or above the threshold and the
        first below it. None when the first shell is below already or the curve has no values.
    at_nyquist : bool
        True when the curve never falls below: the resolution is then that of the last shell.
    """
    frequency, values = curve.frequency, curve.correlation
    finite = np.isfinite(values)
    frequency, values = frequency[finite], values[finite]
    if not values.size or values[0] < threshold:
        return None, False
    below = np.flatnonzero(values < threshold)
    if not below.size:
        return float(1.0 / frequency[-1]), True
    k = int(below[0])
    fraction = (values[k - 1] - threshold) / (values[k - 1] - values[k])
    at = frequency[k - 1] + fraction * (frequency[k] - frequency[k - 1])
    return float(1.0 / at), False
