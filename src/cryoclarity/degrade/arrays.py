"""Where the arrays of a simulation live: numpy here, a torch device in the twin module.

The recipes are written once, in the words that numpy and torch share (``xp.exp``, slicing,
arithmetic). What the two say differently is a method here.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import scipy.fft
import scipy.special

__all__ = ["NUMPY", "NumpyArrays"]


class NumpyArrays:
    """Arrays of numpy in float32.

    Attributes
    ----------
    xp : module
        numpy; torch in the twin.
    """

    xp = np

    def floats(self, values) -> np.ndarray:
        """Return values as float32."""
        return np.asarray(values, dtype=np.float32)

    def integers(self, values) -> np.ndarray:
        """Return values as 64-bit integers."""
        return np.asarray(values, dtype=np.int64)

    def zeros(self, shape: Sequence[int], kind: str = "float") -> np.ndarray:
        """Return zeros; `kind` is 'float' or 'bool'."""
        return np.zeros(tuple(shape), dtype=np.float32 if kind == "float" else bool)

    def normal(self, rng: np.random.Generator, shape: Sequence[int]) -> np.ndarray:
        """Return standard normal numbers of a shape."""
        return rng.standard_normal(tuple(shape), dtype=np.float32)

    def rfftn(self, density: np.ndarray) -> np.ndarray:
        """Return the half-complex transform of a real volume."""
        return scipy.fft.rfftn(density)

    def irfftn(self, spectrum: np.ndarray, shape: Sequence[int]) -> np.ndarray:
        """Return the real volume of a half-complex transform."""
        return scipy.fft.irfftn(spectrum, s=tuple(shape))

    def power(self, spectrum: np.ndarray) -> np.ndarray:
        """Return squared magnitudes."""
        return np.square(spectrum.real) + np.square(spectrum.imag)

    def bin_sums(self, number: np.ndarray, values: np.ndarray, count: int) -> np.ndarray:
        """Return sums of values by bin, on the host in float64."""
        return np.bincount(number.ravel(), values.ravel(), count)

    def ndtr(self, values: np.ndarray) -> np.ndarray:
        """Return the normal distribution function."""
        return scipy.special.ndtr(values)

    def quantile(self, values: np.ndarray, share: float) -> float:
        """Return a quantile by linear interpolation."""
        return float(np.quantile(values, share))

    def outer_sum(self, z: np.ndarray, y: np.ndarray, x: np.ndarray) -> np.ndarray:
        """Return the sum over n of z[n, :, None, None] y[n, :, None] x[n], (nz, ny, nx)."""
        plane = (z[:, :, None] * y[:, None, :]).reshape(len(z), -1)
        return (plane.T @ x).reshape(z.shape[1], y.shape[1], x.shape[1])

    def host(self, values) -> np.ndarray:
        """Return an array as numpy's."""
        return np.asarray(values)


NUMPY = NumpyArrays()
"""One for all, so that what is kept per arrays is found again."""
