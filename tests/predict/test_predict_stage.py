"""The stage: files of an entry, frames kept, refusals as rows."""

from __future__ import annotations

import json
import shutil
import struct

import numpy as np
import pytest

from cryoclarity.errors import ConfigError, InputError
from cryoclarity.grid import Grid, Volume
from cryoclarity.io.maps import read_map, write_map
from cryoclarity.stages.batch import EntryJob, Skip, Upstream
from cryoclarity.stages.predict import Inputs, Options, run_entry, run_files
from tests.predict.tiny import blob_volume

FRAME_BYTES = ((16, 28), (28, 40), (40, 52), (196, 208))  # NSTART, M, cell, ORIGIN
ENHANCE = Options("enhance", settings={"device": "cpu"})
RESOLUTION = Options("resolution", settings={"device": "cpu"})


def stored_map(path, start=(-7, 5, 11), origin=(3.5, -2.25, 0.125), voxel=1.3):
    """A map whose NSTART and ORIGIN are both set, and disagree."""
    write_map(path, blob_volume(voxel=voxel))
    raw = bytearray(path.read_bytes())
    raw[16:28] = struct.pack("<3i", *start)
    raw[196:208] = struct.pack("<3f", *origin)
    path.write_bytes(raw)
    return path


def job_for(tmp_path, spec, split="test", voxel=1.3):
    folder = tmp_path / "fetch"
    folder.mkdir(exist_ok=True)
    write_map(folder / "map.map.gz", blob_volume(voxel=voxel))
    out = tmp_path / "out"
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    upstream = {"fetch": Upstream("ok", "", "", folder)}
    return EntryJob({"emdb_id": "EMD-1", "split": split}, spec, upstream, out)


def spec_for(task, folder, **more):
    names = ("enhance_1.0", "enhance_0.5", "resolution_1.0")
    weights = {name: str(folder / name) for name in names if name.startswith(task)}
    return {"task": task, "weights": weights, "splits": ["val", "test"], "device": "cpu"} | more


@pytest.mark.parametrize("options", [ENHANCE, RESOLUTION])
def test_the_frame_words_of_the_input_come_back(options, tmp_path, weights_folder):
    path = stored_map(tmp_path / "in.mrc")
    out = tmp_path / "out.mrc"
    run_files(Inputs(weights_folder, path), options, out)
    before, after = path.read_bytes()[:1024], out.read_bytes()[:1024]
    for first, last in FRAME_BYTES:
        assert before[first:last] == after[first:last]
    assert read_map(out).grid == read_map(path).grid
    label = after[224:304].decode().rstrip("\0 ")
    assert label.startswith("cryoclarity ") and "not for refinement" in label
    record = json.loads((tmp_path / "out.json").read_text())
    assert record["outcome"]["purpose"].startswith("not for refinement targets")
    assert len(record["outcome"]["weights_sha256"]) == 64
    assert record["outcome"]["stride"] and "mask" in record["outcome"]


def test_the_same_bytes_on_every_run(tmp_path, weights_folder):
    path = stored_map(tmp_path / "in.mrc")
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        run_files(Inputs(weights_folder, path), ENHANCE, tmp_path / name / "out.mrc.gz")
    for name in ("out.mrc.gz", "out.json"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_an_entry_gets_its_improved_map_and_the_reference_rows(tmp_path, weights_folder):
    job = job_for(tmp_path, spec_for("enhance", weights_folder, stride=12))
    facts = run_entry(job)
    names = {path.name for path in job.folder.iterdir()}
    maps = {"enhanced.mrc", "roundtrip.mrc", "clipped.mrc", "radial_filter.mrc"}
    assert names == maps | {"enhanced.json"}
    grid = read_map(tmp_path / "fetch" / "map.map.gz").grid
    assert all(read_map(job.folder / name).grid.same_frame(grid) for name in maps)
    assert facts["boxes_predicted"] <= facts["boxes"]


def test_an_entry_gets_its_local_resolution(tmp_path, weights_folder):
    job = job_for(tmp_path, spec_for("resolution", weights_folder))
    run_entry(job)
    density = read_map(job.folder / "resolution.mrc").density
    inside = density > 0
    assert 0 < inside.mean() < 1
    assert density[inside].min() >= np.float32(2.6) and density.max() <= 12
    record = json.loads((job.folder / "resolution.json").read_text())
    assert record["outcome"]["voxels_inside"] == inside.sum()


def test_trust_and_spread_of_an_entry_are_optional(tmp_path, weights_folder):
    job = job_for(tmp_path, spec_for("enhance", weights_folder, stride=24, trust=True))
    run_entry(job)
    assert read_map(job.folder / "enhanced_trust.mrc").density.max() <= 1
    job = job_for(tmp_path, spec_for("resolution", weights_folder, passes=2))
    run_entry(job)
    assert (job.folder / "resolution_spread.mrc").exists()
    with pytest.raises(ConfigError):
        run_entry(job_for(tmp_path, spec_for("resolution", weights_folder, trust=True)))


def test_entries_outside_the_splits_or_without_weights_are_skipped(tmp_path, weights_folder):
    spec = spec_for("enhance", weights_folder)
    with pytest.raises(Skip):
        run_entry(job_for(tmp_path, spec, split="train"))
    for changed in ({}, {"weights": {}}):
        with pytest.raises(Skip) as caught:
            run_entry(job_for(tmp_path, spec | changed, voxel=0.6))
        assert caught.value.code == "TRAIN_NO_DATA"


def test_weights_of_the_wrong_kind_are_refused(tmp_path, weights_folder):
    path = stored_map(tmp_path / "in.mrc")
    with pytest.raises(InputError) as caught:
        run_files(Inputs(weights_folder / "resolution_1.0", path), ENHANCE, tmp_path / "o.mrc")
    assert caught.value.code == "WEIGHTS_MISMATCH"
    assert not (tmp_path / "o.mrc").exists()


def test_half_maps_stand_in_for_the_map(tmp_path, weights_folder):
    volume = blob_volume()
    noise = np.random.default_rng(0).standard_normal(volume.grid.shape).astype(np.float32)
    write_map(tmp_path / "whole.mrc", volume)
    for name, sign in (("a", 1), ("b", -1)):
        write_map(tmp_path / f"{name}.mrc", volume.with_density(volume.density + sign * noise))
    halves = (tmp_path / "a.mrc", tmp_path / "b.mrc")
    of_halves = run_files(Inputs(weights_folder, half_maps=halves), RESOLUTION, tmp_path / "h.mrc")
    of_whole = run_files(
        Inputs(weights_folder, tmp_path / "whole.mrc"), RESOLUTION, tmp_path / "w.mrc"
    )
    assert np.allclose(of_halves.after.density, of_whole.after.density, atol=0.05)
    with pytest.raises(ConfigError):
        run_files(Inputs(weights_folder), ENHANCE, tmp_path / "n.mrc")
    other = Volume(volume.density, Grid(volume.grid.shape, (1.2,) * 3))
    write_map(tmp_path / "b.mrc", other)
    with pytest.raises(InputError) as caught:
        run_files(Inputs(weights_folder, half_maps=halves), ENHANCE, tmp_path / "n.mrc")
    assert caught.value.code == "PAIR_HALF_MISMATCH"
