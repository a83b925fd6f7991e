"""A polite end: SIGTERM unwinds the stack, so that temporary files are removed."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator

TERMINATED = 128 + signal.SIGTERM


def _stop(number: int, frame: object) -> None:
    raise SystemExit(TERMINATED)


@contextlib.contextmanager
def stopped_cleanly() -> Iterator[None]:
    """End with status 143 on SIGTERM within the block, after all clean-up has run.

    Files get their final name only when they are complete, and the temporary ones are removed
    while the stack unwinds: nothing partial stays. Outside the main thread this does nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, _stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
