"""A web archive that misbehaves on purpose, one route per vice.

A URL is ``http://host:port/<route>/<path>``; what lies at a path is set by the test.
"""

from __future__ import annotations

import gzip
import socketserver
import struct
import threading
import time
from collections import Counter
from email.utils import formatdate

PAGE = b"<html><head><title>Busy</title></head><body>come back</body></html>"
STALL = 1.2


class Server(socketserver.ThreadingTCPServer):
    """Holds the files, and counts the requests per URL path."""

    allow_reuse_address = True
    daemon_threads = True

    def __init__(self, files: dict[str, bytes]) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files = files
        self.requests: Counter[str] = Counter()
        self.headers: list[str] = []
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02}).start()

    @property
    def base(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def close(self) -> None:
        self.shutdown()
        self.server_close()

    def handle_error(self, request, client_address) -> None:
        """Clients that hang up are part of the game."""


class Handler(socketserver.StreamRequestHandler):
    """One request per connection, answered byte by byte."""

    def handle(self) -> None:
        request = self.rfile.readline().decode().split()
        if len(request) < 2:
            return
        lines = []
        while (line := self.rfile.readline().strip()) != b"":
            lines.append(line.decode())
        self.server.headers += lines
        _, route, path = request[1].split("/", 2)
        self.server.requests[request[1]] += 1
        count = self.server.requests[request[1]]
        body = self.server.files.get(path)
        if body is None:
            self.answer("404 Not Found", b"no such file")
        else:
            getattr(self, "do_" + route)(body, count, path)

    def answer(self, status, body, *headers, length=True, version="1.1") -> None:
        lines = [f"HTTP/{version} {status}", *headers, "Connection: close"]
        if length is not False:
            lines.append(f"Content-Length: {len(body) if length is True else length}")
        self.wfile.write("\r\n".join([*lines, "", ""]).encode() + body)

    def chunks(self, body, *, finish) -> None:
        self.answer("200 OK", b"", "Transfer-Encoding: chunked", length=False)
        for start in range(0, len(body), 1000):
            piece = body[start : start + 1000]
            self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
        if finish:
            self.wfile.write(b"0\r\n\r\n")

    def do_ok(self, body, count, path):
        self.answer("200 OK", body, 'ETag: "abc"')

    def do_chunked(self, body, count, path):
        self.chunks(body, finish=True)

    def do_cut(self, body, count, path):
        self.answer("200 OK", body[:-500], length=len(body))

    def do_cut_once(self, body, count, path):
        self.answer("200 OK", body[:-500] if count == 1 else body, length=len(body))

    def do_cut_chunked(self, body, count, path):
        self.chunks(body[:-500], finish=False)

    def do_cut_without_length(self, body, count, path):
        self.answer("200 OK", body[:-500], length=False, version="1.0")

    def do_longer(self, body, count, path):
        self.answer("200 OK", body + b"more", length=len(body))

    def do_two_lengths(self, body, count, path):
        self.answer("200 OK", body, f"Content-Length: {len(body) + 5}")

    def do_drip(self, body, count, path):
        self.answer("200 OK", b"", length=len(body))
        for byte in body[:20]:
            self.wfile.write(bytes([byte]))
            time.sleep(0.05)

    def do_stall(self, body, count, path):
        self.answer("200 OK", body[:100], length=len(body))
        time.sleep(STALL)

    def do_silent(self, body, count, path):
        time.sleep(STALL)

    def do_reset(self, body, count, path):
        self.answer("200 OK", body[:100], length=len(body))
        self.wfile.flush()
        linger = struct.pack("ii", 1, 0)
        self.request.setsockopt(1, 13, linger)  # SO_LINGER 0: close with a reset
        self.rfile.close()
        self.request.close()

    def do_server_error(self, body, count, path):
        self.answer("500 Oops", b"")

    def do_server_error_once(self, body, count, path):
        self.answer("500 Oops", b"") if count == 1 else self.do_ok(body, count, path)

    def do_busy_once(self, body, count, path):
        if count == 1:
            self.answer("503 Busy", b"", "Retry-After: 1")
        else:
            self.do_ok(body, count, path)

    def do_busy_in_the_past(self, body, count, path):
        if count == 1:
            self.answer("503 Busy", b"", "Retry-After: " + formatdate(0, usegmt=True))
        else:
            self.do_ok(body, count, path)

    def do_too_many(self, body, count, path):
        self.answer("429 Slow down", b"")

    def do_forbidden(self, body, count, path):
        self.answer("403 Forbidden", b"")

    def do_gone(self, body, count, path):
        self.answer("410 Gone", b"")

    def do_moved(self, body, count, path):
        self.answer("301 Moved", b"", f"Location: /ok/{path}")

    def do_loop(self, body, count, path):
        self.answer("302 Found", b"", f"Location: /loop/{path}")

    def do_page(self, body, count, path):
        self.answer("200 OK", PAGE, "Content-Type: text/html")

    def do_empty(self, body, count, path):
        self.answer("200 OK", b"")

    def do_labelled(self, body, count, path):
        self.answer("200 OK", body, "Content-Encoding: gzip")

    def do_encoded_twice(self, body, count, path):
        self.answer("200 OK", gzip.compress(body), "Content-Encoding: gzip")

    def do_brotli(self, body, count, path):
        self.answer("200 OK", body, "Content-Encoding: br")

    def do_wrong_crc(self, body, count, path):
        self.answer("200 OK", body[:-8] + bytes(8))

    def do_wrong_crc_once(self, body, count, path):
        self.answer("200 OK", body[:-8] + bytes(8) if count == 1 else body)

    def do_no_map(self, body, count, path):
        self.answer("200 OK", gzip.compress(b"\x89HDF" + bytes(3000)))
