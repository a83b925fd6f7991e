"""The best radial linear filter from input to target: the baseline that a network has to beat."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from cryoclarity.grid import squared_frequency
from cryoclarity.io.tables import read_table, write_table

COLUMNS = ("frequency_inv_a", "gain")


def fit_radial_filter(
    pairs: Iterable[tuple[np.ndarray, np.ndarray]], voxel_size: float
) -> tuple[np.ndarray, np.ndarray]:
    """Least-squares gain per shell over pairs of boxes.

    Parameters
    ----------
    pairs : iterable of (input, target), each (n, n, n), all of one size
    voxel_size : float, angstrom

    Returns
    -------
    frequency, gain : ndarray, shape (n // 2 + 1,)
        Shell centres in 1/angstrom (0 to Nyquist; the last shell takes the corners beyond it) and
        sum Re(conj(input) target) / sum |input|^2. A shell without input power has gain 1.

    Notes
    -----
    Boxes are multiplied by a Hann window first: cut faces would leak into all shells.
    """
    power = cross = shell = window = None
    for first, second in pairs:
        n = first.shape[0]
        if shell is None:
            frequency = np.sqrt(squared_frequency(first.shape, (voxel_size,) * 3))
            shell = np.minimum(np.rint(frequency * n * voxel_size).astype(int), n // 2).ravel()
            hann = 0.5 - 0.5 * np.cos(2 * np.pi * (np.arange(n) + 0.5) / n)
            window = hann[:, None, None] * hann[None, :, None] * hann
            power, cross = np.zeros(n // 2 + 1), np.zeros(n // 2 + 1)
        a, b = np.fft.rfftn(window * first), np.fft.rfftn(window * second)
        # rfftn keeps half of the coefficients; both sums miss the same half.
        power += np.bincount(shell, (np.abs(a) ** 2).ravel(), n // 2 + 1)
        cross += np.bincount(shell, (a.conj() * b).real.ravel(), n // 2 + 1)
    if power is None:
        return np.zeros(0), np.zeros(0)
    gain = np.divide(cross, power, out=np.ones_like(power), where=power > 0)
    return np.arange(len(gain)) / (n * voxel_size), gain


def write_radial_filter(path: str | Path, frequency: np.ndarray, gain: np.ndarray) -> None:
    """Write the table ``frequency_inv_a gain``."""
    rows = [
        {"frequency_inv_a": f"{f:.6f}", "gain": f"{g:.6g}"}
        for f, g in zip(frequency, gain, strict=True)
    ]
    write_table(path, rows, COLUMNS)


def read_radial_filter(path: str | Path) -> tuple[np.ndarray, np.ndarray]:
    """Read the table that `write_radial_filter` wrote."""
    rows = read_table(path)
    frequency = np.array([float(row["frequency_inv_a"]) for row in rows])
    return frequency, np.array([float(row["gain"]) for row in rows])
