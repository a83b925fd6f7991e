"""All attempts at one file: whom to ask, what the answer means, whether the bytes are right.

One loop repeats the whole get-and-verify, because a cut or replaced body shows only at its end.
The same loop serves web archives and folders, in the order of the mirrors.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import tenacity

from cryoclarity.archive.http import (
    NO_SUCH_RANGE,
    NOT_MODIFIED,
    OK,
    PARTIAL,
    Answer,
    Client,
    NetworkError,
)
from cryoclarity.archive.mirrors import Hosts, Mirror, Turn, is_transient, no_mirror_left
from cryoclarity.archive.paths import join
from cryoclarity.archive.resume import PartFile, is_part, proof_of
from cryoclarity.archive.slots import HostSlots
from cryoclarity.archive.source import Progress, Request, Source, check_pin, new_record
from cryoclarity.archive.stream_gate import Stream
from cryoclarity.codes import CODES
from cryoclarity.errors import CryoClarityError, InputError, IntegrityError, ResourceError
from cryoclarity.io.files import check_regular, disk_error

LOGGER = logging.getLogger(__name__)
BLOCK = 1 << 20
SPARE_BYTES = 64 << 20
# What a gate calls a bad file is a bad transfer when it came over the network.
TRANSFER_CODES = {
    "FILE_HTML": "NET_HTML",
    "FILE_EMPTY": "NET_INCOMPLETE",
    "FILE_GZ_NESTED": "NET_PROTOCOL",
}


@dataclass(frozen=True)
class Tools:
    """What all downloads of a process share."""

    source: Source
    mirrors: tuple[Mirror, ...]
    client: Client
    hosts: Hosts
    slots: HostSlots
    progress: Progress


class Download:
    """All attempts at one file.

    Parameters
    ----------
    tools : Tools
    request : Request
    current : dict, optional
        Record of the file that is here, when a mirror is only asked whether it is still current.
    known_content : str
        content_sha256 of an earlier copy: an archive that only packs a file anew has not changed.
    """

    def __init__(
        self, tools: Tools, request: Request, current: dict | None, known_content: str = ""
    ) -> None:
        self.tools, self.request = tools, request
        self.source, self.current = tools.source, current
        self.known_content = known_content
        self.started = time.monotonic()
        self.size = request.size
        self.tried: list[dict[str, object]] = []
        self.last: Mirror | None = None

    @property
    def ends(self) -> float:
        """Moment at which patience ends; a large file is given more time."""
        return self.started + self.source.limits.deadline_of(self.size)

    def run(self) -> dict[str, object]:
        """Attempt until the file is proved, or there is no use in going on."""
        allowed = [
            mirror
            for mirror in self.tools.mirrors
            if not (self.source.offline and not mirror.local)
            and not self.tools.hosts.is_dropped(mirror.host)
        ]
        barred = len(allowed) < len(self.tools.mirrors)
        if not allowed:
            raise no_mirror_left(self.tools.mirrors, self.source.offline)
        turn = Turn(allowed, self.source.backoff_s)
        retrying = tenacity.Retrying(
            stop=tenacity.stop_any(tenacity.stop_after_attempt(self.source.attempts), self._late),
            wait=lambda state: turn.wait(state.attempt_number),
            retry=tenacity.retry_if_exception(turn.goes_on),
            reraise=True,
        )
        try:
            return retrying(lambda: self._attempt(turn.mirror))
        except CryoClarityError as error:
            if turn.changed:
                raise turn.changed from None
            if error.code == "NET_NOT_FOUND" and self.source.offline and barred:
                raise no_mirror_left(self.tools.mirrors, True) from error
            # What a folder holds damaged is damaged for good; only a network has better days.
            if is_transient(error) and self.last and not self.last.local:
                raise NetworkError(
                    f"{self.request.path}: gave up after {len(self.tried)} attempts; last:"
                    f" {error.code}: {error.message}",
                    code="NET_DEADLINE",
                    remedy="try again later",
                ) from error
            raise

    def _late(self, state: tenacity.RetryCallState) -> bool:
        return time.monotonic() + state.upcoming_sleep >= self.ends

    def _attempt(self, mirror: Mirror) -> dict[str, object]:
        url = self.request.path if mirror.local else join(mirror.base, self.request.path)
        answer = {"url": url, "code": "", "status": None, "seconds": 0.0, "bytes": 0}
        self.tried.append(answer)
        self.last = mirror
        began = time.monotonic()
        try:
            with self.tools.slots.taken(mirror.host) if mirror.host else contextlib.nullcontext():
                # Waiting for others is no fault of the server: the deadline starts again.
                waited = time.monotonic() - began
                self.started, began = self.started + waited, began + waited
                record = self._from_folder(mirror) if mirror.local else self._ask(url, answer)
        except CryoClarityError as error:
            error = error if mirror.local else _as_transfer(error)
            answer["code"] = error.code
            answer["status"] = getattr(error, "status", None) or answer["status"]
            LOGGER.info("%s: attempt %d: %s", self.request.out.name, len(self.tried), error)
            raise error from None
        finally:
            answer["seconds"] = round(time.monotonic() - began, 3)
            if mirror.host:
                self.tools.hosts.note(mirror.host, str(answer["code"]))
        if record is self.current:
            return record
        return record | {
            "base_id": mirror.base_id,
            "mirror_index": mirror.index,
            "tried": self.tried,
            "seconds": round(time.monotonic() - self.started, 3),
        }

    def _from_folder(self, mirror: Mirror) -> dict[str, object]:
        file = Path(join(mirror.base, self.request.path))
        try:
            check_regular(file)
        except InputError as error:
            if error.code != "FILE_MISSING":
                raise
            message = f"{self.request.path} is not in the archive"
            raise InputError(message, code="NET_NOT_FOUND") from error
        part = PartFile(self.request.out)
        size = file.stat().st_size
        linked = self.source.hard_link and _linked(file, part)
        with _kept_or_gone(part), file.open("rb") as handle:
            blocks = iter(lambda: handle.read(BLOCK), b"")
            digest, facts = self._judge(part, blocks, size, write=not linked)
            part.finish()
        origin = {"source": "folder", "url": self.request.path}
        return new_record(self.request, digest, size) | origin | facts

    def _ask(self, url: str, tried: dict) -> dict[str, object]:
        """One request with all that follows from its answer."""
        part = PartFile(self.request.out, self.source.resume_from)
        with _kept_or_gone(part):
            if self.source.resume and self.request.resumable:
                part.adopt(url)
            headers = part.proof.headers(part.size) if part.proof else self._condition()
            accepted = {OK, PARTIAL, NO_SUCH_RANGE} if part.proof else {OK}
            if self.current and not part.proof:
                accepted.add(NOT_MODIFIED)
            answer = self.tools.client.get(url, headers, frozenset(accepted))
            tried["status"] = answer.status
            if answer.status == NOT_MODIFIED:
                answer.response.close()
                part.discard()
                return self.current
            total = self._start(part, answer, url)
            self.size = total or self.size
            incoming = self.tools.client.body(answer, self.ends)
            try:
                digest, facts = self._judge(part, incoming, total)
            finally:
                incoming.close()
                tried["bytes"] = part.size
            part.finish()
        return (
            new_record(self.request, digest, part.size)
            | {
                "source": "network",
                "url": answer.url,
                "status": answer.status,
                "etag": answer.etag,
                "last_modified": answer.last_modified,
                "content_length": total,
            }
            | facts
        )

    def _condition(self) -> dict[str, str]:
        """Headers that spare the body of what has not changed."""
        if not self.current:
            return {}
        headers = {
            "If-None-Match": self.current["etag"],
            "If-Modified-Since": self.current["last_modified"],
        }
        return {name: value for name, value in headers.items() if value}

    def _start(self, part: PartFile, answer: Answer, url: str) -> int | None:
        """Decide from an answer where its bytes belong; return the size of the whole file."""
        try:
            if is_part(answer):
                part.proof.check(answer, part.size)
                total = part.proof.total
            elif answer.status == NO_SUCH_RANGE:
                raise NetworkError(f"{url}: nothing after byte {part.size}", code="NET_RANGE")
            else:
                part.restart()
                proof = None
                if self.source.resume and self.request.resumable:
                    proof = proof_of(answer, url, self.source.resume_from)
                part.promise(proof)
                total = answer.length
            _check_space(self.request.out.parent, (total or self.size or 0) - part.size)
        except CryoClarityError:
            answer.response.close()
            part.promise(None)
            raise
        return total

    def _judge(
        self, part: PartFile, incoming: Iterator[bytes], total: int | None, *, write: bool = True
    ) -> tuple[str, dict]:
        """Pass the bytes through hash, file and gate; return the hash and the gate's facts."""
        name, digest = self.request.out.name, hashlib.sha256()

        def blocks() -> Iterator[bytes]:
            for block in part.replay():
                digest.update(block)
                yield block
            for block in incoming:
                digest.update(block)
                if write:
                    part.write(block)
                self.tools.progress(name, part.size, total)
                yield block

        stream = blocks() if write else _hashed(incoming, digest)
        try:
            facts = self.request.gate(Stream(name, part.path, stream, total, lambda: part.size))
            for _ in stream:  # a gate may be content before the end
                pass
        except InputError as error:
            error.file = name  # the temporary name says nothing to anybody
            if error.code == "FILE_TRUNCATED" and total is None:
                # Without a declared length a cut transfer looks like a short file.
                raise NetworkError(error.message, code="NET_INCOMPLETE", file=name) from error
            if CODES[error.code].family != "network":
                part.promise(None)  # bytes that a gate refused are not worth going on with
            raise
        self._check_unchanged(part, digest.hexdigest(), facts)
        return digest.hexdigest(), facts

    def _check_unchanged(self, part: PartFile, sha256: str, facts: dict) -> None:
        if self.source.update:
            return
        if self.known_content and facts.get("content_sha256") == self.known_content:
            return
        try:
            check_pin(sha256, self.request.pin, self.request.out.name)
        except IntegrityError:
            part.promise(None)
            raise


def _hashed(blocks: Iterator[bytes], digest) -> Iterator[bytes]:
    for block in blocks:
        digest.update(block)
        yield block


def _linked(file: Path, part: PartFile) -> bool:
    """Replace a new temporary file by a link to `file`; False where that cannot be done."""
    part.path.unlink()
    try:
        os.link(file, part.path)
    except OSError:  # another file system, or one without links
        part.path.touch(exist_ok=False)
        part.handle.close()
        part.handle = part.path.open("r+b", buffering=0)
        return False
    part.handle.close()
    part.handle = part.path.open("rb", buffering=0)
    return True


@contextlib.contextmanager
def _kept_or_gone(part: PartFile) -> Iterator[None]:
    """After a failure keep what can be continued and remove everything else."""
    try:
        yield
    except OSError as error:
        part.discard()
        raise disk_error(error, part.out) from error
    except BaseException as error:
        part.give_up(keep=isinstance(error, NetworkError | KeyboardInterrupt))
        raise


def _check_space(folder: Path, size: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < size + SPARE_BYTES:
        raise ResourceError(
            f"{free} bytes free, {size + SPARE_BYTES} needed", code="DISK_FULL", file=folder.name
        )


def _as_transfer(error: CryoClarityError) -> CryoClarityError:
    code = TRANSFER_CODES.get(error.code)
    return NetworkError(error.message, code=code, file=error.file) if code else error
