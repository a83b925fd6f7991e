"""Real maps from a selection to shards: `snakemake select`, then all that needs no network."""

import json
import re

import pytest

from cryoclarity.archive.search import entry_url
from cryoclarity.io.maps import scan_map
from cryoclarity.io.tables import read_table, write_table
from tests.select_stage.generated import Entry, document_of, save_answers
from tests.snakemake_run import planned_rules, snakemake, working_folder

API = "https://archive.invalid/emdb/api"
# Every pair of map and model: model, resolution, split, group.
PAIRS = {
    "EMD-5168": ("3mfp", 6.6, "train", "actin"),
    "EMD-5778": ("3j5p", 3.28, "train", "trpv1"),
    "EMD-6272": ("3j9s", 2.6, "train", "vp6"),
    "EMD-1461": ("1qhd", 3.8, "train", "vp6"),
    "EMD-20026": ("3ajo", 1.75, "train", "ferritin"),
    "EMD-20353": ("6pj6", 2.2, "train", "ribosome"),
    "EMD-8249": ("5khe", 35.0, "train", "bag6"),
    "EMD-5623": ("3j9i", 3.3, "val", "proteasome"),
    "EMD-20755": ("6ues", 3.7, "val", "sam-iv"),
    "EMD-6374": ("3jb0", 2.9, "test", "turret"),
    "EMD-30342": ("7cec", 3.9, "test", "integrin"),
}
REJECTED = "results/select/rejected_all.tsv"
COLUMNS = ("emdb_id", "pdb_id", "split", "group")


def document(shared, emdb_id, pdb_id, resolution):
    """An entry document whose map block is what the file says."""
    number = emdb_id[4:]
    path = shared / f"archive/emdb/structures/{emdb_id}/map/emd_{number}.map.gz"
    scan = scan_map(path)
    header, values = scan.header, scan.statistics
    entry = Entry(
        emdb_id=emdb_id,
        title=f"entry {number}",
        method="singleParticle",
        resolution=resolution,
        pdb_ids=[pdb_id],
        status="REL",
        date="2015-01-01",
        half_maps=False,
        size=header.shape[0],
        voxel=header.voxel_size[0],
        related=[],
        uniprot=[],
        residues=300,
        copies=1,
        statistics=(values.minimum, values.maximum, values.mean, values.standard_deviation),
    )
    content = document_of(entry)
    stored = dict(zip(("sec", "row", "col"), header.stored_shape, strict=True))
    cell = {key: {"valueOf_": f"{edge}"} for key, edge in zip("abc", header.cell, strict=True)}
    spacing = dict(zip("xyz", header.intervals, strict=True))
    names = [" XYZ"[axis] for axis in header.axes]
    axes = dict(zip(("fast", "medium", "slow"), names, strict=True))
    content["map"] |= {"dimensions": stored, "spacing": spacing, "axis_order": axes}
    content["map"]["cell"] |= cell
    return content


def configuration(shared, **selection):
    return {
        "entries": "results/select/manifest.tsv",
        "device": "cpu",
        "batch_size": 4,
        "max_failed_fraction": 1,
        "archive": {
            "base_url": f"file://{shared}/archive",
            "offline": True,
            "api_url": API,
        },
        "selection": {"table": "own.tsv", "trust_list": True, "edges": {"seq": "off"}} | selection,
        "shards": {"enhance": {"box_size": 30, "stride": 30}},
    }


def prepare(shared, folder, change=None):
    working_folder(folder, configuration(shared))
    rows = [
        dict(zip(COLUMNS, (emdb_id, pdb_id, split, group), strict=True))
        for emdb_id, (pdb_id, _, split, group) in PAIRS.items()
    ]
    write_table(folder / "own.tsv", rows, COLUMNS)
    answers = {}
    for emdb_id, (pdb_id, resolution, _, _) in PAIRS.items():
        content = document(shared, emdb_id, pdb_id, resolution)
        (change or {}).get(emdb_id, lambda content: None)(content)
        answers[entry_url(API, emdb_id)] = json.dumps(content).encode()
    save_answers(folder / "responses", answers)
    return folder


def rows_of(folder, stage):
    tables = sorted((folder / "results" / stage).glob("????.tsv"))
    return {row["emdb_id"]: row for table in tables for row in read_table(table)}


def other_map(content):
    """A document that describes another map than the archive holds."""
    content["map"]["dimensions"] = {"col": 300, "row": 300, "sec": 300}


@pytest.mark.long
def test_from_the_selection_to_the_shards(shared, tmp_path):
    folder = prepare(shared, tmp_path)
    done = snakemake(folder, "select")
    assert done.returncode == 0, done.stdout[-3000:]
    manifest = {row["emdb_id"]: row for row in read_table(folder / "results/select/manifest.tsv")}
    assert {name: (row["pdb_id"], row["split"]) for name, row in manifest.items()} == {
        name: (pair[0], pair[2]) for name, pair in PAIRS.items()
    }
    assert manifest["EMD-6272"]["group"] == manifest["EMD-1461"]["group"]
    # The reasons against entries that somebody trusts are still told.
    hits = {(row["emdb_id"], row["code"]) for row in read_table(tmp_path / REJECTED)}
    assert {("EMD-8249", "SEL_F02_RESOLUTION"), ("EMD-20026", "SEL_F02_RESOLUTION")} <= hits
    done = snakemake(folder, "shards_all", timeout=1800)
    assert done.returncode == 0, done.stdout[-4000:]
    for stage in ("fetch", "inspect", "qscore", "simulate"):
        status = {name: row["status"] for name, row in rows_of(folder, stage).items()}
        assert status == dict.fromkeys(PAIRS, "ok"), stage
    documents = {
        name: json.loads((folder / f"results/fetch/entries/{name}/provenance.json").read_text())
        for name in PAIRS
    }
    urls = {name: record["files"]["map"]["document"]["url"] for name, record in documents.items()}
    assert urls == {name: entry_url(API, name) for name in PAIRS}
    index = read_table(folder / "results/index/enhance_1.0.tsv")
    assert {row["split"] for row in index} == {"train", "val", "test"}
    assert sum(int(row["boxes"]) for row in index) > 50
    # Nothing is left to do, and a filter that asks nobody again reruns the selection alone.
    again = snakemake(folder, "-n", "shards_all")
    assert planned_rules(again.stdout) == set()
    changed = configuration(shared, filters={"F13_date": {"to": "2030-01-01"}})
    working_folder(folder, changed)
    before = (folder / "results/select/manifest.tsv").read_bytes()
    assert snakemake(folder, "select").returncode == 0
    assert (folder / "results/select/manifest.tsv").read_bytes() == before
    assert planned_rules(snakemake(folder, "-n", "shards_all").stdout) == set()


@pytest.mark.long
def test_a_map_that_its_document_does_not_describe_is_a_row(shared, tmp_path):
    """The answers that a selection saved are what fetch compares with, without any setting."""
    folder = prepare(shared, tmp_path, {"EMD-5623": other_map})
    assert snakemake(folder, "select").returncode == 0
    done = snakemake(folder, "fetch_all")
    assert done.returncode == 0, done.stdout[-3000:]
    rows = rows_of(folder, "fetch")
    assert rows["EMD-5623"]["code"] == "ID_MAP_MISMATCH"
    assert {row["status"] for name, row in rows.items() if name != "EMD-5623"} == {"ok"}


@pytest.mark.long
def test_another_filter_reruns_only_the_batch_whose_rows_it_changes(shared, tmp_path):
    folder = prepare(shared, tmp_path)
    wide = {"F02_resolution": {"min": 1.0, "max": 40.0}, "F09_voxel": {"enabled": False}}
    narrow = wide | {"F02_resolution": {"min": 1.0, "max": 10.0}}
    working_folder(folder, configuration(shared, trust_list=False, filters=wide))
    assert snakemake(folder, "select").returncode == 0
    manifest = folder / "results/select/manifest.tsv"
    names = [row["emdb_id"] for row in read_table(manifest)]
    assert set(names) == set(PAIRS)
    assert snakemake(folder, "fetch_all").returncode == 0
    working_folder(folder, configuration(shared, trust_list=False, filters=narrow))
    assert snakemake(folder, "select").returncode == 0
    assert [row["emdb_id"] for row in read_table(manifest)] == [
        name for name in names if name != "EMD-8249"
    ]
    planned = snakemake(folder, "-n", "fetch_all").stdout
    (batch,) = {
        table.stem
        for table in (folder / "results" / "fetch").glob("????.tsv")
        if "EMD-8249" in table.read_text()
    }
    jobs = set(re.findall(r"output: results/fetch/(\d{4}).tsv", planned))
    assert jobs == {batch}
