"""The evaluation stage by hand and on entries of the DAG, on a small synthetic case."""

import json
import subprocess
import sys

import numpy as np
import pytest

from cryoclarity.errors import ConfigError, InputError
from cryoclarity.grid import Grid, Volume
from cryoclarity.io.atoms import Atoms
from cryoclarity.io.files import write_json
from cryoclarity.io.maps import write_map
from cryoclarity.io.model import write_mmcif
from cryoclarity.io.tables import read_table
from cryoclarity.model.density import gaussian_density
from cryoclarity.stages.batch import EntryJob, Skip, Upstream
from cryoclarity.stages.evaluate import run_entry, run_files, training_median

GRID = Grid((30, 28, 26), (1.1, 1.1, 1.1), (5.0, -3.0, 2.0))
CONTRACT_KEYS = (
    "CC_box CC_mask CC_volume CC_peaks d_fsc_model_0.5 d_fsc_model_0.143 d_fsc_model_masked_0.5"
    " d_fsc_model_masked_0.143 mean_fsc_model mean_fsc_model_masked n_inside Q_mean Q_expected"
    " SSIM SSIM_mask CC_target_box CC_target_mask cc_peaks_degenerate resolution sigma"
).split()


def some_atoms(n=40):
    rng = np.random.default_rng(11)
    low = np.asarray(GRID.origin) + 8
    high = np.asarray(GRID.origin) + np.asarray(GRID.extent) - 8
    text = np.full(n, "", dtype=object)
    return Atoms(
        xyz=np.round(rng.uniform(low, high, (n, 3)), 3),
        element=np.full(n, "C"),
        atomic_number=np.full(n, 6),
        name=np.full(n, "CA"),
        residue_name=np.full(n, "ALA"),
        chain=np.full(n, "A"),
        residue_number=np.arange(1, n + 1),
        insertion_code=text,
        altloc=text,
        occupancy=np.ones(n),
        b_iso=np.full(n, 30.0),
        kind=np.full(n, "protein"),
        residue_index=np.arange(n),
    )


@pytest.fixture
def case(tmp_path):
    """Results folders of earlier stages for one entry."""
    atoms = some_atoms()
    rng = np.random.default_rng(3)

    def blob(width):
        return gaussian_density(atoms.xyz, np.full(len(atoms), 6.0), np.full(40, width), GRID)

    target = blob(0.9)
    noisy = blob(1.2) + 0.05 * rng.normal(size=GRID.shape).astype(np.float32)
    folders = {}
    for stage in ("fetch", "simulate", "labels", "predict_enhance", "predict_resolution"):
        folders[stage] = tmp_path / stage / "EMD-1"
        folders[stage].mkdir(parents=True)

    def save(stage, name, density):
        write_map(folders[stage] / name, Volume(density.astype(np.float32), GRID))

    save("fetch", "map.map.gz", noisy)
    write_mmcif(folders["fetch"] / "model.cif.gz", atoms, "1abc")
    save("simulate", "target.mrc", target)
    for name, density in (
        ("roundtrip", noisy),
        ("clipped", noisy.clip(0)),
        ("radial_filter", blob(1.0) + 0.02 * noisy),
        ("enhanced", target + 0.01 * noisy),
    ):
        save("predict_enhance", f"{name}.mrc", density)
    write_json(folders["predict_enhance"] / "enhanced.json", {"warnings": []})
    inside = target > 0.1 * target.max()
    label = np.where(inside, 3.0 + (np.arange(GRID.shape[2]) > 13), 100.0)
    save("labels", "local_resolution.mrc", label)
    save("predict_resolution", "resolution.mrc", np.where(inside, label + 0.2, 0.0))
    card = tmp_path / "weights" / "card.json"
    write_json(card, {"training_median": 5.0})
    upstream = {name: Upstream("ok", "", "", folder) for name, folder in folders.items()}
    row = {"emdb_id": "EMD-1", "pdb_id": "1abc", "resolution": "3.2", "split": "test"}
    spec = {"sigma": 0.6, "weights": {"resolution_1.0": str(card.parent)}}
    out = tmp_path / "out"
    out.mkdir()
    return EntryJob(row, spec, upstream, out)


def without(job, *stages):
    for stage in stages:
        job.upstream[stage] = Upstream("skipped", "LABEL_EMPTY", "", job.folder)
    return job


def test_all_rows_of_an_entry_are_compared(case):
    run_entry(case)
    content = json.loads((case.folder / "metrics.json").read_text())
    rows = content["rows"]
    assert list(rows) == ["clipped", "enhanced", "input", "radial_filter", "roundtrip"]
    assert rows["enhanced"]["CC_target_mask"] > rows["clipped"]["CC_target_mask"]
    assert rows["roundtrip"] == pytest.approx(rows["input"], abs=1e-6)
    local = content["local_resolution"]
    assert local["mae"] == pytest.approx(0.2, abs=1e-5)
    assert local["mae_training_median"] == pytest.approx(1.5, abs=0.3)
    assert local["mae_published_convention"] < 0.05
    curves = read_table(case.folder / "fsc.tsv")
    assert {row["row"] for row in curves} == set(rows)
    planes = np.load(case.folder / "slices.npy")
    assert planes.dtype == np.float16
    assert content["slices"]["names"] == ["input", "enhanced", "target", "label", "resolution"]
    assert planes.shape == (5, *GRID.shape[1:])
    checks = content["checks"]
    assert checks["shift_voxels"] < 0.1  # the target is no shifted copy of the noisy map
    assert checks["finer_than_data"] is (rows["enhanced"]["d_fsc_model_masked_0.143"] < 3.2)
    assert checks["enhanced_before"] is False


def test_views_hold_the_same_planes_of_every_map(case):
    run_entry(case)
    record = json.loads((case.folder / "metrics.json").read_text())["views"]
    assert record["names"] == ["input", "enhanced", "target", "label", "resolution"]
    assert record["limits"]["label"] == record["limits"]["resolution"]
    with np.load(case.folder / "views.npz") as views:
        for axis, numbers in zip("zyx", record["numbers"], strict=True):
            shapes = {views[f"{name}_{axis}"].shape for name in record["names"]}
            assert len(shapes) == 1
            assert shapes.pop()[0] == len(numbers)
        assert views["label_z"].min() == 0  # a voxel without a label
        assert views["input_z"].dtype == np.uint8


def test_two_runs_write_the_same_bytes(case):
    run_entry(case)
    names = ("metrics.json", "fsc.tsv", "slices.npy")
    first = [(case.folder / name).read_bytes() for name in names]
    run_entry(case)
    assert first == [(case.folder / name).read_bytes() for name in names]


def test_entry_without_labels_or_without_model(case):
    run_entry(without(case, "labels"))
    content = json.loads((case.folder / "metrics.json").read_text())
    assert content["local_resolution"] is None and "enhanced" in content["rows"]
    (case.upstream["fetch"].folder / "model.cif.gz").unlink()
    with pytest.raises(Skip) as caught:
        run_entry(case)
    assert caught.value.code == "EVAL_NO_MODEL"


def test_only_local_resolution_was_predicted(case):
    run_entry(without(case, "predict_enhance", "simulate"))
    content = json.loads((case.folder / "metrics.json").read_text())
    assert content["rows"] == {} and content["local_resolution"]["n_labelled"] > 0
    assert content["slices"]["names"] == ["input", "label", "resolution"]


def test_nothing_predicted_is_skipped_with_the_reason_from_before(case):
    with pytest.raises(Skip) as caught:
        run_entry(without(case, "predict_enhance", "predict_resolution"))
    assert caught.value.code == "LABEL_EMPTY"


def test_training_median_is_optional(tmp_path):
    assert training_median({}) is None
    assert training_median({"weights": {"resolution_1.0": str(tmp_path)}}) is None


def test_by_hand_writes_the_contract_keys_and_the_comparison(case):
    fetch = case.upstream["fetch"].folder
    enhanced = case.upstream["predict_enhance"].folder
    out = case.folder / "E.json"
    content = run_files(
        enhanced / "enhanced.mrc",
        fetch / "model.cif.gz",
        out,
        resolution=3.2,
        target_path=case.upstream["simulate"].folder / "target.mrc",
        baseline_path=fetch / "map.map.gz",
    )
    assert json.loads(out.read_text()) == content
    assert set(CONTRACT_KEYS) <= set(content)
    expected = content["CC_mask"] - content["baseline_CC_mask"]
    assert content["delta_CC_mask"] == pytest.approx(expected)
    assert "delta_n_inside" not in content


@pytest.mark.parametrize("wrong", [0.0, -1.0, float("nan"), float("inf")])
@pytest.mark.parametrize("name", ["resolution", "sigma"])
def test_a_resolution_or_sigma_that_is_no_positive_number_is_wrong_usage(tmp_path, name, wrong):
    values = {"resolution": 3.0, "sigma": 0.6} | {name: wrong}
    with pytest.raises(ConfigError, match=f"{name} is"):
        run_files("none.mrc", "none.pdb", tmp_path / "e.json", **values)


def test_target_on_another_grid_is_refused(case):
    other = case.folder / "other.mrc"
    write_map(
        other, Volume(np.eye(9, dtype=np.float32)[None].repeat(9, 0), Grid((9, 9, 9), (1, 1, 1)))
    )
    fetch = case.upstream["fetch"].folder
    with pytest.raises(InputError) as caught:
        run_files(
            fetch / "map.map.gz",
            fetch / "model.cif.gz",
            case.folder / "E.json",
            resolution=3.2,
            target_path=other,
        )
    assert caught.value.code == "PAIR_FRAME"
    assert not (case.folder / "E.json").exists()


def test_script_ends_with_status_3_and_one_line(case, root):
    out = case.folder / "E.json"
    command = [sys.executable, "workflow_scripts/evaluate.py", "--resolution", "3"]
    command += ["--map", "no.mrc", "--model", "no.cif", "--out", str(out)]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 3 and not out.exists()
    assert done.stderr.startswith("FILE_MISSING") and done.stderr.count("\n") == 1
