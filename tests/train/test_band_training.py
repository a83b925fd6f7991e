"""Training on band powers: what turns with what, settings, outputs, exact resume."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from cryoclarity.boxes.augment import ROTATIONS, rotate
from cryoclarity.density.bands import band_map, space_to_depth
from cryoclarity.errors import ConfigError
from cryoclarity.grid import Grid, Volume
from cryoclarity.io.maps import write_map
from cryoclarity.io.tables import read_table
from cryoclarity.predict.common import PredictSettings
from cryoclarity.predict.model import load_model
from cryoclarity.predict.resolution import local_resolution
from cryoclarity.stages.shards import ShardInputs, ShardSettings, run_files
from cryoclarity.train import run as stage
from cryoclarity.train.data import turned
from cryoclarity.train.loop import Stopped
from cryoclarity.train.settings import settings_from
from tests.density.test_bands import ball
from tests.train.test_training_stage import contents, stop_after  # noqa: F401
from tests.train.training_shards import write_dataset

SPEC = {
    "network": {"name": "bands", "channels": [4, 6, 8]},
    "batch_size": 2,
    "steps": 5,
    "warmup_steps": 2,
    "validate_every": 3,
    "validate_boxes": 4,
}


def blurred_map(seed: int, shape=(44, 44, 44)) -> tuple[np.ndarray, np.ndarray]:
    """A ball of texture that is sharp below and blurred above, and the label that says so."""
    rng = np.random.default_rng(seed)
    mask = ball(shape, 15.0)
    texture = mask * rng.standard_normal(shape)
    sharp, soft = gaussian_filter(texture, 0.8), gaussian_filter(texture, 2.0)
    upper = np.arange(shape[0])[:, None, None] > shape[0] / 2
    density = np.where(upper, 4 * soft, sharp) + 0.5 * gaussian_filter(1.0 * mask, 1.0)
    labels = np.where(mask, np.where(upper, 8.0, 4.0), 0.0)
    return density + 0.02 * rng.standard_normal(shape), labels


def write_band_dataset(folder: Path) -> Path:
    """Shards of two maps for training and one for validation, with their index."""
    lines = ["emdb_id\tgroup\tsplit\tpath\tsha256\tboxes\tweight"]
    settings = ShardSettings("resolution_1.0", layout="bands", stride=3)
    for number in range(3):
        density, labels = blurred_map(number)
        volume = Volume(density.astype(np.float32), Grid(density.shape, (1.0,) * 3))
        files = {name: folder / f"{name}.mrc" for name in ("map", "labels", "codes")}
        for name, values in (("map", density), ("labels", labels), ("codes", labels > 0)):
            write_map(files[name], volume.with_density(values))
        path = Path("shards") / f"EMD-{number}.h5"
        (folder / "shards").mkdir(exist_ok=True)
        facts = run_files(ShardInputs(**files), folder / path, settings)
        split = "val" if number == 2 else "train"
        lines.append(
            f"EMD-{number}\tg{number}\t{split}\t{path}\t{facts['sha256']}\t{facts['boxes']}\t1"
        )
    index = folder / "resolution_1.0.tsv"
    index.write_text("\n".join(lines) + "\n")
    return index


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> Path:
    return write_band_dataset(tmp_path_factory.mktemp("bands"))


def make_job(index: Path, out: Path, **changes) -> stage.TrainJob:
    job = stage.TrainJob(
        task="resolution",
        dataset="resolution_1.0",
        index=index,
        out=out / "out",
        state_folder=out / "state",
        spec=SPEC,
        data_folder=index.parent,
        device="cpu",
    )
    return replace(job, **changes)


@pytest.mark.parametrize("number", [0, 7, 23])
def test_voxels_turn_within_their_blocks(number):
    voxels = np.random.default_rng(1).standard_normal((12, 12, 12))
    rotation = ROTATIONS[number]
    blocks = space_to_depth(voxels)
    assert np.array_equal(space_to_depth(rotate(voxels, rotation)), turned(blocks, rotation))
    assert np.array_equal(turned(voxels, rotation), rotate(voxels, rotation))


def test_the_networks_have_their_own_defaults():
    settings = settings_from("resolution", {})
    assert settings.network["name"] == "bands"
    assert (settings.batch_size, settings.learning_rate, settings.warmup_steps) == (8, 2e-3, 40)
    given = settings_from("resolution", {"network": {"name": "bands"}, "batch_size": 4})
    assert given.batch_size == 4
    published = settings_from("resolution", {"network": {"name": "unet3d"}})
    assert (published.batch_size, published.warmup_steps) == (400, 1000)


def test_resume_gives_the_same_bytes(dataset, tmp_path, monkeypatch, stop_after):  # noqa: F811
    whole = make_job(dataset, tmp_path / "whole")
    card = stage.run_files(whole)
    assert (card["box"], card["voxel_size"]) == (16, 1.0)
    assert card["normalisation"] == {
        "rule": "solvent",
        "clip": [-3.0, 6.0],
        "mask": "molecule",
        "features": "bands",
        "feature_spacing": 2.0,
    }
    job = make_job(dataset, tmp_path / "parts")
    stop_after(2)
    with pytest.raises(Stopped):
        stage.run_files(job)
    monkeypatch.undo()
    stage.run_files(job)
    assert contents(job.out) == contents(whole.out)


def test_it_learns_where_a_map_is_sharp(dataset, tmp_path):
    spec = {"network": {"name": "bands-voxelwise"}, "steps": 60, "batch_size": 2}
    spec |= {"warmup_steps": 5, "learning_rate": 5e-3, "validate_every": 60, "validate_boxes": 8}
    stage.run_files(make_job(dataset, tmp_path, spec=spec))
    row = read_table(tmp_path / "out/metrics.tsv")[-1]
    assert float(row["val_mae"]) < 0.6 * float(row["val_constant_mae"])
    density, labels = blurred_map(5)
    volume = Volume(density.astype(np.float32), Grid(density.shape, (1.0,) * 3))
    model = load_model(tmp_path / "out", "resolution")
    found = local_resolution(volume, model, PredictSettings(device="cpu")).density
    both = (found > 0) & (labels > 0)
    sharp, soft = (np.median(found[both & (labels == level)]) for level in (4.0, 8.0))
    assert soft > sharp + 1


def test_shards_of_the_other_layout_are_wrong_usage(dataset, tmp_path):
    with pytest.raises(ConfigError, match="layout voxels"):
        spec = {"network": {"name": "unet3d", "channels": [2, 2, 2, 2, 2]}}
        stage.run_files(make_job(dataset, tmp_path, spec=spec))
    cubes = write_dataset(tmp_path, "resolution", 16)
    with pytest.raises(ConfigError, match="layout bands"):
        stage.run_files(make_job(cubes, tmp_path, data_folder=tmp_path))


def test_band_powers_of_a_sharp_half_differ(dataset):
    density, labels = blurred_map(1)
    found = band_map(density, labels > 0).channels()
    fine = found[8]  # share of power at 2.9 to 3.3 A
    here = labels[::2, ::2, ::2]
    assert fine[here == 4].mean() > fine[here == 8].mean() + 0.3
