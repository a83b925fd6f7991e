"""The recipe of the resolution networks: split by kinship, tables, shipping, one command."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from cryoclarity.errors import ConfigError, InputError
from cryoclarity.io.tables import read_table
from cryoclarity.predict.model import load_model
from cryoclarity.stages.resolution_recipe import Recipe, recipe_from, ship, split_models
from cryoclarity.stages.shards import ShardSettings
from cryoclarity.train.weights import load_weights
from cryoclarity.workflow.plan import stage_specs
from cryoclarity.workflow.settings import read_settings, validated

# Small and not akin.
SMALL = ("1lds", "2gzv", "2qsk", "2r2z")
CONFIG = """
seed: 3
ranges: {default: 1}
test_models: 1
val_models: 1
train_models: 2
networks:
  bands-voxelwise: {steps: 4, batch_size: 2, validate_every: 4, validate_boxes: 4}
"""


@pytest.fixture(scope="module")
def models(shared, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    for name in SMALL:
        source = shared / "models" / f"{name}.pdb.gz"
        (folder / source.name).write_bytes(source.read_bytes())
    return folder


def recipe(**changes) -> Recipe:
    return Recipe(**{"networks": {"bands": {}}, "test_models": 1, "val_models": 1, **changes})


def test_kin_stay_together_and_barred_kin_are_left_out(models, tmp_path):
    files = sorted(models.iterdir())
    twin = tmp_path / "twin.pdb.gz"
    twin.write_bytes(files[0].read_bytes())
    chosen = split_models([*files, twin], recipe())
    split = {path.name: (group, name) for path, group, name in chosen}
    assert split[twin.name] == split[files[0].name]
    assert {name for _, name in split.values()} == {"train", "val", "test"}
    barred = split_models(files, recipe(), [twin])
    assert files[0] not in [path for path, _, _ in barred] and len(barred) == len(files) - 1
    assert split_models(files, recipe(train_models=1)) != split_models(files, recipe(seed=5))
    with pytest.raises(InputError) as caught:
        split_models(files[:2], recipe())
    assert caught.value.code == "TRAIN_NO_DATA"


def test_recipes_are_checked(tmp_path):
    with pytest.raises(ConfigError, match="unknown key"):
        recipe_from({"network": {}})
    for wrong in ({"ranges": {"narrow": 1}}, {"test_models": 0}, {"networks": {}}):
        with pytest.raises(ConfigError):
            recipe(**wrong)
    assert recipe(networks={"bands": {}, "unet3d": {}}).layouts() == {"bands", "voxels"}
    (tmp_path / "list.yaml").write_text("- 1\n")
    with pytest.raises(ConfigError, match="mapping"):
        read_settings(tmp_path / "list.yaml")
    with pytest.raises(ConfigError):
        read_settings(tmp_path / "none.yaml")


def test_the_named_config_is_a_recipe(root):
    found = recipe_from(read_settings(root / "config/resolution_bands.yaml"))
    assert list(found.networks)[:2] == ["bands", "bands-voxelwise"] and found.test_models >= 8


def test_one_command_from_models_to_table_and_weights(models, tmp_path, root):
    (tmp_path / "recipe.yaml").write_text(CONFIG)
    command = [sys.executable, str(root / "workflow_scripts/resolution_recipe.py")]
    command += ["--models", str(models), "--config", str(tmp_path / "recipe.yaml")]
    command += ["--out", str(tmp_path / "out"), "--ship", str(tmp_path / "shipped")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    rows = read_table(tmp_path / "out/summary.tsv")
    assert [(r["network"], r["version"], r["maps"]) for r in rows] == [
        ("bands-voxelwise", "noise", "1"),
        ("bands-voxelwise", "masked", "1"),
    ]
    assert done.stdout.splitlines()[0].split("\t") == list(rows[0])
    entries = read_table(tmp_path / "out/entries.tsv")
    assert len(entries) == 8 and all(float(row["best"]) >= 2.8 for row in entries)
    assert not [p for p in (tmp_path / "out/maps").iterdir() if "test" in p.name]
    shipped = load_model(tmp_path / "shipped", "resolution")
    full, _ = load_weights(tmp_path / "out/train/bands-voxelwise")
    for one, other in zip(shipped.network.parameters(), full.parameters(), strict=True):
        assert (one - other).abs().max() < 1e-3
    assert shipped.card["results"] == rows and shipped.card["precision"] == "float16"


def test_shipping_needs_trained_weights(tmp_path):
    with pytest.raises(InputError):
        ship("bands", recipe(), [], tmp_path, tmp_path / "shipped")


def test_the_network_decides_what_the_workflow_cuts(root):
    settings = validated({"entries": "none.tsv"}, root / "schemas/config.schema.yaml")
    settings["train"]["resolution_1.0"]["network"] = {"name": "unet3d"}
    plain = json.loads(stage_specs(settings)["shards_resolution_1.0"])
    assert "layout" not in plain and plain["stride"] == 16
    settings["train"]["resolution_1.0"]["network"] = {"name": "bands"}
    spec = json.loads(stage_specs(settings)["shards_resolution_1.0"])
    assert spec["layout"] == "bands" and not {"box_size", "stride"} & set(spec)
    known = ShardSettings.__dataclass_fields__
    cut = ShardSettings(**{key: value for key, value in spec.items() if key in known})
    assert (cut.box_size, cut.stride) == (16, 4)
