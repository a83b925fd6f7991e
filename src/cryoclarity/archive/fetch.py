"""Fetch one file: streamed to a temporary name, proved, renamed; nothing unproved has the name."""

from __future__ import annotations

import hashlib
import logging
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from cryoclarity.archive.download import BLOCK, Download, Tools
from cryoclarity.archive.http import Client
from cryoclarity.archive.mirrors import Hosts, parse_mirrors
from cryoclarity.archive.slots import HostSlots
from cryoclarity.archive.source import Progress, Request, Source, check_pin, new_record
from cryoclarity.archive.stream_gate import Stream
from cryoclarity.errors import InputError
from cryoclarity.io.files import check_regular, sha256_of

LOGGER = logging.getLogger(__name__)


class Downloader:
    """Fetches files; shared by the threads of one process.

    Parameters
    ----------
    source : Source
    progress : callable (name, bytes so far, bytes in all or None), optional
    """

    def __init__(self, source: Source, progress: Progress | None = None) -> None:
        self._tools = Tools(
            source=source,
            mirrors=parse_mirrors(source.mirrors, allow_http=source.allow_http),
            client=Client(source.limits),
            hosts=Hosts(),
            slots=HostSlots(source.slots, source.per_host),
            progress=progress or LoggedProgress(),
        )

    def __enter__(self) -> Downloader:
        return self

    @property
    def archive_id(self) -> str:
        """Names the archives together, without their names."""
        bases = " ".join(mirror.base_id for mirror in self._tools.mirrors)
        return hashlib.sha256(bases.encode()).hexdigest()[:16]

    @property
    def source(self) -> Source:
        """The archives."""
        return self._tools.source

    def __exit__(self, *_) -> None:
        self._tools.client.close()

    def fetch(self, request: Request, recorded: dict | None = None) -> dict[str, object]:
        """Bring one file to its final name.

        Parameters
        ----------
        request : Request
        recorded : dict, optional
            Record of an earlier fetch. When the file still is what it says, nothing is asked,
            unless the source is to be asked for updates.

        Returns
        -------
        dict
            The record: where from, every answer on the way, hashes, facts of the gate.

        Raises
        ------
        InputError
            FILE_*, HDR_*, VAL_*, MOD_*, ID_* or NET_*.
        IntegrityError
            FILE_CHANGED when no mirror has the pinned file.
        ResourceError
            DISK_*.
        """
        unknown = not recorded and request.out.exists()
        recorded = self._of_this_archive(request, recorded)
        source = self._tools.source
        present = recorded is not None and is_intact(request.out, recorded, source.verify)
        if present and not source.update:
            check_pin(recorded["sha256"], request.pin, request.out.name)
            return recorded
        found = _found(request) if unknown else None
        if found is not None:
            return found
        known = ""
        if recorded and not request.pin:  # seen once, pinned ever after
            request = replace(request, pin=str(recorded["sha256"]))
            known = str(recorded["content_sha256"])
        return Download(self._tools, request, recorded if present else None, known).run()

    def _of_this_archive(self, request: Request, recorded: dict | None) -> dict | None:
        """Return the record if it speaks of the same file: another archive may hold other data."""
        bases = {mirror.base_id for mirror in self._tools.mirrors} | {""}
        if recorded and recorded["path"] == request.path and recorded["base_id"] in bases:
            return recorded
        return None


class LoggedProgress:
    """A line in the log now and then about a transfer that takes its time."""

    def __init__(self, interval_s: float = 30.0) -> None:
        self.interval_s = interval_s
        self._last: dict[tuple[int, str], float] = {}

    def __call__(self, name: str, done: int, total: int | None) -> None:
        """Take notice of the bytes that have come."""
        now = time.monotonic()
        key = threading.get_ident(), name
        if done == total:
            self._last.pop(key, None)
        elif now - self._last.setdefault(key, now) >= self.interval_s:
            whole = f" of {total / 1e6:.0f}" if total else ""
            LOGGER.info("%s: %.0f%s MB", name, done / 1e6, whole)
            self._last[key] = now


def is_intact(out: Path, recorded: dict, verify: bool = False) -> bool:
    """Whether a file still is what its record says: size and time, or size and hash."""
    try:
        status = out.stat()
    except OSError:
        return False
    if not out.is_file() or status.st_size != recorded["bytes"]:
        return False
    if status.st_mtime_ns == recorded.get("mtime_ns") and not verify:
        return True
    return sha256_of(out) == recorded["sha256"]


def _found(request: Request) -> dict[str, object] | None:
    """Prove a file that lies there without a record; None when it has to be fetched."""
    digest, size = hashlib.sha256(), 0

    def blocks() -> Iterator[bytes]:
        nonlocal size
        with request.out.open("rb") as handle:
            while block := handle.read(BLOCK):
                digest.update(block)
                size += len(block)
                yield block

    try:
        check_regular(request.out)
        length = request.out.stat().st_size
        facts = request.gate(Stream(request.out.name, request.out, blocks(), length, lambda: size))
    except InputError as error:
        LOGGER.warning("%s lies there, but is not used: %s", request.out.name, error)
        return None
    check_pin(digest.hexdigest(), request.pin, request.out.name)
    LOGGER.info("%s lay there without a record; it is proved now", request.out.name)
    return new_record(request, digest.hexdigest(), size) | {"source": "found"} | facts
