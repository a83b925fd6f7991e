"""Which archive is asked next: mirrors in order, hosts that refuse, and how long to wait.

The first mirror is asked first always, so that its caches stay warm. A file that one mirror lacks
is asked of the next one once, because mirrors lag; a failure that may pass goes round in turn.
"""

from __future__ import annotations

import hashlib
import logging
import random
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from cryoclarity.archive.http import NetworkError
from cryoclarity.archive.paths import is_local
from cryoclarity.codes import CODES
from cryoclarity.errors import ConfigError, CryoClarityError

LOGGER = logging.getLogger(__name__)
LONGEST_WAIT = 60.0
REFUSALS_IN_A_ROW = 3
# Damage that another transfer may heal, beside all network codes of severity 'retry'.
HEALING = frozenset({"FILE_GZ_CORRUPT", "FILE_GZ_TRUNCATED"})
# What a second mirror may have in another state: asked of one more, at once.
LAGGING = frozenset({"NET_NOT_FOUND", "ID_MAP_MISMATCH"})


@dataclass(frozen=True)
class Mirror:
    """One archive.

    Attributes
    ----------
    base : str
        https://, http://, file:// or a plain folder, with emdb/ and pdb/ below it.
    index : int
        Place in the order.
    host : str
        Name and port; '' for a folder.
    """

    base: str
    index: int
    host: str

    @property
    def local(self) -> bool:
        """Whether it is a folder of this machine."""
        return not self.host

    @property
    def base_id(self) -> str:
        """A hash, because the name of a local folder has no place in a record that travels."""
        return hashlib.sha256(self.base.encode()).hexdigest()[:16]


def parse_mirrors(bases: str | Sequence[str], *, allow_http: bool = False) -> tuple[Mirror, ...]:
    """Judge the bases of an archive, in order.

    Parameters
    ----------
    bases : str or sequence of str
    allow_http : bool
        Without it plain http is for this machine only: anybody on the way could change files.

    Raises
    ------
    ConfigError
        For no base, another scheme, or http to another machine.
    """
    names = [bases] if isinstance(bases, str) else list(bases)
    if not names or not all(names):
        raise ConfigError("no archive to fetch from", remedy="name at least one mirror")
    return tuple(_mirror(base, index, allow_http) for index, base in enumerate(names))


def _mirror(base: str, index: int, allow_http: bool) -> Mirror:
    if is_local(base):
        return Mirror(base, index, "")
    address = urlsplit(base)
    try:
        host, port = address.hostname or "", address.port
    except ValueError as error:
        raise ConfigError(f"mirror {base!r}: {error}") from error
    if address.scheme not in ("http", "https") or not host:
        raise ConfigError(
            f"mirror {base!r} is neither https, http, file nor a folder",
            remedy="write https://host/path, file:///path or the name of a folder",
        )
    if address.scheme == "http" and not allow_http and not _is_this_machine(host):
        raise ConfigError(
            f"mirror {base!r} is asked without encryption",
            remedy="write https://, or allow it with archive.allow_http",
        )
    return Mirror(base, index, f"{host}:{port}" if port else host)


def _is_this_machine(host: str) -> bool:
    return host in ("localhost", "::1") or host.startswith("127.") or host.endswith(".localhost")


class Hosts:
    """Hosts that refused several files in a row are asked no more in this run."""

    def __init__(self) -> None:
        self._refusals: dict[str, int] = {}
        self._guard = threading.Lock()

    def note(self, host: str, code: str) -> None:
        """Take notice of the last answer of a host for one file; '' is a good one."""
        with self._guard:
            if code != "NET_FORBIDDEN":
                if self._refusals.get(host, 0) < REFUSALS_IN_A_ROW:
                    self._refusals[host] = 0
                return
            self._refusals[host] = self._refusals.get(host, 0) + 1
            if self._refusals[host] == REFUSALS_IN_A_ROW:
                LOGGER.warning(
                    "%s refused %d files in a row (a ban or a firewall?): not asked again",
                    host,
                    REFUSALS_IN_A_ROW,
                )

    def is_dropped(self, host: str) -> bool:
        """Whether a host is asked no more."""
        return self._refusals.get(host, 0) >= REFUSALS_IN_A_ROW


class Turn:
    """Whose turn it is to be asked for one file.

    Parameters
    ----------
    mirrors : sequence of Mirror
        At least one.
    backoff_s : float
        Wait before the second attempt.
    """

    def __init__(self, mirrors: Sequence[Mirror], backoff_s: float) -> None:
        self.left = list(mirrors)
        self.backoff_s = backoff_s
        self.changed: CryoClarityError | None = None
        self._at = 0
        self._lagging = 0
        self._hurry = False
        self._not_before: dict[str, float] = {}

    @property
    def mirror(self) -> Mirror:
        """The one to ask now."""
        return self.left[self._at % len(self.left)]

    def goes_on(self, error: BaseException) -> bool:
        """Judge a failure: choose the next mirror, or say that there is no use in asking."""
        if not isinstance(error, CryoClarityError):
            return False
        self._hurry = error.code in LAGGING or error.code == "FILE_CHANGED"
        if error.code in LAGGING:
            self._lagging += 1
            return self._drop() and self._lagging == 1
        if error.code == "FILE_CHANGED":
            self.changed = error
            return self._drop()
        if not is_transient(error):
            return False
        if self.mirror.local:  # the same file would be read again
            self._hurry = True
            return self._drop()
        pause = getattr(error, "retry_after", 0.0)
        self._not_before[self.mirror.host] = time.monotonic() + pause
        self._at += 1
        return True

    def _drop(self) -> bool:
        self.left.remove(self.mirror)
        return bool(self.left)

    def wait(self, attempts: int, uniform: Callable[[float, float], float] = random.uniform):
        """Seconds before the next attempt: doubling with jitter, or what its host asked for."""
        if self._hurry or not self.left:
            return 0.0
        doubled = min(LONGEST_WAIT, 2.0 ** (attempts - 1)) * uniform(0.5, 1.5)
        pause = self._not_before.get(self.mirror.host, 0.0) - time.monotonic()
        return max(self.backoff_s * doubled, pause)


def is_transient(error: CryoClarityError) -> bool:
    """Whether another attempt at the same file may end well."""
    code = CODES[error.code]
    return (code.family == "network" and code.severity == "retry") or error.code in HEALING


def no_mirror_left(mirrors: Sequence[Mirror], offline: bool) -> NetworkError:
    """Return the error for a file that may be asked of nobody."""
    if offline:
        return NetworkError("not at hand, and the run is offline", code="NET_OFFLINE")
    hosts = " ".join(sorted({mirror.host for mirror in mirrors}))
    return NetworkError(f"{hosts} refused too many files in a row", code="NET_FORBIDDEN")
