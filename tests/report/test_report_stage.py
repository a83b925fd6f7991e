"""The report of a run: full, partial and empty."""

import json
import re
import subprocess
import sys

import numpy as np
import pytest

from cryoclarity.evaluate.views import Views
from cryoclarity.io.files import write_json
from cryoclarity.io.tables import read_table, write_table
from cryoclarity.report.terminal import map_table, resolution_table
from cryoclarity.stages.report import choose_entries, read_summary, run_files

VERSIONS = ("input", "roundtrip", "clipped", "radial_filter", "enhanced")
OUTPUTS = (
    "summary.tsv",
    "local_resolution.tsv",
    "summary.png",
    "learning_curves.png",
    "verdict.txt",
    "index.html",
)


def add_entry(folder, emdb_id, split, *, improved=True, local=True):
    rng = np.random.default_rng(len(emdb_id))
    names = ["input"] + ["enhanced", "target"] * improved + ["label", "resolution"] * local
    planes = rng.random((len(names), 12, 16)).astype(np.float16)
    entry = folder / "evaluate" / "entries" / emdb_id
    entry.mkdir(parents=True)
    np.save(entry / "slices.npy", planes)
    views = Views.around(np.ones((5, 6, 7), dtype=bool))
    for name in names:
        views.add_density(name, rng.random((5, 6, 7)))
    np.savez(entry / "views.npz", **views.arrays())
    rows = {}
    if improved:
        for i, name in enumerate(VERSIONS):
            rows[name] = {"CC_mask": 0.6 + 0.05 * i, "mean_fsc_model": 0.5 + 0.05 * i}
            rows[name] |= {"Q_mean": 0.5, "d_fsc_model_0.5": None, "cc_peaks_degenerate": False}
    errors = {"n_labelled": 50, "mae": 0.4, "rmse": 0.5, "mae_published_convention": 0.1}
    errors |= {"mae_training_median": 0.6, "mae_oracle_median": 0.5, "spearman": None}
    write_json(
        entry / "metrics.json",
        {
            "emdb_id": emdb_id,
            "split": split,
            "resolution": 3.2,
            "rows": rows,
            "local_resolution": errors if local else None,
            "checks": {"shift_voxels": 0.002} if improved else {},
            "views": {
                "names": names if improved else [],
                "limits": {},
                "numbers": [views.numbers(axis).tolist() for axis in range(3)],
                "step": 1,
            },
            "slices": {"names": names, "voxel_size": [1.1, 1.0, 1.0], "index": 3, "axis": "z"},
        },
    )
    curve = [
        {"row": name, "frequency_inv_a": f"{0.05 * k:.3f}"}
        | dict.fromkeys(("fsc_model", "fsc_model_masked"), f"{1 - 0.1 * k:.3f}")
        for name in rows
        for k in range(1, 8)
    ]
    columns = ("row", "frequency_inv_a", "fsc_model", "fsc_model_masked")
    write_table(entry / "fsc.tsv", curve, columns)


def add_manifest(folder, statuses):
    rows = [{"emdb_id": name, "status": status} for name, status in statuses.items()]
    path = folder / "evaluate" / "0000.tsv"
    write_table(path, rows, ("emdb_id", "status", "code", "detail", "key", "outputs_sha256"))
    return path


def add_network(folder, dataset, rows=3):
    keys = ("val_mae", "val_constant_mae") if "resolution" in dataset else ("val_ssim",)
    table = [
        {"step": 10 * i, "train_loss": 1 / i, "val_loss": 1.1 / i} | dict.fromkeys(keys, 0.5)
        for i in range(1, rows + 1)
    ]
    write_table(folder / dataset / "metrics.tsv", table, ("step", "train_loss", "val_loss", *keys))
    card = folder / dataset / "card.json"
    write_json(card, {"dataset": dataset})
    return card


@pytest.fixture
def results(tmp_path):
    add_entry(tmp_path, "EMD-1", "test")
    add_entry(tmp_path, "EMD-20", "test", local=False)
    add_entry(tmp_path, "EMD-300", "train", improved=False)
    manifest = add_manifest(
        tmp_path, {"EMD-1": "ok", "EMD-20": "ok", "EMD-300": "ok", "EMD-4": "skipped"}
    )
    cards = [add_network(tmp_path, name) for name in ("enhance_1.0", "resolution_1.0")]
    return tmp_path, manifest, cards


def test_full_report(results):
    folder, manifest, cards = results
    batch = folder / "batch.tsv"
    write_table(
        batch,
        [{"emdb_id": "EMD-1", "split": "test"}, {"emdb_id": "EMD-4", "split": "test"}],
        ("emdb_id", "split"),
    )
    summary = run_files([manifest], cards, folder / "out", rows=[batch])
    for name in OUTPUTS:
        assert (folder / "out" / name).stat().st_size > 0, name
    assert summary.verdicts[0].startswith("Improvement network: improved")
    assert summary.verdicts[1].startswith("Local resolution network: skill")
    assert "2 held out (split test), 1 of these evaluated" in summary.verdicts[2]
    table = read_table(folder / "out" / "summary.tsv")
    assert [row["emdb_id"] for row in table] == ["EMD-1"] * 5 + ["EMD-20"] * 5 + ["mean"] * 5
    assert read_summary(folder / "out").rows == table
    assert map_table(table).row_count == 15
    assert resolution_table(summary.resolution_rows).row_count == 3
    page = (folder / "out" / "index.html").read_text()
    assert page.count('class="viewer"') == 2  # the entry that is not improved has no views
    assert not re.search(r"""(src|href)=["']https?:""", page.split("</head>\n<body>")[1])
    assert "EMD-300" not in page.split("const ITEMS")[1]


def test_the_same_bytes_twice(results):
    folder, manifest, cards = results
    for name in ("a", "b"):
        run_files([manifest], cards, folder / name)
    for name in OUTPUTS:
        assert (folder / "a" / name).read_bytes() == (folder / "b" / name).read_bytes(), name


def test_nothing_evaluated_and_nothing_trained(tmp_path):
    manifest = add_manifest(tmp_path, {"EMD-1": "rejected"})
    card = tmp_path / "enhance_1.0" / "card.json"
    content = {"dataset": "enhance_1.0", "status": "skipped", "code": "TRAIN_NO_DATA"}
    write_json(card, content)
    summary = run_files([manifest], [card], tmp_path / "out")
    assert summary.rows == [] and summary.resolution_rows == []
    assert all("no verdict" in line for line in summary.verdicts[:2])
    assert summary.verdicts[2].startswith("No network for enhance_1.0: TRAIN_NO_DATA")
    for name in OUTPUTS:
        assert (tmp_path / "out" / name).stat().st_size > 0, name


def test_a_network_that_learned_nothing_yet(tmp_path):
    manifest = add_manifest(tmp_path, {})
    card = add_network(tmp_path, "enhance_0.5", rows=0)
    run_files([manifest], [card], tmp_path / "out")
    assert (tmp_path / "out" / "learning_curves.png").exists()


def test_held_out_entries_are_shown_first():
    names = (("EMD-1", "train"), ("EMD-3", "test"), ("EMD-2", "test"))
    results = [
        {"emdb_id": name, "split": split, "rows": {"enhanced": {}}, "local_resolution": None}
        for name, split in names
    ]
    assert choose_entries(results, 2) == [2, 1]


def test_scripts_run_and_print_the_paths(results, root):
    folder, manifest, cards = results
    out = folder / "report"
    command = [sys.executable, "workflow_scripts/report.py", "--manifests", str(manifest)]
    command += ["--cards", *map(str, cards), "--spec", json.dumps({"entries": 1})]
    command += ["--out", str(out)]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert str(out / "summary.tsv") in done.stdout and str(out / "summary.png") in done.stdout
    command = [sys.executable, "workflow_scripts/rejected.py", "--manifests", str(manifest)]
    command += ["--out", str(folder / "rejected.tsv")]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert read_table(folder / "rejected.tsv") == []
