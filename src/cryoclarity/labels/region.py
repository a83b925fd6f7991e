"""Where the particle is and where the noise is, for boxes of any shape."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

__all__ = ["density_mask", "inscribed_ellipsoid", "silent_share"]

BLUR_SHARE = 0.02
"""Width of the blur as a share of the box edge."""
LEVEL_SHARE = 0.05
NOISE_WIDTHS = 3.0
SILENT = 0.01
_MAD_TO_DEVIATION = 1.4826


def density_mask(density: np.ndarray, difference: np.ndarray | None = None) -> np.ndarray:
    """Voxels where the blurred density stands out, (z, y, x) bool.

    The limit is 5 % of the blurred maximum, as in ResMap, but at least three standard deviations
    of the blurred noise, which the half difference shows, or else the median absolute deviation.

    Parameters
    ----------
    density : (z, y, x) float32
    difference : (z, y, x) float32, optional
        Half of (half map 1 - half map 2).
    """
    width = [BLUR_SHARE * edge for edge in density.shape]
    blurred = ndimage.gaussian_filter(density, width)
    blurred -= np.median(blurred)
    if difference is None:
        noise = _MAD_TO_DEVIATION * float(np.median(np.abs(blurred)))
    else:
        noise = float(ndimage.gaussian_filter(difference, width).std(dtype=np.float64))
    limit = max(LEVEL_SHARE * float(blurred.max()), NOISE_WIDTHS * noise)
    return blurred > np.float32(limit)


def inscribed_ellipsoid(shape: tuple[int, int, int], margin: float) -> np.ndarray:
    """Voxels of the ellipsoid that ends `margin` voxels before the faces, bool."""
    squares = []
    for edge in shape:
        centre = (edge - 1) / 2
        squares.append(((np.arange(edge) - centre) / max(centre - margin, 1.0)) ** 2)
    z, y, x = squares
    return z[:, None, None] + y[:, None] + x < 1


def silent_share(maps: tuple[np.ndarray, ...], inside: np.ndarray) -> float:
    """Share of the background that carries no noise: the mark of a masked map.

    Single maps are silent where they are exactly zero. Half maps are silent where they agree to
    a hundredth of their difference inside the particle, so soft masks are found as well.
    """
    background = inscribed_ellipsoid(inside.shape, 1) & ~inside
    if not background.any():
        return 0.0
    if len(maps) == 1:
        return float(np.mean(maps[0][background] == 0))
    difference = np.abs(maps[0] - maps[1])
    particle = difference[inside] if inside.any() else difference
    level = SILENT * float(np.sqrt(np.mean(np.square(particle, dtype=np.float64))))
    return float(np.mean(difference[background] <= level))
