"""The conda environments pin what pyproject pins."""

import re
import tomllib

import pytest
import yaml

# conda's name of a package where it differs from the one on the Python index
INDEX_NAMES = {"pytorch-cpu": "torch", "pytorch-gpu": "torch", "matplotlib-base": "matplotlib"}


def pins(root):
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    return dict(line.lower().split("==") for line in project["dependencies"])


@pytest.mark.parametrize("name", ["core", "torch-cpu", "torch-gpu", "report"])
def test_environment_agrees_with_the_pins(root, name):
    environment = yaml.safe_load((root / "envs" / f"{name}.yaml").read_text())
    assert environment["channels"] == ["conda-forge", "nodefaults"]
    wanted = pins(root)
    for line in environment["dependencies"]:
        package, version = line.split(" =")
        if package == "python":
            assert version == "3.11"
            continue
        assert wanted[INDEX_NAMES.get(package, package)] == version, package


def test_the_lock_holds_every_pin_and_no_address(root):
    text = (root / "requirements.lock").read_text()
    locked = dict(line.lower().split("==") for line in text.split())
    for package, version in pins(root).items():
        assert locked[package] == version
    assert not re.search(r"https?:|file:|@|\+", text)
