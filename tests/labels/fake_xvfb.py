"""A stand-in for Xvfb: a display with one figure, which answers the few requests of a closer.

Standard library only. FAKE_SOCKET is where it listens; a request to close the figure leaves the
file FAKE_CLOSED, after FAKE_STUBBORN requests that it ignores.
"""

import os
import socket
import struct
import sys

ROOT, FRAME, FIGURE, OTHER = 256, 700, 4194307, 4194310
TREE = {ROOT: [FRAME, OTHER], FRAME: [FIGURE], FIGURE: [], OTHER: []}
TITLES = {FIGURE: b"Figure 1", OTHER: b"my Figure 1 notes"}
ATOMS = []


def closed():
    return os.path.exists(os.environ["FAKE_CLOSED"])


def reply(data, extra=b"", detail=0):
    body = struct.pack("<BBHI", 1, detail, 0, len(extra) // 4) + data.ljust(24, b"\0")
    return body + extra


def set_up():
    vendor = b"stand-in"
    setup = struct.pack(
        "<IIIIHHBBBBBBBBI", 1, 0, 0, 0, len(vendor), 65535, 1, 1, *[0] * 4, 8, 255, 0
    )
    setup += vendor + b"\0" * 8 + struct.pack("<I", ROOT).ljust(40, b"\0")
    return struct.pack("<BBHHH", 1, 0, 11, 0, len(setup) // 4) + setup


def close_figure(event):
    kind, _, _, window, protocols, delete = struct.unpack_from("<BBHIII", event)
    names = [ATOMS[number - 1] for number in (protocols, delete)]
    assert (kind, window) == (33, FIGURE), "not the figure was asked"
    assert names == [b"WM_PROTOCOLS", b"WM_DELETE_WINDOW"]
    asked = int(os.environ.get("FAKE_STUBBORN", "0"))
    os.environ["FAKE_STUBBORN"] = str(asked - 1)
    if asked <= 0:
        open(os.environ["FAKE_CLOSED"], "w").close()


def answer(request):
    code = request[0]
    if code == 16:
        (length,) = struct.unpack_from("<H", request, 4)
        ATOMS.append(request[8 : 8 + length])
        return reply(struct.pack("<I", len(ATOMS)))
    window = struct.unpack_from("<I", request, 4)[0]
    if code == 25:
        close_figure(request[12:])
        # An event of somebody else, which every client must pass over.
        return bytes([22]) + b"\0" * 31
    if window == FIGURE and closed():
        return struct.pack("<BBHIHB", 0, 3, 0, window, 0, code).ljust(32, b"\0")
    if code == 15:
        children = TREE[window]
        data = struct.pack("<IIH", ROOT, 0, len(children))
        return reply(data, struct.pack(f"<{len(children)}I", *children))
    title = TITLES.get(window, b"")
    padded = title.ljust(-(-len(title) // 4) * 4, b"\0")
    return reply(struct.pack("<III", 31, 0, len(title)), padded, 8 if title else 0)


def serve(connection):
    assert connection.recv(12)[:1] == b"l"
    connection.sendall(set_up())
    while True:
        head = connection.recv(4)
        if not head:
            return
        (length,) = struct.unpack_from("<H", head, 2)
        connection.sendall(answer(head + connection.recv(4 * length - 4)))


def main():
    with open(os.path.join(os.environ["FAKE_ROOT"], "xvfb.log"), "w") as log:
        log.write(" ".join(sys.argv[1:]))
    if os.path.exists(os.environ["FAKE_SOCKET"]):
        os.unlink(os.environ["FAKE_SOCKET"])
    server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    server.bind(os.environ["FAKE_SOCKET"])
    server.listen(4)
    os.write(int(sys.argv[2]), b"57\n")
    while True:
        connection, _ = server.accept()
        serve(connection)


main()
