"""The stages fetch and inspect by hand and as batches, on made and on real archives."""

import csv
import gzip
import hashlib
import json
import os

import numpy as np
import pytest

from cryoclarity.archive.fetch import Source
from cryoclarity.archive.http import Limits
from cryoclarity.archive.paths import half_map_paths, map_path, model_paths
from cryoclarity.errors import ConfigError, InputError, IntegrityError
from cryoclarity.io.tables import read_table, write_table
from cryoclarity.stages.fetch import Wanted, run_files
from tests.archive.server import Server
from tests.gates.zoo import VOXEL, cif_text, map_bytes, pdb_text
from tests.scripts import load_script

fetch_script = load_script("fetch")
inspect_script = load_script("inspect_inputs")

EMDB, PDB = "EMD-9999", "9zzz"
SHAPE = (26, 26, 40)


def model_density(seed=0):
    """Density of the zoo's model: its atoms lie from (3, 4, 5) A on along x."""
    z, y, x = np.indices(SHAPE) * VOXEL
    density = np.random.default_rng(seed).normal(size=SHAPE) * 0.01
    for i in range(20):
        distance = (x - 3 - 1.5 * i) ** 2 + (y - 4 - i % 5) ** 2 + (z - 5) ** 2
        density += np.exp(-distance / 2)
    return density.astype(np.float32)


def packed(data):
    return gzip.compress(data, mtime=0)


def archive_files(half_maps=True, model="cif"):
    files = {map_path(EMDB): packed(map_bytes(model_density()))}
    if half_maps:
        for number, path in enumerate(half_map_paths(EMDB), start=1):
            files[path] = packed(map_bytes(model_density(number)))
    if model == "cif":
        files[model_paths(PDB)[0]] = packed(cif_text().encode())
    elif model == "pdb":
        files[model_paths(PDB)[1]] = packed(pdb_text().encode())
    return files


def folder_archive(folder, files):
    for path, content in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)
    return str(folder)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def fetch(base, out, half_maps="auto", pdb_id=PDB):
    source = Source(base, Limits(timeout_s=1.0), attempts=2, backoff_s=0.0)
    return run_files(Wanted(EMDB, pdb_id, half_maps), source, out)


def test_all_files_of_an_entry(tmp_path):
    base = folder_archive(tmp_path / "archive", archive_files())
    facts = fetch(base, tmp_path / "out")
    assert names(tmp_path / "out") == [
        "half_map_1.map.gz",
        "half_map_2.map.gz",
        "map.map.gz",
        "model.cif.gz",
        "provenance.json",
    ]
    assert (facts["half_maps"], facts["model"]) == ("yes", "yes")
    text = (tmp_path / "out" / "provenance.json").read_text()
    assert str(tmp_path) not in text
    record = json.loads(text)["files"]["model"]
    assert {"url", "status", "bytes", "sha256", "content_sha256", "unpacked_bytes"} <= set(record)
    assert record["retrieved_utc"].endswith("Z")


@pytest.mark.parametrize("form", ["cif", "pdb"])
def test_either_form_of_a_model(tmp_path, form):
    server = Server(archive_files(half_maps=False, model=form))
    facts = fetch(server.base + "/ok", tmp_path / "out")
    server.close()
    assert f"model.{form}.gz" in names(tmp_path / "out")
    assert facts["half_maps"] == "no"
    assert facts["half_maps_code"] == ""


def test_leftovers_of_killed_processes_go_away(tmp_path):
    base = folder_archive(tmp_path / "archive", archive_files(half_maps=False))
    out = tmp_path / "out"
    out.mkdir()
    (out / ".tmp-99999999-map.map.gz").write_bytes(b"half")
    (out / f".tmp-{os.getppid()}-map.map.gz").write_bytes(b"somebody at work")
    fetch(base, out)
    assert [name for name in names(out) if name.startswith(".tmp")] == [
        f".tmp-{os.getppid()}-map.map.gz"
    ]


def test_second_fetch_asks_for_nothing(tmp_path):
    server = Server(archive_files())
    fetch(server.base + "/ok", tmp_path / "out")
    count = server.requests.total()
    fetch(server.base + "/ok", tmp_path / "out")
    server.close()
    assert server.requests.total() == count == 4


def test_a_pinned_file_must_be_the_pinned_one(tmp_path):
    files = archive_files(half_maps=False)
    source = Source(folder_archive(tmp_path / "archive", files))
    served = hashlib.sha256(files[map_path(EMDB)]).hexdigest()
    run_files(Wanted(EMDB, PDB, pins={"map": served.upper()}), source, tmp_path / "out")
    for folder in ("out", "new"):  # also a file that an earlier run left
        with pytest.raises(IntegrityError) as caught:
            run_files(Wanted(EMDB, PDB, pins={"map": "0" * 64}), source, tmp_path / folder)
        assert caught.value.code == "FILE_CHANGED" and served in str(caught.value)
    assert not (tmp_path / "new").exists()
    assert (tmp_path / "out" / "map.map.gz").read_bytes() == files[map_path(EMDB)]


def test_bad_half_map_costs_the_half_maps_only(tmp_path):
    files = archive_files()
    files[half_map_paths(EMDB)[1]] = b"<html><title>gone</title></html>"
    base = folder_archive(tmp_path / "archive", files)
    facts = fetch(base, tmp_path / "out")
    assert (facts["half_maps"], facts["half_maps_code"]) == ("no", "FILE_HTML")
    assert names(tmp_path / "out") == ["map.map.gz", "model.cif.gz", "provenance.json"]
    with pytest.raises(InputError, match=r"PAIR_HALF_MISSING.*FILE_HTML"):
        fetch(base, tmp_path / "other", half_maps="required")
    assert fetch(base, tmp_path / "third", half_maps="never")["half_maps_code"] == ""


def test_missing_model_and_wrong_model(tmp_path):
    files = archive_files(model="none")
    base = folder_archive(tmp_path / "archive", files)
    with pytest.raises(InputError, match="NET_NOT_FOUND"):
        fetch(base, tmp_path / "a")
    assert fetch(base, tmp_path / "b", pdb_id="")["model"] == "no"
    files[model_paths(PDB)[0]] = packed(cif_text(name="1ABC").encode())
    folder_archive(tmp_path / "archive", files)
    with pytest.raises(InputError, match=r"ID_PDB_MISMATCH.*1abc"):
        fetch(base, tmp_path / "a")
    assert not (tmp_path / "a" / "model.cif.gz").exists()


def test_folder_of_another_entry_is_left_alone(tmp_path):
    base = folder_archive(tmp_path / "archive", archive_files())
    fetch(base, tmp_path / "out")
    with pytest.raises(ConfigError, match="holds EMD-9999"):
        run_files(Wanted("EMD-8888"), Source(base), tmp_path / "out")


def batch(tmp_path, base, rows, inspect_spec=None):
    """Run fetch and inspect as the DAG does; return the rows of both manifests."""
    table = tmp_path / "b.tsv"
    write_table(table, rows, ("emdb_id", "pdb_id", "resolution", "half_maps"))
    manifests = {stage: tmp_path / stage / "b.tsv" for stage in ("fetch", "inspect")}
    spec = json.dumps({"base_url": base, "half_maps": "auto", "attempts": 1})
    common = ["--batch", str(table), "--code", "c", "--spec"]
    assert fetch_script.main([*common, spec, "--out", str(manifests["fetch"])]) == 0
    upstream = ["--upstream", f"fetch={manifests['fetch']}", "--out", str(manifests["inspect"])]
    assert inspect_script.main([*common, json.dumps(inspect_spec or {}), *upstream]) == 0
    return {
        stage: {row["emdb_id"]: row for row in read_table(path)}
        for stage, path in manifests.items()
    }


def facts_of(tmp_path, stage, emdb_id=EMDB):
    return json.loads((tmp_path / stage / "entries" / emdb_id / "facts.json").read_text())


ROW = {"emdb_id": EMDB, "pdb_id": PDB, "resolution": "3.0", "half_maps": "yes"}


def test_good_entry_through_both_stages(tmp_path):
    base = folder_archive(tmp_path / "archive", archive_files())
    rows = batch(tmp_path, base, [ROW, ROW | {"emdb_id": "EMD-7777"}])
    assert rows["fetch"][EMDB]["status"] == rows["inspect"][EMDB]["status"] == "ok"
    assert rows["fetch"]["EMD-7777"]["code"] == "NET_NOT_FOUND"
    assert rows["inspect"]["EMD-7777"]["status"] == "skipped"
    facts = facts_of(tmp_path, "inspect")
    assert (facts["half_maps"], facts["model"]) == ("yes", "yes")
    report = json.loads((tmp_path / "inspect/entries" / EMDB / "inspect.json").read_text())
    assert report["fit"]["inside"] == 1.0
    assert report["map"]["grid"] == list(SHAPE[::-1])
    assert report["half_map_1"]["content_sha256"] != report["half_map_2"]["content_sha256"]


def test_new_code_does_not_download_again(tmp_path):
    server = Server(archive_files())
    spec = json.dumps({"base_url": server.base + "/ok"})
    table, out = tmp_path / "b.tsv", tmp_path / "fetch" / "b.tsv"
    write_table(table, [ROW], tuple(ROW))
    for code in ("old", "new"):
        arguments = ["--batch", str(table), "--spec", spec, "--code", code, "--out", str(out)]
        assert fetch_script.main(arguments) == 0
    server.close()
    assert server.requests.total() == 4
    assert read_table(out)[0]["status"] == "ok"


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda halves: [halves[0], halves[0]], "PAIR_HALF_SAME"),
        (lambda halves: [halves[0], model_density()], "PAIR_HALF_SAME"),
        (lambda halves: [halves[0], halves[1][:-1]], "PAIR_HALF_MISMATCH"),
    ],
)
def test_half_maps_that_are_none(tmp_path, change, code):
    files = archive_files()
    halves = change([model_density(1), model_density(2)])
    for path, half in zip(half_map_paths(EMDB), halves, strict=True):
        files[path] = packed(map_bytes(half))
    rows = batch(tmp_path, folder_archive(tmp_path / "archive", files), [ROW])
    assert rows["inspect"][EMDB]["status"] == "ok"
    facts = facts_of(tmp_path, "inspect")
    assert (facts["half_maps"], facts["half_maps_code"]) == ("no", code)


def test_pair_that_does_not_fit_unless_trusted(tmp_path):
    files = archive_files()
    files[map_path(EMDB)] = packed(map_bytes(np.roll(model_density(), (8, 8), (0, 1))))
    base = folder_archive(tmp_path / "archive", files)
    rows = batch(tmp_path, base, [ROW])
    assert rows["inspect"][EMDB]["code"] == "PAIR_NO_FIT"
    (tmp_path / "trusted").mkdir()
    rows = batch(tmp_path / "trusted", base, [ROW], {"trust_list": True})
    assert rows["inspect"][EMDB]["status"] == "ok"
    assert "PAIR_NO_FIT" in facts_of(tmp_path / "trusted", "inspect")["warnings"]


def test_scripts_by_hand(tmp_path, capsys):
    base = folder_archive(tmp_path / "archive", archive_files())
    arguments = ["--emdb-id", EMDB, "--pdb-id", PDB, "--base-url", base, "--out"]
    assert fetch_script.main([*arguments, str(tmp_path / "out")]) == 0
    assert fetch_script.main(["--emdb-id", "EMD-1111", *arguments[4:], str(tmp_path / "x")]) == 3
    message = capsys.readouterr().err
    assert message.startswith("NET_NOT_FOUND:") and message.count("\n") == 1
    assert not (tmp_path / "x").exists()
    assert fetch_script.main(["--emdb-id", "9", *arguments[4:], str(tmp_path / "x")]) == 3


def test_real_archive(shared, tmp_path):
    with (shared / "archive" / "manifest.tsv").open(newline="") as handle:
        known = {row["emdb_id"]: row for row in csv.DictReader(handle, delimiter="\t")}
    table = [
        {
            "emdb_id": entry,
            "pdb_id": row["pdb_id"].strip("-"),
            "resolution": row["resolution_A"].strip("-"),
        }
        for entry, row in known.items()
    ]
    rows = batch(tmp_path, str(shared / "archive"), table)
    rejected = {entry: row["code"] for entry, row in rows["fetch"].items() if row["code"]}
    assert rejected == {"EMD-8216": "HDR_CELL_ANGLES", "EMD-3001": "HDR_CELL_ANGLES"}
    warned = {}
    for entry, row in rows["inspect"].items():
        if row["status"] != "ok":
            assert entry in rejected
            continue
        folder = tmp_path / "fetch" / "entries" / entry
        record = json.loads((folder / "provenance.json").read_text())["files"]["map"]
        assert record["sha256"] == known[entry]["sha256_map_gz"]
        facts = facts_of(tmp_path, "inspect", entry)
        if facts["warnings"]:
            warned[entry] = facts["warnings"]
        if facts["model"] == "yes":
            assert facts["inside"] == pytest.approx(float(known[entry]["inside"]), abs=1e-3)
            assert facts["fit_z"] == pytest.approx(float(known[entry]["overlay_z"]), abs=0.02)
    assert warned == {
        "EMD-6374": "W_STAMP",
        "EMD-1461": "W_ALTLOC",
        "EMD-8249": "W_FIT_AMBIGUOUS",
        "EMD-1155": "W_M_NOT_N",
    }
