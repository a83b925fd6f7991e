"""Maps as foreign programs write them: odd axis orders and frames.

The package's own writer makes one kind of file only. Real archives hold others, and the demo
must read them, so these bytes are packed here without any help of the reader under test.
"""

from __future__ import annotations

import struct

import numpy as np

LABEL = b"synthetic map of the cryoclarity demo"
STYLES = ("plain", "origin", "nstart", "axes321")


def encode_map(
    density: np.ndarray, voxel_size: float, start: tuple[int, int, int], style: str
) -> bytes:
    """Return an MRC2014 file of a cubic map, mode 2, little-endian.

    Parameters
    ----------
    density : (n, n, n) float32
        Indexed (z, y, x).
    voxel_size : float
        Angstrom.
    start : (x, y, z)
        Position of the first voxel in voxels.
    style : str
        'plain' (start must be 0), 'origin' (ORIGIN words only), 'nstart' (NSTART words only) or
        'axes321' (NSTART words, sections along x).
    """
    size = density.shape[0]
    axes = (3, 2, 1) if style == "axes321" else (1, 2, 3)
    stored = density.transpose(2, 1, 0) if style == "axes321" else density
    nstart = tuple(start[axis - 1] for axis in axes) if style != "origin" else (0, 0, 0)
    origin = tuple(voxel_size * s for s in start) if style == "origin" else (0.0, 0.0, 0.0)
    values = np.ascontiguousarray(stored, dtype="<f4")
    finite = values[np.isfinite(values)].astype(np.float64)
    header = struct.pack("<4i3i3i", size, size, size, 2, *nstart, size, size, size)
    header += struct.pack("<6f", *(size * voxel_size,) * 3, 90.0, 90.0, 90.0)
    header += struct.pack("<3i3f", *axes, finite.min(), finite.max(), finite.mean())
    header += struct.pack("<2i", 1, 0).ljust(108, b"\0")
    header = header[:104] + struct.pack("<i", 0) + struct.pack("<i", 20140)
    header = header.ljust(196, b"\0") + struct.pack("<3f", *origin)
    header += b"MAP " + bytes((0x44, 0x44, 0, 0)) + struct.pack("<fi", finite.std(), 1)
    return header + LABEL.ljust(80).ljust(800, b"\0") + values.tobytes()
