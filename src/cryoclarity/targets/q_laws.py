"""Laws between Q-score and resolution, and their inverses."""

from __future__ import annotations

import numpy as np

from cryoclarity.targets.kernels import kernel_resolution

MAPPINGS = ("cubic", "linear-kind", "matched")
SIGMAS = (0.4, 0.6)
RESOLUTION_RANGE = (1.0, 10.0)

# Q as a polynomial of the resolution d, highest power first, all kinds of atoms together: by the
# sigma of the score, as MapQ publishes them (Pintilie et al. 2020 and later versions).
CUBIC = {
    0.6: (-0.0019064058, 0.0499875375, -0.4513945578, 1.5361860733),
    0.4: (-0.0016, 0.0434, -0.3956, 1.3366),
}
# Straight lines Q = slope d + constant per kind of atom, from the same source.
LINES = {
    0.6: {
        "protein": (-0.1775, 1.1192),
        "nucleic": (-0.1377, 0.9973),
        "ion": (-0.1103, 1.0795),
        "water": (-0.0895, 1.0001),
    },
    0.4: {
        "protein": (-0.1866, 1.1242),
        "nucleic": (-0.1465, 0.9436),
        "ion": (-0.1103, 1.0795),
        "water": (-0.0895, 1.0001),
    },
}
LINE_END = 0.25  # below this Q the lines are useless: they cross zero at 6 to 7 A
# Gaussian width s as a polynomial of Q, lowest power first, by voxel size and sigma, with the range
# of Q in which it was fitted: simulated proteins whose atoms all have the width s.
MATCHED = {
    (0.5, 0.6): ((3.7535, -5.7790, 5.7228, -4.0718, 0.8864), (0.33, 0.978)),
    (1.0, 0.6): ((3.6623, -4.9816, 2.6763, 0.4778, -1.5578), (0.32, 0.926)),
    (0.5, 0.4): ((3.4732, -4.9403, 3.1867, -2.3482, 1.0338), (0.27, 0.965)),
    (1.0, 0.4): ((3.4612, -4.6916, 1.1571, 1.9657, -1.9875), (0.26, 0.852)),
}
MATCHED_BORDER = 0.75  # angstrom: halfway between the two voxel sizes

_TABLE = np.arange(0.5, 16.0 + 0.0025, 0.005)


def law_sigma(sigma: float) -> float:
    """Return the sigma of the laws that belongs to a sigma read from a file.

    Raises
    ------
    ValueError
        When no law exists for it: mixing 0.4 and 0.6 costs about 0.4 A.
    """
    for known in SIGMAS:
        if abs(sigma - known) < 1e-6:
            return known
    raise ValueError(f"no law for Q-scores of sigma {sigma}, only for {SIGMAS}")


def expected_q_score(resolution: np.ndarray, sigma: float = 0.6) -> np.ndarray:
    """Return the mean Q-score to expect at a resolution in angstrom, by the cubic law."""
    return np.polyval(CUBIC[law_sigma(sigma)], np.asarray(resolution, dtype=np.float64))


def cubic_resolution(q_score: np.ndarray, sigma: float) -> np.ndarray:
    """Invert the cubic law by a table of 0.5 to 16 A; clipped to 1 to 10 A.

    Both cubics fall strictly, so that the inverse has one value.

    Parameters
    ----------
    q_score : (n,)
    sigma : float
        0.4 or 0.6.

    Returns
    -------
    (n,) float64, angstrom
    """
    law = expected_q_score(_TABLE, sigma)
    return np.clip(np.interp(q_score, law[::-1], _TABLE[::-1]), *RESOLUTION_RANGE)


def linear_resolution(q_score: np.ndarray, sigma: float, kind: np.ndarray) -> np.ndarray:
    """Invert the straight line of each atom's kind down to Q = 0.25, the cubic law below it.

    Ligands, which have no line, follow the cubic law.

    Parameters
    ----------
    q_score : (n,)
    sigma : float
        0.4 or 0.6.
    kind : (n,) str

    Returns
    -------
    (n,) float64, angstrom, clipped to 1 to 10
    """
    q_score = np.asarray(q_score, dtype=np.float64)
    resolution = cubic_resolution(q_score, sigma)
    for name, (slope, constant) in LINES[law_sigma(sigma)].items():
        of_kind = (kind == name) & (q_score >= LINE_END)
        resolution[of_kind] = (q_score[of_kind] - constant) / slope
    return np.clip(resolution, *RESOLUTION_RANGE)


def matched_resolution(
    q_score: np.ndarray, sigma: float, voxel_size: float, kernel: str
) -> np.ndarray:
    """Resolution whose kernel, in a map without noise, gives the measured Q-score.

    Parameters
    ----------
    q_score : (n,)
        Taken at the ends of the fitted range where it lies beyond them.
    sigma : float
        0.4 or 0.6.
    voxel_size : float, angstrom
        Of the map that was scored; the fit for 0.5 or 1.0 A is taken, whichever is nearer.
    kernel : 'dimaio' or 'molmap'

    Returns
    -------
    (n,) float64, angstrom, clipped to 1 to 10
    """
    step = 0.5 if voxel_size < MATCHED_BORDER else 1.0
    coefficients, fitted = MATCHED[step, law_sigma(sigma)]
    width = np.polynomial.polynomial.polyval(np.clip(q_score, *fitted), coefficients)
    return np.clip(kernel_resolution(width, kernel), *RESOLUTION_RANGE)
