"""Gates that judge a file while its bytes come: no second read, and a hopeless file ends early."""

from __future__ import annotations

import hashlib
import math
import re
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np

from cryoclarity.archive.paths import pdb_code
from cryoclarity.errors import InputError
from cryoclarity.io.files import GZIP_MAGIC, gunzip_blocks
from cryoclarity.io.map_header import MapHeader
from cryoclarity.io.maps import MapScan, scan_blocks
from cryoclarity.io.model_text import LARGEST_RATIO, LEAST_CAP, MAX_MODEL_BYTES
from cryoclarity.io.sniff import content_of, refuse_container

CONTENT_TAG = b"MAP1"
HEAD_BYTES = 512
UNBOUNDED = 1 << 62
SLAB_BYTES = 32 << 20
VOXEL_TOLERANCE = 1e-3
# Documents of old entries give two or three digits.
STATISTICS_TOLERANCE = 2e-2
CIF_START = b"_pdbx_database_related."
EMDB_NAME = re.compile(rb"EMD-\d{4,6}", re.IGNORECASE)
LARGEST_CATEGORY = 1 << 20


@dataclass
class Stream:
    """The bytes of one file as they arrive.

    Attributes
    ----------
    name : str
        What refusals call the file.
    path : Path
        Where the bytes lie once `blocks` have been read to their end.
    blocks : iterator of bytes
    length : int or None
        How many bytes are announced.
    received : callable () -> int
        Bytes so far.
    """

    name: str
    path: Path
    blocks: Iterator[bytes]
    length: int | None
    received: Callable[[], int]


Gate = Callable[[Stream], dict]


@dataclass(frozen=True)
class Expected:
    """What the entry document says of a map; None where it says nothing.

    Attributes
    ----------
    size : (x, y, z) voxels
    voxel_size : (x, y, z) angstrom
    statistics : (minimum, maximum, mean, standard deviation)
        Of the primary map.
    """

    size: tuple[int, int, int] | None = None
    voxel_size: tuple[float, float, float] | None = None
    statistics: tuple[float, ...] | None = None


def map_gate(stream: Stream, expected: Expected | None = None) -> dict[str, object]:
    """Prove a map; return what its record keeps.

    Raises
    ------
    InputError
        FILE_*, HDR_*, VAL_*, or ID_MAP_MISMATCH when the entry document describes another map.
    """
    packed, blocks = _unpacked(stream)
    with _ContentHash(stream.path.parent) as content:

        def take(header: MapHeader, position: int, values: np.ndarray) -> None:
            if not position:
                _check_frame(header, expected, stream.name)
            content.update(header, position, values)

        scan = scan_blocks(
            blocks,
            file=stream.name,
            packed=packed,
            file_bytes=None if packed else stream.length,
            sink=take,
        )
        _check_statistics(scan, expected, stream.name)
        content_sha256 = content.hexdigest()
    return map_record(scan) | {"content_sha256": content_sha256, "gzip": packed}


def map_record(scan: MapScan) -> dict[str, object]:
    """Return the facts of a map as records keep them; triples are (x, y, z)."""
    header, values = scan.header, scan.statistics
    codes = {code for code, _ in scan.warnings}
    return {
        "unpacked_bytes": header.data_offset + header.data_bytes,
        "header": {
            "grid": list(header.shape[::-1]),
            "mode": header.mode,
            "axes": list(header.axes),
            "nstart": list(header.start_index),
            "origin_header": list(header.origin_words),
            "cell": list(header.cell),
            "voxel": [float(value) for value in header.voxel_size],
            # Words of a file may be NaN, which JSON has no name for.
            "stats_header": [v if math.isfinite(v) else None for v in header.statistics],
        },
        "values": {
            "min": values.minimum,
            "max": values.maximum,
            "mean": values.mean,
            "std": values.standard_deviation,
        },
        "frame": {
            "origin": [float(value) for value in header.origin],
            "rule": header.frame,
            "disagree": "W_FRAME_DISAGREE" in codes,
        },
        "warnings": sorted(codes),
    }


class _ContentHash:
    """Hash of a map's values in one order, whatever the order and type in the file.

    A map in another axis order is laid down as float32 in a nameless file and read again in
    slabs, because its first canonical values come last.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.digest = hashlib.sha256()
        self.stored = None
        self.header: MapHeader | None = None

    def __enter__(self) -> _ContentHash:
        return self

    def __exit__(self, *_) -> None:
        if self.stored is not None:
            self.stored.close()

    def update(self, header: MapHeader, position: int, values: np.ndarray) -> None:
        data = values.astype("<f4", copy=False)
        if not position:
            self.header = header
            grid = np.array(header.shape[::-1], dtype="<i4")
            self.digest.update(CONTENT_TAG + grid.tobytes())
            if header.transposition != (0, 1, 2):
                self.stored = tempfile.TemporaryFile(dir=self.folder)
        if self.stored is None:
            self.digest.update(data)
        else:
            self.stored.write(data)

    def hexdigest(self) -> str:
        if self.stored is not None:
            self.stored.flush()
            shape = self.header.stored_shape
            stored = np.memmap(self.stored, dtype="<f4", mode="r", shape=shape)
            ordered = stored.transpose(self.header.transposition)
            step = max(1, SLAB_BYTES // (4 * math.prod(ordered.shape[1:])))
            for start in range(0, len(ordered), step):
                self.digest.update(np.ascontiguousarray(ordered[start : start + step]))
        return self.digest.hexdigest()


def _unpacked(stream: Stream, cap: int = UNBOUNDED) -> tuple[bool, Iterator[bytes]]:
    """Return whether a stream is gzip, and its content."""
    blocks, head = stream.blocks, b""
    for block in blocks:
        head += block
        if len(head) >= len(GZIP_MAGIC):
            break
    if not head:
        raise InputError("file is empty", code="FILE_EMPTY", file=stream.name)
    whole = chain([head], blocks)
    if not head.startswith(GZIP_MAGIC):
        return False, whole
    return True, _not_empty(gunzip_blocks(whole, Path(stream.name), cap), stream.name)


def _not_empty(blocks: Iterator[bytes], name: str) -> Iterator[bytes]:
    total = 0
    for block in blocks:
        total += len(block)
        yield block
    if not total:
        raise InputError("gzip of nothing", code="FILE_EMPTY", file=name)


def _check_frame(header: MapHeader, expected: Expected | None, name: str) -> None:
    if expected is None:
        return
    found = header.shape[::-1]
    # A document that counts columns as x is no proof of another map.
    if expected.size and sorted(expected.size) != sorted(found):
        raise InputError(
            f"grid {found}, the entry document says {expected.size}",
            code="ID_MAP_MISMATCH",
            file=name,
        )
    if expected.voxel_size and not np.allclose(
        sorted(header.voxel_size), sorted(expected.voxel_size), rtol=VOXEL_TOLERANCE
    ):
        raise InputError(
            f"voxel {header.voxel_size} A, the entry document says {expected.voxel_size}",
            code="ID_MAP_MISMATCH",
            file=name,
        )


def _check_statistics(scan: MapScan, expected: Expected | None, name: str) -> None:
    """Minimum and maximum name the data; mean and deviation are often those of another program."""
    if expected is None or not expected.statistics:
        return
    low, high = expected.statistics[:2]
    values = scan.statistics
    tolerance = STATISTICS_TOLERANCE * max(values.maximum - values.minimum, high - low)
    if high <= low:
        return  # nobody filled them in
    if abs(low - values.minimum) > tolerance or abs(high - values.maximum) > tolerance:
        raise InputError(
            f"values from {values.minimum:g} to {values.maximum:g}, the entry document says"
            f" {low:g} to {high:g}",
            code="ID_MAP_MISMATCH",
            file=name,
        )


def model_gate(stream: Stream, pdb_id: str, emdb_id: str = "") -> dict[str, object]:
    """Prove a model; return what its record keeps.

    Raises
    ------
    InputError
        FILE_*, MOD_*, or ID_PDB_MISMATCH when the file names another entry or other maps.
    """
    from cryoclarity.io.model import read_model  # gemmi only when there is a model

    packed, blocks = _unpacked(stream)
    digest, size, related = hashlib.sha256(), 0, _Related()
    for block in _capped(blocks, stream):
        digest.update(block)
        size += len(block)
        related.update(block)
    model = read_model(stream.path)
    named = _named_code(model.entry_id)
    if named not in ("", pdb_code(pdb_id)):
        raise InputError(
            f"asked for {pdb_id}, file says {model.entry_id}",
            code="ID_PDB_MISMATCH",
            file=stream.name,
        )
    maps = related.names()
    if emdb_id and maps and emdb_id.upper() not in maps:
        raise InputError(
            f"{pdb_id} names the maps {' '.join(sorted(maps))}, not {emdb_id}",
            code="ID_PDB_MISMATCH",
            file=stream.name,
        )
    return {
        "content_sha256": digest.hexdigest(),
        "unpacked_bytes": size,
        "gzip": packed,
        "atoms": len(model.atoms),
        "format": model.format,
        "warnings": sorted({code for code, _ in model.warnings}),
    }


def _capped(blocks: Iterator[bytes], stream: Stream) -> Iterator[bytes]:
    """Pass on the text of a model; sniffed at its start, stopped at its cap."""
    head, total = b"", 0
    for block in blocks:
        total += len(block)
        if len(head) < HEAD_BYTES:
            head += block[:HEAD_BYTES]
            if len(head) >= HEAD_BYTES:
                refuse_container(content_of(head), stream.name)
        packed = stream.length or stream.received()
        cap = min(MAX_MODEL_BYTES, max(LEAST_CAP, LARGEST_RATIO * packed))
        if total > cap:
            raise InputError(
                f"unpacks to more than {cap} bytes", code="FILE_GZ_CAP", file=stream.name
            )
        yield block
    if len(head) < HEAD_BYTES:
        refuse_container(content_of(head), stream.name)


class _Related:
    """Finds the map entries that an mmCIF text names, while the text passes by."""

    def __init__(self) -> None:
        self.kept: bytes | None = None
        self.tail = b""

    def update(self, block: bytes) -> None:
        if self.kept is None:
            text = self.tail + block
            place = text.find(CIF_START)
            if place < 0:
                self.tail = text[-len(CIF_START) :]
            else:
                self.kept = text[place : place + LARGEST_CATEGORY]
        elif len(self.kept) < LARGEST_CATEGORY:
            self.kept += block[: LARGEST_CATEGORY - len(self.kept)]

    def names(self) -> set[str]:
        """Ids in the category; it ends where the next comment, loop or other category begins."""
        if self.kept is None:
            return set()
        lines = []
        for line in self.kept.splitlines():
            ends = line.startswith((b"#", b"loop_")) or (
                line.startswith(b"_") and not line.startswith(CIF_START)
            )
            if ends:
                break
            lines.append(line)
        return {name.decode().upper() for name in EMDB_NAME.findall(b"\n".join(lines))}


def _named_code(entry_id: str) -> str:
    """Return the id that a file names, '' when it is no id of the archive."""
    try:
        return pdb_code(entry_id)
    except InputError:
        return ""
