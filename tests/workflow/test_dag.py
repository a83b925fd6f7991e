"""The DAG on a small generated archive: complete, up to date, and rerun no more than needed."""

import json
import shutil

import pytest

from cryoclarity.io.maps import read_map
from cryoclarity.io.tables import read_table, write_table
from tests.snakemake_run import ROOT, planned_rules, snakemake, working_folder

# The three small entries of the demo (one per split) and the bad one.
SMALL = ("EMD-90003", "EMD-90006", "EMD-90008", "EMD-90009")
SCUNET = {
    "name": "scunet",
    "dim": 8,
    "head_dim": 4,
    "config": [1, 0, 0, 0, 0, 0, 1],
    "residual": True,
}
TRAIN = {"box": 24, "batch_size": 2, "steps": 2, "warmup_steps": 1, "validate_boxes": 4}


def configuration(folder):
    entries = read_table(ROOT / "config" / "demo_entries.tsv")
    table = folder / "entries.tsv"
    if not table.exists():
        folder.mkdir(parents=True, exist_ok=True)
        rows = [row for row in entries if row["emdb_id"] in SMALL]
        write_table(table, rows, tuple(entries[0]))
    return {
        "entries": "entries.tsv",
        "device": "cpu",
        "batch_size": 2,
        "max_failed_fraction": 1,
        "archive": {"demo": True, "base_url": "results/demo_archive"},
        "labels": {"engine": "resmap", "max_res": 8.0},
        "shards": {
            "enhance": {"box_size": 30, "stride": 15},
            "resolution": {"stride": 8},
        },
        "train": {
            "threads": 1,
            "enhance_1.0": {"network": SCUNET, **TRAIN},
            "enhance_0.5": {"network": SCUNET, **TRAIN},
            "resolution_1.0": {
                "network": {"name": "bands", "channels": [2, 2, 2]},
                "batch_size": 2,
                "steps": 2,
                "warmup_steps": 1,
            },
        },
        "predict": {"threads": 1, "enhance": {"stride": 24}, "splits": ["test"]},
    }


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A working folder in which the whole DAG has run once."""
    folder = tmp_path_factory.mktemp("dag")
    working_folder(folder, configuration(folder))
    result = snakemake(folder)
    assert result.returncode == 0, result.stdout[-4000:]
    return folder


def plan(folder, change, *arguments):
    """Return the rules that would run after a change of the configuration."""
    config = configuration(folder)
    for section, values in change.items():
        before = config.get(section, {})
        config[section] = before | values if isinstance(values, dict) else values
    working_folder(folder, config)
    result = snakemake(folder, "-n", *arguments)
    working_folder(folder, configuration(folder))
    assert result.returncode == 0, result.stdout[-2000:]
    return planned_rules(result.stdout) - {"all"}


def test_a_bad_entry_is_a_row_and_the_rest_goes_on(finished):
    fetch = {}
    for batch in sorted((finished / "results" / "fetch").glob("????.tsv")):
        fetch |= {row["emdb_id"]: row for row in read_table(batch)}
    assert {entry: row["status"] for entry, row in fetch.items()} == {
        "EMD-90003": "ok",
        "EMD-90006": "ok",
        "EMD-90008": "ok",
        "EMD-90009": "rejected",
    }
    rejected = read_table(finished / "results" / "rejected.tsv")
    assert ("EMD-90009", "fetch", "VAL_NONFINITE") in [
        (row["emdb_id"], row["stage"], row["code"]) for row in rejected
    ]


def test_the_improved_map_lies_on_the_input_map(finished):
    results = finished / "results"
    before = read_map(results / "fetch/entries/EMD-90008/map.map.gz")
    after = read_map(results / "predict_enhance/entries/EMD-90008/enhanced.mrc")
    assert after.grid == before.grid
    assert after.header.start_index == before.header.start_index
    assert after.header.origin_words == before.header.origin_words
    assert (after.density != before.density).any()


def test_table_and_figure_are_there(finished):
    report = finished / "results" / "summary"
    rows = read_table(report / "summary.tsv")
    assert "EMD-90008" in {row["emdb_id"] for row in rows}
    assert (report / "summary.png").stat().st_size > 20_000
    assert "no skill yet" in (report / "verdict.txt").read_text()
    card = json.loads((finished / "results/train/enhance_1.0/card.json").read_text())
    assert card["status"] == "ok"


AFTER = {
    "evaluate": {"evaluate", "rejected", "report"},
    "predict": {"predict", "evaluate", "rejected", "report"},
    "train": {"train", "predict", "evaluate", "report", "rejected"},
    "shards": {"shards", "index", "train", "predict", "evaluate", "report", "rejected"},
}


@pytest.mark.parametrize(
    ("change", "rules"),
    [
        ({}, set()),
        ({"simulate": {"kernel": "molmap"}}, {"simulate"} | AFTER["shards"]),
        ({"train": {"enhance_1.0": {"network": SCUNET, **TRAIN, "steps": 3}}}, AFTER["train"]),
        ({"predict": {"threads": 1, "enhance": {"stride": 20}}}, AFTER["predict"]),
        ({"max_failed_fraction": 0.9}, {"rejected", "report"}),
    ],
)
def test_a_change_reruns_what_depends_on_it_and_nothing_else(finished, change, rules):
    assert plan(finished, change) == rules


def test_forcerun_runs_one_stage_and_what_follows(finished):
    planned = plan(finished, {}, "--forcerun", "evaluate")
    assert planned == AFTER["evaluate"]


def test_an_added_entry_leaves_the_other_batches_alone(finished, tmp_path):
    archive = finished / "results" / "demo_archive"
    config = configuration(tmp_path) | {"archive": {"base_url": str(archive)}}
    folder = working_folder(tmp_path, config)
    assert snakemake(folder, "fetch_all").returncode == 0
    table = folder / "entries.tsv"
    rows = read_table(table)
    extra = dict(rows[0], emdb_id="EMD-90001", pdb_id="9zaa", group="demo01")
    write_table(table, [extra, *rows], tuple(rows[0]))
    result = snakemake(folder, "-n", "fetch_all")
    assert "output: results/fetch/0003.tsv" in result.stdout
    assert "output: results/batches/0003.tsv" in result.stdout
    assert "output: results/batches/0001.tsv" not in result.stdout
    assert "output: results/fetch/0002.tsv" not in result.stdout


def test_an_unknown_setting_stops_with_one_line(finished, tmp_path):
    folder = working_folder(tmp_path / "wrong", {"entries": "x", "simulate": {"kernal": 1}})
    result = snakemake(folder, "-n")
    assert result.returncode != 0
    assert "did you mean simulate.kernel?" in result.stdout
    assert "Traceback" not in result.stdout


def test_the_snakemake_report_carries_table_and_figure(finished):
    result = snakemake(finished, "--report", "report.html")
    assert result.returncode == 0, result.stdout[-2000:]
    page = (finished / "report.html").read_text()
    for name in ("summary.tsv", "summary.png", "rejected.tsv", "learning_curves.png"):
        assert name in page


def test_a_comment_in_the_library_reruns_nothing_and_a_formula_its_stage(finished, tmp_path):
    """The workflow of a copy of the repository, run over the same results."""
    copy = tmp_path / "repository"
    for name in ("src", "rules", "schemas", "profiles", "report", "envs", "workflow_scripts"):
        shutil.copytree(ROOT / name, copy / name)
    shutil.copy(ROOT / "Snakefile", copy)
    module = copy / "src" / "cryoclarity" / "evaluate" / "ssim.py"
    original = module.read_text()
    module.write_text("# why not\n" + original)
    assert planned_rules(snakemake(finished, "-n", root=copy).stdout) == set()
    module.write_text(original + "\n\nEXTRA = 1\n")
    assert planned_rules(snakemake(finished, "-n", root=copy).stdout) - {"all"} == AFTER["evaluate"]
