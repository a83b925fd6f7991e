"""From the network's units back to those of the input."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

AMPLITUDES = ("fitted", "network")


@dataclass(frozen=True)
class Amplitude:
    """density = scale * prediction + offset; `fitted` is False where no fit made sense."""

    scale: float = 1.0
    offset: float = 0.0
    fitted: bool = False


def fit_amplitude(prediction: np.ndarray, density: np.ndarray, mask: np.ndarray) -> Amplitude:
    """Least-squares scale and offset that bring a prediction to a density inside a mask.

    Parameters
    ----------
    prediction, density : (nz, ny, nx)
    mask : bool, same shape

    Returns
    -------
    Amplitude
        Unfitted (1, 0) where the prediction is constant or runs against the density: a negative
        scale would turn the map inside out.
    """
    count = np.count_nonzero(mask)
    if not count:
        return Amplitude()
    sections = list(zip(prediction, density, mask, strict=True))
    x_mean = sum(float(x[m].sum(dtype=np.float64)) for x, _, m in sections) / count
    y_mean = sum(float(y[m].sum(dtype=np.float64)) for _, y, m in sections) / count
    spread = shared = 0.0
    for x, y, m in sections:  # float64 copies of one section at a time
        deviation = x[m] - np.float64(x_mean)
        spread += float(deviation @ deviation)
        shared += float(deviation @ (y[m] - np.float64(y_mean)))
    if spread == 0 or shared <= 0:
        return Amplitude()
    scale = shared / spread
    return Amplitude(scale, y_mean - scale * x_mean, True)


def apply_amplitude(prediction: np.ndarray, amplitude: Amplitude) -> np.ndarray:
    """Apply in place and return the same array."""
    prediction *= np.float32(amplitude.scale)
    prediction += np.float32(amplitude.offset)
    return prediction
