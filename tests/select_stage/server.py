"""The archives' services on this machine, with every vice that a test asks for."""

from __future__ import annotations

import json
import socketserver
import threading
from collections import Counter
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from urllib.parse import parse_qs, unquote, urlsplit

from tests.select_stage.generated import csv_body

Vice = Callable[["Handler", int, bytes], None]
PAGE = b"<!DOCTYPE html><html><body>busy</body></html>"


class Services(socketserver.ThreadingTCPServer):
    """Search, facet, entry documents, header files and clusters.

    `vices` maps the beginning of a path to what to do there; a vice gets the handler, the number
    of the request to that path (from 1), and the body that would be right.
    """

    allow_reuse_address = True
    daemon_threads = True

    def __init__(
        self,
        rows: list[list[str]],
        documents: dict[str, bytes] | Callable[[str], bytes | None],
        clusters: bytes = b"",
        headers: dict[str, bytes] | None = None,
        released: int | None = None,
    ) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.rows = rows
        self.documents = documents if callable(documents) else documents.get
        self.clusters = clusters
        self.headers = headers or {}
        self.released = released
        self.vices: dict[str, Vice] = {}
        self.requests: Counter[str] = Counter()
        self.seen_headers: list[dict[str, str]] = []
        self._thread = threading.Thread(target=self.serve_forever, args=(0.02,))
        self._thread.start()

    @property
    def base(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    @property
    def api(self) -> str:
        return f"{self.base}/emdb/api"

    @property
    def clusters_url(self) -> str:
        return f"{self.base}/clusters-by-entity-{{identity}}.txt"

    def __exit__(self, *arguments) -> None:
        self.shutdown()
        self._thread.join()
        super().__exit__(*arguments)

    def handle_error(self, request, client_address) -> None:
        """Clients that hang up are part of the game."""

    def asked(self, beginning: str) -> int:
        """Requests to paths that begin so."""
        return sum(count for path, count in self.requests.items() if path.startswith(beginning))


class Handler(BaseHTTPRequestHandler):
    """One GET or POST; connections are kept alive."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # else each small answer waits for the client's delayed ACK
    server: Services

    def log_message(self, *_) -> None:
        """Say nothing on stderr."""

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        path = parts.path
        self.server.requests[path] += 1
        self.server.seen_headers.append(dict(self.headers))
        body = self.body_of(path, {k: v[0] for k, v in parse_qs(parts.query).items()})
        for beginning, vice in self.server.vices.items():
            if path.startswith(beginning):
                vice(self, self.server.requests[path], body)
                return
        self.answer(404 if body is None else 200, body or b"")

    def do_POST(self) -> None:
        self.content = self.rfile.read(int(self.headers["Content-Length"]))
        self.do_GET()

    def body_of(self, path: str, options: dict[str, str]) -> bytes | None:
        server = self.server
        kind, _, rest = path.removeprefix("/emdb/api/").partition("/")
        if kind == "search":
            return self.search(int(options["rows"]), int(options["page"]))
        if kind == "facet":
            return json.dumps({"current_status": {"rel": self.count()}}).encode()
        if kind == "entry":
            return server.documents(unquote(rest))
        if path.startswith("/clusters"):
            return server.clusters
        return server.headers.get(path)

    def search(self, rows: int, page: int) -> bytes:
        return csv_body(self.server.rows[(page - 1) * rows : page * rows])

    def count(self) -> int:
        if self.server.released is not None:
            return self.server.released
        return len({row[0] for row in self.server.rows if "REL" in row})

    def answer(self, status: int, body: bytes, length: int | None = None, **headers: str) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)
        if length is not None:
            self.close_connection = True


def busy_first(times: int, status: int = 429, **headers: str) -> Vice:
    """Refuse the first requests."""

    def vice(handler: Handler, count: int, body: bytes) -> None:
        if count <= times:
            handler.answer(status, b"", **headers)
        else:
            handler.answer(200, body)

    return vice


def always(body: bytes, status: int = 200) -> Vice:
    """Answer the same to everybody."""
    return lambda handler, count, right: handler.answer(status, body)


def first(body: bytes) -> Vice:
    """Answer something else to the first request."""
    return lambda handler, count, right: handler.answer(200, body if count == 1 else right)


def cut_whole(handler: Handler, count: int, body: bytes) -> None:
    """Cut the one big search answer; pages come whole."""
    whole = "rows=1000000" in handler.path
    handler.answer(200, body[: len(body) // 2] if whole else body)


def unless_changed(handler: Handler, count: int, body: bytes) -> None:
    """Answer 304 to who has the body already."""
    if handler.headers.get("If-None-Match") == '"one"':
        handler.send_response(304)
        handler.send_header("Content-Length", "0")
        handler.end_headers()
    else:
        handler.answer(200, body, ETag='"one"')


def graphql(answers: dict[str, dict]) -> Vice:
    """Answer a POST with the entries that are asked for; null for the unknown."""

    def vice(handler: Handler, count: int, body: bytes) -> None:
        question = json.loads(handler.content)
        assert "rcsb_cluster_membership" in question["query"]
        entries = [answers.get(name) for name in question["variables"]["ids"]]
        handler.answer(200, json.dumps({"data": {"entries": entries}}).encode())

    return vice
