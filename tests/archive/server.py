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
        self.others: dict[str, bytes] = {}
        self.strangers: dict[str, bytes] = {}
        self.damaged: dict[str, bytes] = {}
        self.bombs: dict[str, bytes] = {}
        self.elsewhere = ""
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
        pairs = dict(line.split(": ", 1) for line in lines)
        self.offset = int(pairs["Range"][6:-1]) if "Range" in pairs else None
        self.asked = pairs
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

    def do_fades(self, body, count, path):
        """Most of it at once, the rest byte by byte."""
        self.answer("200 OK", body[:-200], length=len(body))
        for byte in body[-200:-180]:
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

    def do_downgrade(self, body, count, path):
        self.answer("302 Found", b"", f"Location: {self.server.elsewhere}/ok/{path}")

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

    def do_bomb(self, body, count, path):
        self.answer("200 OK", self.server.bombs[path])

    def do_pause_of_a_day(self, body, count, path):
        self.answer("503 Busy", b"", "Retry-After: 86400")

    def do_not_found(self, body, count, path):
        self.answer("404 Not Found", b"")

    def do_other_bytes(self, body, count, path):
        """Good gzip of the same length with other content."""
        self.answer("200 OK", self.server.others[path])

    def do_replaced(self, body, count, path):
        """A good file of another entry."""
        self.answer("200 OK", self.server.strangers[path])

    def do_damaged(self, body, count, path):
        """A transfer without a fault of a file with impossible values."""
        self.answer("200 OK", self.server.damaged[path])

    def do_current(self, body, count, path):
        if self.asked.get("If-None-Match") == '"abc"':
            self.answer("304 Not Modified", b"")
        else:
            self.do_ok(body, count, path)

    # Parts: the first answer breaks off; what follows depends on the route.

    def first(self, body, *headers) -> None:
        headers = headers or ('ETag: "abc"',)
        self.answer("200 OK", body[:-500], "Accept-Ranges: bytes", *headers, length=len(body))

    def part(self, body, *, start=None, total=None, etag='"abc"', sent=None) -> None:
        start = self.offset if start is None else start
        total = total or len(body)
        span = f"Content-Range: bytes {start}-{total - 1}/{total}"
        self.answer("206 Partial Content", body[sent or start :], span, f"ETag: {etag}")

    def resumed(self, body, count, path, answer) -> None:
        if count == 1:
            self.first(body)
        elif self.offset is None:
            self.do_ok(body, count, path)
        else:
            answer()

    def do_part(self, body, count, path):
        self.resumed(body, count, path, lambda: self.part(body))

    def do_part_shifted(self, body, count, path):
        self.resumed(body, count, path, lambda: self.part(body, start=self.offset - 10))

    def do_part_of_other_total(self, body, count, path):
        self.resumed(body, count, path, lambda: self.part(body, total=len(body) + 7))

    def do_part_of_newer_file(self, body, count, path):
        self.resumed(body, count, path, lambda: self.part(body, etag='"new"'))

    def do_part_without_etag(self, body, count, path):
        span = f"Content-Range: bytes {self.offset}-{len(body) - 1}/{len(body)}"
        rest = body[self.offset or 0 :]
        self.resumed(body, count, path, lambda: self.answer("206 Partial", rest, span))

    def do_part_refused(self, body, count, path):
        self.resumed(body, count, path, lambda: self.do_ok(body, count, path))

    def do_part_not_satisfiable(self, body, count, path):
        self.resumed(body, count, path, lambda: self.answer("416 Range", b""))

    def do_part_unasked(self, body, count, path):
        self.part(body, start=100)

    def do_part_by_date(self, body, count, path):
        date = "Last-Modified: Thu, 01 Jan 2015 00:00:00 GMT"
        if count == 1:
            self.first(body, date)
        elif self.offset is None:
            self.answer("200 OK", body, date)
        else:
            span = f"Content-Range: bytes {self.offset}-{len(body) - 1}/{len(body)}"
            self.answer("206 Partial Content", body[self.offset :], span, date)

    def do_part_of_fresh_file(self, body, count, path):
        """Changed a second ago: its date names more than one version."""
        if count == 1:
            self.first(body, "Last-Modified: " + formatdate(usegmt=True))
        else:
            assert self.offset is None
            self.do_ok(body, count, path)

    def do_part_of_weak_etag(self, body, count, path):
        if count == 1:
            self.first(body, 'ETag: W/"abc"')
        else:
            assert self.offset is None
            self.do_ok(body, count, path)

    def do_changed_between(self, body, count, path):
        """The file is replaced between two requests: If-Range does not hold, all of it comes."""
        if count == 1:
            self.first(body)
        else:
            self.answer("200 OK", self.server.others[path], 'ETag: "new"')

    def do_archive(self, body, count, path):
        """A good archive that takes its time and can send parts."""
        whole = self.offset is None or self.asked.get("If-Range") != '"abc"'
        start = 0 if whole else self.offset
        status = "200 OK" if whole else "206 Partial Content"
        span = [] if whole else [f"Content-Range: bytes {start}-{len(body) - 1}/{len(body)}"]
        headers = ('ETag: "abc"', "Accept-Ranges: bytes", *span)
        self.answer(status, b"", *headers, length=len(body) - start)
        step = max(1, len(body) // 8)
        for begin in range(start, len(body), step):
            self.wfile.write(body[begin : begin + step])
            time.sleep(0.001)
