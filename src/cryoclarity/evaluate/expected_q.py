"""The mean Q-score that maps of a resolution usually have."""

from __future__ import annotations

import math

# Cubics in the resolution (angstrom) by sigma of the Q-score, highest power first, as printed
# by MapQ (Pintilie et al., Nat. Methods 17:328, 2020; program version 2.9).
EXPECTED_Q = {
    0.6: (-0.0019064058, 0.0499875375, -0.4513945578, 1.5361860733),
    0.4: (-0.0016, 0.0434, -0.3956, 1.3366),
}


def expected_q_score(resolution: float, sigma: float) -> float:
    """Expected mean Q-score at a resolution.

    Parameters
    ----------
    resolution : float, angstrom
    sigma : float, angstrom

    Returns
    -------
    float
        NaN for a sigma without a published law.
    """
    for known, (a, b, c, d) in EXPECTED_Q.items():
        if math.isclose(sigma, known):
            return ((a * resolution + b) * resolution + c) * resolution + d
    return math.nan
