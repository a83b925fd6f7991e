"""Shards of band powers: whole maps from which boxes are cut, on the 2 angstrom grid."""

from __future__ import annotations

import json
import pickle

import numpy as np
import pytest

from cryoclarity.density.bands import band_map, feature_grid, molecule_mask
from cryoclarity.errors import ConfigError, InputError, IntegrityError
from cryoclarity.grid import Grid, Volume
from cryoclarity.io.maps import write_map
from cryoclarity.io.shards import ShardReader, verify, write_map_shard
from cryoclarity.stages.shards import ShardInputs, ShardSettings, run_files
from tests.density.test_bands import case

SETTINGS = ShardSettings("resolution_1.0", box_size=8, stride=4, layout="bands")

SPECK = np.zeros((40, 44, 37), np.float32)
SPECK[20, 20, 20] = 1


def write_inputs(folder, shape=(40, 44, 37)) -> tuple[ShardInputs, Volume, np.ndarray, np.ndarray]:
    """A map at 1 angstrom whose label grows along x inside the molecule."""
    density, mask = case(shape, noise=0.2)
    grid = Grid(shape, (1.0,) * 3, (3.0, -2.0, 9.0))
    volume = Volume(density.astype(np.float32), grid)
    labels = np.where(mask, 3 + 0.1 * np.arange(shape[2]), 0).astype(np.float32)
    files = {}
    for name, values in (("map", density), ("labels", labels), ("codes", mask)):
        files[name] = folder / f"{name}.mrc"
        write_map(files[name], volume.with_density(values))
    return ShardInputs(**files), volume, labels, mask


def test_boxes_are_cut_from_the_features_of_the_whole_map(tmp_path):
    inputs, volume, labels, _ = write_inputs(tmp_path)
    facts = run_files(inputs, tmp_path / "s.h5", SETTINGS, {"emdb_id": "EMD-1"})
    expected = band_map(volume.density, molecule_mask(volume.density)).channels()
    reader = ShardReader(tmp_path / "s.h5")
    assert len(reader) == facts["boxes"] > 3
    verify(tmp_path / "s.h5", facts["sha256"])
    for number in range(len(reader)):
        box = reader.read(number)
        z, y, x = box["origin"]
        part = expected[:, z : z + 8, y : y + 8, x : x + 8]
        assert box["input"].shape == (42, 8, 8, 8) and box["input"].dtype == np.float16
        assert np.abs(box["input"] - part).max() < 4e-3
        nearest = labels[::2, ::2, ::2][z : z + 8, y : y + 8, x : x + 8]
        here = box["mask"] == 1
        assert here.mean() >= 0.1 and (box["target"][~here] == 0).all()
        assert np.abs(box["target"] - nearest)[here].max() < 4e-3
    with pytest.raises(IndexError):
        reader.read(len(reader))
    record = json.loads((tmp_path / "s.json").read_text())
    assert record["grid_shape"] == list(feature_grid(volume.grid).shape) == [20, 22, 19]
    assert record["normalisation"]["solvent_noise"] is True
    again = pickle.loads(pickle.dumps(reader)).read(1)
    assert np.array_equal(again["input"], reader.read(1)["input"])


def test_equal_input_gives_equal_bytes(tmp_path):
    inputs, *_ = write_inputs(tmp_path)
    hashes = {run_files(inputs, tmp_path / n, SETTINGS)["sha256"] for n in ("a.h5", "b.h5")}
    assert len(hashes) == 1


def test_a_map_smaller_than_a_box_is_padded(tmp_path):
    inputs, *_ = write_inputs(tmp_path, (26, 26, 30))
    settings = ShardSettings("resolution_1.0", layout="bands", min_labelled_share=0.01)
    assert (settings.box_size, settings.stride) == (16, 4)
    facts = run_files(inputs, tmp_path / "s.h5", settings)
    box = ShardReader(tmp_path / "s.h5").read(0)
    assert facts["boxes"] == 1 and box["input"].shape == (42, 16, 16, 16)
    assert (box["mask"][13:] == 0).all()


def test_refusals(tmp_path):
    with pytest.raises(ConfigError, match="layout"):
        ShardSettings("enhance_1.0", layout="bands")
    with pytest.raises(ConfigError, match="layout"):
        ShardSettings("resolution_1.0", layout="voxel")
    inputs, volume, *_ = write_inputs(tmp_path)
    write_map(inputs.codes, volume.with_density(0 * volume.density + SPECK))
    with pytest.raises(InputError) as caught:
        run_files(inputs, tmp_path / "s.h5", SETTINGS)
    assert caught.value.code == "SHARD_EMPTY" and not (tmp_path / "s.h5").exists()
    with pytest.raises(ValueError, match="shape"):
        arrays = {"input": np.zeros((4, 4, 4, 42)), "target": np.zeros((4, 4, 5))}
        write_map_shard(tmp_path / "t.h5", arrays, {})
    (tmp_path / "u.h5").write_bytes(b"no shard")
    with pytest.raises(IntegrityError):
        len(ShardReader(tmp_path / "u.h5"))
