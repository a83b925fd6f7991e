"""Radial spectra: shells of a box, their amplitudes, and a map made to have wanted ones."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from cryoclarity.grid import squared_frequency

__all__ = [
    "KNOTS",
    "Frequencies",
    "frequencies_of",
    "logistic",
    "wanted_amplitude",
    "wanted_fsc",
]

# Frequencies (1/angstrom) at which the gain of a real map over its target was measured.
KNOTS = (0.0, 1 / 15, 1 / 8, 1 / 5.5, 1 / 4, 1 / 3, 1 / 2)


class Frequencies:
    """The Fourier coefficients of a box, with one shell per 1/(longest edge).

    Parameters
    ----------
    arrays : NumpyArrays or its twin
    shape : (nz, ny, nx)
    voxel_size : float, angstrom

    Attributes
    ----------
    square : (nz, ny, nx // 2 + 1) s^2 in 1/angstrom^2
    shell : the number of the shell of each coefficient, up to the corner
    frequency : (n_shells,) float64, mean s of each shell, on the host
    """

    def __init__(self, arrays, shape: tuple[int, int, int], voxel_size: float) -> None:
        self.arrays, self.shape, self.voxel_size = arrays, tuple(shape), float(voxel_size)
        square = squared_frequency(self.shape, (voxel_size,) * 3)
        radius = np.sqrt(square)
        number = np.rint(radius * max(self.shape) * voxel_size).astype(np.int64)
        weight = np.full(square.shape, 2.0)
        weight[..., 0] = 1.0
        if self.shape[2] % 2 == 0:
            weight[..., -1] = 1.0
        self.n_shells = int(number.max()) + 1
        self._counts = np.bincount(number.ravel(), weight.ravel(), self.n_shells)
        sums = np.bincount(number.ravel(), (weight * radius).ravel(), self.n_shells)
        self.frequency = sums / self._counts
        self.square = arrays.floats(square)
        self.shell = arrays.integers(number)
        self._weight = arrays.floats(weight)

    @property
    def radius(self):
        """s in 1/angstrom of each coefficient."""
        return self.arrays.xp.sqrt(self.square)

    @property
    def nyquist(self) -> float:
        """1/angstrom."""
        return 0.5 / self.voxel_size

    def gaussian(self, width: float):
        """Transform of a Gaussian blur of a standard deviation in angstrom."""
        return self.arrays.xp.exp((-2.0 * np.pi**2 * width**2) * self.square)

    def b_decay(self, b_factor: float):
        """exp(-B s^2 / 4)."""
        return self.arrays.xp.exp((-0.25 * b_factor) * self.square)

    def directional_decay(self, direction: np.ndarray, b_factor: float):
        """exp(-B (s n)^2 / 4) for a unit vector n (z, y, x): what few views leave of one axis."""
        along = 0.0
        for axis, n in enumerate(self.shape):
            spacing = np.fft.rfftfreq if axis == 2 else np.fft.fftfreq
            line = spacing(n, self.voxel_size) * float(direction[axis])
            along = along + self.arrays.floats(line).reshape(
                [-1 if a == axis else 1 for a in range(3)]
            )
        return self.arrays.xp.exp((-0.25 * b_factor) * along * along)

    def low_pass(self, resolution: float, edge: float):
        """1 up to (1 - edge)/d, 0 from (1 + edge)/d, a cosine between."""
        xp = self.arrays.xp
        ramp = xp.clip((self.radius * resolution - (1.0 - edge)) / (2.0 * edge), 0.0, 1.0)
        return 0.5 * (1.0 + xp.cos(np.pi * ramp))

    def amplitude(self, spectrum) -> np.ndarray:
        """Root mean square magnitude per shell, (n_shells,) float64 on the host."""
        power = self.arrays.power(spectrum) * self._weight
        return np.sqrt(self.arrays.bin_sums(self.shell, power, self.n_shells) / self._counts)

    def fsc(self, first, second) -> np.ndarray:
        """Fourier shell correlation of two transforms, (n_shells,) float64; 0 in empty shells."""
        cross = (first.real * second.real + first.imag * second.imag) * self._weight
        covariance = self.arrays.bin_sums(self.shell, cross, self.n_shells) / self._counts
        product = self.amplitude(first) * self.amplitude(second)
        return np.where(product > 0, covariance / np.where(product > 0, product, 1.0), 0.0)

    def per_shell(self, values: np.ndarray):
        """Spread values (n_shells,) over the coefficients."""
        return self.arrays.floats(values)[self.shell]

    def shaped(self, spectrum, amplitude: np.ndarray):
        """Return a transform scaled shell by shell to root mean square magnitudes."""
        present = self.amplitude(spectrum)
        # Shells without power stay so: dividing would raise rounding to a signal.
        usable = present > 1e-7 * present.max()
        gain = np.where(usable, amplitude / np.where(usable, present, 1.0), 0.0)
        return spectrum * self.per_shell(gain)


@lru_cache(maxsize=4)
def frequencies_of(arrays, shape: tuple[int, int, int], voxel_size: float) -> Frequencies:
    """Return the frequencies of a box, kept on the device for the next map of that shape."""
    return Frequencies(arrays, shape, voxel_size)


def logistic(frequency: np.ndarray, place: float, width: float) -> np.ndarray:
    """Return 1 / (1 + exp((s - place) / width)), for s far beyond too."""
    return 1.0 / (1.0 + np.exp(np.clip((frequency - place) / width, -60.0, 60.0)))


def wanted_amplitude(
    frequency: np.ndarray,
    target: np.ndarray,
    log_gain: tuple[float, ...],
    *,
    resolution: float,
    tail: float,
    edge: float,
    edge_width: float,
) -> np.ndarray:
    """Return the amplitude that a map shall have per shell.

    The target's times exp(l(s)), l linear between KNOTS; beyond 1/resolution not less than `tail`
    times the value there; times a logistic low-pass at `edge`.

    Parameters
    ----------
    frequency, target : (n,) 1/angstrom; shell amplitude of the target
    log_gain : (7,) l at KNOTS
    resolution : float, angstrom
    tail : float
    edge, edge_width : float, 1/angstrom
    """
    wanted = target * np.exp(np.interp(frequency, KNOTS, log_gain))
    limit = 1.0 / resolution
    at_limit = float(np.interp(limit, frequency, wanted))
    wanted = np.where(frequency > limit, np.maximum(wanted, tail * at_limit), wanted)
    return wanted * logistic(frequency, edge, edge_width)


def wanted_fsc(frequency: np.ndarray, top: float, place: float, width: float) -> np.ndarray:
    """Return the map-target FSC wanted per shell: a plateau that falls at `place`."""
    return top * logistic(frequency, place, width)
