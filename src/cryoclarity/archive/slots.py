"""At most so many requests per host at once, over all processes of a user.

A slot is a file held by ``flock`` while a request runs; the kernel frees it when its holder dies.
"""

from __future__ import annotations

import contextlib
import os
import random
import re
import time
from collections.abc import Iterator
from pathlib import Path

from cryoclarity.io.files import disk_error
from cryoclarity.io.locks import try_lock

POLL_S = 0.02
UNSAFE = re.compile(r"[^A-Za-z0-9.-]")


class HostSlots:
    """Slots of all hosts.

    Parameters
    ----------
    folder : Path or None
        Shared by all processes that count together; None: no limit.
    per_host : int
    """

    def __init__(self, folder: Path | None, per_host: int) -> None:
        self.folder = folder
        self.per_host = per_host

    @contextlib.contextmanager
    def taken(self, host: str) -> Iterator[None]:
        """Hold one slot of a host; waits until one is free.

        Raises
        ------
        ResourceError
            DISK_* when the folder cannot be written.
        """
        if self.folder is None:
            yield
            return
        folder = self.folder / UNSAFE.sub("_", host)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            handle = self._free_slot(folder)
        except OSError as error:
            raise disk_error(error, folder) from error
        try:
            yield
        finally:
            os.close(handle)

    def _free_slot(self, folder: Path) -> int:
        numbers = list(range(self.per_host))
        while True:
            random.shuffle(numbers)
            for number in numbers:
                handle = os.open(folder / str(number), os.O_RDWR | os.O_CREAT, 0o644)
                if try_lock(handle):
                    return handle
                os.close(handle)
            time.sleep(POLL_S * random.uniform(0.5, 1.5))


def user_folder() -> Path:
    """Return the folder of slots that all processes of a user share."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "cryoclarity" / "slots"
