"""One entry with all its files: documents, masks, offline, updates, pins, what is left behind."""

from __future__ import annotations

import gzip
import json
import logging

import pytest

from cryoclarity.archive import entry_check
from cryoclarity.archive.entry_check import document_at_hand
from cryoclarity.archive.paths import half_map_path, half_map_paths, map_path, mask_path
from cryoclarity.archive.responses import body_path
from cryoclarity.archive.search import API, entry_url
from cryoclarity.errors import ConfigError, InputError, IntegrityError
from cryoclarity.io.tables import read_table, write_table
from cryoclarity.report.rejected import check_failed_fraction
from cryoclarity.stages.fetch import Wanted, masks_of, run_files
from tests.archive.files import (
    BODIES,
    EMDB,
    PDB,
    SHAPE,
    a_map,
    a_model,
    names,
    packed,
    sha256,
    source,
)
from tests.archive.server import Server
from tests.scripts import load_script

fetch_script = load_script("fetch")
MAP_PATH = map_path(EMDB)


def all_files():
    half = {half_map_paths(EMDB)[1]: packed(a_map(4))}
    return BODIES | half | {mask_path(EMDB): a_map(5)}


@pytest.fixture
def server():
    server = Server(all_files())
    yield server
    server.close()


def document(status="REL", size=SHAPE[::-1], half_maps=(), successors=()):
    """An entry document with what is needed and nothing else."""
    x, y, z = size
    wrapped = [{"file": name} for name in half_maps]
    return {
        "emdb_id": EMDB,
        "admin": {
            "current_status": {"code": {"valueOf_": status}},
            "obsolete_list": {"entry": [{"entry": name} for name in successors]},
        },
        "structure_determination_list": {"structure_determination": [{"method": "singleParticle"}]},
        "map": {
            "dimensions": {"col": x, "row": y, "sec": z},
            "pixel_spacing": {axis: {"valueOf_": "1.5"} for axis in "xyz"},
            "size_kbytes": 10,
        },
        "interpretation": {"half_map_list": {"half_map": wrapped}},
    }


def documents(folder, **changes):
    folder.mkdir()
    (folder / f"{EMDB}.json").write_text(json.dumps(document(**changes)))
    return document_at_hand(folder, EMDB)


def run(server, out, route="ok", wanted=None, **changes):
    settings = {"pdb_id": PDB} | (wanted or {})
    return run_files(Wanted(EMDB, **settings), source(f"{server.base}/{route}", **changes), out)


def records(out):
    return json.loads((out / "provenance.json").read_text())["files"]


def test_offline_with_everything_here_asks_for_nothing(server, tmp_path):
    facts = run(server, tmp_path / "out", wanted={"masks": ("",)})
    pins = {kind: record["sha256"] for kind, record in records(tmp_path / "out").items()}
    assert len(pins) == 5
    count = server.requests.total()
    assert count == 5
    again = {"masks": ("",), "pins": pins}
    assert run(server, tmp_path / "out", wanted=again, offline=True) == facts
    assert run(server, tmp_path / "out", wanted=again) == facts
    assert server.requests.total() == count


def test_offline_without_the_files(server, tmp_path):
    with pytest.raises(InputError, match="NET_OFFLINE"):
        run(server, tmp_path / "out", offline=True)
    site = tmp_path / "site" / MAP_PATH
    site.parent.mkdir(parents=True)
    site.write_bytes(BODIES[MAP_PATH])
    bases = (str(tmp_path / "site"), f"{server.base}/ok")
    with pytest.raises(InputError, match="NET_OFFLINE"):  # the model is elsewhere
        run_files(Wanted(EMDB, PDB), source(*bases, offline=True), tmp_path / "out")
    assert (tmp_path / "out" / "map.map.gz").exists()
    assert server.requests.total() == 0


def test_what_the_archive_lacked_is_not_asked_for_again(tmp_path):
    files = {path: body for path, body in BODIES.items() if "half" not in path}
    server = Server(files)
    try:
        assert run(server, tmp_path / "out")["half_maps"] == "no"
        assert server.requests.total() == 3
        assert run(server, tmp_path / "out")["half_maps_code"] == ""
        assert server.requests.total() == 3
        run(server, tmp_path / "out", wanted={"has_half_maps": True})
        assert server.requests.total() == 4
    finally:
        server.close()


def test_update_asks_whether_files_are_current(server, tmp_path):
    out = tmp_path / "out"
    run(server, out, route="current")
    before = records(out)
    run(server, out, route="current", update=True)
    assert server.headers.count('If-None-Match: "abc"') == 4
    assert records(out) == before and not (out / "changes.tsv").exists()


def test_a_change_upstream_stops_or_is_taken_as_told(server, tmp_path):
    out = tmp_path / "out"
    run(server, out)
    before = records(out)["map"]
    server.files = server.files | {MAP_PATH: packed(a_map(7))}
    run(server, out)  # nothing is asked
    (out / "map.map.gz").unlink()
    with pytest.raises(IntegrityError, match="FILE_CHANGED"):
        run(server, out)
    assert not (out / "map.map.gz").exists()
    run(server, out, update=True)
    now = records(out)["map"]
    assert (out / "map.map.gz").read_bytes() == packed(a_map(7))
    (row,) = read_table(out / "changes.tsv")
    assert (row["emdb_id"], row["kind"], row["same_content"]) == (EMDB, "map", "no")
    assert (row["sha256_before"], row["sha256_now"]) == (before["sha256"], now["sha256"])
    # The pin of the entry table has been replaced by what the user accepted.
    run(server, out, wanted={"pins": {"map": before["sha256"]}})
    with pytest.raises(IntegrityError, match="FILE_CHANGED"):
        run(server, out, wanted={"pins": {"map": "0" * 64}})


def test_packed_anew_is_no_change(server, tmp_path):
    out = tmp_path / "out"
    run(server, out)
    server.files = server.files | {MAP_PATH: gzip.compress(a_map(), 9, mtime=1)}
    (out / "map.map.gz").unlink()
    run(server, out)
    assert (out / "map.map.gz").read_bytes() == server.files[MAP_PATH]


@pytest.mark.parametrize(
    ("cell", "found"),
    [("", ()), ("no", ()), ("yes", ("",)), ("a.map, b.map;c.map", ("a.map", "b.map", "c.map"))],
)
def test_masks_of_a_row(cell, found):
    assert masks_of(cell) == found


def test_masks_that_cannot_be_had_are_left_out(server, tmp_path):
    masks = ("emd_9999_msk_1.map", "emd_9999_msk_2.map", "../../x.map")
    facts = run(server, tmp_path / "out", wanted={"masks": masks})
    assert (facts["masks"], facts["masks_code"]) == (1, "ID_BAD")
    assert "mask_1.map" in names(tmp_path / "out")
    assert (tmp_path / "out" / "mask_1.map").read_bytes() == a_map(5)


def test_half_maps_under_the_names_of_the_document(server, tmp_path):
    first, second = "first_half.map.gz", "second_half.map.gz"
    for name, seed in ((first, 2), (second, 4)):
        server.files[half_map_path(EMDB, name)] = packed(a_map(seed))
    found = documents(tmp_path / "documents", half_maps=(first, second))
    run(server, tmp_path / "out", wanted={"document": found})
    record = records(tmp_path / "out")["half_map_2"]
    assert record["path"].endswith(second)
    assert record["document"]["url"] == f"{EMDB}.json" and len(record["document"]["sha256"]) == 64


def test_map_of_another_size_than_its_document(server, tmp_path):
    found = documents(tmp_path / "documents", size=(20, 20, 20))
    with pytest.raises(InputError, match="ID_MAP_MISMATCH"):
        run(server, tmp_path / "out", wanted={"document": found})
    assert not (tmp_path / "out" / "map.map.gz").exists()


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"status": "OBS", "successors": ("EMD-8888",)}, "ID_OBSOLETE.*EMD-8888"),
        ({"status": "HPUB"}, "ID_UNRELEASED.*HPUB"),
    ],
)
def test_entries_that_the_archive_does_not_offer(server, tmp_path, changes, code):
    found = documents(tmp_path / "documents", **changes)
    with pytest.raises(InputError, match=code):
        run(server, tmp_path / "out", wanted={"document": found})
    assert server.requests.total() == 0


def test_documents_that_a_selection_saved(tmp_path):
    folder = tmp_path / "responses"
    folder.mkdir()
    assert document_at_hand(folder, EMDB) is None
    assert document_at_hand("", EMDB) is None
    body = json.dumps(document()).encode()
    (folder / "index.tsv").write_text(index_line(EMDB, 200, body) + index_line("EMD-1111", 404))
    body_path(folder, sha256(body)).parent.mkdir(parents=True)
    body_path(folder, sha256(body)).write_bytes(gzip.compress(body))
    entry_check._saved.cache_clear()
    found = document_at_hand(folder, EMDB)
    assert found.facts.size == SHAPE[::-1]
    assert found.origin == {
        "url": entry_url(API, EMDB),
        "sha256": sha256(body),
        "retrieved_utc": "2026-01-01",
    }
    with pytest.raises(InputError, match="ID_UNKNOWN"):
        document_at_hand(folder, "EMD-1111")
    assert document_at_hand(folder, "EMD-2222") is None


def index_line(emdb_id, status, body=b""):
    digest = sha256(body) if body else ""
    cells = (entry_url(API, emdb_id), "2026-01-01", status, digest, len(body), "", "")
    return "\t".join(map(str, cells)) + "\n"


@pytest.mark.parametrize(("related", "right"), [(EMDB, True), ("EMD-1111", False), ("", True)])
def test_model_of_another_map(server, tmp_path, related, right):
    path = next(path for path in BODIES if path.startswith("pdb"))
    server.files[path] = packed(a_model(related=related))
    if right:
        run(server, tmp_path / "out")
    else:
        with pytest.raises(InputError, match=r"ID_PDB_MISMATCH.*EMD-1111"):
            run(server, tmp_path / "out")


def test_failure_at_the_model_keeps_what_was_proved(server, tmp_path):
    path = next(path for path in BODIES if path.startswith("pdb"))
    body = server.files.pop(path)
    with pytest.raises(InputError, match="NET_NOT_FOUND"):
        run(server, tmp_path / "out")
    kept = names(tmp_path / "out")
    assert kept == ["half_map_1.map.gz", "half_map_2.map.gz", "map.map.gz", "provenance.json"]
    assert records(tmp_path / "out").keys() == {"map", "half_map_1", "half_map_2"}
    server.files[path] = body
    count = server.requests.total()
    run(server, tmp_path / "out")
    assert server.requests.total() == count + 1


def test_half_map_that_fails_costs_only_its_branches(server, tmp_path, caplog):
    server.files[half_map_paths(EMDB)[1]] = packed(a_map(4))[:-8] + bytes(8)
    with caplog.at_level(logging.WARNING):
        facts = run(server, tmp_path / "out")
    assert (facts["half_maps"], facts["half_maps_code"]) == ("no", "NET_DEADLINE")
    assert names(tmp_path / "out") == ["map.map.gz", "model.cif.gz", "provenance.json"]
    assert "goes on without half maps" in caplog.text


def test_damaged_records_are_written_anew(server, tmp_path):
    run(server, tmp_path / "out")
    count = server.requests.total()
    for text in ("", "[]", '{"emdb_id": "EMD-9999"', '{"emdb_id": "EMD-9999", "files": {}}'):
        (tmp_path / "out" / "provenance.json").write_text(text)
        run(server, tmp_path / "out")
        assert {record["source"] for record in records(tmp_path / "out").values()} == {"found"}
    assert server.requests.total() == count


# Batches.


def batch(tmp_path, bases, rows, **settings):
    table, out = tmp_path / "b.tsv", tmp_path / "fetch" / "b.tsv"
    columns = ("emdb_id", "pdb_id", "half_maps", "masks")
    write_table(table, rows, columns)
    spec = {"base_url": bases[0], "mirrors": list(bases), "attempts": 2, "timeout_s": 2}
    arguments = ["--batch", str(table), "--spec", json.dumps(spec | settings), "--out", str(out)]
    return fetch_script.main(arguments), out


ROW = {"emdb_id": EMDB, "pdb_id": PDB, "half_maps": "yes", "masks": "yes"}


def test_batch_goes_on_after_failures_until_they_are_too_many(server, tmp_path):
    missing = [ROW | {"emdb_id": f"EMD-{number}"} for number in range(2000, 2006)]
    status, manifest = batch(tmp_path, [f"{server.base}/ok"], [*missing, ROW])
    assert status == 0
    rows = read_table(manifest)
    assert [row["emdb_id"] for row in rows] == [*(row["emdb_id"] for row in missing), EMDB]
    assert [row["code"] for row in rows] == ["NET_NOT_FOUND"] * 6 + [""]
    folder = tmp_path / "fetch"
    assert names(folder / "entries" / EMDB) == [
        *("facts.json", "half_map_1.map.gz", "half_map_2.map.gz", "map.map.gz", "mask_1.map"),
        *("model.cif.gz", "provenance.json", "stamp.json"),
    ]
    assert not any((folder / "incoming").iterdir())
    check_failed_fraction([manifest], 0.9)
    with pytest.raises(InputError, match="NET_NOT_FOUND"):
        check_failed_fraction([manifest], 0.2)


def test_batch_asks_again_for_half_maps_that_the_network_cost(server, tmp_path):
    path = half_map_paths(EMDB)[1]
    good = server.files[path]
    server.files[path] = good[:-8] + bytes(8)
    _, manifest = batch(tmp_path, [f"{server.base}/ok"], [ROW])
    facts = tmp_path / "fetch" / "entries" / EMDB / "facts.json"
    assert read_table(manifest)[0]["status"] == "ok"
    assert json.loads(facts.read_text())["half_maps_code"] == "NET_DEADLINE"
    server.files[path] = good
    count = server.requests.total()
    batch(tmp_path, [f"{server.base}/ok"], [ROW])
    assert json.loads(facts.read_text())["half_maps"] == "yes"
    assert server.requests.total() == count + 2


def test_batch_keeps_nothing_of_an_entry_that_is_bad_for_good(server, tmp_path):
    path = next(path for path in BODIES if path.startswith("pdb"))
    server.files[path] = packed(a_model("1ABC"))
    _, manifest = batch(tmp_path, [f"{server.base}/ok"], [ROW])
    assert read_table(manifest)[0]["code"] == "ID_PDB_MISMATCH"
    assert names(tmp_path / "fetch" / "incoming") == []


def test_batch_stops_when_the_world_has_changed(server, tmp_path):
    assert batch(tmp_path, [f"{server.base}/ok"], [ROW])[0] == 0
    server.files = server.files | {MAP_PATH: packed(a_map(7))}
    (tmp_path / "fetch" / "entries" / EMDB / "map.map.gz").unlink()
    assert batch(tmp_path, [f"{server.base}/ok"], [ROW])[0] == 4
    assert not (tmp_path / "fetch" / "incoming" / EMDB / "map.map.gz").exists()
    assert batch(tmp_path, [f"{server.base}/ok"], [ROW], update=True)[0] == 0
    (row,) = read_table(tmp_path / "fetch" / "changes.tsv")
    assert (row["emdb_id"], row["kind"]) == (EMDB, "map")


def test_batch_updates_and_notes_it(server, tmp_path):
    assert batch(tmp_path, [f"{server.base}/current"], [ROW])[0] == 0
    server.files = server.files | {MAP_PATH: packed(a_map(7))}
    status, manifest = batch(tmp_path, [f"{server.base}/ok"], [ROW], update=True)
    assert (status, read_table(manifest)[0]["status"]) == (0, "ok")
    status, _ = batch(tmp_path, [f"{server.base}/ok"], [ROW])
    assert status == 0


def test_batch_takes_over_what_a_killed_one_left(server, tmp_path):
    folder = tmp_path / "fetch" / "entries" / f".tmp-4000000-{EMDB}"
    run(server, folder)
    count = server.requests.total()
    assert batch(tmp_path, [f"{server.base}/ok"], [ROW | {"masks": ""}])[0] == 0
    assert server.requests.total() == count
    assert not folder.exists()


def test_batch_leaves_what_is_proved_for_the_next_one(server, tmp_path):
    path = next(path for path in BODIES if path.startswith("pdb"))
    body = server.files.pop(path)
    _, manifest = batch(tmp_path, [f"{server.base}/ok"], [ROW])
    assert read_table(manifest)[0]["code"] == "NET_NOT_FOUND"
    server.files[path] = body
    count = server.requests.total()
    _, manifest = batch(tmp_path, [f"{server.base}/ok"], [ROW])
    assert read_table(manifest)[0]["status"] == "ok"
    assert server.requests.total() == count + 1


# By hand.


@pytest.mark.parametrize(
    ("options", "status"),
    [
        (["--base-url", "gopher://x"], 2),
        (["--base-url", "http://example.org"], 2),
        (["--attempts", "0"], 2),
        (["--timeout", "0"], 2),
        (["--offline"], 3),
        (["--emdb-id", "x"], 3),
        (["--base-url", "no/such/folder"], 3),
    ],
)
def test_script_refuses(tmp_path, capsys, monkeypatch, options, status):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    arguments = ["--emdb-id", EMDB, "--out", str(tmp_path / "out"), *options]
    assert fetch_script.main(arguments) == status
    assert capsys.readouterr().err.count("\n") == 1
    assert names(tmp_path) in ([], ["cache"])


def test_script_with_mirrors_masks_and_progress(server, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    bases = ["--base-url", f"{server.base}/not_found", "--base-url", f"{server.base}/ok"]
    options = ["--pdb-id", PDB, "--mask", "emd_9999_msk_1.map", "--out", str(tmp_path / "out")]
    assert fetch_script.main(["--emdb-id", EMDB, *bases, *options]) == 0
    assert len(names(tmp_path / "out")) == 6
    assert "map.map.gz" in capsys.readouterr().err
    (folder,) = (tmp_path / "cache" / "cryoclarity" / "slots").iterdir()
    assert folder.name.startswith("127.0.0.1_")


def test_folder_of_another_entry(server, tmp_path):
    run(server, tmp_path / "out")
    with pytest.raises(ConfigError, match="holds EMD-9999"):
        run_files(Wanted("EMD-8888"), source(server.base), tmp_path / "out")
