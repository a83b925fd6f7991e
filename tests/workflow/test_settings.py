"""The configuration is checked once, and an unknown key meets its nearest neighbour."""

import pytest

from cryoclarity.errors import ConfigError
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
