"""Settings: one set of defaults in the library and in the schema of the configuration."""

from __future__ import annotations

from pathlib import Path

import jsonschema
import pytest
import yaml

from cryoclarity.selection.settings import (
    edge_settings,
    filter_settings,
    schema,
    split_settings,
)


def section(root: Path, name: str) -> dict:
    document = yaml.safe_load((root / "schemas/config.schema.yaml").read_text())
    return document["properties"]["selection"]["properties"][name]


@pytest.mark.parametrize("name", ["filters", "edges", "split"])
def test_schema_of_the_configuration_says_the_same(root, name):
    given = section(root, name)
    made = schema()[name]["properties"]
    assert sorted(given["properties"]) == sorted(made)
    for key, expected in made.items():
        found = given["properties"][key]
        inner = expected.get("properties")
        if name == "filters":
            assert {k: v["default"] for k, v in found["properties"].items()} == {
                k: v["default"] for k, v in inner.items()
            }
        elif key != "ratios":
            assert found["default"] == expected["default"]


@pytest.mark.parametrize(
    ("name", "settings"),
    [("filters", filter_settings()), ("edges", edge_settings()), ("split", split_settings())],
    ids=["filters", "edges", "split"],
)
def test_defaults_fit_their_own_schema(name, settings):
    jsonschema.validate(settings, schema()[name])


def test_defaults_are_not_shared():
    filter_settings()["F01_method"]["methods"].append("tomography")
    assert "tomography" not in filter_settings()["F01_method"]["methods"]
