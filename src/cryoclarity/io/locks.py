"""One process at a time: a lock file held by ``flock``, with a heartbeat for where that fails.

The file says host, process and time. The kernel frees the lock of a dead process; where it does
not (a shared file system, a child that inherited the file), the lock of a process that is gone, or
whose heartbeat stopped, is broken.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import logging
import os
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from cryoclarity.errors import ResourceError
from cryoclarity.io.files import disk_error

LOGGER = logging.getLogger(__name__)
POLL_S = 1.0
HEARTBEAT_S = 30.0
SILENCE_S = 600.0
# File systems without locks: every download still has its own temporary name.
NO_LOCKS = frozenset({errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP})


def is_alive(process: int) -> bool:
    """Whether a process of this machine runs."""
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


def host_name() -> str:
    """Return the name of this machine in letters that fit into a file name."""
    return "".join(c if c.isalnum() else "_" for c in socket.gethostname()) or "host"


class Heart:
    """Touches all locks that this process holds, so that others see that it lives."""

    def __init__(self) -> None:
        self._held: set[int] = set()
        self._guard = threading.Lock()
        self._thread: threading.Thread | None = None

    def add(self, handle: int) -> None:
        """Keep an open lock file fresh from now on."""
        with self._guard:
            self._held.add(handle)
            # After a fork the thread is not there any more.
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._run, daemon=True)
                self._thread.start()

    def remove(self, handle: int) -> None:
        """Leave a lock file alone before it is closed."""
        with self._guard:
            self._held.discard(handle)

    def beat(self) -> None:
        """Touch all of them now."""
        with self._guard:
            for handle in self._held:
                with contextlib.suppress(OSError):
                    os.utime(handle)

    def _run(self) -> None:
        while True:
            time.sleep(HEARTBEAT_S)
            self.beat()


HEART = Heart()


@contextlib.contextmanager
def file_lock(path: Path, timeout_s: float, poll_s: float | None = None) -> Iterator[None]:
    """Hold a lock file; it is gone when the block ends.

    Parameters
    ----------
    path : Path
    timeout_s : float
        Patience with another holder that lives.
    poll_s : float, optional
        Time between two looks at it, a second by default.

    Raises
    ------
    ResourceError
        DISK_LOCKED when the holder outlasts the patience; DISK_* when the file cannot be made.
    """
    handle = _acquire(path, timeout_s, POLL_S if poll_s is None else poll_s)
    HEART.add(handle)
    try:
        yield
    finally:
        HEART.remove(handle)
        with contextlib.suppress(OSError):
            if _is_same(handle, path):  # broken by another one, it is not ours to remove
                path.unlink()
        os.close(handle)


def _acquire(path: Path, timeout_s: float, poll_s: float) -> int:
    patience = time.monotonic() + timeout_s
    while True:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise disk_error(error, path) from error
        if not try_lock(handle):
            os.close(handle)
            holder = _holder(path)
            if not _break_dead(path, holder) and time.monotonic() >= patience:
                raise ResourceError(
                    f"held by process {holder.get('pid')} of {holder.get('host')}",
                    code="DISK_LOCKED",
                    file=path.name,
                )
            time.sleep(poll_s)
            continue
        # The holder before may have removed the file between our opening and our locking it.
        if _is_same(handle, path):
            _sign(handle)
            return handle
        os.close(handle)


def try_lock(handle: int) -> bool:
    """Lock an open file if nobody holds it; where the file system has no locks, say yes."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise disk_error(error, Path("lock")) from error
        LOGGER.debug("the file system has no locks: %s", error)
    return True


def _is_same(handle: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except FileNotFoundError:
        return False


def _sign(handle: int) -> None:
    content = {"host": host_name(), "pid": os.getpid(), "time": int(time.time())}
    os.ftruncate(handle, 0)
    os.pwrite(handle, json.dumps(content).encode(), 0)


def _holder(path: Path) -> dict:
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}  # just made, or just gone
    return content if isinstance(content, dict) else {}


def _break_dead(path: Path, holder: dict) -> bool:
    """Remove the lock of a holder that is gone; return whether it was."""
    try:
        silent = time.time() - path.stat().st_mtime > SILENCE_S
    except FileNotFoundError:
        return True
    process = holder.get("pid")
    gone = holder.get("host") == host_name() and isinstance(process, int) and not is_alive(process)
    if (silent or gone) and _holder(path) == holder:
        LOGGER.warning("broke the lock %s of %s: its holder is gone", path.name, holder)
        path.unlink(missing_ok=True)
        return True
    return False
