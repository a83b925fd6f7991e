"""Two input scales: percentile of the positive density, or solvent median and inside spread."""

from __future__ import annotations

import numpy as np

PERCENTILE = 99.999
SOLVENT_CLIP = (-3.0, 6.0)


def percentile_scale(
    density: np.ndarray, percentile: float = PERCENTILE, where: np.ndarray | None = None
) -> float | None:
    """Return the percentile of the positive voxels, linearly interpolated.

    Parameters
    ----------
    density : array
    percentile : float
    where : bool array, optional
        Only these voxels count.

    Returns
    -------
    float or None
        None when no voxel is positive.
    """
    positive = density[density > 0] if where is None else density[where & (density > 0)]
    if not positive.size:
        return None
    # In place on the copy: the voxels of a large map are not sorted twice.
    return float(np.percentile(positive, percentile, overwrite_input=True))


def scale_to_unit(density: np.ndarray, scale: float) -> np.ndarray:
    """Clip to [0, scale] and divide by the scale: float32 in [0, 1]."""
    return np.clip(density, 0, np.float32(scale)) / np.float32(scale)


def solvent_statistics(density: np.ndarray, mask: np.ndarray) -> tuple[float, float]:
    """Return the median outside a mask and the standard deviation inside it.

    Parameters
    ----------
    density : array
    mask : bool array
        Where there is nothing outside, the median of the whole map stands in.

    Returns
    -------
    median, deviation : float
    """
    outside = density[~mask]
    if not outside.size:
        outside = density.flatten()
    median = float(np.median(outside, overwrite_input=True))
    del outside
    return median, masked_deviation(density, mask)


def masked_deviation(density: np.ndarray, mask: np.ndarray) -> float:
    """Return the standard deviation inside a mask, in float64 but section by section.

    Two passes, so that a large offset costs no precision. An empty mask gives 0.
    """
    count = np.count_nonzero(mask)
    if not count:
        return 0.0
    pairs = [(section, inside) for section, inside in zip(density, mask, strict=True)]
    mean = sum(float(s[inside].sum(dtype=np.float64)) for s, inside in pairs) / count
    squares = sum(float(np.square(s[inside] - np.float64(mean)).sum()) for s, inside in pairs)
    return float(np.sqrt(squares / count))


def solvent_standardise(
    density: np.ndarray,
    median: float,
    deviation: float,
    clip: tuple[float, float] = SOLVENT_CLIP,
) -> np.ndarray:
    """Return (density - median) / deviation, clipped, float32."""
    scaled = density.astype(np.float32, copy=False) - np.float32(median)
    scaled /= np.float32(deviation)
    return np.clip(scaled, *clip, out=scaled)
