"""The same workflow on real maps of the public archive, every odd header among them."""

import json
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest

from cryoclarity.io.maps import read_map
from cryoclarity.io.tables import read_table, write_table
from tests.snakemake_run import snakemake, working_folder

COLUMNS = ("emdb_id", "pdb_id", "resolution", "half_maps", "split", "group")
# Why each is here: the oddity of its file.
ENTRIES = {
    "EMD-5168": ("3mfp", 6.6, "train", "actin", "negative NSTART, solvent noise"),
    "EMD-5778": ("3j5p", 3.28, "train", "trpv1", "ORIGIN only, not cubic"),
    "EMD-6272": ("3j9s", 2.6, "train", "vp6", "ORIGIN only, masked background"),
    "EMD-20026": ("3ajo", 1.75, "train", "ferritin", "voxel below 1 A"),
    "EMD-5623": ("3j9i", 3.3, "val", "proteasome", "axis order 3-2-1"),
    "EMD-20353": ("6pj6", 2.2, "test", "ribosome", "nucleic acid, voxel 0.82 A"),
    "EMD-6374": ("3jb0", 2.9, "test", "turret", "zero stamp, NSTART and ORIGIN both set"),
    "EMD-30342": ("7cec", 3.9, "test", "integrin", "mmCIF model, ORIGIN only"),
}
SCUNET = {
    "name": "scunet",
    "dim": 8,
    "head_dim": 4,
    "config": [1, 0, 0, 0, 0, 0, 1],
    "residual": True,
}
TRAIN = {"network": SCUNET, "box": 24, "batch_size": 2, "steps": 3, "warmup_steps": 1}
# Labels of a single map need solvent noise: one map of eight has that, the others are cut out.
LABELS = dict.fromkeys(ENTRIES, ("rejected", "LABEL_ZERO_BACKGROUND")) | {
    "EMD-5168": ("ok", ""),
    "EMD-5623": ("rejected", "LABEL_FEW"),
}


@pytest.fixture(scope="module")
def archive_url(shared):
    """Serve the archive by HTTP on this machine."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *arguments):
            pass

    handler = partial(Quiet, directory=str(shared / "archive"))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def finished(archive_url, tmp_path_factory):
    """A working folder in which the workflow has run over the real entries."""
    folder = tmp_path_factory.mktemp("real")
    rows = [
        dict(zip(COLUMNS, (entry, pdb, resolution, "no", split, group), strict=True))
        for entry, (pdb, resolution, split, group, _) in ENTRIES.items()
    ]
    write_table(folder / "entries.tsv", rows, COLUMNS)
    config = {
        "entries": str(folder / "entries.tsv"),
        "device": "cpu",
        "batch_size": 4,
        "max_failed_fraction": 1,
        "archive": {"base_url": archive_url},
        "inspect": {"trust_list": True},
        "shards": {"enhance": {"box_size": 30, "stride": 30}},
        "train": {
            "threads": 1,
            "enhance_1.0": TRAIN,
            "enhance_0.5": TRAIN,
            "resolution_1.0": {
                "network": {"name": "unet3d", "channels": [2, 2, 2, 2, 2]},
                "batch_size": 4,
                "steps": 3,
                "warmup_steps": 1,
            },
        },
        "predict": {
            "threads": 1,
            "splits": ["train", "val", "test"],
            "enhance": {"stride": 24, "trust": False},
            "resolution": {"stride": 16},
        },
    }
    working_folder(folder, config)
    result = snakemake(folder)
    assert result.returncode == 0, result.stdout[-4000:]
    return folder / "results"


def rows_of(results, stage):
    tables = sorted((results / stage).glob("????.tsv"))
    return {row["emdb_id"]: row for table in tables for row in read_table(table)}


@pytest.mark.parametrize(
    "stage", ["fetch", "inspect", "qscore", "simulate", "predict_enhance", "evaluate"]
)
def test_every_entry_came_through(finished, stage):
    rows = rows_of(finished, stage)
    assert {entry: row["status"] for entry, row in rows.items()} == dict.fromkeys(ENTRIES, "ok")


def test_what_came_out_of_the_labels_is_said_for_each_entry(finished):
    rows = rows_of(finished, "labels")
    assert {entry: (row["status"], row["code"]) for entry, row in rows.items()} == LABELS
    rejected = {(row["emdb_id"], row["stage"]) for row in read_table(finished / "rejected.tsv")}
    assert rejected == {
        (entry, "labels") for entry, (status, _) in LABELS.items() if status != "ok"
    }


@pytest.mark.parametrize("entry", ENTRIES)
def test_results_lie_exactly_on_their_input(finished, shared, entry):
    number = entry[4:]
    path = shared / f"archive/emdb/structures/{entry}/map/emd_{number}.map.gz"
    before = read_map(path)
    for file in (
        f"predict_enhance/entries/{entry}/enhanced.mrc",
        f"predict_resolution/entries/{entry}/resolution.mrc",
        f"simulate/entries/{entry}/target.mrc",
    ):
        after = read_map(finished / file, constant_ok=True)
        assert after.grid == before.grid, file
        assert after.header.start_index == before.header.start_index, file
        assert after.header.origin_words == before.header.origin_words, file


def test_q_scores_of_the_workflow_are_those_of_the_reference(finished, shared):
    """The frame of every map is right: half a voxel off would cost 0.03 in the mean."""
    import numpy as np

    for entry, name in (
        ("EMD-6374", "q_EMD-6374_3jb0"),
        ("EMD-6272", "q_EMD-6272_3j9s"),
        ("EMD-20353", "q_EMD-20353_6pj6"),
        ("EMD-5778", "q_EMD-5778_3j5p"),
        ("EMD-30342", "q_EMD-30342_7cecA"),
    ):
        mine = read_table(finished / f"qscore/entries/{entry}/qscores.tsv.gz")
        reference = read_table(shared / f"reference/qscore/{name}.tsv.gz")
        difference = np.array([float(row["Q"]) for row in mine]) - np.array(
            [float(row["Q_mapq"]) for row in reference]
        )
        assert np.mean(np.abs(difference) <= 1e-4) >= 0.998, entry


def test_the_report_says_what_it_is(finished):
    verdict = (finished / "summary" / "verdict.txt").read_text()
    assert "no skill yet" in verdict
    metrics = json.loads((finished / "evaluate/entries/EMD-6374/metrics.json").read_text())
    assert metrics["rows"]["input"]["CC_mask"] == pytest.approx(0.57753, abs=1e-3)
