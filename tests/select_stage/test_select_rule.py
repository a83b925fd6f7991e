"""`snakemake select`: a call of its own, rerun by its own settings only."""

import json

import pytest

from tests.select_stage.generated import World, saved_world
from tests.snakemake_run import planned_rules, snakemake, working_folder

QUERY = 'current_status:"REL" AND resolution:[2 TO 6}'
API = "https://archive.invalid/emdb/api"
CLUSTERS = "https://clusters.invalid/{identity}.txt"


def configuration(**selection):
    return {
        "entries": "results/select/manifest.tsv",
        "batch_size": 20,
        "archive": {"offline": True, "api_url": API, "demo": False},
        "selection": {"query": QUERY, "clusters": CLUSTERS, "edges": {"hub_limit": 5}} | selection,
    }


@pytest.fixture
def folder(tmp_path):
    folder = working_folder(tmp_path, configuration())
    clusters = CLUSTERS.replace("{identity}", "30")
    saved_world(World(250), folder / "responses", API, QUERY, clusters)
    return folder


def test_select_then_the_rest(folder):
    done = snakemake(folder, "select")
    assert done.returncode == 0, done.stdout[-3000:]
    results = folder / "results" / "select"
    assert json.loads((results / "manifest.provenance.json").read_text())["tool"]["code"]
    # Another filter reruns the selection; the rest is planned from the manifest as it is.
    working_folder(folder, configuration(filters={"F02_resolution": {"max": 3.0}}))
    planned = snakemake(folder, "-n", "select", "fetch_all")
    assert planned.returncode == 0, planned.stdout[-3000:]
    assert planned_rules(planned.stdout) == {"select", "batch", "fetch", "fetch_all"}
    assert "params have changed" in planned.stdout


@pytest.mark.long
def test_nothing_is_planned_without_and_nothing_lost_by_a_failed_selection(folder):
    waiting = snakemake(folder, "-n")
    assert waiting.returncode != 0
    assert "run first: snakemake select" in waiting.stdout
    assert snakemake(folder, "select").returncode == 0
    manifest = folder / "results" / "select" / "manifest.tsv"
    before = manifest.read_bytes()
    working_folder(folder, configuration(query="something else"))
    failed = snakemake(folder, "select")
    assert failed.returncode != 0
    assert "NET_OFFLINE" in failed.stdout
    assert manifest.read_bytes() == before
