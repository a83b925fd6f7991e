"""A fetched file is right or absent, whatever the server does."""

import gc
import gzip
import hashlib
import socket

import pytest

from cryoclarity.archive.fetch import Source, fetch_file
from cryoclarity.archive.http import Client, Limits, pause_of
from cryoclarity.errors import InputError, ResourceError
from cryoclarity.stages.fetch import map_gate
from tests.archive.server import Server
from tests.gates.zoo import GOOD

PATH = "emdb/structures/EMD-9999/map/emd_9999.map.gz"
BODY = gzip.compress(GOOD, mtime=0)
LIMITS = Limits(timeout_s=0.3, least_rate=500, rate_window_s=0.4)
ATTEMPTS = 3

# route -> (code or '', requests)
ROUTES = {
    "ok": ("", 1),
    "chunked": ("", 1),
    "longer": ("", 1),
    "cut_once": ("", 2),
    "server_error_once": ("", 2),
    "busy_in_the_past": ("", 2),
    "wrong_crc_once": ("", 2),
    "moved": ("", 1),
    "labelled": ("", 1),
    "cut": ("NET_DEADLINE NET_INCOMPLETE", ATTEMPTS),
    "cut_chunked": ("NET_DEADLINE NET_INCOMPLETE", ATTEMPTS),
    "cut_without_length": ("NET_DEADLINE FILE_GZ_TRUNCATED", ATTEMPTS),
    "drip": ("NET_DEADLINE NET_SLOW", ATTEMPTS),
    "stall": ("NET_DEADLINE NET_TIMEOUT", ATTEMPTS),
    "silent": ("NET_DEADLINE NET_TIMEOUT", ATTEMPTS),
    "reset": ("NET_DEADLINE NET_", ATTEMPTS),
    "server_error": ("NET_DEADLINE NET_SERVER", ATTEMPTS),
    "too_many": ("NET_DEADLINE NET_RATE_LIMITED", ATTEMPTS),
    "page": ("NET_DEADLINE NET_HTML", ATTEMPTS),
    "empty": ("NET_DEADLINE NET_INCOMPLETE", ATTEMPTS),
    "encoded_twice": ("NET_DEADLINE NET_PROTOCOL", ATTEMPTS),
    "brotli": ("NET_DEADLINE NET_PROTOCOL", ATTEMPTS),
    "wrong_crc": ("NET_DEADLINE FILE_GZ_CORRUPT", ATTEMPTS),
    "forbidden": ("NET_FORBIDDEN", 1),
    "gone": ("NET_NOT_FOUND", 1),
    "loop": ("NET_REDIRECT", 6),
    "no_map": ("FILE_NOT_MAP", 1),
}


@pytest.fixture(scope="module")
def server():
    server = Server({PATH: BODY})
    yield server
    server.close()


def source(base, **changes):
    return Source(base, **({"limits": LIMITS, "attempts": ATTEMPTS, "backoff_s": 0.0} | changes))


def fetch(base, out, recorded=None, gate=map_gate, path=PATH, **changes):
    with Client(LIMITS) as client:
        return fetch_file(client, source(base, **changes), path, out, gate, recorded)


@pytest.mark.parametrize("route", ROUTES)
def test_route(server, tmp_path, route):
    code, requests = ROUTES[route]
    out = tmp_path / "map.map.gz"
    before = server.requests[f"/{route}/{PATH}"]
    if code:
        with pytest.raises(InputError) as caught:
            fetch(f"{server.base}/{route}", out)
        final, _, last = code.partition(" ")
        assert caught.value.code == final
        assert last in caught.value.message
        assert list(tmp_path.iterdir()) == []
    else:
        record = fetch(f"{server.base}/{route}", out)
        assert out.read_bytes() == BODY
        assert list(tmp_path.iterdir()) == [out]
        assert record["sha256"] == hashlib.sha256(BODY).hexdigest()
        assert (record["bytes"], record["unpacked_bytes"]) == (len(BODY), len(GOOD))
        assert len(record["tried"]) == requests - 1
    assert server.requests[f"/{route}/{PATH}"] - before == requests


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_two_lengths(server, tmp_path):
    def refused():
        with pytest.raises(InputError, match=r"NET_DEADLINE.*NET_LENGTH"):
            fetch(f"{server.base}/two_lengths", tmp_path / "map.map.gz")

    refused()
    assert list(tmp_path.iterdir()) == []
    gc.collect()  # urllib3 forgets the socket of an answer whose headers it refuses


def test_client_introduces_itself_and_asks_for_raw_bytes(server, tmp_path):
    fetch(f"{server.base}/ok", tmp_path / "a.map.gz")
    assert "Accept-Encoding: identity" in server.headers
    assert any(line.startswith("User-Agent: cryoclarity/") for line in server.headers)


def test_missing_file_and_refused_connection(server, tmp_path):
    with pytest.raises(InputError, match="NET_NOT_FOUND"):
        fetch(f"{server.base}/ok", tmp_path / "a", path="emdb/none.map.gz")
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    with pytest.raises(InputError, match=r"NET_DEADLINE.*NET_CONNECTION"):
        fetch(f"http://127.0.0.1:{port}", tmp_path / "a")


def test_server_may_ask_to_wait(server, tmp_path):
    record = fetch(f"{server.base}/busy_once", tmp_path / "a.map.gz")
    assert [attempt["code"] for attempt in record["tried"]] == ["NET_RATE_LIMITED"]


def test_deadline_ends_the_attempts(server, tmp_path):
    limits = Limits(timeout_s=0.3, deadline_s=0.5)
    with pytest.raises(InputError, match="NET_DEADLINE"):
        fetch(f"{server.base}/server_error", tmp_path / "a", limits=limits, backoff_s=10.0)


def test_what_is_there_is_not_asked_for_again(server, tmp_path):
    out, url = tmp_path / "a.map.gz", f"/ok/{PATH}"
    base = f"{server.base}/ok"
    record = fetch(base, out)
    count = server.requests[url]
    assert fetch(base, out, record) == record
    assert server.requests[url] == count
    out.write_bytes(BODY[:-1] + b"x")  # damaged since
    fetch(base, out, record)
    assert out.read_bytes() == BODY
    assert server.requests[url] == count + 1
    fetch(f"{server.base}/chunked", out, record)  # another archive may hold other data
    assert server.requests[f"/chunked/{PATH}"] >= 1


@pytest.mark.parametrize("scheme", ["", "file://"])
def test_folder_as_archive(tmp_path, scheme):
    file = tmp_path / "archive" / PATH
    file.parent.mkdir(parents=True)
    file.write_bytes(BODY)
    out = tmp_path / "out" / "map.map.gz"
    base = f"{scheme}{tmp_path / 'archive'}"
    record = fetch(base, out)
    assert out.read_bytes() == BODY
    assert str(tmp_path) not in str(record)
    with pytest.raises(InputError, match="NET_NOT_FOUND"):
        fetch(base, out, path="emdb/none.map.gz")
    file.write_bytes(BODY[:-8] + bytes(8))
    out.unlink()
    with pytest.raises(InputError, match="FILE_GZ_CORRUPT"):
        fetch(base, out)
    assert not out.exists()


def test_a_folder_that_cannot_be_made_is_not_the_entry_s_fault(server, tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(ResourceError, match="DISK_IO"):
        fetch(f"{server.base}/ok", tmp_path / "file" / "map.gz")


def test_full_disk_is_not_the_entry_s_fault(server, tmp_path, monkeypatch):
    monkeypatch.setattr("cryoclarity.archive.fetch.SPARE_BYTES", 1 << 62)
    with pytest.raises(ResourceError, match="DISK_FULL"):
        fetch(f"{server.base}/ok", tmp_path / "a.map.gz")
    assert list(tmp_path.iterdir()) == []


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
