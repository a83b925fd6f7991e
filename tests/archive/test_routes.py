"""Every way in which a server misbehaves, for maps, half maps and models.

The final file is right or absent, the code is right, the requests and the time are bounded.
"""

from __future__ import annotations

import gc
import os
import socket
import ssl
import subprocess
import time

import pytest

from cryoclarity.archive.mirrors import Turn
from cryoclarity.errors import CryoClarityError, IntegrityError
from tests.archive.files import (
    BODIES,
    DAMAGED,
    IMPATIENT,
    KINDS,
    OTHERS,
    PATIENT,
    STRANGERS,
    bomb,
    fetch,
    names,
    sha256,
)
from tests.archive.server import Server

ATTEMPTS = 3
SLOW = 2
LONGEST = 10.0  # seconds for one case, all attempts together
# route -> (requests, codes of the answers in order; the last '' is a good file)
GOOD = {
    "ok": (1, ""),
    "chunked": (1, ""),
    "longer": (1, ""),
    "cut_once": (2, "NET_INCOMPLETE"),
    "server_error_once": (2, "NET_SERVER"),
    "busy_in_the_past": (2, "NET_RATE_LIMITED"),
    "wrong_crc_once": (2, "FILE_GZ_CORRUPT"),
    "moved": (1, ""),
    "labelled": (1, ""),
    "part_by_date": (2, "NET_INCOMPLETE"),
    "part": (2, "NET_INCOMPLETE"),
    "part_refused": (2, "NET_INCOMPLETE"),
    "part_of_fresh_file": (2, "NET_INCOMPLETE"),
    "part_of_weak_etag": (2, "NET_INCOMPLETE"),
    "part_shifted": (3, "NET_INCOMPLETE NET_RANGE"),
    "part_of_other_total": (3, "NET_INCOMPLETE NET_RANGE"),
    "part_of_newer_file": (3, "NET_INCOMPLETE NET_RANGE"),
    "part_without_etag": (3, "NET_INCOMPLETE NET_RANGE"),
    "part_not_satisfiable": (3, "NET_INCOMPLETE NET_RANGE"),
}
# Models are never continued: the second answer is the whole file.
ONLY_MAPS_RESUME = {route for route, (requests, _) in GOOD.items() if requests == 3}
# route -> code of the last answer, attempts
RETRIED = {
    "cut": ("NET_INCOMPLETE", ATTEMPTS),
    "cut_chunked": ("NET_INCOMPLETE", ATTEMPTS),
    "cut_without_length": ("FILE_GZ_TRUNCATED", ATTEMPTS),
    "drip": ("NET_SLOW", SLOW),
    "fades": ("NET_SLOW", SLOW),
    "stall": ("NET_TIMEOUT", SLOW),
    "silent": ("NET_TIMEOUT", SLOW),
    "reset": ("NET_", ATTEMPTS),
    "server_error": ("NET_SERVER", 6),
    "too_many": ("NET_RATE_LIMITED", 6),
    "page": ("NET_HTML", 6),
    "empty": ("NET_INCOMPLETE", ATTEMPTS),
    "encoded_twice": ("NET_PROTOCOL", ATTEMPTS),
    "brotli": ("NET_PROTOCOL", ATTEMPTS),
    "wrong_crc": ("FILE_GZ_CORRUPT", ATTEMPTS),
    "part_unasked": ("NET_RANGE", ATTEMPTS),
}
# route -> codes by kind of file, requests
FINAL = {
    "forbidden": ("NET_FORBIDDEN", "NET_FORBIDDEN", 1),
    "not_found": ("NET_NOT_FOUND", "NET_NOT_FOUND", 1),
    "gone": ("NET_NOT_FOUND", "NET_NOT_FOUND", 1),
    "loop": ("NET_REDIRECT", "NET_REDIRECT", 6),
    "no_map": ("FILE_NOT_MAP", "MOD_FORMAT", 1),
    "bomb": ("FILE_GZ_CAP", "FILE_GZ_CAP", 1),
    "damaged": ("VAL_NONFINITE", "MOD_COORDS", 1),
    "replaced": ("ID_MAP_MISMATCH", "ID_PDB_MISMATCH", 1),
}


@pytest.fixture(scope="module")
def server():
    server = Server(BODIES)
    for kind, filling in zip(KINDS, (b"\0", b"\0", b" "), strict=True):
        path, *_, (good, *_) = KINDS[kind]
        server.bombs[path] = bomb(good, filling)
    server.others, server.strangers, server.damaged = OTHERS, STRANGERS, DAMAGED
    yield server
    server.close()


class Counted:
    """A route of the server with its requests from now on."""

    def __init__(self, server, route, kind):
        self.server, self.base = server, f"{server.base}/{route}"
        self.url = f"/{route}/{KINDS[kind][0]}"
        server.requests[self.url] = 0
        self.started = time.monotonic()

    def check(self, requests):
        assert self.server.requests[self.url] == requests
        assert requests <= 6
        assert time.monotonic() - self.started < LONGEST


def is_right(record, kind, folder, body):
    name = KINDS[kind][2]
    assert names(folder) == [name]
    assert (folder / name).read_bytes() == body
    assert record["sha256"] == sha256(body)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("route", GOOD)
def test_right_in_the_end(server, tmp_path, route, kind):
    requests, codes = GOOD[route]
    if kind == "model" and route in ONLY_MAPS_RESUME:
        requests, codes = 2, "NET_INCOMPLETE"
    counted = Counted(server, route, kind)
    record = fetch(kind, counted.base, tmp_path)
    is_right(record, kind, tmp_path, BODIES[KINDS[kind][0]])
    assert [answer["code"] for answer in record["tried"]] == [*codes.split(), ""]
    counted.check(requests)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("route", RETRIED)
def test_given_up(server, tmp_path, route, kind):
    last, attempts = RETRIED[route]
    limits = IMPATIENT if attempts == SLOW else PATIENT
    counted = Counted(server, route, kind)
    with pytest.raises(CryoClarityError) as caught:
        fetch(kind, counted.base, tmp_path, attempts=attempts, resume=False, limits=limits)
    assert caught.value.code == "NET_DEADLINE"
    assert f"after {attempts} attempts; last: {last}" in caught.value.message
    assert names(tmp_path) == []
    counted.check(attempts)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("route", FINAL)
def test_no_use_in_asking_again(server, tmp_path, route, kind):
    for_map, for_model, requests = FINAL[route]
    counted = Counted(server, route, kind)
    with pytest.raises(CryoClarityError) as caught:
        fetch(kind, counted.base, tmp_path)
    assert caught.value.code == (for_model if kind == "model" else for_map)
    assert names(tmp_path) == []
    counted.check(requests)


@pytest.mark.parametrize("kind", KINDS)
def test_same_length_other_bytes(server, tmp_path, kind):
    path = KINDS[kind][0]
    assert len(OTHERS[path]) == len(BODIES[path]) and OTHERS[path] != BODIES[path]
    counted = Counted(server, "other_bytes", kind)
    with pytest.raises(IntegrityError, match="FILE_CHANGED"):
        fetch(kind, counted.base, tmp_path, wanted={"pin": sha256(BODIES[path])})
    assert names(tmp_path) == []
    counted.check(1)


@pytest.mark.parametrize("kind", KINDS)
def test_file_changes_between_two_requests(server, tmp_path, kind):
    path = KINDS[kind][0]
    counted = Counted(server, "changed_between", kind)
    record = fetch(kind, counted.base, tmp_path / "any")
    is_right(record, kind, tmp_path / "any", OTHERS[path])
    counted.check(2)
    counted = Counted(server, "changed_between", kind)
    with pytest.raises(IntegrityError, match="FILE_CHANGED"):
        fetch(kind, counted.base, tmp_path / "pinned", wanted={"pin": sha256(BODIES[path])})
    assert names(tmp_path / "pinned") == []
    counted.check(2)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_two_lengths(server, tmp_path, kind):
    def refused():
        with pytest.raises(CryoClarityError, match=r"NET_DEADLINE.*NET_LENGTH"):
            fetch(kind, counted.base, tmp_path)

    counted = Counted(server, "two_lengths", kind)
    refused()
    assert names(tmp_path) == []
    counted.check(ATTEMPTS)
    gc.collect()  # urllib3 forgets the socket of an answer whose headers it refuses


@pytest.mark.parametrize("kind", KINDS)
def test_refused_connection(tmp_path, kind):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    with pytest.raises(CryoClarityError, match=r"NET_DEADLINE.*NET_CONNECTION"):
        fetch(kind, f"http://127.0.0.1:{port}", tmp_path)
    assert names(tmp_path) == []


@pytest.mark.parametrize("kind", KINDS)
def test_other_mirror_after_not_found(server, tmp_path, kind):
    first, second = (Counted(server, route, kind) for route in ("not_found", "ok"))
    record = fetch(kind, (first.base, second.base), tmp_path)
    is_right(record, kind, tmp_path, BODIES[KINDS[kind][0]])
    answers = [(answer["code"], answer["status"]) for answer in record["tried"]]
    assert answers == [("NET_NOT_FOUND", 404), ("", 200)]
    assert record["mirror_index"] == 1
    first.check(1)
    second.check(1)


@pytest.mark.parametrize("kind", KINDS)
def test_server_may_ask_to_wait_a_second(server, tmp_path, kind):
    counted = Counted(server, "busy_once", kind)
    record = fetch(kind, counted.base, tmp_path)
    assert [answer["code"] for answer in record["tried"]] == ["NET_RATE_LIMITED", ""]
    assert time.monotonic() - counted.started >= 0.9
    counted.check(2)


@pytest.mark.parametrize("kind", KINDS)
def test_a_day_of_waiting_is_not_waited_for(server, tmp_path, kind):
    counted = Counted(server, "pause_of_a_day", kind)
    with pytest.raises(CryoClarityError, match=r"NET_DEADLINE.*NET_RATE_LIMITED"):
        fetch(kind, counted.base, tmp_path)
    counted.check(1)  # 600 s at most, and those are all the time that a file has


def test_the_cap_on_waiting_is_ten_minutes(server, tmp_path, monkeypatch):
    waits = []
    wait = Turn.wait
    monkeypatch.setattr(Turn, "wait", lambda self, n: waits.append(wait(self, n)) or 0.0)
    counted = Counted(server, "pause_of_a_day", "map")
    with pytest.raises(CryoClarityError, match="NET_DEADLINE"):
        fetch("map", counted.base, tmp_path, attempts=2)
    assert 590 < waits[0] <= 600


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tls")
    command = "openssl req -x509 -newkey rsa:2048 -nodes -keyout key.pem -out cert.pem -days 2"
    subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    try:
        subprocess.run([*command.split(), *subject], cwd=folder, check=True, capture_output=True)
    except (FileNotFoundError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no certificate can be made: {error}")
    return folder


@pytest.mark.parametrize("kind", KINDS)
def test_https_and_its_downgrade(certificate, tmp_path, monkeypatch, kind):
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", os.fspath(certificate / "cert.pem"))
    plain, secure = Server(BODIES), Server(BODIES)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate / "cert.pem", certificate / "key.pem")
    secure.socket = context.wrap_socket(secure.socket, server_side=True)
    secure.elsewhere = plain.base
    base = f"https://localhost:{secure.server_address[1]}"
    try:
        record = fetch(kind, f"{base}/ok", tmp_path / "good")
        is_right(record, kind, tmp_path / "good", BODIES[KINDS[kind][0]])
        with pytest.raises(CryoClarityError, match="NET_REDIRECT"):
            fetch(kind, f"{base}/downgrade", tmp_path / "bad")
        assert not any(path.is_file() for path in (tmp_path / "bad").iterdir())
    finally:
        secure.close()
        plain.close()
