"""Alarms for connections that keep their reader waiting with a byte now and then."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator

TICK = 0.1  # seconds


class Alarms:
    """One thread that hangs up on whatever has taken too long; setting an alarm costs nothing."""

    def __init__(self) -> None:
        self._due: dict[object, tuple[float, Callable[[], None]]] = {}
        self._guard = threading.Lock()
        self._wanted = threading.Event()
        self._thread: threading.Thread | None = None

    @contextlib.contextmanager
    def set(self, seconds: float, hang_up: Callable[[], None]) -> Iterator[None]:
        """Hang up unless the block ends within so many seconds."""
        token = object()
        with self._guard:
            self._due[token] = (time.monotonic() + seconds, hang_up)
            if self._thread is None or not self._thread.is_alive():  # also after a fork
                self._thread = threading.Thread(target=self._watch, daemon=True)
                self._thread.start()
        self._wanted.set()
        try:
            yield
        finally:
            with self._guard:
                self._due.pop(token, None)

    def _watch(self) -> None:
        while self._wanted.wait():
            time.sleep(TICK)
            now = time.monotonic()
            with self._guard:
                late = {token for token, (moment, _) in self._due.items() if moment <= now}
                calls = [self._due.pop(token)[1] for token in late]
                if not self._due:
                    self._wanted.clear()
            for hang_up in calls:
                with contextlib.suppress(OSError, ValueError):  # the other end was faster
                    hang_up()


ALARMS = Alarms()
