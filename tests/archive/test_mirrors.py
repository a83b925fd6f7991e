"""Several archives in order: who is asked, when, and what the record says about it."""

from __future__ import annotations

import logging

import pytest

from cryoclarity.archive.fetch import Downloader
from cryoclarity.archive.http import NetworkError
from cryoclarity.archive.mirrors import Turn, parse_mirrors
from cryoclarity.errors import CryoClarityError, InputError, IntegrityError
from tests.archive.files import BODIES, KINDS, OTHERS, STRANGERS, fetch, request, sha256, source
from tests.archive.server import Server

PATH, _, NAME, _ = KINDS["map"]
BODY = BODIES[PATH]


@pytest.fixture
def server():
    server = Server(BODIES)
    server.others, server.strangers = OTHERS, STRANGERS
    yield server
    server.close()


def bases(server, *routes):
    return tuple(f"{server.base}/{route}" for route in routes)


def asked(server):
    """Routes in the order of their first request, with the number of requests."""
    return {url.split("/")[1]: count for url, count in server.requests.items()}


def test_the_first_is_asked_first(server, tmp_path):
    record = fetch("map", bases(server, "ok", "chunked"), tmp_path)
    assert asked(server) == {"ok": 1}
    assert record["mirror_index"] == 0


@pytest.mark.parametrize("first", ["server_error", "page", "wrong_crc", "cut", "too_many"])
def test_failures_that_pass_go_round(server, tmp_path, first):
    record = fetch("map", bases(server, first, "ok"), tmp_path)
    assert asked(server) == {first: 1, "ok": 1}
    assert record["mirror_index"] == 1 and len(record["tried"]) == 2


def test_attempts_count_over_all_mirrors(server, tmp_path):
    with pytest.raises(InputError, match="NET_DEADLINE"):
        fetch("map", bases(server, "server_error", "page"), tmp_path, attempts=5)
    assert asked(server) == {"server_error": 3, "page": 2}


def test_not_found_is_asked_of_one_other(server, tmp_path):
    with pytest.raises(InputError, match="NET_NOT_FOUND"):
        fetch("map", bases(server, "not_found", "gone", "ok"), tmp_path)
    assert asked(server) == {"not_found": 1, "gone": 1}


def test_forbidden_is_final(server, tmp_path):
    with pytest.raises(InputError, match="NET_FORBIDDEN"):
        fetch("map", bases(server, "forbidden", "ok"), tmp_path)
    assert asked(server) == {"forbidden": 1}


def test_host_that_refuses_three_files_is_dropped(server, tmp_path, caplog):
    other = Server(BODIES)
    with (
        Downloader(source(f"{server.base}/forbidden", f"{other.base}/ok")) as downloader,
        caplog.at_level(logging.WARNING),
    ):
        for number in range(3):
            with pytest.raises(InputError, match="NET_FORBIDDEN"):
                downloader.fetch(request("map", tmp_path / str(number)))
        for number in range(3, 5):
            record = downloader.fetch(request("map", tmp_path / str(number)))
            assert record["mirror_index"] == 1
    other.close()
    assert asked(server) == {"forbidden": 3}
    assert sum("refused 3 files" in message for message in caplog.messages) == 1


def test_all_hosts_dropped(server, tmp_path):
    with Downloader(source(f"{server.base}/forbidden")) as downloader:
        for _ in range(5):
            with pytest.raises(InputError, match="NET_FORBIDDEN"):
                downloader.fetch(request("map", tmp_path))
    assert asked(server) == {"forbidden": 3}


def test_a_good_answer_between_refusals_counts(server, tmp_path):
    with Downloader(source(server.base)) as downloader:
        for route in ("forbidden", "forbidden", "ok", "forbidden", "forbidden", "forbidden"):
            folder = tmp_path / str(server.requests.total())
            wanted = request("map", folder, path=f"{route}/{PATH}")
            if route == "ok":
                downloader.fetch(wanted)
            else:
                with pytest.raises(InputError, match="NET_FORBIDDEN"):
                    downloader.fetch(wanted)
    assert asked(server) == {"forbidden": 5, "ok": 1}


def test_mirror_that_is_behind(server, tmp_path):
    """The document describes a newer file than the first mirror has."""
    record = fetch("map", bases(server, "replaced", "ok"), tmp_path)
    assert [answer["code"] for answer in record["tried"]] == ["ID_MAP_MISMATCH", ""]
    with pytest.raises(InputError, match="ID_MAP_MISMATCH"):
        fetch("map", bases(server, "replaced", "replaced", "ok"), tmp_path / "b")


def test_mirrors_that_disagree_about_a_pinned_file(server, tmp_path):
    pinned = {"pin": sha256(BODY)}
    record = fetch("map", bases(server, "other_bytes", "ok"), tmp_path, wanted=pinned)
    assert [answer["code"] for answer in record["tried"]] == ["FILE_CHANGED", ""]
    assert (tmp_path / NAME).read_bytes() == BODY
    for second in ("other_bytes", "not_found", "server_error"):
        folder = tmp_path / second
        with pytest.raises(IntegrityError, match="FILE_CHANGED"):
            fetch("map", bases(server, "other_bytes", second), folder, wanted=pinned)
        assert not (folder / NAME).exists()


@pytest.mark.parametrize("state", ["missing", "damaged"])
def test_site_mirror_before_the_web(server, tmp_path, state):
    if state == "damaged":
        (tmp_path / "site" / PATH).parent.mkdir(parents=True)
        (tmp_path / "site" / PATH).write_bytes(BODY[:-50])
    web = bases(server, "server_error_once", "ok")
    record = fetch("map", (f"file://{tmp_path / 'site'}", *web), tmp_path / "out")
    code = "NET_NOT_FOUND" if state == "missing" else "FILE_GZ_TRUNCATED"
    assert [answer["code"] for answer in record["tried"]] == [code, "NET_SERVER", ""]
    assert record["tried"][0]["url"] == PATH
    assert (tmp_path / "out" / NAME).read_bytes() == BODY


def test_waits_double_and_belong_to_hosts():
    one, two = parse_mirrors(("https://one.org", "https://two.org"))
    turn = Turn([one], backoff_s=1.0)
    assert turn.goes_on(NetworkError("x", code="NET_SERVER"))
    waits = [turn.wait(attempts, uniform=lambda low, high: high) for attempts in range(1, 9)]
    assert waits == [1.5, 3.0, 6.0, 12.0, 24.0, 48.0, 90.0, 90.0]
    turn = Turn([one, two], backoff_s=1.0)
    assert turn.goes_on(NetworkError("x", code="NET_RATE_LIMITED", retry_after=100.0))
    assert turn.mirror == two and turn.wait(1) <= 1.5  # the other host asked for nothing
    assert turn.goes_on(NetworkError("x", code="NET_SERVER"))
    assert turn.mirror == one and 99 < turn.wait(2) <= 100


@pytest.mark.parametrize("error", [ValueError("bug"), CryoClarityError("full", code="DISK_FULL")])
def test_what_is_no_fault_of_a_mirror_ends_it(error):
    (mirror,) = parse_mirrors("https://one.org")
    assert not Turn([mirror], 1.0).goes_on(error)
