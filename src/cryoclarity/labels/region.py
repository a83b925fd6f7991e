"""Where the particle is and where the noise is, for boxes of any shape."""

from __future__ import annotations

import math

import numpy as np
from scipy import ndimage

from cryoclarity.labels.banded import gaussian_blur

__all__ = ["density_mask", "inscribed_ellipsoid", "silent_share"]

BLUR_SHARE = 0.02
"""Width of the blur as a share of the box edge."""
LEVEL_SHARE = 0.05
NOISE_WIDTHS = 3.0
SILENT = 0.01
STRUCTURE = 2.0
"""Local deviation of a particle's density in deviations of the background."""
_LEAST_WIDTH = 2.0
_STRONGEST = 0.99
_SHARE = 1 / 3
_FAINT = 1 / 4
_MAD_TO_DEVIATION = 1.4826


def density_mask(
    density: np.ndarray, difference: np.ndarray | None = None, threads: int = 1
) -> np.ndarray:
    """Voxels where the blurred density stands out, (z, y, x) bool.

    The limit is 5 % of the blurred maximum, as in ResMap, but at least three standard deviations
    of the blurred noise, which the half difference shows, or else the median absolute deviation.
    Single maps lose what is bright but smooth.

    Parameters
    ----------
    density : (z, y, x) float32
    difference : (z, y, x) float32, optional
        Half of (half map 1 - half map 2).
    threads : int
    """
    width = [BLUR_SHARE * edge for edge in density.shape]
    blurred = gaussian_blur(density, width, threads)
    detail = density - blurred if difference is None else None
    blurred -= np.median(blurred)
    if difference is None:
        noise = _MAD_TO_DEVIATION * float(np.median(np.abs(blurred)))
    else:
        noise = float(gaussian_blur(difference, width, threads).std(dtype=np.float64))
    limit = max(LEVEL_SHARE * float(blurred.max()), NOISE_WIDTHS * noise)
    mask = blurred > np.float32(limit)
    return mask if detail is None else _near_structure(mask, detail, width, threads)


def _near_structure(
    mask: np.ndarray, detail: np.ndarray, width: list[float], threads: int
) -> np.ndarray:
    """Mask without what is bright but smooth, such as the halo around a filament.

    Structure is where the local deviation of the density from its blur is twice that of the
    background and a third of its strongest value; the mask keeps what it reaches within three
    widths, and of that what has at least a quarter of the strongest deviation or twice the
    background's, whichever is less.
    """
    widths = [max(_LEAST_WIDTH, value) for value in width]
    power = gaussian_blur(np.square(detail, out=detail), [1.5 * w for w in widths], threads)
    sample = (slice(None, None, 2),) * 3
    background = power[sample][~mask[sample]]
    if not background.size or not mask.any():
        return mask
    strongest = float(np.quantile(power[mask], _STRONGEST))
    least = STRUCTURE**2 * float(np.median(background))
    if strongest < least:
        return mask
    seeds = mask & (power > np.float32(max(least, strongest * _SHARE**2)))
    # Step by step inside the mask, so that the halo across a gap is not reached.
    steps = math.ceil(3 * max(widths))
    reached = ndimage.binary_dilation(seeds, np.ones((3, 3, 3)), steps, mask=mask)
    # The foot of a halo is near the particle, but as smooth as the rest of it.
    return reached & (power > np.float32(min(least, strongest * _FAINT**2)))


def inscribed_ellipsoid(shape: tuple[int, int, int], margin: float) -> np.ndarray:
    """Voxels of the ellipsoid that ends `margin` voxels before the faces, bool."""
    squares = []
    for edge in shape:
        centre = (edge - 1) / 2
        scaled = (np.arange(edge) - centre) / max(centre - margin, 1.0)
        squares.append((scaled**2).astype(np.float32))
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
