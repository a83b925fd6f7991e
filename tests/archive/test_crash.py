"""Killed at any moment: no wrong file under a final name, and the next run completes."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import time
import traceback

import pytest

from cryoclarity.archive.paths import half_map_paths, map_path, model_paths
from cryoclarity.io.tables import write_table
from cryoclarity.stages.fetch import Wanted, run_files
from tests.archive.files import a_map, a_model, names, packed, source
from tests.archive.server import Server
from tests.scripts import load_script

fetch_script = load_script("fetch")

ENTRIES = {f"EMD-{9990 + number}": f"9zz{number}" for number in range(5)}
FILES = ("map.map.gz", "half_map_1.map.gz", "half_map_2.map.gz", "model.cif.gz")


def bodies():
    """By entry and name of the file: path in the archive and content."""
    found = {}
    for number, (emdb_id, pdb_id) in enumerate(ENTRIES.items()):
        paths = (map_path(emdb_id), *half_map_paths(emdb_id), model_paths(pdb_id)[0])
        maps = [packed(a_map(10 * number + kind, (20, 21, 22))) for kind in range(3)]
        model = packed(a_model(pdb_id.upper()))
        found[emdb_id] = dict(zip(FILES, zip(paths, [*maps, model], strict=True), strict=True))
    return found


def fetch_all(base, root):
    settings = source(base, lock_timeout_s=5.0, slots=root.parent / "slots")
    for emdb_id, pdb_id in ENTRIES.items():
        run_files(Wanted(emdb_id, pdb_id), settings, root / emdb_id)


def killed_after(seconds, work):
    """Do work in another process and kill it; return whether it was still at it."""
    process = os.fork()
    if process == 0:
        try:
            work()
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    time.sleep(seconds)
    os.kill(process, signal.SIGKILL)
    return os.WIFSIGNALED(os.waitpid(process, 0)[1])


def check_nothing_wrong(root, expected):
    """Count the files under final names; each is right, records are whole or absent."""
    right = 0
    for emdb_id, files in expected.items():
        for name, (_, body) in files.items():
            path = root / emdb_id / name
            if path.exists():
                assert path.read_bytes() == body, path
                right += 1
        record = root / emdb_id / "provenance.json"
        if record.exists():
            json.loads(record.read_text())
    return right


def kill_many_times(tmp_path, rounds, seed):
    expected = bodies()
    server = Server({path: body for files in expected.values() for path, body in files.values()})
    base = f"{server.base}/archive"
    chance = random.Random(seed)
    at_work, right, parts, continued = 0, 0, 0, 0
    try:
        started = time.monotonic()
        fetch_all(base, tmp_path / "whole")
        duration = time.monotonic() - started
        for number in range(rounds):
            root = tmp_path / str(number)
            moment = chance.uniform(0.0, duration)
            at_work += killed_after(moment, lambda root=root: fetch_all(base, root))
            right += check_nothing_wrong(root, expected)
            parts += sum(1 for _ in root.glob("*/.*.part.json"))
            server.headers.clear()
            fetch_all(base, root)
            continued += sum(line.startswith("Range:") for line in server.headers)
            assert check_nothing_wrong(root, expected) == 20
            assert names(root) == sorted(ENTRIES)
            for emdb_id in ENTRIES:
                assert names(root / emdb_id) == sorted([*FILES, "provenance.json"])
    finally:
        server.close()
    print(
        f"{rounds} kills, {at_work} at work, {right} right files, {parts} parts, {continued} used"
    )
    return at_work, right, continued


def test_killed_batches_leave_whole_entries_only(tmp_path):
    expected = bodies()
    server = Server({path: body for files in expected.values() for path, body in files.values()})
    rows = [{"emdb_id": name, "pdb_id": pdb_id} for name, pdb_id in ENTRIES.items()]
    table, stage = tmp_path / "b.tsv", tmp_path / "fetch"
    write_table(table, rows, ("emdb_id", "pdb_id"))
    spec = json.dumps({"base_url": f"{server.base}/archive"})
    arguments = ["--batch", str(table), "--spec", spec, "--out", str(stage / "b.tsv")]
    chance = random.Random(3)
    try:
        for _ in range(6):
            shutil.rmtree(stage, ignore_errors=True)
            killed_after(chance.uniform(0.02, 0.5), lambda: fetch_script.main(arguments))
            for emdb_id in names(stage / "entries") if (stage / "entries").exists() else []:
                if not emdb_id.startswith("."):
                    assert check_nothing_wrong(stage / "entries", {emdb_id: expected[emdb_id]}) == 4
            assert fetch_script.main(arguments) == 0
            assert check_nothing_wrong(stage / "entries", expected) == 20
            assert names(stage / "entries") == sorted(ENTRIES)
            assert names(stage / "incoming") == []
    finally:
        server.close()


def test_killed_at_random_moments(tmp_path):
    at_work, right, _ = kill_many_times(tmp_path, 6, seed=1)
    assert at_work > 0 and right > 0


@pytest.mark.long
def test_killed_at_two_hundred_random_moments(tmp_path):
    at_work, right, continued = kill_many_times(tmp_path, 200, seed=2)
    assert at_work > 50 and right > 500 and continued > 0
