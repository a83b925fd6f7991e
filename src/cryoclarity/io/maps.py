"""Read and write MRC/CCP4 maps: the one place that reorders axes.

mrcfile names the header words and writes files. Values are decoded here in a stream, because the
reader must judge odd, damaged and compressed files without holding them twice in memory.
"""

from __future__ import annotations

import gzip
import logging
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import mrcfile
import numpy as np

from cryoclarity import __version__
from cryoclarity.errors import InputError
from cryoclarity.grid import Grid, Volume
from cryoclarity.io.files import (
    GZIP_MAGIC,
    atomic_path,
    check_regular,
    gzip_bytes,
    unpacked_blocks,
)
from cryoclarity.io.map_header import (
    HEADER_BYTES,
    MAX_VOXELS,
    MIN_AXIS,
    MapHeader,
    parse_header,
)
from cryoclarity.io.sniff import HEAD_BYTES, require_map, require_map_head
from cryoclarity.io.value_statistics import DistinctValues, ValueStatistics

LOGGER = logging.getLogger(__name__)
EXTRA_BYTES_LIMIT = 1024
UNBOUNDED = 1 << 62
STATISTICS_TOLERANCE = 1e-2
LARGEST_VALUE = 1e30
SMALLEST_SPREAD = 1e-30
# Bytes of the header by the rule of position that they serve: zeros in either byte order.
POSITION_WORDS = {"nstart": slice(16, 28), "origin": slice(196, 208)}


@dataclass(frozen=True)
class MapLimits:
    """What a map may be.

    Attributes
    ----------
    max_voxels : int
        Larger maps are refused before anything is allocated.
    min_axis : int
        Shortest axis, voxels.
    min_distinct : int
        With fewer distinct values, nearly all of them one value, a map is VAL_SPARSE; 0 turns
        the test off, because masks are maps too.
    constant_ok : bool
        A map of one value is only warned about: scores of it are defined, if of no use.
    nonfinite_ok : bool
        NaN and infinities are only warned about: other programs mark voxels without a value so.
    """

    max_voxels: int = MAX_VOXELS
    min_axis: int = MIN_AXIS
    min_distinct: int = 0
    constant_ok: bool = False
    nonfinite_ok: bool = False


@dataclass(frozen=True)
class MapScan:
    """What one pass over a map file tells: header, statistics, warnings."""

    header: MapHeader
    statistics: ValueStatistics
    warnings: tuple[tuple[str, str], ...]


def read_map(
    path: str | Path,
    *,
    voxel_size: tuple[float, float, float] | None = None,
    max_voxels: int = MAX_VOXELS,
    constant_ok: bool = False,
    nonfinite_ok: bool = False,
) -> Volume:
    """Read a map, plain or gzip, whatever its axis order, byte order and mode.

    Peak memory is one float32 copy of the map plus one block.

    Parameters
    ----------
    path : path
    voxel_size : (x, y, z) angstrom, optional
        Replaces the voxel size of the header, also where its cell is zero.
    max_voxels, constant_ok, nonfinite_ok
        As of :class:`MapLimits`.

    Returns
    -------
    Volume
        Density (z, y, x) float32; values as stored, without scaling.

    Raises
    ------
    InputError
        FILE_*, HDR_* or VAL_* with the offending value.
    """
    stored: list[np.ndarray] = []

    def keep(header: MapHeader, position: int, values: np.ndarray) -> None:
        if not stored:
            stored.append(np.empty(math.prod(header.stored_shape), dtype=np.float32))
        stored[0][position : position + values.size] = values

    limits = MapLimits(max_voxels, constant_ok=constant_ok, nonfinite_ok=nonfinite_ok)
    scan = scan_map(path, voxel_size=voxel_size, limits=limits, sink=keep)
    density = stored[0].reshape(scan.header.stored_shape).transpose(scan.header.transposition)
    return Volume(np.ascontiguousarray(density), scan.header.grid, scan.header, scan.warnings)


def scan_map(
    path: str | Path,
    *,
    voxel_size: tuple[float, float, float] | None = None,
    limits: MapLimits | None = None,
    sink: Callable[[MapHeader, int, np.ndarray], None] | None = None,
) -> MapScan:
    """Check a map file from the first to the last byte in one pass and little memory.

    Parameters
    ----------
    path : path
    voxel_size : (x, y, z) angstrom, optional
        As of :func:`read_map`.
    limits : MapLimits, optional
    sink : callable (header, position, values), optional
        Receives the values in stored order; `position` counts values.

    Raises
    ------
    InputError
        FILE_*, HDR_* or VAL_*.
    """
    path = Path(path)
    size = _plain_size(path) if check_regular(path) else None
    return scan_blocks(
        unpacked_blocks(path, UNBOUNDED),  # the header sets the bound: see _check_extra
        file=path,
        packed=size is None,
        file_bytes=size,
        voxel_size=voxel_size,
        limits=limits,
        sink=sink,
    )


def scan_blocks(
    blocks: Iterator[bytes],
    *,
    file: str | Path,
    packed: bool,
    file_bytes: int | None = None,
    voxel_size: tuple[float, float, float] | None = None,
    limits: MapLimits | None = None,
    sink: Callable[[MapHeader, int, np.ndarray], None] | None = None,
) -> MapScan:
    """Check a map whose unpacked bytes come as a stream; see :func:`scan_map`.

    The header is judged as soon as 1024 bytes are there.

    Parameters
    ----------
    blocks : iterator of bytes
    file : path
        Named in refusals, never opened.
    packed : bool
        Whether the bytes come out of gzip: then too many of them are a bomb.
    file_bytes : int, optional
        Size of a plain file where it is known.
    """
    path = Path(file)
    limits = limits or MapLimits()
    head = _first_bytes(blocks)
    require_map_head(head[:HEAD_BYTES], path)
    header = parse_header(
        head,
        file=str(path),
        file_bytes=file_bytes,
        voxel_size=voxel_size,
        max_voxels=limits.max_voxels,
        min_axis=limits.min_axis,
    )
    statistics, distinct = ValueStatistics(), DistinctValues(limits.min_distinct)

    def take(position: int, values: np.ndarray) -> None:
        statistics.update(values)
        distinct.update(values)
        if sink is not None:
            sink(header, position, values)

    extra = _decode(header, chain([head], blocks), path, packed, take)
    warnings = _all_warnings(header, statistics, extra)
    warnings += _check_values(statistics, distinct, limits, header, path)
    return MapScan(header, statistics, tuple(warnings))


def read_header(
    path: str | Path, *, voxel_size: tuple[float, float, float] | None = None
) -> MapHeader:
    """Read the frame of a map without its values.

    Parameters
    ----------
    path : path
    voxel_size : (x, y, z) angstrom, optional
        As of :func:`read_map`.

    Raises
    ------
    InputError
        FILE_* or HDR_*.
    """
    require_map(path)
    head = _first_bytes(unpacked_blocks(path, UNBOUNDED))
    return parse_header(head, file=str(path), voxel_size=voxel_size)


def _first_bytes(blocks: Iterator[bytes]) -> bytes:
    """Take blocks until the header is whole, or the file at its end."""
    head = b""
    for block in blocks:
        head += block
        if len(head) >= HEADER_BYTES:
            break
    return head


def _decode(
    header: MapHeader,
    blocks: Iterable[bytes],
    path: Path,
    packed: bool,
    take: Callable[[int, np.ndarray], None],
) -> int:
    """Hand over the values of a map as float32, block by block; return the bytes after them.

    `blocks` begin with the header; `take` gets the number of the first value and the values.
    """
    item = header.item_type
    want = math.prod(header.stored_shape)
    start, done, extra = header.data_offset, 0, 0
    rest = b""
    for block in blocks:
        if start:  # still within the two headers
            block, start = block[start:], max(start - len(block), 0)
        rest = rest + block if rest else block
        count = min(len(rest) // item.itemsize, want - done)
        if count:
            # Infinities and NaN are judged by the caller, not by numpy.
            with np.errstate(invalid="ignore"):
                values = np.frombuffer(rest, dtype=item, count=count).astype(np.float32)
            take(done, values)
            done += count
            rest = rest[count * item.itemsize :]
        if done == want:
            extra += len(rest)
            rest = b""
            _check_extra(extra, path, packed)
    if start:
        raise InputError(
            f"extended header of {header.extended_bytes} bytes does not fit",
            code="HDR_NSYMBT",
            file=path,
        )
    if done < want:
        have = header.data_offset + done * item.itemsize + len(rest)
        raise InputError(
            f"{have} bytes, header declares {header.data_offset + header.data_bytes}",
            code="FILE_TRUNCATED",
            file=path,
        )
    return extra


def _plain_size(path: Path) -> int | None:
    with path.open("rb") as handle:
        packed = handle.read(2) == GZIP_MAGIC
    return None if packed else path.stat().st_size


def _check_extra(extra: int, path: Path, packed: bool) -> None:
    """Refuse much more than the header declares; a gzip bomb is left at this point."""
    if extra >= EXTRA_BYTES_LIMIT:
        code = "FILE_GZ_CAP" if packed else "FILE_EXTRA_BYTES"
        raise InputError(f"{extra} or more bytes after the declared data", code=code, file=path)


def _check_values(
    statistics: ValueStatistics,
    distinct: DistinctValues,
    limits: MapLimits,
    header: MapHeader,
    path: Path,
) -> list[tuple[str, str]]:
    """Refuse values that cannot be used, or warn where the caller can use them."""
    warnings = []
    low, high = statistics.minimum, statistics.maximum
    for code, message, tolerated in (
        ("VAL_NONFINITE", _nonfinite(statistics, header), limits.nonfinite_ok),
        ("VAL_CONSTANT", f"all values are {low:g}" if low == high else "", limits.constant_ok),
    ):
        if message and not tolerated:
            raise InputError(message, code=code, file=path)
        if message:
            warnings.append((code, message))
    if warnings:
        return warnings
    if max(abs(low), abs(high)) > LARGEST_VALUE or high - low < SMALLEST_SPREAD:
        raise InputError(
            f"values from {low:g} to {high:g} cannot be normalised in float32",
            code="VAL_RANGE",
            file=path,
        )
    sparse = distinct.sparse()
    if sparse:
        message = f"only {sparse[0]} voxels differ from {sparse[1]:g}"
        raise InputError(message, code="VAL_SPARSE", file=path)
    return warnings


def _nonfinite(statistics: ValueStatistics, header: MapHeader) -> str:
    if not statistics.nonfinite:
        return ""
    index = np.unravel_index(statistics.first_nonfinite, header.stored_shape)
    place = [int(index[axis]) for axis in header.transposition][::-1]
    return f"{statistics.nonfinite} non-finite values, first at x,y,z = {place}"


def _all_warnings(
    header: MapHeader, statistics: ValueStatistics, extra: int
) -> list[tuple[str, str]]:
    warnings = list(header.warnings)
    if extra:
        warnings.append(("W_EXTRA_BYTES", f"{extra} extra bytes ignored"))
    found = (statistics.minimum, statistics.maximum, statistics.mean)
    spread = max(statistics.maximum - statistics.minimum, SMALLEST_SPREAD)
    if any(
        not abs(a - b) <= STATISTICS_TOLERANCE * spread
        for a, b in zip(header.statistics[:3], found, strict=True)
    ):
        warnings.append(("W_STATS", f"header says {header.statistics[:3]}, data say {found}"))
    return warnings


def write_map(
    path: str | Path, volume: Volume, *, label: str | None = None, canonical: bool = False
) -> None:
    """Write a volume as an MRC2014 file, atomically and with the same bytes on every run.

    Mode 2, axes 1,2,3, machine stamp 44 44. Where the volume still lies in the frame of the file
    it was read from, that file's NSTART, ORIGIN, M and cell words are kept, so that the result
    overlays its input in every program.

    Parameters
    ----------
    path : path
        A name that ends in .gz is compressed.
    volume : Volume
    label : str, optional
        One label line of at most 80 characters.
    canonical : bool
        Write integer NSTART and ORIGIN 0 where the position allows it, whatever the input had;
        elsewhere both kinds, with a warning in the log.
    """
    density = np.ascontiguousarray(volume.density, dtype=np.float32)
    with atomic_path(path) as temporary:
        with mrcfile.new(temporary, overwrite=True) as file:
            file.set_data(density)
            _write_frame(file.header, volume, canonical)
            # mrcfile stamps the time into the first label; outputs must not depend on it.
            file.header.label[:] = b""
            file.header.label[0] = (label or f"cryoclarity {__version__}")[:80].encode("ascii")
            file.header.nlabl = 1
            file.header.machst = (0x44, 0x44, 0, 0)
        if str(path).endswith(".gz"):
            temporary.write_bytes(gzip_bytes(temporary.read_bytes()))


def _write_frame(words: np.recarray, volume: Volume, canonical: bool) -> None:
    header: MapHeader | None = volume.header
    if header is not None and not canonical and header.grid.same_frame(volume.grid):
        start, origin = header.start_index, header.origin_words
        intervals, cell = header.intervals, header.cell
    else:
        start, origin = canonical_position(volume.grid)
        if canonical and any(origin):
            LOGGER.warning(
                "the map lies off whole voxels at %s A: NSTART and ORIGIN are both written, "
                "and readers of NSTART show it up to half a voxel off",
                tuple(round(value, 4) for value in origin),
            )
        intervals, cell = volume.grid.shape[::-1], volume.grid.extent
    words.ispg = 1
    words.mx, words.my, words.mz = intervals
    words.nxstart, words.nystart, words.nzstart = start
    words.cella.x, words.cella.y, words.cella.z = cell
    words.cellb.alpha = words.cellb.beta = words.cellb.gamma = 90.0
    words.origin.x, words.origin.y, words.origin.z = origin


def canonical_position(grid: Grid) -> tuple[tuple[int, int, int], tuple[float, float, float]]:
    """Return NSTART and ORIGIN (x, y, z) that put a grid at its place in most programs.

    NSTART alone when the position is a whole number of voxels within 1e-3; otherwise both kinds,
    NSTART rounded, because readers of NSTART cannot express the fraction.
    """
    steps = [o / v for o, v in zip(grid.origin, grid.voxel_size, strict=True)]
    start = tuple(round(step) for step in steps)
    if all(abs(step - whole) <= 1e-3 for step, whole in zip(steps, start, strict=True)):
        return start, (0.0, 0.0, 0.0)
    return start, grid.origin


def reframe_map(path: str | Path, out: str | Path, frame: str) -> None:
    """Copy a map file with its position words reduced to those of one rule.

    Readers that prefer ORIGIN and readers that prefer NSTART then agree on the place. All other
    bytes stay.

    Parameters
    ----------
    path, out : path
        A name of `out` that ends in .gz is compressed.
    frame : 'origin', 'nstart' or 'zero'
        'origin' clears NSTART, 'nstart' clears ORIGIN, 'zero' both.

    Raises
    ------
    InputError
        FILE_* or HDR_*, also when the map cannot be read in that frame.
    """
    blocks = unpacked_blocks(path, UNBOUNDED)
    head = bytearray(_first_bytes(blocks))
    for name, words in POSITION_WORDS.items():
        if frame != name:
            head[words] = bytes(12)
    parse_header(bytes(head), file=str(path))
    with atomic_path(out) as temporary, temporary.open("wb") as handle:
        packed = str(out).endswith(".gz")
        with gzip.GzipFile("", "wb", 6, handle, mtime=0) if packed else handle as stream:
            for block in chain([bytes(head)], blocks):
                stream.write(block)
