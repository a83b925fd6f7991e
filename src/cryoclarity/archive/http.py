"""One GET as a stream of raw bytes; every way in which it can fail has a code.

Nothing is retried here and nothing is decoded: whoever verifies the body decides about another
attempt.
"""

from __future__ import annotations

import http.client
import math
import socket
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from urllib.parse import urljoin, urlsplit

import requests
import urllib3

from cryoclarity import __version__
from cryoclarity.archive.alarms import ALARMS
from cryoclarity.errors import InputError

BLOCK = 1 << 16
CONNECT_TIMEOUT = 10.0
MAX_REDIRECTS = 5
REDIRECTS = frozenset({301, 302, 303, 307, 308})
# The headers of one answer may take so many times as long as one read.
HEADER_PATIENCE = 2.0
LARGEST_LENGTH = 1 << 46  # 64 TiB: more is no size, and no reason to call a disk full
LONGEST_PAUSE = 600.0
NOT_FOUND = frozenset({404, 410})
FORBIDDEN = frozenset({401, 403, 451})
OK, PARTIAL, NOT_MODIFIED, NO_SUCH_RANGE = 200, 206, 304, 416
BUCKETS = 60
# A gzip file that a server labels as encoded is still sent as the file itself: the gate decides.
HARMLESS_ENCODINGS = frozenset({"", "identity", "gzip", "x-gzip"})


class NetworkError(InputError):
    """A request that failed.

    Attributes
    ----------
    retry_after : float
        Seconds that the server asks to wait; 0 when it says nothing.
    status : int or None
        Of an answer that is none of those that were hoped for.
    """

    def __init__(
        self,
        message: str,
        *,
        retry_after: float = 0.0,
        status: int | None = None,
        **arguments,
    ) -> None:
        super().__init__(message, **arguments)
        self.retry_after = retry_after
        self.status = status


@dataclass(frozen=True)
class Limits:
    """How long a request may take.

    Attributes
    ----------
    timeout_s : float
        Without a byte for so long, a read fails.
    least_rate : float
        Bytes per second, averaged over `rate_window_s`.
    deadline_s : float
        For one file with all its attempts; large files get more, see `slowest_rate`.
    slowest_rate : float
        Bytes per second that the deadline allows for.
    """

    timeout_s: float = 30.0
    least_rate: float = 10_000.0
    rate_window_s: float = 60.0
    deadline_s: float = 600.0
    slowest_rate: float = 200_000.0

    def deadline_of(self, size: int | None) -> float:
        """Seconds that a file of so many bytes may take."""
        return max(self.deadline_s, (size or 0) / self.slowest_rate)


@dataclass
class Answer:
    """A server's answer before its body is read.

    Attributes
    ----------
    url : str
        Where the answer came from, redirects followed.
    status : int
    length : int or None
        Bytes of this body.
    etag, last_modified : str
    response : requests.Response
    accepts_ranges : bool
        Whether a part of the file may be asked for.
    content_range : str
        Which part this is; '' for the whole.
    """

    url: str
    status: int
    length: int | None
    etag: str
    last_modified: str
    response: requests.Response
    accepts_ranges: bool = False
    content_range: str = ""


class Client:
    """Connections to archives, kept alive between files; safe to share between threads."""

    def __init__(self, limits: Limits | None = None) -> None:
        self.limits = limits or Limits()
        self._own = threading.local()
        self._sessions: list[requests.Session] = []
        self._guard = threading.Lock()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections of all threads."""
        with self._guard:
            for session in self._sessions:
                session.close()
            self._sessions.clear()
        self._own = threading.local()

    def get(
        self,
        url: str,
        headers: Mapping[str, str] | None = None,
        accepted: frozenset[int] = frozenset({OK}),
    ) -> Answer:
        """Ask for a file and judge status and headers.

        Parameters
        ----------
        url : str
        headers : mapping, optional
            Beside those of every request.
        accepted : frozenset of int
            Statuses that the caller can deal with.

        Raises
        ------
        NetworkError
            NET_*.
        """
        return self._ask("GET", url, headers, accepted)

    def post(self, url: str, content: bytes, headers: Mapping[str, str] | None = None) -> Answer:
        """Ask a service that takes its question as a body; see :meth:`get`."""
        return self._ask("POST", url, headers, frozenset({OK}), content)

    def _ask(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str] | None,
        accepted: frozenset[int],
        content: bytes | None = None,
    ) -> Answer:
        response = self._follow(method, url, headers, content)
        try:
            return _judge(response, url, accepted)
        except NetworkError:
            response.close()
            raise

    def _follow(
        self, method: str, url: str, headers: Mapping[str, str] | None, content: bytes | None
    ) -> requests.Response:
        """Ask, and ask again where a redirect points; nothing of a redirect's body is read."""
        timeout = (CONNECT_TIMEOUT, self.limits.timeout_s)
        place = url
        for _ in range(MAX_REDIRECTS + 1):
            try:
                response = self._session().request(
                    method, place, data=content, headers=headers, stream=True, timeout=timeout
                )
            except requests.exceptions.RequestException as error:
                raise _connection_error(error, place, self.limits.timeout_s) from error
            if response.status_code not in REDIRECTS:
                return response
            response.close()
            place = _next_place(response, url, method)
        raise NetworkError(f"{url}: redirect loop or too many", code="NET_REDIRECT")

    def body(self, answer: Answer, ends: float = math.inf) -> Iterator[bytes]:
        """Yield the raw bytes of an answer packet by packet, and close it.

        Parameters
        ----------
        answer : Answer
        ends : float
            Moment of ``time.monotonic`` at which to give up; the limits' own deadline counts from
            the first read.

        Raises
        ------
        NetworkError
            NET_TIMEOUT, NET_SLOW, NET_INCOMPLETE, NET_CONNECTION or NET_DEADLINE.
        """
        started = time.monotonic()
        ends = min(ends, started + self.limits.deadline_of(answer.length))
        rate = _Rate(self.limits.rate_window_s, started)
        received = 0
        raw = answer.response.raw
        try:
            # The size of a chunk may drip for ever within one read, which no clock below sees.
            with ALARMS.set(max(ends - started, 0.0), raw.shutdown):
                # read1 returns what one packet brought: a slow drip reaches the clock below.
                while block := raw.read1(BLOCK, decode_content=False):
                    yield block
                    received += len(block)
                    now = time.monotonic()
                    if now > ends:
                        raise _too_late(answer.url, received, now - started)
                    self._check_rate(rate.update(now, len(block)), answer.url)
        except urllib3.exceptions.HTTPError as error:
            now = time.monotonic()
            if now > ends:
                raise _too_late(answer.url, received, now - started) from error
            raise _body_error(error, answer.url, self.limits.timeout_s) from error
        finally:
            answer.response.close()
        if answer.length is not None and received != answer.length:
            message = f"{answer.url}: {received} of {answer.length} bytes"
            raise NetworkError(message, code="NET_INCOMPLETE")

    def _session(self) -> requests.Session:
        """One session per thread: they are not made to be shared."""
        session = getattr(self._own, "session", None)
        if session is None:
            session = _Session()
            for scheme in ("https://", "http://"):
                session.mount(scheme, _Adapter(max_retries=0))
            session.headers.update(
                {"User-Agent": f"cryoclarity/{__version__}", "Accept-Encoding": "identity"}
            )
            self._own.session = session
            with self._guard:
                self._sessions.append(session)
        return session

    def _check_rate(self, rate: float, url: str) -> None:
        if rate < self.limits.least_rate:
            message = f"{url}: {rate:.0f} B/s is below {self.limits.least_rate:.0f}"
            raise NetworkError(message, code="NET_SLOW")


class _HeaderClock:
    """A connection that gives up on headers that come forever, byte by byte.

    Each byte resets the time-out of a read, so that only a clock beside it sees the whole.
    """

    def getresponse(self, *args, **kwargs):
        """Wait for status line and headers, not longer than the patience with them."""
        late = threading.Event()
        line = self.sock

        def hang_up() -> None:
            late.set()
            socket.socket.shutdown(line, socket.SHUT_RDWR)

        try:
            with ALARMS.set(HEADER_PATIENCE * self.timeout, hang_up):
                return super().getresponse(*args, **kwargs)
        finally:
            if late.is_set():
                raise TimeoutError("the headers did not end")


class _PlainConnection(_HeaderClock, urllib3.connection.HTTPConnection):
    pass


class _SecureConnection(_HeaderClock, urllib3.connection.HTTPSConnection):
    pass


class _PlainPool(urllib3.HTTPConnectionPool):
    ConnectionCls = _PlainConnection


class _SecurePool(urllib3.HTTPSConnectionPool):
    ConnectionCls = _SecureConnection


class _Adapter(requests.adapters.HTTPAdapter):
    """Transport over connections that keep an eye on the time."""

    def init_poolmanager(self, *args, **kwargs) -> None:
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = {"http": _PlainPool, "https": _SecurePool}


class _Session(requests.Session):
    """A session that leaves redirects to its caller."""

    def get_redirect_target(self, resp: requests.Response) -> None:
        """Say that there is none: the library would read a redirect's body, however long."""
        return None


class _Rate:
    """Bytes per second over the last window, infinite before a window has passed."""

    def __init__(self, window: float, started: float) -> None:
        self.window, self.started = window, started
        self.buckets: deque[list[float]] = deque()
        self.total = 0

    def update(self, now: float, count: int) -> float:
        if self.buckets and now - self.buckets[-1][0] < self.window / BUCKETS:
            self.buckets[-1][1] += count
        else:
            self.buckets.append([now, count])
        self.total += count
        while self.buckets[0][0] < now - self.window:
            self.total -= self.buckets.popleft()[1]
        return self.total / self.window if now - self.started > self.window else math.inf


def _judge(response: requests.Response, asked: str, accepted: frozenset[int]) -> Answer:
    status, headers = response.status_code, response.headers
    if status not in accepted:
        raise _status_error(status, headers.get("Retry-After", ""), asked)
    if headers.get("Content-Encoding", "").strip().lower() not in HARMLESS_ENCODINGS:
        encoding = headers["Content-Encoding"]
        raise NetworkError(f"{asked}: unasked encoding {encoding}", code="NET_PROTOCOL")
    # Chunks say themselves where a body ends, and overrule a length (RFC 9112, 6.3).
    chunked = "chunked" in headers.get("Transfer-Encoding", "").lower()
    length = "" if chunked else headers.get("Content-Length", "")
    if length and not (length.isdecimal() and int(length) <= LARGEST_LENGTH):
        raise NetworkError(f"{asked}: Content-Length {length!r}", code="NET_LENGTH")
    return Answer(
        url=response.url,
        status=status,
        length=int(length) if length else None,
        etag=headers.get("ETag", ""),
        last_modified=headers.get("Last-Modified", ""),
        response=response,
        accepts_ranges=headers.get("Accept-Ranges", "").strip().lower() == "bytes",
        content_range=headers.get("Content-Range", "").strip(),
    )


def _next_place(response: requests.Response, asked: str, method: str) -> str:
    """Return where a redirect points, if one may go there."""
    target = response.headers.get("Location", "")
    try:
        place = urljoin(response.url, target)
        address = urlsplit(place)
    except ValueError as error:
        raise NetworkError(f"{asked}: redirect to {target!r}", code="NET_REDIRECT") from error
    if not target or address.scheme not in ("http", "https") or not address.hostname:
        raise NetworkError(f"{asked}: redirect to {target!r}", code="NET_REDIRECT")
    if response.url.startswith("https:") and address.scheme != "https":
        raise NetworkError(f"{asked}: redirect from https to http", code="NET_REDIRECT")
    if method != "GET":
        raise NetworkError(f"{asked}: {method} redirected to {place}", code="NET_REDIRECT")
    return place


def _too_late(url: str, received: int, seconds: float) -> NetworkError:
    return NetworkError(f"{url}: {received} bytes in {seconds:.0f} s", code="NET_DEADLINE")


def _status_error(status: int, retry_after: str, url: str) -> NetworkError:
    pause = pause_of(retry_after)
    if status in NOT_FOUND:
        code = "NET_NOT_FOUND"
    elif status in FORBIDDEN:
        code = "NET_FORBIDDEN"
    elif status == 429 or (status == 503 and retry_after):
        code = "NET_RATE_LIMITED"
    elif status >= 500:
        code = "NET_SERVER"
    elif status in (PARTIAL, NO_SUCH_RANGE):
        code = "NET_RANGE"
    else:
        code = "NET_PROTOCOL"
    return NetworkError(f"{url}: status {status}", code=code, retry_after=pause, status=status)


def pause_of(retry_after: str) -> float:
    """Return the seconds that a Retry-After header asks for, between 0 and 600.

    Parameters
    ----------
    retry_after : str
        Seconds or an HTTP date; anything else counts as 0.
    """
    text = retry_after.strip()
    if text.isdecimal():
        return min(float(text), LONGEST_PAUSE)
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return 0.0
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    seconds = (moment - datetime.now(UTC)).total_seconds()
    return min(max(seconds, 0.0), LONGEST_PAUSE)


def _connection_error(
    error: requests.exceptions.RequestException, url: str, timeout: float
) -> NetworkError:
    kinds = requests.exceptions
    if isinstance(error, kinds.Timeout):
        return NetworkError(f"{url}: no data for {timeout:g} s", code="NET_TIMEOUT")
    if isinstance(error, kinds.ConnectionError):
        return NetworkError(f"{url}: {_cause(error)}", code="NET_CONNECTION")
    if isinstance(error, kinds.InvalidURL | kinds.InvalidSchema | kinds.MissingSchema):
        return NetworkError(f"{url}: {error}", code="NET_NOT_FOUND")
    if "Content-Length" in str(error):
        return NetworkError(f"{url}: {_cause(error)}", code="NET_LENGTH")
    return NetworkError(f"{url}: {_cause(error)}", code="NET_PROTOCOL")


def _body_error(error: urllib3.exceptions.HTTPError, url: str, timeout: float) -> NetworkError:
    kinds = urllib3.exceptions
    if isinstance(error, kinds.TimeoutError):
        return NetworkError(f"{url}: no data for {timeout:g} s", code="NET_TIMEOUT")
    cause = error.__cause__
    if isinstance(error, kinds.IncompleteRead) or isinstance(cause, http.client.IncompleteRead):
        return NetworkError(f"{url}: {_cause(error)}", code="NET_INCOMPLETE")
    if isinstance(cause, OSError):
        return NetworkError(f"{url}: {_cause(error)}", code="NET_CONNECTION")
    return NetworkError(f"{url}: {_cause(error)}", code="NET_PROTOCOL")


def _cause(error: BaseException) -> str:
    """The reason at the bottom, in one line: around it stand addresses that are told anyway."""
    reason = getattr(error.args[0], "reason", None) if error.args else None
    text = " ".join(str(reason or error).split())
    return text.partition("): ")[2][:160] or text[:160]
