"""Parts are continued when it is proved that the rest belongs to them, also by another process."""

from __future__ import annotations

import json
import os

import pytest

from cryoclarity.archive.resume import PartFile, Proof, remove_stale
from cryoclarity.errors import InputError
from tests.archive.files import BODIES, KINDS, OTHERS, fetch, names
from tests.archive.server import Server

PATH, _, NAME, _ = KINDS["map"]
BODY = BODIES[PATH]
DEAD = 4_000_000  # no process has so large a number here


@pytest.fixture
def server():
    server = Server(BODIES)
    server.others = OTHERS
    yield server
    server.close()


def leave_part(folder, url, size=5000, process=DEAD, **changes):
    """Lay down what a killed process leaves of a download."""
    folder.mkdir(exist_ok=True)
    part = PartFile(folder / NAME, least=1000)
    part.write(BODY[:size])
    part.promise(
        Proof(url, **({"etag": '"abc"', "last_modified": "", "total": len(BODY)} | changes))
    )
    part.handle.close()
    for path in (part.path, part.state_path):
        os.rename(path, str(path).replace(f"-{os.getpid()}-", f"-{process}-"))


def ranges(server):
    return [line for line in server.headers if line.startswith("Range:")]


def test_part_of_a_killed_process_is_continued(server, tmp_path):
    server.requests[f"/part/{PATH}"] = 1
    leave_part(tmp_path, f"{server.base}/part/{PATH}")
    record = fetch("map", f"{server.base}/part", tmp_path)
    assert ranges(server) == ["Range: bytes=5000-"]
    assert 'If-Range: "abc"' in server.headers
    assert (tmp_path / NAME).read_bytes() == BODY and names(tmp_path) == [NAME]
    assert record["bytes"] == record["content_length"] == len(BODY)


@pytest.mark.parametrize(
    "why",
    ["other mirror", "too small", "complete", "no proof", "switched off", "cut proof", "at work"],
)
def test_part_that_is_not_continued(server, tmp_path, why):
    url = f"{server.base}/part/{PATH}"
    changes = {
        "other mirror": {"url": f"{server.base}/ok/{PATH}"},
        "too small": {"size": 500},
        "complete": {"size": len(BODY)},
        "at work": {"process": os.getppid()},
    }.get(why, {})
    leave_part(tmp_path, changes.pop("url", url), **changes)
    (state,) = tmp_path.glob(".*.json")
    if why == "no proof":
        state.unlink()
    if why == "cut proof":
        state.write_text(state.read_text()[:20])
    server.requests[f"/part/{PATH}"] = 1
    fetch("map", f"{server.base}/part", tmp_path, resume=why != "switched off")
    assert ranges(server) == []
    assert (tmp_path / NAME).read_bytes() == BODY


def test_part_with_wrong_bytes_is_dropped(server, tmp_path):
    """The server proves its rest, but what is here is damaged: the gate sees it."""
    url = f"{server.base}/part/{PATH}"
    leave_part(tmp_path, url)
    (part,) = tmp_path.glob(".*.part")
    part.write_bytes(BODY[:4000] + b"?" + BODY[4001:5000])
    server.requests[f"/part/{PATH}"] = 1
    record = fetch("map", f"{server.base}/part", tmp_path)
    assert [answer["code"] for answer in record["tried"]] == ["FILE_GZ_CORRUPT", ""]
    assert (tmp_path / NAME).read_bytes() == BODY and names(tmp_path) == [NAME]


def test_failed_transfer_leaves_its_part_for_later(server, tmp_path):
    """All attempts break off: the next run goes on where they ended."""
    with pytest.raises(InputError, match="NET_DEADLINE"):
        fetch("map", f"{server.base}/part", tmp_path, attempts=1)
    assert len(names(tmp_path)) == 2 and not (tmp_path / NAME).exists()
    fetch("map", f"{server.base}/part", tmp_path)
    assert ranges(server) == [f"Range: bytes={len(BODY) - 500}-"]
    assert names(tmp_path) == [NAME]


def test_parts_of_two_mirrors_are_never_joined(server, tmp_path):
    first, second = f"{server.base}/cut", f"{server.base}/part"
    server.requests[f"/part/{PATH}"] = 1
    leave_part(tmp_path, f"{first}/{PATH}")
    record = fetch("map", (first, second), tmp_path)
    assert record["mirror_index"] == 1
    assert len(ranges(server)) == 1  # of the first only
    assert names(tmp_path) == [NAME]
    assert (tmp_path / NAME).read_bytes() == BODY


def test_leftovers_of_the_dead_go_and_those_of_the_living_stay(tmp_path):
    leave_part(tmp_path, "https://x")
    leave_part(tmp_path, "https://y", process=os.getppid())
    (tmp_path / f".tmp-{DEAD}-provenance.json").write_text("{")
    other_host = tmp_path / f".{NAME}.elsewhere-{os.getppid()}-0123abcd.part"
    other_host.write_bytes(b"x")
    remove_stale(tmp_path, resumable=True)
    assert len(names(tmp_path)) == 5  # two parts with proofs, one of another machine
    remove_stale(tmp_path, resumable=False)
    assert all(str(DEAD) not in name for name in names(tmp_path))
    assert other_host in tmp_path.iterdir()
    os.utime(other_host, (0, 0))
    remove_stale(tmp_path, resumable=True)
    assert other_host not in tmp_path.iterdir()


def test_proof_is_plain_json(tmp_path):
    leave_part(tmp_path, "https://x")
    (state,) = tmp_path.glob(".*.json")
    assert json.loads(state.read_text()).keys() == {"url", "etag", "last_modified", "total"}
