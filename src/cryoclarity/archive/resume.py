"""Files on their way: temporary names that no two clients share, and parts worth going on with.

A part is continued only when the server proves that the rest belongs to it: same URL, same
validator, same total, the right offset. Everything else starts from zero.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import secrets
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path

from cryoclarity.archive.http import PARTIAL, Answer, NetworkError
from cryoclarity.io.files import disk_error, write_json
from cryoclarity.io.locks import host_name, is_alive

LOGGER = logging.getLogger(__name__)
BLOCK = 1 << 20
MIN_BYTES = 8 << 20
SETTLED_S = 60.0
ABANDONED_S = 600.0
TEMPORARY = re.compile(r"\.(?P<final>.+)\.(?P<host>[^.]+)-(?P<pid>\d+)-[0-9a-f]{8}\.part(\.json)?")
WRITER_TEMPORARY = re.compile(r"\.tmp-(?P<pid>\d+)-.+")
CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+)")


@dataclass(frozen=True)
class Proof:
    """What must be the same when the rest of a file is asked for.

    Attributes
    ----------
    url : str
    etag : str
        Strong one, or ''.
    last_modified : str
        Used without an ETag.
    total : int
        Bytes of the whole file.
    """

    url: str
    etag: str
    last_modified: str
    total: int

    def headers(self, offset: int) -> dict[str, str]:
        """Return the headers that ask for the rest."""
        return {"Range": f"bytes={offset}-", "If-Range": self.etag or self.last_modified}

    def check(self, answer: Answer, offset: int) -> None:
        """Refuse a part that does not continue what is there.

        Raises
        ------
        NetworkError
            NET_RANGE.
        """
        found = CONTENT_RANGE.fullmatch(answer.content_range)
        wanted = (offset, self.total - 1, self.total)
        right = found is not None and tuple(map(int, found.groups())) == wanted
        # A server may ignore If-Range and send a part of a newer file.
        same = answer.etag == self.etag if self.etag else answer.last_modified == self.last_modified
        if not right or not same:
            message = f"{answer.url}: {answer.content_range!r} does not continue at byte {offset}"
            raise NetworkError(message, code="NET_RANGE")


def proof_of(answer: Answer, url: str, least: int) -> Proof | None:
    """Return what allows a later resume, None when this answer allows none.

    Parameters
    ----------
    answer : Answer
        Of status 200.
    url : str
        As asked for.
    least : int
        Files smaller than so many bytes are not worth it.
    """
    if not answer.accepts_ranges or answer.length is None or answer.length < least:
        return None
    strong = answer.etag if answer.etag and not answer.etag.startswith("W/") else ""
    modified = answer.last_modified if _is_settled(answer) else ""
    if not strong and not modified:
        return None
    return Proof(url, strong, modified, answer.length)


def _is_settled(answer: Answer) -> bool:
    """Whether Last-Modified, which counts in seconds, is old enough to name one version."""
    try:
        modified = parsedate_to_datetime(answer.last_modified)
    except ValueError:
        return False
    if modified.tzinfo is None:
        modified = modified.replace(tzinfo=UTC)
    return (datetime.now(UTC) - modified).total_seconds() > SETTLED_S


class PartFile:
    """The temporary file of one download, in the folder of its final name.

    Parameters
    ----------
    out : Path
        Final name.
    least : int
        Bytes below which a part is not worth keeping.
    """

    def __init__(self, out: Path, least: int = MIN_BYTES) -> None:
        self.out, self.least = out, least
        self.path = _fresh_name(out)
        self.proof: Proof | None = None
        try:
            out.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o644)
        except OSError as error:
            raise disk_error(error, out.parent) from error
        self.handle = os.fdopen(descriptor, "r+b", buffering=0)
        self.size = 0

    @property
    def state_path(self) -> Path:
        """Where the proof lies while a part may be continued."""
        return self.path.with_name(self.path.name + ".json")

    def adopt(self, url: str) -> None:
        """Take over what an earlier attempt left of the same URL, if it is worth it."""
        for state in sorted(self.out.parent.glob(f".{self.out.name}.*.part.json")):
            part = state.with_name(state.name.removesuffix(".json"))
            proof = _read_proof(state)
            if proof and proof.url == url and part.is_file() and _is_free(part):
                size = part.stat().st_size
                if self.least <= size < proof.total:
                    os.replace(part, self.path)
                    self.handle.close()
                    self.handle = self.path.open("r+b", buffering=0)
                    self.size, self.proof = size, proof
                    self.promise(proof)
                    state.unlink(missing_ok=True)
                    return

    def promise(self, proof: Proof | None) -> None:
        """Note what allows a later resume; None: nothing does."""
        self.proof = proof
        if proof:
            write_json(self.state_path, asdict(proof))
        else:
            self.state_path.unlink(missing_ok=True)

    def restart(self) -> None:
        """Forget all bytes."""
        self.handle.truncate(0)
        self.handle.seek(0)
        self.size = 0

    def replay(self) -> Iterator[bytes]:
        """Yield the bytes that are there; writing goes on after them."""
        self.handle.seek(0)
        while block := self.handle.read(BLOCK):
            yield block

    def write(self, block: bytes) -> None:
        """Append bytes."""
        try:
            view = memoryview(block)
            while view:  # a raw write may take less than it is given
                view = view[self.handle.write(view) :]
        except OSError as error:
            raise disk_error(error, self.out) from error
        self.size += len(block)

    def finish(self) -> None:
        """Give the file its final name; it and the name survive a crash."""
        try:
            os.fsync(self.handle.fileno())
            self.handle.close()
            os.replace(self.path, self.out)
            self.state_path.unlink(missing_ok=True)
            self._remove_rivals()
            sync_folder(self.out.parent)
        except OSError as error:
            raise disk_error(error, self.out) from error

    def _remove_rivals(self) -> None:
        """Remove parts of the same file that this process had from other mirrors."""
        for path in self.out.parent.glob(f".{self.out.name}.{host_name()}-{os.getpid()}-*"):
            path.unlink(missing_ok=True)

    def give_up(self, *, keep: bool) -> None:
        """Close after a failure; keep what may be continued, remove everything else."""
        self.handle.close()
        if not (keep and self.proof and self.size >= self.least):
            self.discard()

    def discard(self) -> None:
        """Remove file and proof."""
        with contextlib.suppress(OSError):
            self.handle.close()
            self.path.unlink(missing_ok=True)
            self.state_path.unlink(missing_ok=True)


def _fresh_name(out: Path) -> Path:
    name = f".{out.name}.{host_name()}-{os.getpid()}-{secrets.token_hex(4)}.part"
    return out.with_name(name)


def _read_proof(path: Path) -> Proof | None:
    try:
        return Proof(**json.loads(path.read_text()))
    except (OSError, ValueError, TypeError):
        return None  # cut short when its writer was killed


def sync_folder(folder: Path) -> None:
    """Make the names in a folder survive a crash of the machine."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove_stale(folder: Path, *, resumable: bool) -> None:
    """Remove the temporary files of clients that are gone; the caller holds the entry's lock.

    Parameters
    ----------
    folder : Path
    resumable : bool
        Leave parts that can be continued.
    """
    for path in sorted(folder.glob(".*")):
        found = TEMPORARY.fullmatch(path.name) or WRITER_TEMPORARY.fullmatch(path.name)
        if not found or not _is_abandoned(path, found.groupdict()):
            continue
        part = path.with_name(path.name.removesuffix(".json"))
        state = part.with_name(part.name + ".json")
        if resumable and part.is_file() and _read_proof(state):
            continue
        LOGGER.info("DISK_PARTIAL: removed the stale temporary file %s", path.name)
        path.unlink(missing_ok=True)


def _is_free(part: Path) -> bool:
    """Whether nobody writes a part any more: left by this process, or by one that is gone."""
    found = TEMPORARY.fullmatch(part.name)
    if not found:
        return False
    ours = (found["host"], int(found["pid"])) == (host_name(), os.getpid())
    return ours or _is_abandoned(part, found.groupdict())


def _is_abandoned(path: Path, name: dict[str, str]) -> bool:
    if name.get("host", host_name()) == host_name():
        return not is_alive(int(name["pid"]))
    try:
        return time.time() - path.stat().st_mtime > ABANDONED_S
    except FileNotFoundError:
        return False


def is_part(answer: Answer) -> bool:
    """Whether a server sent the rest of a file only."""
    return answer.status == PARTIAL
