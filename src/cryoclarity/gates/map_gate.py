"""The gate of map files: every byte judged in one pass, in the memory of one block."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cryoclarity.io.maps import MapHeader, MapLimits, MapScan, scan_map

CONTENT_TAG = b"MAP1"


@dataclass(frozen=True)
class MapContent:
    """A map that passed, and the hash of its data.

    Attributes
    ----------
    scan : MapScan
    content_sha256 : str
        Equal for the same values on the same number of voxels, whatever the axis order, byte
        order or compression of the file.
    """

    scan: MapScan
    content_sha256: str


def check_map(path: str | Path, limits: MapLimits | None = None) -> MapScan:
    """Check a map file completely.

    Raises
    ------
    InputError
        FILE_*, HDR_* or VAL_*.
    """
    return scan_map(path, limits=limits)


def check_map_content(path: str | Path, limits: MapLimits | None = None) -> MapContent:
    """Check a map file completely and hash its data in canonical form.

    The hash runs over ``MAP1``, the grid as three little-endian int32 (x, y, z), and the values as
    little-endian float32 with z slowest and x fastest.

    Raises
    ------
    InputError
        FILE_*, HDR_* or VAL_*.
    """
    digest = hashlib.sha256()
    stored: list[np.ndarray] = []

    def take(header: MapHeader, position: int, values: np.ndarray) -> None:
        if not position:
            digest.update(CONTENT_TAG + np.array(header.shape[::-1], dtype="<i4").tobytes())
        if header.transposition == (0, 1, 2):
            digest.update(values.astype("<f4", copy=False).tobytes())
        else:  # another axis order needs the whole map before the first value is known
            if not stored:
                stored.append(np.empty(math.prod(header.stored_shape), dtype="<f4"))
            stored[0][position : position + values.size] = values

    scan = scan_map(path, limits=limits, sink=take)
    if stored:
        array = stored[0].reshape(scan.header.stored_shape)
        for section in array.transpose(scan.header.transposition):
            digest.update(section.tobytes())
    return MapContent(scan, digest.hexdigest())


def map_facts(scan: MapScan) -> dict[str, object]:
    """Return what a report says about a map that passed; triples are (x, y, z)."""
    header, statistics = scan.header, scan.statistics
    return {
        "grid": list(header.shape[::-1]),
        "voxel_size": [float(value) for value in header.voxel_size],
        "origin": [float(value) for value in header.origin],
        "mode": header.mode,
        "axes": list(header.axes),
        "byte_order": "little" if header.byte_order == "<" else "big",
        "frame": header.frame,
        "min": statistics.minimum,
        "max": statistics.maximum,
        "mean": statistics.mean,
        "std": statistics.standard_deviation,
    }
