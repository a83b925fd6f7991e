"""Answers of the archives' services, each asked for once, kept for ever and replayed.

Every raw body lies in a folder by its sha256; a table that only grows says which URL gave which
body on which day. What is there is not asked again, so a killed run goes on where it stopped and
a selection can be repeated without a network.
"""

from __future__ import annotations

import gzip
import hashlib
import logging
import os
import re
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import tenacity

from cryoclarity import __version__
from cryoclarity.archive.answers import (
    ABSENT,
    BODIES,
    FORGOTTEN,
    FOUND,
    Record,
    append_record,
    body_path,
    has_body,
    intact_body,
    lines_of,
    local_file,
    read_index,
    wait_for_turn,
)
from cryoclarity.archive.http import (
    NOT_MODIFIED,
    OK,
    Answer,
    Client,
    Limits,
    NetworkError,
)
from cryoclarity.archive.paths import is_local
from cryoclarity.codes import CODES
from cryoclarity.errors import InputError
from cryoclarity.io.files import disk_error, read_bytes, unpacked_blocks

LOGGER = logging.getLogger(__name__)
TOKENS = "tokens"
LONGEST_WAIT = 60.0
LARGEST_BODY = 4 << 30
WORKERS = 4
PROGRESS_EVERY = 200
HTML = re.compile(rb"\s*(?:<!doctype html|<html)", re.IGNORECASE)

Check = Callable[[bytes], object]


@dataclass(frozen=True)
class Politeness:
    """How the services are asked.

    Attributes
    ----------
    requests_per_s : float
        To one host, over all processes that share the folder.
    attempts : int
        For one URL.
    backoff_s : float
        Wait before the second attempt; doubles with each, with jitter.
    contact : str
        URL or mail address, for the services' log.
    """

    requests_per_s: float = 2.0
    attempts: int = 6
    backoff_s: float = 1.0
    contact: str = ""
    limits: Limits = field(default_factory=Limits)


class Responses:
    """A folder of answers, filled on demand.

    Parameters
    ----------
    folder : Path
        May be shared by several processes.
    politeness : Politeness
    offline : bool
        Ask nothing: NET_OFFLINE for what is not there.
    update : bool
        Ask everything once more; what has changed is kept beside the old body and noted in
        ``changes.tsv``.
    """

    def __init__(
        self,
        folder: str | Path,
        politeness: Politeness | None = None,
        *,
        offline: bool = False,
        update: bool = False,
    ) -> None:
        self.folder = Path(folder)
        self.politeness = politeness or Politeness()
        self.offline = offline
        self.update = update and not offline
        self.requests = 0
        self.used: dict[str, Record] = {}
        self._records = read_index(self.folder)
        self._fresh: set[str] = set()
        self._failed: dict[str, InputError] = {}
        self._lock = threading.Lock()
        self._client = Client(self.politeness.limits)

    def get(self, url: str, *, check: Check | None = None, empty: bool = False) -> bytes:
        """Return the body of a URL, from the folder or from the service.

        Parameters
        ----------
        url : str
            https://, http://, file:// or a plain path.
        check : callable, optional
            Raises InputError for a body that is not to be believed; asked again if its code is
            one of a bad transfer.
        empty : bool
            Whether a body without a byte is an answer.

        Raises
        ------
        InputError
            NET_*; NET_NOT_FOUND also when the service said so on an earlier day.
        ResourceError
            DISK_*.
        """
        if is_local(url):
            return read_bytes(local_file(url))
        saved = self._saved_body(url)
        if saved is not None:
            return saved
        if url in self._failed:
            raise self._failed[url]
        return self._answer(url, check, empty)

    def post(self, url: str, content: bytes, *, check: Check) -> bytes:
        """Return the answer to a question that is sent as a JSON body; see :meth:`get`.

        It is saved under the URL with the sha256 of the question behind it.
        """
        key = f"{url}#{hashlib.sha256(content).hexdigest()}"
        saved = self._saved_body(key)
        return self._answer(key, check, False, content=content) if saved is None else saved

    def _saved_body(self, url: str) -> bytes | None:
        record = self._known(url)
        if record is None:
            return None
        body = intact_body(self.folder, record)
        if body is None:
            LOGGER.warning("%s: the saved body is damaged", url)
        return body

    def lines(self, url: str) -> Iterator[bytes]:
        """Yield the lines of a large body without holding it in memory.

        Raises
        ------
        InputError
            NET_*.
        """
        if is_local(url):
            yield from lines_of(unpacked_blocks(local_file(url), LARGEST_BODY))
            return
        record = self._known(url)
        if record is None or not has_body(self.folder, record):
            self._answer(url, None, False, keep=False)
            record = self._records[url]
        yield from lines_of(unpacked_blocks(body_path(self.folder, record.sha256), LARGEST_BODY))

    def missing(self, urls: Iterable[str]) -> list[str]:
        """Return the URLs that would have to be asked for."""
        return [url for url in urls if not is_local(url) and self._current(url) is None]

    def prefetch(self, urls: list[str], check: Check) -> None:
        """Ask for all that is not there yet, a few at a time.

        What fails does so when it is read, without another request.

        Raises
        ------
        InputError
            The error of a host that answers nothing any more.
        """
        waiting = self.missing(urls)
        if self.offline or not waiting:
            return
        LOGGER.warning(
            "%d documents to ask for, %d at hand; at %g requests a second: %.0f minutes",
            len(waiting),
            len(urls) - len(waiting),
            self.politeness.requests_per_s,
            len(waiting) / self.politeness.requests_per_s / 60,
        )
        failures = _Failures()

        def ask(numbered: tuple[int, str]) -> None:
            count, url = numbered
            failures.raise_if_down()
            try:
                self._answer(url, check, False)
                failures.note(None)
            except InputError as error:
                self._failed[url] = error
                failures.note(error)
            if count % PROGRESS_EVERY == 0:
                LOGGER.warning("%d of %d documents", count, len(waiting))

        with ThreadPoolExecutor(WORKERS) as pool:
            try:
                for _ in pool.map(ask, enumerate(waiting, start=1)):
                    pass
            except BaseException:
                # Whoever interrupts does not want to wait for thousands of documents.
                pool.shutdown(wait=False, cancel_futures=True)
                raise
        failures.raise_if_down()

    def forget(self, urls: Iterable[str]) -> None:
        """Let URLs be asked again; their bodies stay."""
        for url in urls:
            if url in self._records:
                self._append(Record(url, _today(), FORGOTTEN))
                self.used.pop(url, None)

    def _current(self, url: str) -> Record | None:
        record = self._records.get(url)
        if record is None or record.status == FORGOTTEN:
            return None
        return None if self.update and url not in self._fresh else record

    def _known(self, url: str) -> Record | None:
        record = self._current(url)
        if record is None:
            return None
        self.used[url] = record
        if record.status == ABSENT:
            raise NetworkError(f"{url}: status 404 on {record.date}", code="NET_NOT_FOUND")
        return record

    def _answer(
        self,
        url: str,
        check: Check | None,
        empty: bool,
        keep: bool = True,
        content: bytes | None = None,
    ) -> bytes:
        if self.offline:
            raise NetworkError(
                f"{url} is not among the saved answers",
                code="NET_OFFLINE",
                remedy="set archive.offline to false",
            )
        retrying = tenacity.Retrying(
            stop=tenacity.stop_after_attempt(self.politeness.attempts),
            wait=_wait(self.politeness.backoff_s),
            retry=tenacity.retry_if_exception(_is_transient),
            reraise=True,
        )
        try:
            return retrying(self._ask, url, check, empty, keep, content)
        except InputError as error:
            if error.code == "NET_NOT_FOUND":
                self._append(Record(url, _today(), ABSENT))
            raise
        except OSError as error:
            raise disk_error(error, self.folder) from error

    def _ask(
        self, url: str, check: Check | None, empty: bool, keep: bool, content: bytes | None
    ) -> bytes:
        wait_for_turn(self.folder / TOKENS, url, 1.0 / self.politeness.requests_per_s)
        with self._lock:
            self.requests += 1
        before = self._records.get(url)
        answer = self._sent(url, before, content)
        if answer.status == NOT_MODIFIED:
            answer.response.close()
            self._note(before)
            return intact_body(self.folder, before) or b"" if keep else b""
        part = self.folder / BODIES / f"new-{os.getpid()}-{threading.get_ident()}.gz"
        try:
            body, sha256, size = self._store(answer, part, keep)
            _believe(url, body, size, check, empty)
            final = body_path(self.folder, sha256)
            final.parent.mkdir(parents=True, exist_ok=True)
            part.replace(final)
        finally:
            part.unlink(missing_ok=True)
        validators = (_cell(answer.etag), _cell(answer.last_modified))
        self._append(Record(url, _today(), FOUND, sha256, size, *validators))
        return body

    def _sent(self, url: str, before: Record | None, content: bytes | None) -> Answer:
        headers = {"User-Agent": user_agent(self.politeness.contact)}
        if content is not None:
            asked = url.rpartition("#")[0]
            return self._client.post(asked, content, headers | {"Content-Type": "application/json"})
        if self.update and before is not None and has_body(self.folder, before):
            return self._client.get(url, headers | before.conditions, frozenset({OK, NOT_MODIFIED}))
        return self._client.get(url, headers)

    def _store(self, answer: Answer, part: Path, keep: bool) -> tuple[bytes, str, int]:
        """Write a body as it comes; return it (or its first packet), its sha256 and size."""
        digest, size, pieces = hashlib.sha256(), 0, []
        part.parent.mkdir(parents=True, exist_ok=True)
        # No fsync: a body that a crash has lost differs from its sha256 and is asked for again.
        with part.open("wb") as raw, gzip.GzipFile("", "wb", 6, raw, mtime=0) as packed:
            for block in self._client.body(answer):
                digest.update(block)
                size += len(block)
                packed.write(block)
                if keep or not pieces:
                    pieces.append(block)
        return b"".join(pieces), digest.hexdigest(), size

    def _note(self, record: Record) -> None:
        with self._lock:
            self._fresh.add(record.url)
            self.used[record.url] = record

    def _append(self, record: Record) -> None:
        """Add a line in one write: a reader sees all of it or, after a crash, none it accepts."""
        with self._lock:
            before = self._records.get(record.url)
            self._fresh.add(record.url)
            append_record(self.folder, record, before)
            self._records[record.url] = record
            if record.status != FORGOTTEN:
                self.used[record.url] = record


class _Failures:
    """Counts failures in a row: a host that is down is not asked thousands of times."""

    MOST_IN_A_ROW = 5

    def __init__(self) -> None:
        self._in_a_row = 0
        self._last: InputError | None = None

    def note(self, error: InputError | None) -> None:
        """Count what became of one request."""
        if error is None:
            self._in_a_row = 0
        elif _is_transient(error):
            self._in_a_row += 1
            self._last = error

    def raise_if_down(self) -> None:
        if self._last is not None and self._in_a_row >= self.MOST_IN_A_ROW:
            raise self._last


def _believe(url: str, body: bytes, size: int, check: Check | None, empty: bool) -> None:
    """Raise for a body that is no answer."""
    if HTML.match(body):
        raise NetworkError(f"{url}: a web page", code="NET_HTML")
    if not size and not empty:
        raise NetworkError(f"{url}: empty body", code="NET_INCOMPLETE")
    if check is not None:
        check(body)


def _cell(header: str) -> str:
    return " ".join(header.split())


def user_agent(contact: str) -> str:
    """Return what the services' logs show of us."""
    return f"cryoclarity/{__version__}" + (f" (+{contact})" if contact else "")


def _today() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%d")


def _is_transient(error: BaseException) -> bool:
    return isinstance(error, InputError) and CODES[error.code].severity == "retry"


def _wait(backoff: float) -> Callable[[tenacity.RetryCallState], float]:
    """Exponential waits with jitter, or what the server asks for when that is longer."""
    jitter = tenacity.wait_random(0.5, 1.5)

    def wait(state: tenacity.RetryCallState) -> float:
        doubled = min(LONGEST_WAIT, 2.0 ** (state.attempt_number - 1))
        asked = getattr(state.outcome.exception(), "retry_after", 0.0)
        return max(backoff * doubled * jitter(state), asked)

    return wait
