"""The MRC2014/CCP4 header: decoded, checked word by word, and turned into a grid.

The words are named by mrcfile's own header type. What is ours is the judgement: which headers can
be trusted, which only deserve a warning, and where the first voxel lies.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from mrcfile.dtypes import HEADER_DTYPE

from cryoclarity.errors import InputError
from cryoclarity.grid import Grid

HEADER_BYTES = 1024
MODE_TYPES = {0: "i1", 1: "i2", 2: "f4", 6: "u2", 12: "f2"}
COMPLEX_MODES = (3, 4)
MAX_VOXELS = 1_000_000_000
MIN_AXIS = 8
MAX_POSITION = 1e5  # angstrom
IMOD_STAMP = 1146047817
WORDS = np.dtype(HEADER_DTYPE)


@dataclass(frozen=True)
class MapHeader:
    """Header words of one map, triples already in (x, y, z).

    Attributes
    ----------
    stored_shape : (sections, rows, columns)
    axes : (MAPC, MAPR, MAPS)
    mode : int
    byte_order : '<' or '>'
    start_index : NSTART (x, y, z)
    intervals : M (x, y, z)
    cell : (x, y, z) angstrom
    origin_words : ORIGIN (x, y, z) angstrom
    extended_bytes : NSYMBT
    unsigned_bytes : mode 0 holds unsigned bytes (IMOD's flag)
    statistics : (minimum, maximum, mean, rms) as stored; never to be trusted
    labels : label lines
    warnings : (code, message) pairs
    """

    stored_shape: tuple[int, int, int]
    axes: tuple[int, int, int]
    mode: int
    byte_order: str
    start_index: tuple[int, int, int]
    intervals: tuple[int, int, int]
    cell: tuple[float, float, float]
    origin_words: tuple[float, float, float]
    extended_bytes: int
    unsigned_bytes: bool
    statistics: tuple[float, float, float, float]
    labels: tuple[str, ...]
    warnings: tuple[tuple[str, str], ...] = ()

    @property
    def item_type(self) -> np.dtype:
        """Type of one stored value."""
        name = "u1" if self.unsigned_bytes else MODE_TYPES[self.mode]
        return np.dtype(self.byte_order + name)

    @property
    def data_offset(self) -> int:
        """First byte of the data."""
        return HEADER_BYTES + self.extended_bytes

    @property
    def data_bytes(self) -> int:
        """Bytes of data, in Python integers so that no product can overflow."""
        return math.prod(self.stored_shape) * self.item_type.itemsize

    @property
    def transposition(self) -> tuple[int, int, int]:
        """Axes argument that turns a stored (section, row, column) array into (z, y, x)."""
        column, row, section = self.axes
        stored = [section, row, column]
        return tuple(stored.index(axis) for axis in (3, 2, 1))

    @property
    def shape(self) -> tuple[int, int, int]:
        """Grid shape (z, y, x)."""
        return tuple(self.stored_shape[axis] for axis in self.transposition)

    @property
    def voxel_size(self) -> tuple[float, float, float]:
        """Cell / M per axis (x, y, z), in float64 from the stored words."""
        return tuple(c / m for c, m in zip(self.cell, self.intervals, strict=True))

    @property
    def origin(self) -> tuple[float, float, float]:
        """Centre of the first voxel (x, y, z): ORIGIN if any word is set, else NSTART x voxel.

        Never the sum: programs that write both mean the same position.
        """
        if any(self.origin_words):
            return self.origin_words
        return tuple(s * v for s, v in zip(self.start_index, self.voxel_size, strict=True))

    @property
    def frame(self) -> str:
        """Which words fix the position: 'origin', 'nstart', 'both' or 'zero'."""
        names = {(True, True): "both", (True, False): "origin", (False, True): "nstart"}
        return names.get((any(self.origin_words), any(self.start_index)), "zero")

    @property
    def grid(self) -> Grid:
        """The grid of the map."""
        return Grid(self.shape, self.voxel_size, self.origin)


def parse_header(
    raw: bytes,
    *,
    file: str | None = None,
    file_bytes: int | None = None,
    voxel_size: tuple[float, float, float] | None = None,
    max_voxels: int = MAX_VOXELS,
    min_axis: int = MIN_AXIS,
) -> MapHeader:
    """Decode and judge the first 1024 bytes of a map.

    Parameters
    ----------
    raw : bytes
        At least 1024 unpacked bytes.
    file : str, optional
        Named in messages.
    file_bytes : int, optional
        Size of the unpacked file where it is known.
    voxel_size : (x, y, z) angstrom, optional
        Replaces cell / M; the cell words are then not judged.
    max_voxels : int
        Larger maps are refused before anything is allocated.
    min_axis : int
        Maps with a shorter axis are refused.

    Raises
    ------
    InputError
        FILE_TRUNCATED, FILE_NOT_MAP or HDR_* with the offending words.
    """

    def refuse(code: str, message: str) -> InputError:
        return InputError(message, code=code, file=file)

    if len(raw) < HEADER_BYTES:
        raise refuse("FILE_TRUNCATED", f"{len(raw)} bytes, a header needs {HEADER_BYTES}")
    order, stamp_warning = _byte_order(raw, refuse)
    words = np.frombuffer(raw[:HEADER_BYTES], dtype=WORDS.newbyteorder(order))[0]
    if bytes(words["map"])[:3] != b"MAP":
        raise _no_map_word(raw, file_bytes, refuse)
    warnings = [stamp_warning] if stamp_warning else []
    stored = tuple(int(words[name]) for name in ("nz", "ny", "nx"))
    _check_mode(int(words["mode"]), refuse)
    _check_size(stored, max_voxels, min_axis, refuse)
    intervals, cell = _sampling(words, voxel_size, refuse)
    axes = tuple(int(words[name]) for name in ("mapc", "mapr", "maps"))
    _check_stack(stored, intervals, axes, int(words["ispg"]), refuse)
    angles = tuple(float(words["cellb"][name]) for name in ("alpha", "beta", "gamma"))
    _check_cell(intervals, cell, angles, warnings, refuse)
    if sorted(axes) != [1, 2, 3]:
        raise refuse("HDR_AXES", f"axis order {axes} is no permutation of 1,2,3")
    header = _decoded(words, raw, order, intervals, cell)
    if header.unsigned_bytes:
        warnings.append(("W_MODE0_UNSIGNED", "read as uint8"))
    _check_position(header, warnings, refuse)
    _check_layout(header, int(words["ispg"]), file_bytes, warnings, refuse)
    return replace(header, warnings=tuple(warnings))


def _sampling(words: np.void, voxel_size, refuse) -> tuple[tuple[int, ...], tuple[float, ...]]:
    """Return M and the cell edges (x, y, z), those of the caller's voxel size where given."""
    intervals = tuple(int(words[name]) for name in ("mx", "my", "mz"))
    if voxel_size is not None:
        intervals = tuple(max(m, 1) for m in intervals)
        return intervals, tuple(v * m for v, m in zip(voxel_size, intervals, strict=True))
    if min(intervals) < 1:
        raise refuse("HDR_SAMPLING", f"MX,MY,MZ = {intervals}: voxel size undefined")
    return intervals, tuple(float(words["cella"][axis]) for axis in "xyz")


def _decoded(words: np.void, raw: bytes, order: str, intervals, cell) -> MapHeader:
    """Gather the words; the axis numbers are known to be a permutation."""
    axes = tuple(int(words[name]) for name in ("mapc", "mapr", "maps"))
    start_stored = [int(words[name]) for name in ("nxstart", "nystart", "nzstart")]
    mode = int(words["mode"])
    return MapHeader(
        stored_shape=tuple(int(words[name]) for name in ("nz", "ny", "nx")),
        axes=axes,
        mode=mode,
        byte_order=order,
        start_index=tuple(start_stored[axes.index(axis)] for axis in (1, 2, 3)),
        intervals=intervals,
        cell=cell,
        origin_words=tuple(float(words["origin"][axis]) for axis in "xyz"),
        extended_bytes=int(words["nsymbt"]),
        unsigned_bytes=mode == 0 and _imod_unsigned(raw, order),
        statistics=tuple(float(words[name]) for name in ("dmin", "dmax", "dmean", "rms")),
        labels=_labels(words),
    )


def _plausible(raw: bytes, order: str) -> bool:
    words = np.frombuffer(raw[:HEADER_BYTES], dtype=WORDS.newbyteorder(order))[0]
    sizes = [int(words[name]) for name in ("nx", "ny", "nz")]
    axes = sorted(int(words[name]) for name in ("mapc", "mapr", "maps"))
    return (
        0 <= int(words["mode"]) <= 200
        and all(1 <= size < 100_000 for size in sizes)
        and axes == [1, 2, 3]
    )


def _byte_order(raw: bytes, refuse) -> tuple[str, tuple[str, str] | None]:
    """Tell the byte order by the machine stamp, and by the content where the stamp is wrong."""
    stamp = raw[212:216]
    stamped = {b"\x44\x44": "<", b"\x44\x41": "<", b"\x11\x11": ">"}.get(stamp[:2])
    passing = [order for order in "<>" if _plausible(raw, order)]
    if stamped in passing:
        return stamped, None
    if len(passing) == 2:
        raise refuse("HDR_ENDIAN", f"byte order cannot be told (stamp {stamp.hex()})")
    if passing:
        read_as = "little-endian" if passing[0] == "<" else "big-endian"
        return passing[0], ("W_STAMP", f"stamp {stamp.hex()}; read as {read_as}")
    # No order makes sense: go on, so that the word at fault gives its own code.
    return stamped or "<", None


def _no_map_word(raw: bytes, file_bytes: int | None, refuse) -> InputError:
    found = raw[208:212].hex()
    if any(_could_be_map(raw, order, file_bytes) for order in "<>"):
        return refuse("HDR_MAGIC", f"no MAP word in the header (found {found})")
    return refuse("FILE_NOT_MAP", f"not an MRC/CCP4 map (starts with {raw[:8].hex()})")


def _could_be_map(raw: bytes, order: str, file_bytes: int | None) -> bool:
    """Whether all but the MAP word fits an old map, the size of the file included."""
    words = np.frombuffer(raw[:HEADER_BYTES], dtype=WORDS.newbyteorder(order))[0]
    mode = int(words["mode"])
    if not _plausible(raw, order) or mode not in MODE_TYPES:
        return False
    if not all(math.isfinite(float(words["cella"][axis])) for axis in "xyz"):
        return False
    voxels = math.prod(int(words[name]) for name in ("nx", "ny", "nz"))
    item_bytes = np.dtype(MODE_TYPES[mode]).itemsize
    want = HEADER_BYTES + int(words["nsymbt"]) + voxels * item_bytes
    return file_bytes is None or want <= file_bytes


def _check_mode(mode: int, refuse) -> None:
    if mode in COMPLEX_MODES:
        raise refuse("HDR_MODE_COMPLEX", f"mode {mode}: complex data")
    if mode not in MODE_TYPES:
        raise refuse("HDR_MODE", f"mode {mode} is not supported")


def _check_size(stored: tuple[int, int, int], max_voxels: int, min_axis: int, refuse) -> None:
    nz, ny, nx = stored
    if min(stored) < 1 or math.prod(stored) * 4 > 2**62:
        raise refuse("HDR_DIMENSIONS", f"sizes {nx} x {ny} x {nz} are impossible")
    if math.prod(stored) > max_voxels:
        raise refuse("HDR_DIM_LIMIT", f"{math.prod(stored)} voxels, limit is {max_voxels}")
    if nz == 1:
        raise refuse("HDR_NOT_3D", f"2-D image of {nx} x {ny}")
    if min(stored) < min_axis:
        raise refuse("HDR_DIM_SMALL", f"axis of {min(stored)} voxels, at least {min_axis} needed")


def _check_stack(stored, intervals, axes, space_group: int, refuse) -> None:
    """Refuse stacks before their cell is judged: writers disagree what the cell of one is."""
    sections = stored[0]
    if 401 <= space_group <= 630:
        along = intervals[axes[2] - 1] if axes[2] in (1, 2, 3) else 0
        if sections not in (intervals[2], along):
            raise refuse("HDR_STACK", f"stack of {sections // max(intervals[2], 1)} volumes")
    elif space_group == 0 and intervals[2] == 1 and intervals[0] == stored[2]:
        # The image-stack convention; a sloppy M = 1,1,1 is something else.
        raise refuse("HDR_NOT_3D", f"stack of {sections} images")


def _check_cell(intervals, cell, angles, warnings: list, refuse) -> None:
    if not all(math.isfinite(edge) and edge > 0 for edge in cell):
        raise refuse("HDR_CELL", f"cell {cell} A is impossible")
    if angles == (0.0, 0.0, 0.0):
        warnings.append(("W_ANGLES_UNSET", "cell angles 0,0,0 taken as 90"))
    elif not all(abs(angle - 90.0) <= 0.1 for angle in angles):
        raise refuse("HDR_CELL_ANGLES", f"cell angles {angles}: only 90 degrees is supported")
    voxel = [edge / m for edge, m in zip(cell, intervals, strict=True)]
    for axis, edge in zip("xyz", voxel, strict=True):
        if not 0.1 <= edge <= 20.0:
            raise refuse("HDR_VOXEL_RANGE", f"voxel {edge:.6g} A on axis {axis} is out of range")
    ratio = max(voxel) / min(voxel)
    text = ",".join(f"{edge:.6g}" for edge in voxel)
    if ratio > 2.0:
        raise refuse("HDR_ANISOTROPY", f"voxel edges {text} A differ by more than a factor of 2")
    if ratio > 1.001:
        warnings.append(("W_ANISOTROPIC", f"voxel {text} A"))


def _check_position(header: MapHeader, warnings: list, refuse) -> None:
    origin = header.origin_words
    if not all(math.isfinite(word) and abs(word) <= MAX_POSITION for word in origin):
        raise refuse("HDR_ORIGIN", f"origin {origin} is impossible")
    limit = 10 * max(header.stored_shape)
    far = max(abs(start) for start in header.start_index) > limit
    if far and not any(origin):
        raise refuse("HDR_ORIGIN", f"NSTART {header.start_index} is impossible")
    if header.frame == "both" and not far:
        by_start = [s * v for s, v in zip(header.start_index, header.voxel_size, strict=True)]
        if any(
            abs(a - b) > 0.5 * v
            for a, b, v in zip(by_start, origin, header.voxel_size, strict=True)
        ):
            text = ",".join(f"{value:.3f}" for value in by_start)
            warnings.append(("W_FRAME_DISAGREE", f"NSTART gives {text}, ORIGIN gives {origin}"))


def _check_layout(
    header: MapHeader, space_group: int, file_bytes: int | None, warnings: list, refuse
) -> None:
    extended = header.extended_bytes
    if extended < 0 or (file_bytes is not None and HEADER_BYTES + extended > file_bytes):
        raise refuse("HDR_NSYMBT", f"extended header of {extended} bytes does not fit")
    if 2 <= space_group <= 230:
        raise refuse("HDR_SPACEGROUP", f"space group {space_group}: not an EM map of P1")
    if space_group not in (0, 1) and not 401 <= space_group <= 630:
        warnings.append(("W_SPACEGROUP", f"ISPG {space_group}"))
    if header.intervals != header.shape[::-1]:
        warnings.append(("W_M_NOT_N", f"M {header.intervals}, N {header.shape[::-1]}"))


def _imod_unsigned(raw: bytes, order: str) -> bool:
    """IMOD marks signed bytes by bit 0 of word 40, where word 39 carries its stamp."""
    stamp, flags = np.frombuffer(raw[152:160], dtype=order + "i4")
    return int(stamp) == IMOD_STAMP and not int(flags) & 1


def _labels(words: np.void) -> tuple[str, ...]:
    count = min(max(int(words["nlabl"]), 0), 10)
    lines = (bytes(label).decode("latin-1") for label in words["label"][:count])
    return tuple(line.rstrip(" \0") for line in lines)
