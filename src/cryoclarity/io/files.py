"""Files in and out: complete or absent, read under a cap, hashed."""

from __future__ import annotations

import contextlib
import errno
import gzip
import hashlib
import json
import os
import stat
import zlib
from collections.abc import Iterator
from pathlib import Path

from cryoclarity.errors import InputError, ResourceError

GZIP_MAGIC = b"\x1f\x8b"
BLOCK = 1 << 22
SLICE = 1 << 13
GATHERED = 1 << 20
DEFAULT_CAP = 8 << 30


@contextlib.contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path in the folder of `path` and rename it when the block ends well.

    The final name never holds a partial file. The temporary name keeps the suffixes, because
    writers choose a format by them.

    Raises
    ------
    ResourceError
        DISK_FULL, DISK_READONLY or DISK_IO.
    """
    path = Path(path)
    temporary = path.with_name(f".tmp-{os.getpid()}-{path.name}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        with temporary.open("rb+") as handle:
            os.fsync(handle.fileno())
        os.replace(temporary, path)
    except OSError as error:
        raise disk_error(error, path) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


def disk_error(error: OSError, path: Path) -> ResourceError:
    """Return what a failure to write means: DISK_FULL, DISK_READONLY or DISK_IO."""
    # EFBIG: a limit on the size of files is a full disk for whoever meets it.
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return ResourceError(f"no space left: {error}", code="DISK_FULL", file=path)
    if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
        return ResourceError(f"cannot write: {error}", code="DISK_READONLY", file=path)
    return ResourceError(f"input/output error: {error}", code="DISK_IO", file=path)


def check_regular(path: str | Path) -> Path:
    """Return the path if it is a readable regular file, decided by stat before any open.

    Raises
    ------
    InputError
        FILE_MISSING, FILE_NOT_REGULAR, FILE_PERMISSION or FILE_EMPTY.
    """
    path = Path(path)
    try:
        status = path.stat()
    except PermissionError as error:
        raise InputError(f"cannot read: {error}", code="FILE_PERMISSION", file=path) from error
    except (OSError, ValueError) as error:
        # ValueError: a NUL in the name; OSError covers link loops and over-long names.
        raise InputError("no such file", code="FILE_MISSING", file=path) from error
    if not stat.S_ISREG(status.st_mode):
        raise InputError("not a regular file", code="FILE_NOT_REGULAR", file=path)
    if not os.access(path, os.R_OK):
        raise InputError("cannot read: permission denied", code="FILE_PERMISSION", file=path)
    if status.st_size == 0:
        raise InputError("file is empty", code="FILE_EMPTY", file=path)
    return path


def unpacked_blocks(path: str | Path, cap: int = DEFAULT_CAP) -> Iterator[bytes]:
    """Yield the content of a plain or gzip file block by block.

    gzip is recognised by content, not by suffix.

    Parameters
    ----------
    path : path
    cap : int
        Largest unpacked size in bytes; reading stops there.

    Raises
    ------
    InputError
        FILE_* codes of a missing, empty, damaged or oversized file.
    """
    path = check_regular(path)
    with path.open("rb") as handle:
        packed = handle.read(2) == GZIP_MAGIC
        handle.seek(0)
        blocks = iter(lambda: handle.read(BLOCK), b"")
        total = 0
        for block in gunzip_blocks(blocks, path, cap) if packed else blocks:
            total += len(block)
            if total > cap:
                raise InputError(f"holds more than {cap} bytes", code="FILE_GZ_CAP", file=path)
            yield block
        if not total:
            raise InputError("file is empty", code="FILE_EMPTY", file=path)


def read_bytes(path: str | Path, cap: int = DEFAULT_CAP) -> bytes:
    """Read a plain or gzip file as a whole; see :func:`unpacked_blocks`."""
    return b"".join(unpacked_blocks(path, cap))


def gunzip_blocks(blocks: Iterator[bytes], path: Path, cap: int) -> Iterator[bytes]:
    """Unpack a stream of gzip bytes, member after member, checking CRC and length of each.

    Zero padding and further members after the first are legal; other bytes are not.

    Raises
    ------
    InputError
        FILE_GZ_TRUNCATED, FILE_GZ_CORRUPT, FILE_GZ_TRAILING or FILE_GZ_CAP.
    """
    unpacker = zlib.decompressobj(wbits=31)
    total = members = 0
    waiting = bytearray()
    # Small slices, because what is left of one is copied for every member that ends in it.
    for block in _slices(blocks, SLICE):
        while block:
            if unpacker.eof:
                block = block.lstrip(b"\0")
                if not block:
                    break
                if not GZIP_MAGIC.startswith(block[:2]):
                    raise InputError(
                        "bytes after the gzip stream are no gzip",
                        code="FILE_GZ_TRAILING",
                        file=path,
                    )
                unpacker = zlib.decompressobj(wbits=31)
            try:
                piece = unpacker.decompress(block, BLOCK)
            except zlib.error as error:
                raise InputError(
                    f"gzip damaged: {error}", code="FILE_GZ_CORRUPT", file=path
                ) from error
            total += len(piece)
            if total > cap:
                raise InputError(f"unpacks to more than {cap} bytes", code="FILE_GZ_CAP", file=path)
            waiting += piece
            # The first bytes go at once: they hold the header by which a file may be refused.
            if len(waiting) >= GATHERED or total == len(waiting) > 0:
                yield bytes(waiting)
                waiting.clear()
            members += unpacker.eof
            block = unpacker.unused_data if unpacker.eof else unpacker.unconsumed_tail
    if not members or not unpacker.eof:
        raise InputError(
            f"gzip stream ends after {total} bytes", code="FILE_GZ_TRUNCATED", file=path
        )
    if waiting:
        yield bytes(waiting)


def _slices(blocks: Iterator[bytes], size: int) -> Iterator[bytes]:
    for block in blocks:
        for start in range(0, len(block), size):
            yield block[start : start + size]


def gzip_bytes(data: bytes) -> bytes:
    """Compress with neither time nor name in the header: the same bytes on every run."""
    return gzip.compress(data, compresslevel=6, mtime=0)


def write_bytes(path: str | Path, data: bytes) -> None:
    """Write a whole file atomically; a name that ends in .gz is compressed."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(gzip_bytes(data) if str(path).endswith(".gz") else data)


def write_text(path: str | Path, text: str) -> None:
    """Write UTF-8 text atomically."""
    write_bytes(path, text.encode("utf-8"))


def write_json(path: str | Path, content: object) -> None:
    """Write JSON with sorted keys atomically; NaN is refused because JSON has none."""
    write_text(path, json.dumps(content, indent=1, sort_keys=True, allow_nan=False) + "\n")


def read_json(path: str | Path) -> object:
    """Read a JSON file.

    Raises
    ------
    InputError
        FILE_MISSING and its kin, FILE_TEXT when the content is no JSON.
    """
    try:
        return json.loads(read_bytes(path))
    except ValueError as error:
        raise InputError(f"no JSON: {error}", code="FILE_TEXT", file=path) from error


def sha256_of(path: str | Path) -> str:
    """Return the sha256 of a file's bytes as stored, in hexadecimal."""
    with Path(path).open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()
