"""Saved answers: asked once, resumed after a crash, replayed offline, asked politely."""

import gzip
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from cryoclarity.archive.answers import body_path, wait_for_turn
from cryoclarity.archive.entries import Documents, follow
from cryoclarity.archive.http import Limits
from cryoclarity.archive.responses import Politeness, Responses, user_agent
from cryoclarity.errors import InputError
from tests.select_stage.generated import World
from tests.select_stage.server import (
    PAGE,
    Services,
    always,
    busy_first,
    first,
    unless_changed,
)
from tests.snakemake_run import ROOT

QUICK = Politeness(
    requests_per_s=1e6, attempts=4, backoff_s=0.001, contact="a@b.example", limits=Limits(0.5)
)
WORLD = World(120)
IDS = [entry.emdb_id for entry in WORLD.entries if entry.status == "REL"][:40]


def document_of(name):
    return WORLD.document(name) if name in WORLD.by_id else None


@pytest.fixture
def services():
    with Services([], document_of, headers={}) as services:
        yield services


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "responses"


def documents(services, folder, **options):
    return Documents(Responses(folder, QUICK, **options), services.api)


def test_asked_once_then_replayed(services, folder):
    found, misfits = documents(services, folder).facts(IDS)
    assert sorted(found) == sorted(IDS)
    assert not misfits.lost
    asked = sum(services.requests.values())
    assert asked == len(IDS)
    again, _ = documents(services, folder, offline=True).facts(reversed(IDS))
    assert again == found
    assert sum(services.requests.values()) == asked


def test_who_asks_is_told(services, folder):
    documents(services, folder).facts(IDS[:1])
    assert services.seen_headers[0]["User-Agent"] == user_agent("a@b.example")
    assert user_agent("a@b.example").endswith("(+a@b.example)")


def test_offline_names_what_is_missing(services, folder):
    with pytest.raises(InputError, match=f"NET_OFFLINE.*{IDS[0]}"):
        documents(services, folder, offline=True).facts(IDS)
    assert not services.requests


def test_unknown_ids_are_remembered(services, folder):
    found, misfits = documents(services, folder).facts(["EMD-999999", IDS[0]])
    assert list(found) == IDS[:1]
    assert [(one.emdb_id, one.code) for one in misfits.lost] == [("EMD-999999", "ID_UNKNOWN")]
    asked = sum(services.requests.values())
    _, misfits = documents(services, folder).facts(["EMD-999999"])
    assert misfits.lost[0].code == "ID_UNKNOWN"
    assert sum(services.requests.values()) == asked


RECOVERABLE = {
    "too many": busy_first(2, 429, Retry_After="0"),
    "server error": busy_first(1, 500),
    "page": first(PAGE),
    "empty": first(b""),
    "half a document": first(WORLD.document(IDS[0])[:500]),
    "cut": lambda handler, count, body: handler.answer(
        200, body if count > 1 else body[:100], length=len(body)
    ),
}


@pytest.mark.parametrize("vice", RECOVERABLE)
def test_a_bad_answer_is_asked_again(services, folder, vice):
    services.vices["/emdb/api/entry/"] = RECOVERABLE[vice]
    found, _ = documents(services, folder).facts(IDS[:1])
    assert list(found) == IDS[:1]
    assert sum(services.requests.values()) > 1


def test_retry_after_is_obeyed(services, folder):
    services.vices["/emdb/api/entry/"] = busy_first(1, 429, Retry_After="1")
    started = time.monotonic()
    documents(services, folder).facts(IDS[:1])
    assert time.monotonic() - started >= 1.0


@pytest.mark.parametrize(
    ("vice", "code"),
    [(always(b"", 429), "NET_RATE_LIMITED"), (always(PAGE), "NET_HTML")],
    ids=["busy", "page"],
)
def test_an_entry_that_stays_bad_is_a_row(services, folder, vice, code):
    services.vices[f"/emdb/api/entry/{IDS[3]}"] = vice
    found, misfits = documents(services, folder).facts(IDS)
    assert len(found) == len(IDS) - 1
    assert [(one.emdb_id, one.code) for one in misfits.lost] == [(IDS[3], code)]
    assert services.asked(f"/emdb/api/entry/{IDS[3]}") == QUICK.attempts


def test_a_host_that_is_down_is_left_alone(services, folder):
    services.vices["/emdb/api/entry/"] = always(b"", 503)
    with pytest.raises(InputError, match="NET_SERVER"):
        documents(services, folder).facts(IDS)
    assert sum(services.requests.values()) <= 12 * QUICK.attempts


def misfit(names):
    """Documents of which some lack a needed key."""

    def body(name):
        document = document_of(name)
        return document.replace(b'"dimensions"', b'"extent"') if name in names else document

    return body


def test_misfits_are_rows_up_to_a_fifth(folder):
    with Services([], misfit(IDS[:8])) as services:
        found, misfits = documents(services, folder).facts(IDS)
    assert len(found) == 32
    assert {one.code for one in misfits.lost} == {"NET_SCHEMA"}
    assert "map.dimensions" in misfits.lost[0].message


def test_more_misfits_than_a_fifth_stop(folder):
    with Services([], misfit(IDS[:9])) as services:
        with pytest.raises(InputError, match=r"NET_SCHEMA: 9 of 40 .*map\.dimensions"):
            documents(services, folder).facts(IDS)


def test_another_entry_than_asked_for_is_a_misfit(folder):
    with Services([], lambda name: document_of(IDS[0])) as services:
        _, misfits = documents(services, folder).facts(IDS[:2])
    assert [(one.emdb_id, one.code) for one in misfits.lost] == [(IDS[1], "NET_SCHEMA")]


def test_a_damaged_body_is_asked_again(services, folder):
    source = documents(services, folder)
    source.facts(IDS[:2])
    record = source.responses.used[source.url(IDS[0])]
    body_path(folder, record.sha256).write_bytes(gzip.compress(b"{}"))
    assert len(documents(services, folder).facts(IDS[:2])[0]) == 2
    assert sum(services.requests.values()) == 3


def test_an_index_line_cut_by_a_crash_costs_one_answer(services, folder):
    documents(services, folder).facts(IDS[:3])
    index = folder / "index.tsv"
    index.write_bytes(index.read_bytes()[:-20])
    documents(services, folder).facts(IDS[:3])
    assert sum(services.requests.values()) == 4
    documents(services, folder, offline=True).facts(IDS[:3])


def test_update_asks_for_changes_only(folder):
    bodies = {name: document_of(name) for name in IDS[:3]}
    with Services([], bodies) as services:
        services.vices["/emdb/api/entry/"] = unless_changed
        documents(services, folder).facts(bodies)
        documents(services, folder, update=True).facts(bodies)
        assert sum(services.requests.values()) == 6
        assert not (folder / "changes.tsv").exists()
        services.vices.clear()
        bodies[IDS[1]] = bodies[IDS[1]].replace(b'"title": "', b'"title": "New: ')
        found, _ = documents(services, folder, update=True).facts(bodies)
    assert found[IDS[1]].title.startswith("New: ")
    (line,) = (folder / "changes.tsv").read_text().splitlines()
    assert IDS[1] in line


def test_turns_are_shared(tmp_path):
    started = time.monotonic()
    url = "http://host:80/x"
    threads = [threading.Thread(target=wait_for_turn, args=(tmp_path, url, 0.05)) for _ in range(9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert 0.4 <= time.monotonic() - started < 3.0


def test_a_killed_run_goes_on_where_it_stopped(services, folder):
    script = f"""
import sys; sys.path.insert(0, {str(ROOT)!r})
from tests.select_stage.test_responses import *
Documents(Responses({str(folder)!r}, QUICK), {services.api!r}).facts(IDS)
"""
    services.vices["/emdb/api/entry/"] = lambda handler, count, body: (
        time.sleep(0.1),
        handler.answer(200, body),
    )
    process = subprocess.Popen([sys.executable, "-c", script], stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while sum(services.requests.values()) < 10 and time.monotonic() < deadline:
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    services.vices.clear()
    before = sum(services.requests.values())
    found, _ = documents(services, folder).facts(IDS)
    assert len(found) == len(IDS)
    # At most what was under way on four connections is asked for twice.
    assert sum(services.requests.values()) <= len(IDS) + 5
    assert before >= 10


def obsolete_world():
    names = ["EMD-1001", "EMD-1002", "EMD-1003", "EMD-1004", "EMD-1005", "EMD-1006"]
    statuses = ["OBS", "OBS", "REL", "OBS", "HPUB", "OBS"]
    successors = [["EMD-1002"], ["EMD-1003"], [], [], [], ["EMD-1006"]]
    bodies = {}
    for entry, name, status, following in zip(
        WORLD.entries, names, statuses, successors, strict=False
    ):
        text = WORLD.document(entry.emdb_id).decode().replace(entry.emdb_id, name)
        text = text.replace(f'"valueOf_": "{entry.status}"', f'"valueOf_": "{status}"')
        listed = "".join(f'{{"entry": "{one}"}}' for one in following)
        text = text.replace('"title":', f'"obsolete_list": {{"entry": [{listed}]}}, "title":', 1)
        bodies[name] = text.encode()
    return bodies


@pytest.mark.parametrize("successors", [True, False])
def test_obsolete_entries(folder, successors):
    bodies = obsolete_world()
    with Services([], bodies) as services:
        named = follow(documents(services, folder), [*bodies, "EMD-1007"], successors=successors)
    found = {one.asked: (one.facts.emdb_id if one.facts else one.code) for one in named}
    followed = {"EMD-1001": "EMD-1003", "EMD-1002": "EMD-1003"} if successors else {}
    assert (
        found
        == {
            "EMD-1001": "ID_OBSOLETE",
            "EMD-1002": "ID_OBSOLETE",
            "EMD-1003": "EMD-1003",
            "EMD-1004": "ID_OBSOLETE",
            "EMD-1005": "ID_UNRELEASED",
            "EMD-1006": "ID_OBSOLETE",
            "EMD-1007": "ID_UNKNOWN",
        }
        | followed
    )
    if not successors:
        assert "EMD-1002" in named[0].message
