"""Has a map been through a network already? A second pass would treat made-up detail as data."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

PROGRAMS = ("emready", "deepemhancer", "cryoten", "cryofem", "cryosamba", "emgan", "resem")
OWN = ("cryoclarity", "enhance")
# Networks answer in units of 1 or of 100, and their solvent is flat instead of noise about zero.
UNITS = ((0.5, 2.0), (50.0, 200.0))
NEGATIVE_SHARE = 1e-3
LEAST_SHARE = 1e-3


def improved_by(labels: Iterable[str], density: np.ndarray) -> str:
    """Return why a map looks like the output of a network, or nothing.

    Parameters
    ----------
    labels : header labels
        One that names this program's improvement or another network is proof enough.
    density : (nz, ny, nx)
        Without a label two things together are taken for the output of a network: of the voxels
        that are not zero fewer than 0.1 % are negative, and the largest value is of the order of 1
        or of 100. A deposited map, masked or not, keeps the negative half of its noise.

    Returns
    -------
    str
        Empty for a map as it comes from a reconstruction.
    """
    for label in labels:
        lower = label.lower()
        if all(word in lower for word in OWN) or any(name in lower for name in PROGRAMS):
            return f"label {label.strip()!r}"
    held = np.count_nonzero(density)
    negative = np.count_nonzero(density < 0)
    largest = float(density.max())
    if held < LEAST_SHARE * density.size or negative >= NEGATIVE_SHARE * held:
        return ""
    if any(low <= largest <= high for low, high in UNITS):
        share = negative / held
        return f"{share:.2g} of its voxels are negative, and its maximum is {largest:.4g}"
    return ""
