"""Close windows on an X display of our own: a client of the X11 protocol, no library needed.

Only what that takes: connect to the local socket, walk the windows, read their titles, send the
polite request to close (X Window System Protocol, version 11; ICCCM 4.2.8.1).
"""

from __future__ import annotations

import contextlib
import re
import socket
import struct
from collections.abc import Iterator

__all__ = ["SOCKETS", "XConnection", "close_windows"]

SOCKETS = ("/tmp/.X11-unix/X{}", "\0/tmp/.X11-unix/X{}")  # a file, or Linux's abstract name
SECONDS = 10.0
DEPTH = 3  # root, perhaps a frame, the window
TITLE_BYTES = 256
WM_NAME = 39
INTERN_ATOM, GET_PROPERTY, QUERY_TREE, SEND_EVENT = 16, 20, 15, 25
CLIENT_MESSAGE = 33
REPLY_BYTES = 32


class XConnection:
    """A connection to a display of this machine; a context manager.

    Parameters
    ----------
    number : int
        Of the display, 57 for ``:57``.

    Raises
    ------
    OSError
        Where nobody answers, or not in this protocol.
    """

    def __init__(self, number: int) -> None:
        self._socket = _connected(number)
        try:
            self._socket.sendall(struct.pack("<BxHHHHxx", ord("l"), 11, 0, 0, 0))
            success, _, _, _, length = struct.unpack("<BBHHH", self._take(8))
            setup = self._take(4 * length)
            if success != 1:
                raise ConnectionRefusedError("the display refuses the connection")
            vendor, formats = struct.unpack_from("<H", setup, 16)[0], setup[21]
            screen = 32 + 4 * -(-vendor // 4) + 8 * formats
            self.root = struct.unpack_from("<I", setup, screen)[0]
        except struct.error as error:
            self._socket.close()
            raise OSError(f"no X server answers on display {number}") from error
        except OSError:
            self._socket.close()
            raise

    def __enter__(self) -> XConnection:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def windows(self, title: str) -> list[int]:
        """Return the windows whose whole title matches a regular expression."""
        return [w for w in self._walk(self.root, DEPTH) if re.fullmatch(title, self._title(w))]

    def ask_to_close(self, window: int) -> None:
        """Send the message that a window manager sends for the button in the title bar."""
        protocols, delete = self._atom(b"WM_PROTOCOLS"), self._atom(b"WM_DELETE_WINDOW")
        event = (CLIENT_MESSAGE, 32, 0, window, protocols, delete, 0, 0, 0, 0)
        request = struct.pack("<BBHII", SEND_EVENT, 0, 11, window, 0)
        self._socket.sendall(request + struct.pack("<BBHIIIIIII", *event))

    def _walk(self, window: int, depth: int) -> Iterator[int]:
        reply = self._ask(struct.pack("<BxHI", QUERY_TREE, 2, window))
        if reply is None:
            return
        (count,) = struct.unpack_from("<H", reply, 16)
        for child in struct.unpack_from(f"<{count}I", reply, REPLY_BYTES):
            yield child
            if depth > 1:
                yield from self._walk(child, depth - 1)

    def _title(self, window: int) -> str:
        request = (GET_PROPERTY, 0, 6, window, WM_NAME, 0, 0, TITLE_BYTES // 4)
        reply = self._ask(struct.pack("<BBHIIIII", *request))
        if reply is None or reply[1] != 8:
            return ""
        (length,) = struct.unpack_from("<I", reply, 16)
        return reply[REPLY_BYTES : REPLY_BYTES + length].decode("latin-1")

    def _atom(self, name: bytes) -> int:
        padded = name.ljust(4 * -(-len(name) // 4), b"\0")
        request = struct.pack("<BBHHxx", INTERN_ATOM, 0, 2 + len(padded) // 4, len(name)) + padded
        reply = self._ask(request)
        return 0 if reply is None else struct.unpack_from("<I", reply, 8)[0]

    def _ask(self, request: bytes) -> bytes | None:
        """Send a request and return its reply; None where the window has gone meanwhile."""
        self._socket.sendall(request)
        while True:
            head = self._take(REPLY_BYTES)
            if head[0] == 1:
                return head + self._take(4 * struct.unpack_from("<I", head, 4)[0])
            # Errors of events sent before answer nobody's question.
            if head[0] == 0 and head[10] != SEND_EVENT:
                return None

    def _take(self, count: int) -> bytes:
        parts = b""
        while len(parts) < count:
            part = self._socket.recv(count - len(parts))
            if not part:
                raise ConnectionResetError("the display hung up")
            parts += part
        return parts


def close_windows(number: int, title: str) -> int:
    """Ask all windows of a display with a title to close; return how many there were.

    Parameters
    ----------
    number : int
    title : str
        Regular expression.

    Raises
    ------
    OSError
        The display is not there, or no longer.
    """
    with XConnection(number) as display:
        windows = display.windows(title)
        for window in windows:
            display.ask_to_close(window)
        if windows:
            display.windows(title)  # once a later question is answered the messages were taken
        return len(windows)


def _connected(number: int) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.settimeout(SECONDS)
    for name in SOCKETS:
        with contextlib.suppress(OSError):
            connection.connect(name.format(number))
            return connection
    connection.close()
    raise ConnectionRefusedError(f"no display {number} on this machine")
