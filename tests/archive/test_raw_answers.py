"""Answers that no web library would send, and connections that are used again."""

from __future__ import annotations

import contextlib
import gzip
import os
import socket
import threading
import time
from dataclasses import replace
from functools import partial

import pytest

from cryoclarity.archive.fetch import Downloader
from cryoclarity.archive.http import Limits
from cryoclarity.errors import CryoClarityError
from tests.archive.files import (
    BODIES,
    IMPATIENT,
    KINDS,
    a_map,
    fetch,
    names,
    packed,
    request,
    source,
)

BODY = BODIES[KINDS["map"][0]]
OTHER = packed(a_map(1))
LINE = b"HTTP/1.1 200 OK\r\n"
RANGES = b'Accept-Ranges: bytes\r\nETag: "abc"\r\n'


class RawServer:
    """Hands every connection to a function that gets it and its number, from 1."""

    def __init__(self, answer, family=socket.AF_INET):
        self.answer, self.family = answer, family
        self.listener = socket.socket(family)
        self.listener.bind(("127.0.0.1" if family == socket.AF_INET else "::1", 0))
        self.listener.listen(16)
        self.connections = 0
        self.requests: list[str] = []
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()

    @property
    def base(self) -> str:
        host = "127.0.0.1" if self.family == socket.AF_INET else "[::1]"
        return f"http://{host}:{self.listener.getsockname()[1]}"

    def _serve(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(
                target=self._one, args=(connection, self.connections), daemon=True
            ).start()

    def _one(self, connection, number):
        with contextlib.suppress(OSError), connection:
            self.answer(self, connection, number)

    def read(self, connection) -> str:
        """Take one request from a connection, '' when the client has hung up."""
        text = b""
        while not text.endswith(b"\r\n\r\n"):
            byte = connection.recv(1)
            if not byte:
                return ""
            text += byte
        self.requests.append(text.decode())
        return text.decode()

    def close(self):
        # Wakes the thread that waits in accept.
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.thread.join()


@pytest.fixture
def serve():
    """Start servers, stop them afterwards."""
    servers = []

    def start(answer, family=socket.AF_INET):
        servers.append(RawServer(answer, family))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


def sized(body, *lines):
    head = b"".join(line + b"\r\n" for line in lines)
    return LINE + head + b"Content-Length: %d\r\n\r\n" % len(body) + body


def once(data):
    """Send the same bytes to everybody and hang up."""

    def answer(server, connection, _):
        server.read(connection)
        connection.sendall(data)

    return answer


def chunked(body, size=1000):
    parts = [body[i : i + size] for i in range(0, len(body), size)]
    return b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"


def code_of(base, folder, **changes):
    with pytest.raises(CryoClarityError) as caught:
        fetch("map", base, folder, **changes)
    assert "map.map.gz" not in names(folder)
    return caught.value


CHUNKED = b"Transfer-Encoding: chunked\r\n"
GOOD = {
    # Both lengths: the chunks count (RFC 9112, 6.3).
    "chunked, with a wrong length": LINE + CHUNKED + b"Content-Length: 7\r\n\r\n" + chunked(BODY),
    "chunk extensions and trailers": LINE
    + CHUNKED
    + b"\r\n%x;name=value\r\n%s\r\n0\r\nX-Sum: 1\r\n\r\n" % (len(BODY), BODY),
    "lines end in LF": sized(BODY).replace(b"\r\n", b"\n", 2).replace(b"\r\n\r\n", b"\n\n", 1),
    "weak etag": sized(BODY, b'ETag: W/"a"', b"Accept-Ranges: bytes"),
    "long header of 60 kB": sized(BODY, b"X-Long: " + b"a" * 60_000),
    "90 headers": sized(BODY, *(b"X-%d: 1" % i for i in range(90))),
    "header bytes beyond ASCII": sized(BODY, b"Server: caf\xc3\xa9 \xff"),
    "bytes after the declared length": sized(BODY) + b"HTTP/1.1 500 no\r\n\r\n",
    "100 Continue first": b"HTTP/1.1 100 Continue\r\n\r\n" + sized(BODY),
    "date that is no date": sized(BODY, b"Last-Modified: yesterday", b"Accept-Ranges: bytes"),
    "http/1.0 without a length": b"HTTP/1.0 200 OK\r\n\r\n" + BODY,
}
BAD = {
    "hangs up in the status line": (b"HTTP/1.1 20", "NET_"),
    "hangs up in the headers": (LINE + b"Content-Le", "NET_"),
    "hangs up after the request": (b"", "NET_CONNECTION"),
    "no HTTP": (b"220 ftp ready\r\n" * 3, "NET_"),
    "status 999": (b"HTTP/1.1 999 what\r\nContent-Length: 0\r\n\r\n", "NET_"),
    "status 204": (b"HTTP/1.1 204 No Content\r\n\r\n", "NET_PROTOCOL"),
    "206 unasked": (sized(BODY).replace(b"200 OK", b"206 Partial"), "NET_RANGE"),
    "103 in place of an answer": (b"HTTP/1.1 103 Hints\r\n\r\n" + sized(BODY), "NET_PROTOCOL"),
    "304 unasked": (b"HTTP/1.1 304 Not Modified\r\n\r\n", "NET_PROTOCOL"),
    "header line of 70 kB": (sized(BODY, b"X-Long: " + b"a" * 70_000), "NET_"),
    "200 headers": (sized(BODY, *(b"X-%d: 1" % i for i in range(200))), "NET_"),
    "negative length": (LINE + b"Content-Length: -5\r\n\r\n" + BODY, "NET_LENGTH"),
    "length in words": (LINE + b"Content-Length: ten\r\n\r\n" + BODY, "NET_LENGTH"),
    "length beyond all disks": (
        LINE + b"Content-Length: 1" + b"0" * 30 + b"\r\n\r\n" + BODY,
        "NET_LENGTH",
    ),
    "chunk size no number": (LINE + CHUNKED + b"\r\nzz\r\n" + BODY, "NET_"),
    "chunk size negative": (LINE + CHUNKED + b"\r\n-5\r\n" + BODY, "NET_"),
    "chunk size enormous": (LINE + CHUNKED + b"\r\nffffffffffffffff\r\n" + BODY, "NET_"),
    "chunked gzip with a wrong length word": (
        LINE + CHUNKED + b"\r\n" + chunked(BODY[:-4] + b"\1\2\3\4"),
        "FILE_GZ_CORRUPT",
    ),
    "multipart ranges": (
        b"HTTP/1.1 206 Partial\r\nContent-Type: multipart/byteranges; boundary=x\r\n"
        b"Content-Length: 40\r\n\r\n--x\r\nContent-Range: bytes 0-9/100\r\n\r\n0123456789",
        "NET_RANGE",
    ),
    "redirect without a place": (
        b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\n\r\n",
        "NET_REDIRECT",
    ),
    "redirect to a file": (
        b"HTTP/1.1 302 Found\r\nLocation: file:///etc/passwd\r\nContent-Length: 0\r\n\r\n",
        "NET_REDIRECT",
    ),
    "redirect to nonsense": (
        b"HTTP/1.1 302 Found\r\nLocation: http://[::bad\r\nContent-Length: 0\r\n\r\n",
        "NET_REDIRECT",
    ),
    "page under the right type": (
        sized(b"<html><title>Sign in</title></html>", b"Content-Type: application/gzip"),
        "NET_HTML",
    ),
}


@pytest.mark.parametrize("case", GOOD)
def test_odd_but_right(serve, tmp_path, case):
    server = serve(once(GOOD[case]))
    fetch("map", server.base, tmp_path)
    assert (tmp_path / "map.map.gz").read_bytes() == BODY
    assert names(tmp_path) == ["map.map.gz"]


@pytest.mark.parametrize("case", BAD)
def test_nothing_is_left_of_a_bad_answer(serve, tmp_path, case):
    data, code = BAD[case]
    server = serve(once(data))
    error = code_of(server.base, tmp_path, attempts=2)
    assert error.code == "NET_DEADLINE" or error.code.startswith(code or "NET_"), error
    if error.code == "NET_DEADLINE":
        assert code in str(error)
    assert server.connections <= 8


@pytest.mark.parametrize("pause", [0.02, 0.15])
def test_headers_that_come_byte_by_byte_end_at_the_time_limit(serve, tmp_path, pause):
    def answer(server, connection, _):
        server.read(connection)
        connection.sendall(LINE)
        while True:
            connection.sendall(b"X")
            time.sleep(pause)

    server = serve(answer)
    began = time.monotonic()
    error = code_of(server.base, tmp_path, attempts=2, limits=IMPATIENT)
    assert "NET_TIMEOUT" in str(error)
    assert time.monotonic() - began < 5


def test_interim_answers_without_end(serve, tmp_path):
    def answer(server, connection, _):
        server.read(connection)
        while True:
            connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
            time.sleep(0.02)

    began = time.monotonic()
    error = code_of(serve(answer).base, tmp_path, attempts=1, limits=IMPATIENT)
    assert "NET_TIMEOUT" in str(error)
    assert time.monotonic() - began < 5


def test_a_chunk_size_that_comes_for_ever_ends_at_the_deadline(serve, tmp_path):
    def answer(server, connection, _):
        server.read(connection)
        connection.sendall(LINE + CHUNKED + b"\r\n5;name=")
        while True:
            connection.sendall(b"x")
            time.sleep(0.05)

    began = time.monotonic()
    limits = replace(IMPATIENT, deadline_s=0.6)
    error = code_of(serve(answer).base, tmp_path, attempts=3, limits=limits)
    assert error.code == "NET_DEADLINE"
    assert time.monotonic() - began < 5


def test_a_slow_mirror_gives_way_to_a_good_one(serve, tmp_path):
    def drip(server, connection, _):
        server.read(connection)
        connection.sendall(LINE + b"Content-Length: %d\r\n\r\n" % len(BODY))
        for byte in BODY:
            connection.sendall(bytes([byte]))
            time.sleep(0.02)

    slow, good = serve(drip), serve(once(sized(BODY)))
    record = fetch("map", (slow.base, good.base), tmp_path, limits=IMPATIENT)
    assert [answer["code"] for answer in record["tried"]] == ["NET_SLOW", ""]
    assert record["mirror_index"] == 1
    assert names(tmp_path) == ["map.map.gz"]


def test_a_redirect_to_another_host_is_followed_and_told(serve, tmp_path):
    good = serve(once(sized(BODY)))
    there = f"Location: {good.base}/elsewhere.map.gz\r\n".encode()
    first = serve(once(b"HTTP/1.1 307 Moved\r\n" + there + b"Content-Length: 0\r\n\r\n"))
    assert fetch("map", first.base, tmp_path)["url"] == f"{good.base}/elsewhere.map.gz"


def test_the_body_of_a_redirect_is_not_read(serve, tmp_path):
    good = serve(once(sized(BODY)))

    def endless(server, connection, _):
        server.read(connection)
        connection.sendall(f"HTTP/1.1 302 F\r\nLocation: {good.base}/m\r\n\r\n".encode())
        while True:
            connection.sendall(b"x" * 1000)
            time.sleep(0.01)

    fetch("map", serve(endless).base, tmp_path)
    assert names(tmp_path) == ["map.map.gz"]


def test_over_ipv6(serve, tmp_path):
    try:
        server = serve(once(sized(BODY)), socket.AF_INET6)
    except OSError:
        pytest.skip("this machine has no IPv6")
    fetch("map", server.base, tmp_path)
    assert (tmp_path / "map.map.gz").read_bytes() == BODY


def test_a_kept_connection_that_dies_when_it_is_used_again(serve, tmp_path):
    """The server promises to keep the connection and resets it at the next request."""

    def answer(server, connection, number):
        while server.read(connection):
            if number == 1 and len(server.requests) == 2:
                linger = b"\1\0\0\0\0\0\0\0"
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                return
            connection.sendall(sized(BODY))

    server = serve(answer)
    with Downloader(source(server.base)) as downloader:
        for number in range(3):
            (tmp_path / str(number)).mkdir()
            downloader.fetch(request("map", tmp_path / str(number)))
    assert len(server.requests) == 4  # one lost, one asked again
    assert server.connections == 2


def test_one_connection_serves_many_files(serve, tmp_path):
    def answer(server, connection, _):
        while server.read(connection):
            connection.sendall(sized(BODY))

    server = serve(answer)
    with Downloader(source(server.base)) as downloader:
        for number in range(5):
            (tmp_path / str(number)).mkdir()
            downloader.fetch(request("map", tmp_path / str(number)))
    assert server.connections == 1


def test_bytes_of_one_answer_never_leak_into_the_next(serve, tmp_path):
    """More bytes than declared on a kept connection: they are no second answer."""

    def answer(server, connection, _):
        while server.read(connection):
            connection.sendall(sized(BODY) + sized(OTHER))

    server = serve(answer)
    with Downloader(source(server.base)) as downloader:
        for number in range(3):
            (tmp_path / str(number)).mkdir()
            downloader.fetch(request("map", tmp_path / str(number)))
            found = (tmp_path / str(number) / "map.map.gz").read_bytes()
            assert found == BODY


def resuming(rest):
    """Cut the first answer in the middle; `rest` answers the request for a range."""

    def answer(server, connection, number):
        asked = server.read(connection)
        if number == 1:
            connection.sendall(sized(BODY, *RANGES.split(b"\r\n")[:-1])[: -len(BODY) // 2])
        elif "Range:" in asked:
            start = int(asked.split("Range: bytes=")[1].split("-")[0])
            connection.sendall(rest(start))
        else:
            connection.sendall(sized(BODY, *RANGES.split(b"\r\n")[:-1]))

    return answer


def part(start, body, total=None, etag=b'"abc"', kind=b""):
    rest = body[start:]
    span = b"bytes %d-%d/%d" % (start, len(body) - 1, total or len(body))
    head = b"Content-Range: %s\r\nETag: %s\r\n%s" % (span, etag, kind)
    return b"HTTP/1.1 206 P\r\n%sContent-Length: %d\r\n\r\n%s" % (head, len(rest), rest)


RESTS = {
    "right": lambda start: part(start, BODY),
    "etag has become weak": lambda start: part(start, BODY, etag=b'W/"abc"'),
    "file has grown": lambda start: part(start, BODY + b"\0" * 50),
    "total unknown": lambda start: part(start, BODY).replace(b"/%d\r" % len(BODY), b"/*\r"),
    "multipart": lambda start: part(start, BODY, kind=b"Content-Type: multipart/byteranges\r\n"),
    "no range named": lambda start: part(start, BODY).replace(b"Content-Range", b"X-Range"),
    "bytes of another file": lambda start: part(start, OTHER),
    "cut once more": lambda start: part(start, BODY)[:-30],
    "whole file as a part": lambda start: part(0, BODY),
}


@pytest.mark.parametrize("case", RESTS)
def test_a_part_is_joined_only_with_its_own_rest(serve, tmp_path, case):
    server = serve(resuming(RESTS[case]))
    try:
        fetch("map", server.base, tmp_path, attempts=6)
    except CryoClarityError as error:
        assert case in ("bytes of another file", "cut once more"), error
        assert "map.map.gz" not in names(tmp_path)
    else:
        assert (tmp_path / "map.map.gz").read_bytes() == BODY
    assert any('If-Range: "abc"' in asked for asked in server.requests)


def test_a_file_that_grows_while_it_is_sent(serve, tmp_path):
    """Each answer is longer than the one before: only a whole one is taken."""

    def answer(server, connection, number):
        server.read(connection)
        body = gzip.compress(a_map(), 0, mtime=0) + bytes(number)
        connection.sendall(sized(body, b'ETag: "%d"' % number, b"Accept-Ranges: bytes")[:-number])

    error = code_of(serve(answer).base, tmp_path, attempts=3)
    assert "NET_INCOMPLETE" in str(error)


def test_a_folder_whose_file_is_cut_while_it_is_read(tmp_path):
    """A mirror that another program writes to: the copy is proved, whatever the source did."""
    path, gate, name, _ = KINDS["map"]
    file = tmp_path / "archive" / path
    file.parent.mkdir(parents=True)
    file.write_bytes(BODY)

    def cutting(stream, *, gate):
        os.truncate(file, 1000)
        return gate(stream)

    (tmp_path / "out").mkdir()
    wanted = {"gate": partial(cutting, gate=gate)}
    with contextlib.suppress(CryoClarityError):
        fetch("map", str(tmp_path / "archive"), tmp_path / "out", wanted=wanted)
    found = names(tmp_path / "out")
    assert found == [] or (tmp_path / "out" / name).read_bytes() == BODY


def test_limits_are_what_they_are_called():
    assert replace(Limits(), deadline_s=1).deadline_of(10**9) == pytest.approx(5000)
