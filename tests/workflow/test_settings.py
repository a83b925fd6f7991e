"""The configuration is checked once, and an unknown key meets its nearest neighbour."""

import re

import pytest
import yaml

from cryoclarity.errors import ConfigError
from cryoclarity.train.settings import settings_from
from cryoclarity.workflow.settings import validated


def check(root, **config):
    return validated({"entries": "x.tsv"} | config, root / "schemas" / "config.schema.yaml")


def test_defaults_fill_nested_sections(root):
    settings = check(root, simulate={"kernel": "molmap"})
    assert settings["simulate"]["kernel"] == "molmap"
    assert settings["simulate"]["q_map"] == "cubic"
    assert settings["qscore"]["sigma"] == 0.6


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"simulate": {"kernal": "molmap"}}, r"simulate\.kernal.*did you mean simulate\.kernel"),
        ({"qscore": {"sigma": 0.5}}, r"qscore\.sigma: 0\.5"),
        ({"batch_size": 0}, "batch_size"),
    ],
)
def test_mistakes_are_named(root, config, message):
    with pytest.raises(ConfigError, match=message):
        check(root, **config)


def merged(below, above):
    """Merge as Snakemake does with several configuration files."""
    both = dict(below)
    for key, value in above.items():
        both[key] = merged(both.get(key, {}), value) if isinstance(value, dict) else value
    return both


def test_nothing_of_the_demo_is_left_in_a_real_run(root):
    demo, real = (
        yaml.safe_load((root / name).read_text()) for name in ("config.yaml", "config/real.yaml")
    )
    settings = validated(merged(demo, real), root / "schemas" / "config.schema.yaml")
    full = check(root)
    for section in ("labels", "shards", "predict", "train"):
        for dataset, found in settings[section].items():
            wanted = full[section][dataset]
            if section == "train" and dataset != "threads":
                task = dataset.split("_")[0]
                found, wanted = settings_from(task, found), settings_from(task, wanted)
            assert found == wanted, f"{section}.{dataset}"


def keys_of(schema, path=()):
    for key, sub in schema.get("properties", {}).items():
        if "properties" in sub:
            yield from keys_of(sub, (*path, key))
        else:
            yield (*path, key)


def test_every_key_is_explained(root):
    schema = yaml.safe_load((root / "schemas" / "config.schema.yaml").read_text())
    text = (root / "config" / "README.md").read_text()
    named = set(re.findall(r"`([^`]+)`", text))
    missing = [p for p in keys_of(schema) if not named & {p[-1], ".".join(p)}]
    assert not missing
