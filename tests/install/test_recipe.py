"""The conda recipe says what pyproject says."""

import tomllib

import yaml

# conda's names where they differ from those on the Python index
CONDA_NAMES = {"torch": "pytorch", "matplotlib": "matplotlib-base"}


def test_the_recipe_agrees_with_the_project(root):
    document = tomllib.loads((root / "pyproject.toml").read_text())
    project = document["project"]
    recipe = yaml.safe_load((root / "conda-recipe" / "meta.yaml").read_text())
    assert recipe["package"] == {"name": project["name"], "version": project["version"]}
    scripts = [f"{name} = {where}" for name, where in project["scripts"].items()]
    assert recipe["build"]["entry_points"] == scripts
    pins = (line.lower().split("==") for line in project["dependencies"])
    wanted = {f"{CONDA_NAMES.get(name, name)} ={version}" for name, version in pins}
    assert set(recipe["requirements"]["run"]) == wanted | {"python =3.11"}
    (setuptools,) = document["build-system"]["requires"]
    assert setuptools.replace(">", " >", 1) in recipe["requirements"]["host"]
    about = recipe["about"]
    assert (about["license"], about["summary"]) == (project["license"], project["description"])
    assert (root / about["license_file"]).is_file()
