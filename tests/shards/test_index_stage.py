"""The index of a data set, made from manifests as the workflow leaves them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from cryoclarity.errors import ConfigError, IntegrityError
from cryoclarity.io.atoms import Atoms
from cryoclarity.io.files import write_json
from cryoclarity.io.model import write_mmcif
from cryoclarity.io.shards import write_shard
from cryoclarity.io.tables import read_table, read_table_with_comments, write_table
from cryoclarity.stages.batch import MANIFEST_COLUMNS
from cryoclarity.stages.index import IndexInputs, run_files, run_groups

NAMES = "ALA ARG ASN ASP CYS GLN GLU GLY HIS ILE LEU LYS MET PHE PRO SER THR TRP TYR VAL".split()
DATASET = "enhance_1.0"
ENTRIES = {
    "EMD-1001": ("train", "g1", "2.5"),
    "EMD-1002": ("train", "g2", ""),
    "EMD-1003": ("val", "g3", ""),
    "EMD-1004": ("train", "g4", ""),  # its shards stage was rejected
    "EMD-1005": ("val", "g5", ""),  # its fetch stage was rejected
}


def chain_of(seed, length=60):
    names = np.array(NAMES)[np.random.default_rng(seed).integers(0, 20, length)]
    blank = np.full(length, "")
    return Atoms(
        xyz=np.arange(3.0 * length).reshape(-1, 3) * 3.8,
        element=np.full(length, "C"),
        atomic_number=np.full(length, 6),
        name=np.full(length, "CA"),
        residue_name=names,
        chain=np.full(length, "A"),
        residue_number=np.arange(1, length + 1),
        insertion_code=blank,
        altloc=blank,
        occupancy=np.ones(length),
        b_iso=np.ones(length),
        kind=np.full(length, "protein"),
        residue_index=np.arange(length),
    )


def manifest(path, statuses):
    codes = {"ok": "", "rejected": "FILE_EMPTY"}
    rows = [{"emdb_id": k, "status": v, "code": codes[v]} for k, v in statuses.items()]
    write_table(path, rows, MANIFEST_COLUMNS)
    return path


@pytest.fixture
def results(tmp_path, monkeypatch):
    """Two batches of entries below results/, and this folder as the current one."""
    monkeypatch.chdir(tmp_path)
    parts = {"0001": list(ENTRIES)[:2], "0002": list(ENTRIES)[2:]}
    found = {"rows": [], "fetch": [], "shards": []}
    for batch, members in parts.items():
        rows = [
            {"emdb_id": k, "pdb_id": f"9z{k[-2:]}", "split": s, "group": g, "weight": w}
            for k, (s, g, w) in ENTRIES.items()
            if k in members
        ]
        table = Path(f"results/batches/{batch}.tsv")
        write_table(table, rows, ("emdb_id", "pdb_id", "split", "group", "weight"))
        for k in members:
            folder = Path("results/fetch/entries", k)
            write_mmcif(folder / "model.cif.gz", chain_of(int(k[-4:])), f"9z{k[-2:]}")
            write_json(folder / "provenance.json", {"files": {"map": {"content_sha256": k}}})
            if k != "EMD-1004":
                boxes = np.zeros((int(k[-1]), 4, 4, 4), np.float16)
                path = Path("results/shards", DATASET, "entries", k, f"{DATASET}.h5")
                digest = write_shard(path, {"input": boxes, "target": boxes}, {})
                write_json(path.with_suffix(".json"), {"sha256": digest, "boxes": len(boxes)})
        fetch = {k: "rejected" if k == "EMD-1005" else "ok" for k in members}
        shards = {k: "ok" if k[-1] in "123" else "rejected" for k in members}
        found["rows"].append(table)
        found["fetch"].append(manifest(Path(f"results/fetch/{batch}.tsv"), fetch))
        found["shards"].append(manifest(Path(f"results/shards/{DATASET}/{batch}.tsv"), shards))
    return IndexInputs(**found)


def copy_model(source, target):
    folder = Path("results/fetch/entries")
    data = (folder / source / "model.cif.gz").read_bytes()
    (folder / target / "model.cif.gz").write_bytes(data)


def test_the_index_holds_the_shards_split_by_split(results):
    facts = run_files(DATASET, results, "index.tsv", "leaks.tsv")
    rows = read_table("index.tsv")
    assert [row["emdb_id"] for row in rows] == ["EMD-1001", "EMD-1002", "EMD-1003", "-"]
    assert [row["split"] for row in rows] == ["train", "train", "val", "test"]
    assert [row["boxes"] for row in rows] == ["1", "2", "3", "0"]
    assert [row["weight"] for row in rows] == ["2.5", "1", "1", "0"]
    assert rows[0]["path"] == f"results/shards/{DATASET}/entries/EMD-1001/{DATASET}.h5"
    assert facts == {"entries": 4, "edges": 0, "shards": 3, "boxes": 6}
    assert read_table_with_comments("leaks.tsv") == ([], ["4 entries, 6 pairs, 0 edges, 0 leaks"])


def test_training_reads_the_index(results):
    from cryoclarity.train.data import read_index, verify_shards

    run_files(DATASET, results, "index.tsv", "leaks.tsv")
    train = read_index("index.tsv", "train")
    assert [entry.boxes for entry in train] == [1, 2] and read_index("index.tsv", "test") == []
    verify_shards(train, Path())


def test_the_order_of_batches_changes_nothing(results):
    run_files(DATASET, results, "a.tsv", "a.leaks.tsv")
    turned = IndexInputs(results.rows[::-1], results.fetch[::-1], results.shards[::-1])
    run_files(DATASET, turned, "b.tsv", "b.leaks.tsv")
    assert Path("a.tsv").read_bytes() == Path("b.tsv").read_bytes()
    assert Path("a.leaks.tsv").read_bytes() == Path("b.leaks.tsv").read_bytes()


def test_kin_in_one_split_are_listed(results):
    copy_model("EMD-1001", "EMD-1002")
    run_files(DATASET, results, "index.tsv", "leaks.tsv")
    rows = read_table("leaks.tsv")
    assert {row["edge"] for row in rows} == {"chains", "word"}
    assert {(row["first"], row["second"], row["across"]) for row in rows} == {
        ("EMD-1001", "EMD-1002", "no")
    }


@pytest.mark.parametrize("how", ["model", "map", "group", "pdb"])
def test_kin_in_two_splits_stop_the_run(results, how):
    if how == "model":
        # An entry whose boxes were all dropped is kin too: it may be tested on.
        copy_model("EMD-1004", "EMD-1003")
    elif how == "map":
        write_json(
            "results/fetch/entries/EMD-1003/provenance.json",
            {"files": {"half_map_1": {"content_sha256": "EMD-1002"}}},
        )
    else:
        column, value = ("group", "g1") if how == "group" else ("pdb_id", "9z01")
        rows = read_table(results.rows[1])
        rows[0][column] = value
        write_table(results.rows[1], rows, list(rows[0]))
    with pytest.raises(ConfigError) as caught:
        run_files(DATASET, results, "index.tsv", "leaks.tsv")
    assert caught.value.code == "SEL_SPLIT_LEAK"
    assert "EMD-1003 (val)" in str(caught.value) and "(train)" in str(caught.value)
    assert not Path("index.tsv").exists()
    assert any(row["across"] == "yes" for row in read_table("leaks.tsv"))


def test_one_entry_stays_of_those_with_the_same_map(results):
    """The later one goes although it stands in another split, which would stop the run."""
    for name in ("EMD-1001", "EMD-1003"):
        record = {"files": {"map": {"content_sha256": "twin"}}}
        write_json(Path("results/fetch/entries", name, "provenance.json"), record)
    with pytest.raises(ConfigError):
        run_files(DATASET, results, "index.tsv", "leaks.tsv")
    run_files(DATASET, results, "index.tsv", "leaks.tsv", one_per_map=True)
    names = {row["emdb_id"] for row in read_table("index.tsv")}
    assert "EMD-1001" in names and "EMD-1003" not in names
    _, comments = read_table_with_comments("leaks.tsv")
    assert "EMD-1003 left out: SEL_F22_DUPLICATE_DATA, same map as EMD-1001" in comments


def test_a_held_out_set_has_its_own_rows(results):
    table = read_table(results.rows[0])
    table[1]["split"] = "held_out_mine"
    write_table(results.rows[0], table, list(table[0]))
    run_files(DATASET, results, "index.tsv", "leaks.tsv")
    split = {row["emdb_id"]: row["split"] for row in read_table("index.tsv")}
    assert split["EMD-1002"] == "held_out_mine"


def test_kin_that_were_never_fetched_do_not_count(results):
    copy_model("EMD-1001", "EMD-1005")
    run_files(DATASET, results, "index.tsv", "leaks.tsv")


def test_a_lost_shard_stops_the_run(results):
    Path(f"results/shards/{DATASET}/entries/EMD-1002/{DATASET}.h5").unlink()
    with pytest.raises(IntegrityError, match="SHARD_CORRUPT"):
        run_files(DATASET, results, "index.tsv", "leaks.tsv")


def test_groups_into_the_entry_table(results):
    copy_model("EMD-1001", "EMD-1003")
    run_groups(results, "table.tsv")
    groups = {row["emdb_id"]: row["group"] for row in read_table("table.tsv")}
    assert groups == {
        "EMD-1001": "EMD-1001",
        "EMD-1002": "EMD-1002",
        "EMD-1003": "EMD-1001",
        "EMD-1004": "EMD-1004",
        "EMD-1005": "g5",
    }


def test_the_script(results, root):
    script = [sys.executable, root / "workflow_scripts" / "index.py", "--rows", *results.rows]
    script += ["--fetch", *results.fetch, "--manifests", *results.shards, "--dataset", DATASET]
    done = subprocess.run([*script, "--leaks", "l.tsv", "--out", "i.tsv"])
    assert done.returncode == 0 and len(read_table("i.tsv")) == 4
    copy_model("EMD-1001", "EMD-1003")
    stopped = subprocess.run([*script, "--out", "j.tsv"], capture_output=True, text=True)
    assert stopped.returncode == 2 and stopped.stderr.startswith("SEL_SPLIT_LEAK: EMD-1001 (train)")
    assert not Path("j.tsv").exists() and Path("j.leaks.tsv").exists()
