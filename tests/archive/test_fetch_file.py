"""One file: what is here is trusted by its record, what is fetched is recorded, disks may fail."""

from __future__ import annotations

import errno
import gzip
import logging
import os
import resource
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from cryoclarity.archive import download
from cryoclarity.archive.fetch import Downloader, LoggedProgress
from cryoclarity.archive.http import Limits, pause_of
from cryoclarity.archive.resume import PartFile
from cryoclarity.archive.stream_gate import Expected, Stream, map_gate
from cryoclarity.errors import ConfigError, InputError, IntegrityError, ResourceError
from tests.archive.files import (
    BODIES,
    EMDB,
    KINDS,
    a_map,
    fetch,
    names,
    packed,
    request,
    sha256,
    source,
)
from tests.archive.server import Server
from tests.gates.zoo import map_bytes

PATH, _, NAME, (PLAIN, *_) = KINDS["map"]
BODY = BODIES[PATH]
RECORD_KEYS = {
    *("schema", "id", "kind", "url", "mirror_index", "tried", "status", "etag", "last_modified"),
    *("content_length", "retrieved_utc", "seconds", "bytes", "sha256", "unpacked_bytes"),
    *("content_sha256", "gzip", "header", "values", "frame", "warnings"),
}


@pytest.fixture(scope="module")
def server():
    server = Server(BODIES)
    yield server
    server.close()


def test_client_introduces_itself_and_asks_for_raw_bytes(server, tmp_path):
    fetch("map", f"{server.base}/ok", tmp_path)
    assert "Accept-Encoding: identity" in server.headers
    assert any(line.startswith("User-Agent: cryoclarity/") for line in server.headers)


def test_connections_are_kept_open(tmp_path):
    connections = []

    class Kept(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def setup(self):
            connections.append(1)
            super().setup()

        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Length", str(len(BODY)))
            self.end_headers()
            self.wfile.write(BODY)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Kept)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}).start()
    with Downloader(source(f"http://127.0.0.1:{server.server_address[1]}")) as downloader:
        for number in range(5):
            downloader.fetch(request("map", tmp_path / str(number)))
    server.shutdown()
    server.server_close()
    assert len(connections) == 1


def test_record_says_where_from_and_what(server, tmp_path):
    base = f"{server.base}/server_error_once"
    record = fetch("map", base, tmp_path)
    assert record.keys() >= RECORD_KEYS
    assert record["id"] == EMDB and record["etag"] == '"abc"' and record["gzip"]
    assert (record["bytes"], record["unpacked_bytes"]) == (len(BODY), len(PLAIN))
    assert record["content_length"] == len(BODY)
    failed, final = record["tried"]
    assert final.keys() == {"url", "code", "status", "seconds", "bytes"}
    assert (failed["code"], final["code"], final["status"]) == ("NET_SERVER", "", 200)
    assert final["bytes"] == len(BODY)
    assert record["header"].keys() == {
        *("grid", "mode", "axes", "nstart", "origin_header", "cell", "voxel", "stats_header")
    }
    assert record["values"].keys() == {"min", "max", "mean", "std"}
    assert record["frame"].keys() == {"origin", "rule", "disagree"}
    assert str(tmp_path) not in str(record)


def test_what_is_there_is_not_asked_for_again(server, tmp_path):
    url, base, out = f"/ok/{PATH}", f"{server.base}/ok", tmp_path / NAME
    record = fetch("map", base, tmp_path)
    count = server.requests[url]
    assert fetch("map", base, tmp_path, record) == record
    out.touch()  # another time, the same bytes
    assert fetch("map", base, tmp_path, record, verify=True) == record
    assert server.requests[url] == count
    out.write_bytes(BODY[:-1] + b"x")  # damaged since
    fetch("map", base, tmp_path, record)
    assert out.read_bytes() == BODY
    assert server.requests[url] == count + 1
    fetch("map", f"{server.base}/chunked", tmp_path, record)  # another archive: other data
    assert server.requests[f"/chunked/{PATH}"] >= 1


def test_damage_that_keeps_size_and_time_shows_on_request(server, tmp_path):
    base, out = f"{server.base}/ok", tmp_path / NAME
    record = fetch("map", base, tmp_path)
    moment = out.stat().st_mtime_ns
    out.write_bytes(BODY[:-1] + b"x")
    os.utime(out, ns=(moment, moment))
    assert fetch("map", base, tmp_path, record) == record
    fetch("map", base, tmp_path, record, verify=True)
    assert out.read_bytes() == BODY


def test_file_without_a_record_is_proved_not_fetched(server, tmp_path):
    base, out, url = f"{server.base}/ok", tmp_path / NAME, f"/ok/{PATH}"
    count = server.requests[url]
    out.write_bytes(BODY)
    record = fetch("map", base, tmp_path)
    assert (record["source"], record["sha256"]) == ("found", sha256(BODY))
    assert fetch("map", base, tmp_path, record) == record
    with pytest.raises(IntegrityError, match="FILE_CHANGED"):
        fetch("map", base, tmp_path, wanted={"pin": "0" * 64})
    assert server.requests[url] == count
    out.write_bytes(BODY[:-100])
    assert fetch("map", base, tmp_path)["source"] == "network"
    assert out.read_bytes() == BODY


@pytest.mark.parametrize("linked", [False, True])
@pytest.mark.parametrize("scheme", ["", "file://"])
def test_folder_as_archive(tmp_path, scheme, linked):
    file = tmp_path / "archive" / PATH
    file.parent.mkdir(parents=True)
    file.write_bytes(BODY)
    base, folder = f"{scheme}{tmp_path / 'archive'}", tmp_path / "out"
    record = fetch("map", base, folder, hard_link=linked)
    assert names(folder) == [NAME]
    assert (folder / NAME).read_bytes() == BODY
    assert (folder / NAME).samefile(file) == linked
    assert record["source"] == "folder" and record["sha256"] == sha256(BODY)
    assert str(tmp_path) not in str(record)
    with pytest.raises(InputError, match="NET_NOT_FOUND"):
        fetch("map", base, tmp_path, wanted={"path": "emdb/none.map.gz"})
    file.unlink()
    file.write_bytes(BODY[:-8] + bytes(8))
    with pytest.raises(InputError, match="FILE_GZ_CORRUPT"):
        fetch("map", base, tmp_path / "bad", hard_link=linked)
    assert names(tmp_path / "bad") == []


def test_archive_folder_that_cannot_be_read_to_its_end(tmp_path, monkeypatch):
    file = tmp_path / "archive" / PATH
    file.parent.mkdir(parents=True)
    file.write_bytes(BODY)

    def broken(*_):
        raise OSError(errno.EIO, "input/output error")

    monkeypatch.setattr(PartFile, "replay", broken)
    with pytest.raises(ResourceError, match="DISK_IO"):
        fetch("map", str(tmp_path / "archive"), tmp_path / "out")
    assert names(tmp_path / "out") == []


def test_linking_falls_back_to_copying(tmp_path, monkeypatch):
    file = tmp_path / "archive" / PATH
    file.parent.mkdir(parents=True)
    file.write_bytes(BODY)

    def refused(*_):
        raise OSError(errno.EXDEV, "another file system")

    monkeypatch.setattr(os, "link", refused)
    fetch("map", str(tmp_path / "archive"), tmp_path / "out", hard_link=True)
    assert (tmp_path / "out" / NAME).read_bytes() == BODY
    assert names(tmp_path / "out") == [NAME]


def test_long_transfers_are_in_the_log(caplog):
    progress = LoggedProgress(interval_s=0.0)
    with caplog.at_level(logging.INFO):
        progress("map.map.gz", 5_000_000, 20_000_000)
        progress("map.map.gz", 20_000_000, 20_000_000)
        progress("model.cif.gz", 1_000_000, None)
    assert caplog.messages == ["map.map.gz: 5 of 20 MB", "model.cif.gz: 1 MB"]


def test_deadline_ends_the_attempts(server, tmp_path):
    limits = Limits(timeout_s=0.3, deadline_s=0.5)
    with pytest.raises(InputError, match="NET_DEADLINE"):
        fetch("map", f"{server.base}/server_error", tmp_path, limits=limits, backoff_s=10.0)


def test_deadline_within_a_body(server, tmp_path):
    limits = Limits(timeout_s=1.0, deadline_s=0.2, least_rate=0.0)
    with pytest.raises(InputError, match="NET_DEADLINE"):
        fetch("map", f"{server.base}/drip", tmp_path, limits=limits)
    assert names(tmp_path) == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"mirrors": ("gopher://x",)},
        {"mirrors": ("http://example.org",)},
        {"mirrors": ()},
        {"mirrors": ("",)},
        {"mirrors": ("https://",)},
        {"mirrors": ("https://host:port",)},
        {"attempts": 0},
        {"per_host": 0},
        {"limits": Limits(timeout_s=0.0)},
    ],
)
def test_wrong_sources(wrong):
    with pytest.raises(ConfigError):
        source(*wrong.pop("mirrors", ("x",)), **wrong)


def test_plain_http_where_it_is_allowed():
    source("http://localhost:1", "http://127.0.0.1/a", "http://[::1]:80")
    source("http://example.org", allow_http=True)


@pytest.mark.parametrize("scheme", ["folder", "server"])
def test_a_folder_that_cannot_be_made_is_not_the_entry_s_fault(server, tmp_path, scheme):
    (tmp_path / "file").write_text("x")
    with pytest.raises(ResourceError, match="DISK_IO"):
        fetch("map", f"{server.base}/ok", tmp_path / "file" / "folder")


def test_too_little_space(server, tmp_path, monkeypatch):
    monkeypatch.setattr(download, "SPARE_BYTES", 1 << 62)
    with pytest.raises(ResourceError, match="DISK_FULL"):
        fetch("map", f"{server.base}/ok", tmp_path)
    assert names(tmp_path) == []


def test_disk_that_fills_up_on_the_way(server, tmp_path):
    """A limit on the size of files stands for a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(BODY) // 2, hard))
    try:
        with pytest.raises(ResourceError, match="DISK_FULL"):
            fetch("map", f"{server.base}/ok", tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert names(tmp_path) == []
    fetch("map", f"{server.base}/ok", tmp_path)


def test_folder_without_permission(server, tmp_path):
    if os.geteuid() == 0:
        pytest.skip("root may write everywhere")
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(ResourceError, match="DISK_READONLY"):
            fetch("map", f"{server.base}/ok", tmp_path)
    finally:
        tmp_path.chmod(0o700)


@pytest.mark.parametrize("code", [errno.EROFS, errno.EACCES])
def test_read_only_file_system(server, tmp_path, monkeypatch, code):
    opened = os.open

    def refused(path, flags, *rest, **more):
        if str(path).endswith(".part"):
            raise OSError(code, os.strerror(code))
        return opened(path, flags, *rest, **more)

    monkeypatch.setattr(os, "open", refused)
    with pytest.raises(ResourceError, match="DISK_READONLY"):
        fetch("map", f"{server.base}/ok", tmp_path)
    assert names(tmp_path) == []


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("", 0),
        ("7", 7),
        ("86400", 600),
        ("-5", 0),
        ("soon", 0),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 0),
        ("Thu, 01 Jan 2970 00:00:00 GMT", 600),
    ],
)
def test_retry_after(header, seconds):
    assert pause_of(header) == seconds


def gated(data: bytes, tmp_path, **changes):
    pieces = iter([data[start : start + 700] for start in range(0, len(data), 700)])
    stream = Stream("map.map", tmp_path / "map.map", pieces, len(data), lambda: 0)
    return map_gate(stream, **changes)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("axes", [(1, 2, 3), (3, 2, 1), (2, 1, 3), (3, 1, 2)])
def test_content_hash_knows_neither_axis_nor_byte_order(tmp_path, axes, order):
    density = np.random.default_rng(0).normal(size=(9, 10, 11)).astype(np.float32)
    stored = density.transpose([3 - axis for axis in axes[::-1]])
    stamp = b"DD\0\0" if order == "<" else b"\x11\x11\0\0"
    # M and cell are x, y, z in any order of axes.
    geometry = {"m": (11, 10, 9), "cell": (16.5, 15.0, 13.5), "stamp": stamp}
    data = map_bytes(np.ascontiguousarray(stored), axes=axes, order=order, **geometry)
    digest = sha256(
        b"MAP1" + np.array([11, 10, 9], "<i4").tobytes() + density.astype("<f4").tobytes()
    )
    for body in (data, packed(data), gzip.compress(data)):
        record = gated(body, tmp_path)
        assert record["content_sha256"] == digest
        assert record["gzip"] == (body is not data)


def test_hopeless_file_is_left_at_its_header(tmp_path):
    """Of a tomogram no more than the header is read."""
    head = map_bytes(sizes=(4000, 4000, 4000))[:1024]
    read = []

    def endless():
        yield head
        while True:
            read.append(1)
            yield bytes(1 << 16)

    with pytest.raises(InputError, match="HDR_DIM_LIMIT"):
        map_gate(Stream("x.map", tmp_path / "x", endless(), None, lambda: 0))
    assert not read


@pytest.mark.parametrize(
    ("expected", "right"),
    [
        (Expected((14, 13, 12), (1.5, 1.5, 1.5)), True),
        (Expected((12, 13, 14)), True),  # columns counted as x
        (Expected((14, 13, 11)), False),
        (Expected((14, 13, 12), (1.5, 1.5, 1.6)), False),
        (Expected(statistics=(-1.0, 1.0, 0.0, 1.0)), False),
        (Expected(statistics=(0.0, 0.0, 0.0, 0.0)), True),
    ],
)
def test_map_against_its_document(tmp_path, expected, right):
    if right:
        gated(a_map(), tmp_path, expected=expected)
    else:
        with pytest.raises(InputError, match="ID_MAP_MISMATCH"):
            gated(a_map(), tmp_path, expected=expected)
