"""Several clients at once: one of them per entry, some of them per host."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import subprocess
import sys
import threading
import time

import pytest

from cryoclarity.archive.paths import half_map_paths
from cryoclarity.archive.slots import HostSlots
from cryoclarity.errors import ResourceError
from cryoclarity.io import locks
from cryoclarity.io.locks import file_lock, host_name
from cryoclarity.stages.fetch import Wanted, run_files
from tests.archive.files import BODIES, EMDB, PDB, a_map, names, packed, source
from tests.archive.server import Server

HOLD = """
import sys, fcntl, os, time
handle = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT, 0o644)
fcntl.flock(handle, fcntl.LOCK_EX)
os.write(handle, sys.argv[2].encode())
print("held", flush=True)
time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path):
    """Another process that holds the lock and says what it is told to say."""
    started = []

    def hold(content):
        path = tmp_path / "lock"
        arguments = [sys.executable, "-c", HOLD, str(path), json.dumps(content)]
        started.append(subprocess.Popen(arguments, stdout=subprocess.PIPE))
        assert started[0].stdout.readline() == b"held\n"
        return path

    yield hold
    for process in started:
        process.kill()
        process.communicate()


def test_a_lock_says_whose_it_is_and_goes_away(tmp_path):
    path = tmp_path / "new" / "lock"
    with file_lock(path, 0.0):
        content = json.loads(path.read_text())
        assert (content["host"], content["pid"]) == (host_name(), os.getpid())
        with pytest.raises(ResourceError, match="DISK_LOCKED"), file_lock(path, 0.0):
            pass
    assert not path.exists()


def test_a_living_holder_is_waited_for_in_vain(holder):
    path = holder({"host": host_name(), "pid": os.getpid(), "time": 0})
    with pytest.raises(ResourceError, match=r"DISK_LOCKED.*process"), file_lock(path, 0.1, 0.02):
        pass


@pytest.mark.parametrize("why", ["dead", "silent"])
def test_the_lock_of_a_holder_that_is_gone_is_broken(holder, why):
    """Held by a child that inherited it, or on a machine that is no more."""
    host, process = (host_name(), 4_000_000) if why == "dead" else ("elsewhere", 1)
    path = holder({"host": host, "pid": process, "time": 0})
    if why == "silent":
        long_ago = time.time() - locks.SILENCE_S - 1
        os.utime(path, (long_ago, long_ago))
    with file_lock(path, 0.1, 0.02):
        assert json.loads(path.read_text())["pid"] == os.getpid()
    assert not path.exists()


def test_heartbeat(tmp_path):
    path = tmp_path / "lock"
    with file_lock(path, 0.0):
        os.utime(path, (0, 0))
        locks.HEART.beat()
        assert time.time() - path.stat().st_mtime < 60
    locks.HEART.beat()


def test_file_systems_without_locks(tmp_path, monkeypatch):
    def unsupported(*_):
        raise OSError(errno.ENOLCK, "no locks")

    monkeypatch.setattr(fcntl, "flock", unsupported)
    with file_lock(tmp_path / "lock", 0.0):
        pass
    with HostSlots(tmp_path / "slots", 1).taken("host:1"):
        pass


def test_a_lock_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(ResourceError, match="DISK_IO"), file_lock(tmp_path / "file" / "a", 0.0):
        pass


def test_slots_bound_what_runs_at_once(tmp_path):
    running, most, guard = 0, 0, threading.Lock()

    def work():
        nonlocal running, most
        with HostSlots(tmp_path, 3).taken("host:80"):
            with guard:
                running += 1
                most = max(most, running)
            time.sleep(0.01)
            with guard:
                running -= 1

    threads = [threading.Thread(target=work) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 3
    assert names(tmp_path) == ["host_80"] and len(names(tmp_path / "host_80")) <= 3


def test_slots_of_other_processes_count(holder, tmp_path):
    path = holder({})
    (tmp_path / "slots" / "host").mkdir(parents=True)
    os.link(path, tmp_path / "slots" / "host" / "0")
    done = []

    def work():
        with HostSlots(tmp_path / "slots", 1).taken("host"):
            done.append(1)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(0.1)
    assert not done
    (tmp_path / "slots" / "host" / "0").unlink()
    thread.join(5)
    assert done


def test_no_folder_no_limit():
    with HostSlots(None, 1).taken("host"), HostSlots(None, 1).taken("host"):
        pass


def two_clients(tmp_path, rounds, monkeypatch):
    monkeypatch.setattr(locks, "POLL_S", 0.01)
    server = Server(BODIES | {half_map_paths(EMDB)[1]: packed(a_map(9))})
    try:
        for number in range(rounds):
            out = tmp_path / str(number) / "out"
            before = server.requests.total()
            results, failures = [], []

            def client(out=out, results=results, failures=failures):
                try:
                    results.append(run_files(Wanted(EMDB, PDB), source(server.base + "/ok"), out))
                except Exception as error:
                    failures.append(error)

            threads = [threading.Thread(target=client) for _ in range(2)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert not failures and len(results) == 2
            assert server.requests.total() - before == 4  # each file once
            assert results[0] == results[1]
            assert names(out.parent) == ["out"]
    finally:
        server.close()


def test_two_clients_at_one_entry(tmp_path, monkeypatch):
    two_clients(tmp_path, 10, monkeypatch)


@pytest.mark.long
def test_two_clients_at_one_entry_many_times(tmp_path, monkeypatch):
    two_clients(tmp_path, 100, monkeypatch)
