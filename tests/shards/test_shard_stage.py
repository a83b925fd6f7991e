"""From maps to shards: what the boxes hold, which are dropped, and why."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from cryoclarity.boxes import label_grid
from cryoclarity.boxes.cutting import padded_share
from cryoclarity.boxes.selection import Coverage, select_by_target
from cryoclarity.boxes.tiling import box_starts
from cryoclarity.density.resample import network_grid, resample
from cryoclarity.errors import ConfigError, InputError
from cryoclarity.grid import Grid, Volume
from cryoclarity.io.atoms import Atoms
from cryoclarity.io.maps import write_map
from cryoclarity.io.model import write_mmcif
from cryoclarity.io.shards import ShardReader, verify
from cryoclarity.stages.batch import EntryJob, Skip, Upstream
from cryoclarity.stages.shards import ShardInputs, ShardSettings, run_entry, run_files

IDENTITY = {"emdb_id": "EMD-1234", "pdb_id": "1abc", "split": "train", "group": "g1"}


def blob_volume(shape, voxel, seed=5, blur=2.0):
    """Smooth blobs in the middle third of a box."""
    rng = np.random.default_rng(seed)
    points = np.zeros(shape)
    middle = tuple(slice(n // 3, n - n // 3) for n in shape)
    points[middle] = rng.random(points[middle].shape) > 0.9
    density = gaussian_filter(points, blur)
    return Volume(density.astype(np.float32), Grid(shape, (voxel,) * 3, (-3.0, 4.5, 7.0)))


def write(path, volume):
    write_map(path, volume)
    return path


@pytest.fixture
def pair(tmp_path):
    target = blob_volume((36, 40, 44), 1.3)
    noise = np.random.default_rng(2).standard_normal(target.density.shape) * 0.02
    density = gaussian_filter(target.density, 1.0) * 7 + noise
    return (
        ShardInputs(
            map=write(tmp_path / "map.mrc", target.with_density(density)),
            target=write(tmp_path / "target.mrc", target),
        ),
        target.with_density(density),
        target,
    )


def test_boxes_hold_the_resampled_scaled_volumes(pair, tmp_path):
    inputs, volume, target = pair
    settings = ShardSettings("enhance_1.0", 24, 12)
    facts = run_files(inputs, tmp_path / "s.h5", settings, IDENTITY)
    reader = ShardReader(tmp_path / "s.h5")
    grid = network_grid(volume.grid, 1.0)
    expected = {}
    for name, source in (("input", volume), ("target", target)):
        array = resample(source.density, source.grid, grid).astype(np.float64)
        scale = np.percentile(array[array > 0], 99.999)
        expected[name] = np.clip(array / scale, 0, 1)
    assert len(reader) == facts["boxes"] > 3
    for number in range(len(reader)):
        box = reader.read(number)
        z, y, x = box["origin"]
        for name, array in expected.items():
            part = array[z : z + 24, y : y + 24, x : x + 24]
            assert np.abs(box[name] - part).max() < 5e-4  # half precision on [0, 1]
        weight = (expected["target"][z : z + 24, y : y + 24, x : x + 24] > 0.05).mean()
        assert box["weight"] == pytest.approx(weight, abs=1e-4)
        assert weight >= 0.005
    assert reader.columns["padded"].max() == 0


def test_attributes_and_record_agree(pair, tmp_path):
    facts = run_files(pair[0], tmp_path / "s.h5", ShardSettings("enhance_1.0", 24, 12), IDENTITY)
    attributes = ShardReader(tmp_path / "s.h5").attrs
    record = json.loads((tmp_path / "s.json").read_text())
    assert {name: attributes[name] for name in IDENTITY} == IDENTITY
    assert (attributes["voxel_size"], attributes["box_size"], attributes["stride"]) == (1.0, 24, 12)
    assert json.loads(attributes["normalisation"]) == record["normalisation"]
    assert set(json.loads(attributes["sources"])) == {"map", "target"}
    verify(tmp_path / "s.h5", record["sha256"])
    assert record["boxes"] + sum(record["dropped"].values()) == record["considered"]
    assert facts["dropped"] == record["dropped"]


def test_the_same_inputs_give_the_same_bytes(pair, tmp_path):
    settings = ShardSettings("enhance_1.0", 24, 12)
    first = run_files(pair[0], tmp_path / "s.h5", settings, IDENTITY)
    (tmp_path / "again").mkdir()
    second = run_files(pair[0], tmp_path / "again/s.h5", settings, IDENTITY)
    assert first == second
    assert (tmp_path / "s.json").read_bytes() == (tmp_path / "again/s.json").read_bytes()


def test_empty_boxes_are_dropped_with_a_reason(pair, tmp_path):
    everything = ShardSettings("enhance_1.0", 12, 12, min_target_share=0)
    some = ShardSettings("enhance_1.0", 12, 12)
    kept = run_files(pair[0], tmp_path / "a.h5", everything)
    less = run_files(pair[0], tmp_path / "b.h5", some)
    assert kept["dropped"] == {}
    dropped = kept["boxes"] - less["boxes"]
    assert dropped > 0 and less["dropped"] == {"few_target_voxels": dropped}
    weights = ShardReader(tmp_path / "a.h5").columns["weight"]
    assert dropped == (weights < 0.005).sum()


def test_no_box_left_is_an_error_with_the_reason_and_no_file(pair, tmp_path):
    with pytest.raises(InputError, match="few_target_voxels") as caught:
        settings = ShardSettings("enhance_1.0", 24, 12, min_target_share=0.99)
        run_files(pair[0], tmp_path / "s.h5", settings)
    assert caught.value.code == "SHARD_EMPTY"
    assert not (tmp_path / "s.h5").exists() and not (tmp_path / "s.json").exists()


def test_unmodelled_density_drops_a_box():
    target = np.full((8, 8, 16), 0.5)
    density = np.ones(target.shape, dtype=bool)
    zone = np.zeros_like(density)
    zone[..., :10] = True  # box 2 (from x = 8): a quarter is explained
    starts = [(0, 0, 0), (0, 0, 8)]
    low = select_by_target(target, starts, 8, 0.005, Coverage(density, zone, 0.2))
    high = select_by_target(target, starts, 8, 0.005, Coverage(density, zone, 0.3))
    assert low.dropped == {} and len(low.starts) == 2
    assert high.dropped == {"low_coverage": 1} and high.starts == [(0, 0, 0)]


def two_residues(positions):
    """One CA atom for each residue, all of chain A."""
    count = len(positions)
    blank = np.full(count, "")
    return Atoms(
        xyz=np.array(positions, dtype=float),
        element=np.full(count, "C"),
        atomic_number=np.full(count, 6),
        name=np.full(count, "CA"),
        residue_name=np.full(count, "ALA"),
        chain=np.full(count, "A"),
        residue_number=np.arange(1, count + 1),
        insertion_code=blank,
        altloc=blank,
        occupancy=np.ones(count),
        b_iso=np.ones(count),
        kind=np.full(count, "protein"),
        residue_index=np.arange(count),
    )


@pytest.mark.parametrize("weak", [[], [["A", 2, "", "ALA"]]])
def test_a_residue_that_the_map_does_not_show_explains_nothing(tmp_path, weak):
    points = np.zeros((16, 16, 32))
    points[8, 8, [8, 24]] = 1
    target = Volume(gaussian_filter(points, 1.5).astype(np.float32), Grid(points.shape, (1.0,) * 3))
    inputs = ShardInputs(
        map=write(tmp_path / "m.mrc", target),
        target=write(tmp_path / "t.mrc", target),
        model=tmp_path / "m.cif",
        record=tmp_path / "t.json",
        contour=0.2 * float(target.density.max()),
    )
    write_mmcif(inputs.model, two_residues([(8, 8, 8), (24, 8, 8)]), "1abc")
    inputs.record.write_text(json.dumps({"outcome": {"residues_without_density": weak}}))
    facts = run_files(inputs, tmp_path / "s.h5", ShardSettings("enhance_1.0", 16, 16))
    assert facts["dropped"] == ({"low_coverage": 1} if weak else {})
    assert ShardReader(tmp_path / "s.h5").columns["origin"][0].tolist() == [0, 0, 0]


def test_a_small_map_is_padded(tmp_path):
    target = blob_volume((20, 30, 12), 1.0)
    inputs = ShardInputs(write(tmp_path / "m.mrc", target), write(tmp_path / "t.mrc", target))
    run_files(inputs, tmp_path / "s.h5", ShardSettings("enhance_1.0", 24, 12))
    reader = ShardReader(tmp_path / "s.h5")
    share = 1 - 20 * 24 * 12 / 24**3
    np.testing.assert_allclose(reader.columns["padded"], share, rtol=1e-6)
    box = reader.read(0)["target"]
    assert box.shape == (24, 24, 24)
    assert not box[20:].any() and not box[..., 12:].any() and box[:20, :, :12].any()
    assert json.loads((tmp_path / "s.json").read_text())["padded_share"] == pytest.approx(share)


def test_padded_share_by_counting():
    shape, box = (10, 7, 9), 8
    starts = list(box_starts(shape, box, 3))
    ones = np.pad(np.ones(shape), [(0, box)] * 3)
    counted = [1 - ones[z : z + box, y : y + box, x : x + box].mean() for z, y, x in starts]
    np.testing.assert_allclose(padded_share(shape, starts, box), counted, atol=1e-7)


# Local resolution


def label_volumes(shape=(40, 40, 40), voxel=1.37):
    """Labels of three levels in a ball, a censored shell around it, mixtures between."""
    offset = np.indices(shape) - (np.array(shape) - 1).reshape(3, 1, 1, 1) / 2
    radius = np.sqrt((offset**2).sum(axis=0))
    labels = np.full(shape, 100.0)
    codes = np.zeros(shape)
    for inner, outer, value in ((0, 6, 3.0), (6, 10, 4.0), (10, 13, 5.5)):
        where = (radius >= inner) & (radius < outer)
        labels[where], codes[where] = value, 1
    mixed = (radius >= 9.5) & (radius < 10.5)
    labels[mixed], codes[mixed] = 4.7, 3
    codes[(radius >= 13) & (radius < 16)] = 2
    grid = Grid(shape, (voxel,) * 3, (1.0, 2.0, 3.0))
    return (Volume(a.astype(np.float32), grid) for a in (labels, codes))


@pytest.fixture
def labelled(tmp_path):
    labels, codes = label_volumes()
    rng = np.random.default_rng(0)
    noise = rng.standard_normal(labels.density.shape)
    density = gaussian_filter((codes.density > 0) * (2 + rng.random(noise.shape)), 1) + 0.05 * noise
    return ShardInputs(
        map=write(tmp_path / "map.mrc", labels.with_density(density)),
        labels=write(tmp_path / "l.mrc", labels),
        codes=write(tmp_path / "l.codes.mrc", codes),
        record=tmp_path / "l.json",
    )


def test_resampled_labels_are_levels_and_nothing_else(labelled, tmp_path):
    levels = [{"resolution": 3.0}, {"resolution": 7.0}]
    record = {"detail": {"levels": levels}, "source": "half_maps", "engine": "fsc"}
    (tmp_path / "l.json").write_text(json.dumps(record))
    settings = ShardSettings("resolution_1.0", 16, 8, min_labelled_share=0.1)
    facts = run_files(labelled, tmp_path / "s.h5", settings, IDENTITY)
    reader = ShardReader(tmp_path / "s.h5")
    boxes = [reader.read(k) for k in range(len(reader))]
    target = np.stack([box["target"] for box in boxes])
    mask = np.stack([box["mask"] for box in boxes])
    assert (reader.attrs["source"], reader.attrs["engine"]) == ("half_maps", "fsc")
    assert set(np.unique(target[mask == 1])) == {3.0, 4.0, 5.5}
    assert set(np.unique(target[mask == 2])) == {7.0}
    assert set(np.unique(target[mask == 0])) == {0.0}
    assert facts["boxes"] == len(boxes) and facts["dropped"]["few_labelled_voxels"] > 0
    shares = (mask == 1).mean(axis=(1, 2, 3))
    assert shares.min() >= 0.1
    np.testing.assert_allclose(reader.columns["weight"], shares, atol=1e-6)


def test_without_a_record_the_largest_label_bounds_the_censored(labelled, tmp_path):
    run_files(labelled, tmp_path / "s.h5", ShardSettings("resolution_1.0"))
    normalisation = json.loads(ShardReader(tmp_path / "s.h5").attrs["normalisation"])
    assert normalisation["censored_level"] == 5.5
    assert normalisation["rule"] == "solvent" and normalisation["clip"] == [-3.0, 6.0]


def test_labels_on_their_own_grid_stay_as_they_are():
    labels, codes = label_volumes(voxel=1.0)
    values, mask = label_grid.labels_on_grid(
        labels.density, codes.density.astype(np.uint8), labels.grid, labels.grid, 9.0
    )
    np.testing.assert_array_equal(mask == 1, codes.density == 1)
    np.testing.assert_array_equal(mask == 2, codes.density == 2)
    np.testing.assert_array_equal(values[mask == 1], labels.density[mask == 1])


def test_a_label_needs_labelled_neighbours_all_around():
    """Against a direct loop: the voxels on both sides of a point, on every axis."""
    labels, codes = label_volumes((14, 14, 14), 1.37)
    codes_int = codes.density.astype(np.uint8)
    codes_int[5:8, 5:8, 5:8], codes_int[7, 7, 7] = 1, 2
    target = network_grid(labels.grid, 1.0)
    _, mask = label_grid.labels_on_grid(labels.density, codes_int, labels.grid, target, 9.0)
    usable = (codes_int == 1) & (labels.density < 99)
    for index in np.random.default_rng(0).integers(0, target.shape[0] - 1, (300, 3)):
        low = np.floor(index / 1.37 + 1e-4).astype(int)
        high = np.minimum(np.ceil(index / 1.37 - 1e-4).astype(int), 13)
        around = usable[low[0] : high[0] + 1, low[1] : high[1] + 1, low[2] : high[2] + 1]
        assert (mask[tuple(index)] == 1) == around.all(), index


def test_codes_are_those_of_the_label_stage():
    from cryoclarity.labels import resmap

    theirs = (resmap.OUTSIDE, resmap.LABELLED, resmap.FAILED, resmap.MIXTURE)
    ours = (label_grid.OUTSIDE, label_grid.LABELLED, label_grid.CENSORED, label_grid.MIXTURE)
    assert ours == theirs
    assert label_grid.NO_VALUE <= resmap.NO_VALUE


# The stage in the workflow, and by hand


def job_for(tmp_path, inputs, spec, **row):
    fetch, work = tmp_path / "fetch", tmp_path / "work"
    fetch.mkdir()
    work.mkdir()
    Path(inputs.map).rename(fetch / "map.map.gz")  # content decides, not the suffix
    upstream = {
        name: Upstream("ok", "", "", folder)
        for name, folder in (("fetch", fetch), ("simulate", tmp_path), ("labels", tmp_path))
    }
    return EntryJob(IDENTITY | row, spec, upstream, work)


def test_an_entry_of_the_workflow(pair, tmp_path):
    spec = {"dataset": "enhance_1.0", "box_size": 24, "stride": 12, "min_target_share": 0.005}
    job = job_for(tmp_path, pair[0], spec, contour="")
    facts = run_entry(job)
    assert sorted(path.name for path in job.folder.iterdir()) == [
        "enhance_1.0.h5",
        "enhance_1.0.json",
    ]
    assert ShardReader(job.folder / "enhance_1.0.h5").attrs["group"] == "g1"
    assert json.loads(facts["dropped"]) is not None


def test_coarse_voxels_are_skipped_for_the_fine_data_set(pair, tmp_path):
    job = job_for(tmp_path, pair[0], {"dataset": "enhance_0.5"})
    with pytest.raises(Skip, match=r"1\.3 A is not below 0\.8") as caught:
        run_entry(job)
    assert caught.value.code == "SEL_F09_VOXEL"


def test_the_fine_data_set_is_for_the_maps_that_its_network_serves():
    from cryoclarity.density.resample import FINE_TOLERANCE, FINE_VOXEL
    from cryoclarity.predict.model import dataset_for

    for voxel in (0.79, 0.7985, 0.7995, 0.8, 0.9):
        served = dataset_for("enhance", Grid((4, 4, 4), (1.0, voxel, 1.0))) == "enhance_0.5"
        assert served == (voxel < FINE_VOXEL - FINE_TOLERANCE)


def test_labels_of_the_workflow(labelled, tmp_path):
    for role, name in (("labels", "local_resolution.mrc"), ("codes", "local_resolution.codes.mrc")):
        Path(getattr(labelled, role)).rename(tmp_path / name)
    (tmp_path / "local_resolution.json").write_text('{"detail": {}}')
    job = job_for(tmp_path, labelled, {"dataset": "resolution_1.0", "stride": 8})
    assert run_entry(job)["boxes"] > 0


def test_wrong_settings_are_named():
    with pytest.raises(ConfigError, match=r"enhance_2\.0"):
        ShardSettings("enhance_2.0")
    with pytest.raises(ConfigError, match="min_target_share"):
        ShardSettings("enhance_1.0", min_target_share=2)


def test_the_script_by_hand(pair, tmp_path, root):
    script = [sys.executable, root / "workflow_scripts" / "shards.py", "--dataset", "enhance_1.0"]
    files = ["--map", pair[0].map, "--out", tmp_path / "s.h5", "--box-size", "24"]
    done = subprocess.run([*script, *files, "--target", pair[0].target, "--split", "val"])
    assert done.returncode == 0
    assert ShardReader(tmp_path / "s.h5").attrs["split"] == "val"
    wrong = subprocess.run([*script, *files], capture_output=True, text=True)
    assert wrong.returncode == 2 and "needs --target" in wrong.stderr
