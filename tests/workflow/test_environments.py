"""The conda environments pin what pyproject pins."""

import ast
import re
import sys
import tomllib

import pytest
import yaml

from cryoclarity.workflow.code_hash import module_file, reachable_modules
from cryoclarity.workflow.plan import STAGE_SCRIPTS

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


STAGE_ENVIRONMENTS = {
    "demo_archive": "core",
    "select": "core",
    "batch": "core",
    "fetch": "core",
    "inspect": "core",
    "qscore": "core",
    "simulate": "core",
    "degrade": "core",
    "labels": "core",
    "shards": "core",
    "index": "core",
    "train": "torch-cpu",
    "predict": "torch-cpu",
    "evaluate": "core",
    "report": "report",
    "rejected": "report",
}
# Stages that have a second environment when they compute on a device; only then torch is loaded.
ON_A_DEVICE = {"labels": "torch-gpu"}
IMPORT_NAMES = {"yaml": "pyyaml"}
# What an environment brings along because something in it needs it.
IMPLIED = {"PIL": "matplotlib", "dateutil": "matplotlib"}


def outside_imports(path):
    """Names of the packages that a file imports, standard library left out."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add(node.module.split(".")[0])
    return names - sys.stdlib_module_names - {"cryoclarity", "__future__"}


@pytest.mark.parametrize("stage", [*STAGE_SCRIPTS, *(f"{name}@device" for name in ON_A_DEVICE)])
def test_each_stage_finds_its_imports_in_its_environment(root, stage):
    stage, _, device = stage.partition("@")
    name = ON_A_DEVICE[stage] if device else STAGE_ENVIRONMENTS[stage]
    script, extra = STAGE_SCRIPTS[stage]
    script = root / "workflow_scripts" / script
    package = root / "src" / "cryoclarity"
    environment = yaml.safe_load((root / "envs" / f"{name}.yaml").read_text())
    offered = {line.split(" =")[0] for line in environment["dependencies"]}
    offered |= {INDEX_NAMES[name] for name in offered if name in INDEX_NAMES}
    offered |= {name for name, owner in IMPLIED.items() if owner in offered}
    files = [script] + [
        module_file(name, package) for name in reachable_modules(script, package, extra)
    ]
    missing = {
        f"{path.name}: {name}"
        for path in files
        for name in outside_imports(path)
        if IMPORT_NAMES.get(name, name) not in offered
        and not (name == "torch" and stage in ON_A_DEVICE and not device)
    }
    assert not missing, missing


@pytest.mark.parametrize("stage", STAGE_SCRIPTS)
def test_each_rule_names_that_environment(root, stage):
    text = "".join(path.read_text() for path in sorted((root / "rules").glob("*.smk")))
    rule = re.search(rf"^rule {stage}:\n(.*?)(?=^rule |\Z)", text, re.MULTILINE | re.DOTALL)[1]
    name = STAGE_ENVIRONMENTS[stage]
    wanted = "TORCH_ENV" if name.startswith("torch") else f'"../envs/{name}.yaml"'
    if stage in ON_A_DEVICE:
        wanted = "LABEL_ENV"
    assert re.search(rf"conda:\n        {re.escape(wanted)}", rule)
