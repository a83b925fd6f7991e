"""Two input scales: percentile of the positive density, or solvent median and inside spread."""

from __future__ import annotations

import numpy as np

PERCENTILE = 99.999
BIT_BINS, SIGN = 1 << 16, 1 << 31
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
    chosen = np.ones(1, dtype=bool) if mask.all() else ~mask
    median = _median(density, np.broadcast_to(chosen, density.shape))
    return median, masked_deviation(density, mask)


def _median(density: np.ndarray, chosen: np.ndarray) -> float:
    """Return the exact median of chosen voxels of a float32 array without a copy of them.

    Floats are ordered as integers are once the sign is folded in: the upper 16 bits are counted
    first, then the lower ones of those that share the middle's upper bits.
    """
    pairs = list(zip(density.astype(np.float32, copy=False), chosen, strict=True))
    upper = sum(np.bincount(_ordered(s[c]) >> 16, minlength=BIT_BINS) for s, c in pairs)
    count = int(upper.sum())
    middle = []
    for rank in {(count - 1) // 2, count // 2}:
        top = int(np.searchsorted(np.cumsum(upper), rank, side="right"))
        below = int(upper[:top].sum())
        lower = np.zeros(BIT_BINS, dtype=np.int64)
        for section, inside in pairs:
            keys = _ordered(section[inside])
            lower += np.bincount(keys[keys >> 16 == top] & 0xFFFF, minlength=BIT_BINS)
        low = int(np.searchsorted(np.cumsum(lower), rank - below, side="right"))
        middle.append(_value(top << 16 | low))
    return float(np.mean(np.array(middle, dtype=np.float32)))


def _ordered(values: np.ndarray) -> np.ndarray:
    """Return float32 values as integers of the same order."""
    bits = values.view(np.uint32)
    return np.where(bits >> 31, ~bits, bits | np.uint32(SIGN)).astype(np.int64)


def _value(key: int) -> np.float32:
    """Undo :func:`_ordered` for one value."""
    bits = key & ~SIGN if key & SIGN else ~key & 0xFFFFFFFF
    return np.array([bits], dtype=np.uint32).view(np.float32)[0]


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
