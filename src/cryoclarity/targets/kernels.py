"""Width of the Gaussian that stands for an atom at a resolution."""

from __future__ import annotations

import numpy as np

# The transform of the atom falls to 1/e at 1/resolution: sigma = R / (pi sqrt 2).
WIDTH_PER_RESOLUTION = 1.0 / (np.pi * np.sqrt(2.0))
# (constant, slope): width = WIDTH_PER_RESOLUTION * (constant + slope * resolution)
KERNELS = {
    "dimaio": (2.4, 0.8),  # k = (pi / (2.4 + 0.8 R))^2, DiMaio et al., J. Mol. Biol. 392:181 (2009)
    "molmap": (0.0, 1.0),  # UCSF Chimera molmap
}


def kernel_width(resolution: np.ndarray, kernel: str) -> np.ndarray:
    """Return the standard deviation of an atom's Gaussian.

    Parameters
    ----------
    resolution : (n,) angstrom
    kernel : 'dimaio' or 'molmap'

    Returns
    -------
    (n,) float64, angstrom

    Raises
    ------
    ValueError
        Unknown kernel, or a resolution that is not positive.
    """
    constant, slope = _constants(kernel)
    resolution = np.asarray(resolution, dtype=np.float64)
    if not (resolution > 0).all():
        raise ValueError("every resolution must be positive")
    return WIDTH_PER_RESOLUTION * (constant + slope * resolution)


def kernel_resolution(width: np.ndarray, kernel: str) -> np.ndarray:
    """Return the resolution (n,) whose kernel has this width; may be 0 or less for `dimaio`."""
    constant, slope = _constants(kernel)
    return (np.asarray(width, dtype=np.float64) / WIDTH_PER_RESOLUTION - constant) / slope


def _constants(kernel: str) -> tuple[float, float]:
    if kernel not in KERNELS:
        raise ValueError(f"unknown kernel {kernel!r}, known: {sorted(KERNELS)}")
    return KERNELS[kernel]
