"""The folder of saved answers: bodies by their sha256, and a table that only grows."""

from __future__ import annotations

import fcntl
import gzip
import hashlib
import os
import re
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO
from urllib.parse import urlsplit

from cryoclarity.archive.http import NetworkError
from cryoclarity.archive.paths import local_folder

INDEX = "index.tsv"
CHANGES = "changes.tsv"
BODIES = "bodies"
LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
FOUND, ABSENT, FORGOTTEN = 200, 404, 0
# Beyond this a reserved moment is the trace of a clock that was set back, not of a busy host.
LONGEST_RESERVATION = 3600.0


@dataclass(frozen=True)
class Record:
    """What is known of one URL: day of the answer, status, sha256 and size, validators."""

    url: str
    date: str
    status: int
    sha256: str = ""
    size: int = 0
    etag: str = ""
    last_modified: str = ""

    @property
    def line(self) -> str:
        """The line of the table."""
        cells = (self.url, self.date, str(self.status), self.sha256, str(self.size))
        return "\t".join((*cells, self.etag, self.last_modified)) + "\n"

    @property
    def conditions(self) -> dict[str, str]:
        """Headers that ask for the body only if it has changed."""
        pairs = {"If-None-Match": self.etag, "If-Modified-Since": self.last_modified}
        return {name: value for name, value in pairs.items() if value}


def record_of(line: str) -> Record | None:
    """Return the record of a line of the table; None for one that a crash cut short."""
    cells = line.rstrip("\n").split("\t")
    if len(cells) != 7 or not line.endswith("\n"):
        return None
    url, date, status, sha256, size, etag, last_modified = cells
    if not (status.isdecimal() and size.isdecimal()):
        return None
    return Record(url, date, int(status), sha256, int(size), etag, last_modified)


def append_record(folder: Path, record: Record, before: Record | None) -> None:
    """Add a line in one write: a reader sees all of it or, after a crash, none that it accepts.

    A body that differs from the one before is noted in the table of changes.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / INDEX).open("ab+") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        handle.write(_line_end(handle) + record.line.encode())
    if before and before.status == FOUND and before.sha256 != record.sha256:
        with (folder / CHANGES).open("a", encoding="utf-8") as handle:
            handle.write(f"{record.date}\t{record.url}\t{before.sha256}\t{record.sha256}\n")


def _line_end(handle: BinaryIO) -> bytes:
    """A line end if a crash has cut the last line of a file short, else nothing."""
    if not handle.seek(0, os.SEEK_END):
        return b""
    handle.seek(-1, os.SEEK_END)
    return b"" if handle.read(1) == b"\n" else b"\n"


def has_body(folder: Path, record: Record) -> bool:
    """Whether the body of a record is there."""
    return record.status == FOUND and body_path(folder, record.sha256).is_file()


def body_path(folder: Path, sha256: str) -> Path:
    """Return where a body lies."""
    return folder / BODIES / sha256[:2] / f"{sha256}.gz"


def read_index(folder: Path) -> dict[str, Record]:
    """Return the last record of each URL."""
    path = folder / INDEX
    if not path.is_file():
        return {}
    with path.open(encoding="utf-8", newline="\n") as handle:
        records = filter(None, map(record_of, handle))
        return {record.url: record for record in records}


def intact_body(folder: Path, record: Record) -> bytes | None:
    """Return a body whose sha256 is as recorded, None when it is not or is gone."""
    path = body_path(folder, record.sha256)
    try:
        body = gzip.decompress(path.read_bytes())
    except (OSError, EOFError, ValueError):
        return None
    return body if hashlib.sha256(body).hexdigest() == record.sha256 else None


def local_file(url: str) -> Path:
    """Return the file, plain or packed, that a file URL or a path names.

    Raises
    ------
    NetworkError
        NET_NOT_FOUND.
    """
    path = local_folder(url)
    packed = path.with_name(path.name + ".gz")
    if not path.exists() and packed.exists():
        return packed
    if not path.exists():
        raise NetworkError(f"{path.name} is not in the folder", code="NET_NOT_FOUND")
    return path


def lines_of(blocks: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the lines, without their ends, of a body that comes block by block."""
    rest = b""
    for block in blocks:
        *whole, rest = (rest + block).split(b"\n")
        yield from whole
    if rest:
        yield rest


def wait_for_turn(folder: Path, url: str, interval: float) -> None:
    """Wait until this host may be asked again by anybody who shares the folder.

    The moment of the next request is reserved under a lock and waited for outside it. A service
    of this machine is asked without waiting.

    Parameters
    ----------
    folder : Path
        Holds one file per host.
    url : str
    interval : float
        Seconds between two requests.
    """
    parts = urlsplit(url)
    if parts.hostname in LOOPBACK:
        return
    folder.mkdir(parents=True, exist_ok=True)
    host = re.sub(r"[^A-Za-z0-9.-]", "_", parts.netloc)
    with (folder / host).open("a+", encoding="ascii") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        handle.seek(0)
        words = handle.read().split()
        now = time.time()
        last = float(words[0]) if words else 0.0
        if last > now + LONGEST_RESERVATION:
            last = 0.0
        moment = max(now, last + interval)
        handle.seek(0)
        handle.truncate()
        handle.write(f"{moment:.6f}\n")
    time.sleep(max(0.0, moment - now))
