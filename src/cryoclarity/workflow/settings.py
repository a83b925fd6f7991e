"""The configuration: validated once, defaults filled in, cut into what each stage may see."""

from __future__ import annotations

import copy
import difflib
import json
from pathlib import Path

import yaml

from cryoclarity.errors import ConfigError


def read_settings(path: str | Path) -> dict:
    """Return the content of a YAML file.

    Raises
    ------
    ConfigError
        When it cannot be read, or is no mapping.
    """
    try:
        content = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"{' '.join(str(error).split())}", file=path) from error
    if not isinstance(content, dict):
        raise ConfigError("no mapping of keys to values", file=path)
    return content


def validated(config: dict, schema_file: str | Path) -> dict:
    """Return a copy of a configuration with all defaults, checked against its JSON schema.

    Parameters
    ----------
    config : dict
    schema_file : path
        JSON schema in YAML form; `default` values are filled in, also in nested sections.

    Raises
    ------
    ConfigError
        One line that names the key, the value and what is allowed; an unknown key is refused
        with the nearest known one.
    """
    from jsonschema import Draft202012Validator

    schema = yaml.safe_load(Path(schema_file).read_text(encoding="utf-8"))
    filled = copy.deepcopy(config)
    _fill(filled, schema)
    _refuse_unknown(filled, schema, ())
    for error in sorted(Draft202012Validator(schema).iter_errors(filled), key=str):
        key = ".".join(str(part) for part in error.absolute_path) or "configuration"
        raise ConfigError(f"{key}: {error.message}", file="config", remedy="see config/README.md")
    return filled


def _fill(config: dict, schema: dict) -> None:
    for key, sub in schema.get("properties", {}).items():
        if key not in config and "default" in sub:
            config[key] = copy.deepcopy(sub["default"])
        if isinstance(config.get(key), dict):
            _fill(config[key], sub)


def _refuse_unknown(config: dict, schema: dict, path: tuple[str, ...]) -> None:
    known = schema.get("properties", {})
    for key, value in config.items():
        name = ".".join((*path, str(key)))
        if key not in known:
            if schema.get("additionalProperties") is False:
                near = difflib.get_close_matches(str(key), known, n=1, cutoff=0.0)
                hint = f"did you mean {'.'.join((*path, near[0]))}?" if near else None
                raise ConfigError(f"unknown key {name}", file="config", remedy=hint)
        elif isinstance(value, dict):
            _refuse_unknown(value, known[key], (*path, str(key)))


def canonical(spec: object) -> str:
    """Return settings as one canonical string: what Snakemake compares, what a stage reads."""
    return json.dumps(spec, sort_keys=True, separators=(",", ":"))
