"""Settings of filters, graph and split: names, defaults, bounds, in one place.

Each filter takes three settings besides its own: `enabled`; `action`, what a hit does (`drop` or
`warn`); `missing`, what an entry without the datum meets (`pass`, `warn` or `drop`).
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from cryoclarity.errors import ConfigError

NUMBER, INTEGER, BOOLEAN, DATE = (
    {"type": "number"},
    {"type": "integer"},
    {"type": "boolean"},
    {"type": "string", "pattern": r"^(\d{4}-\d{2}-\d{2})?$"},
)
WORDS = {"type": "array", "items": {"type": "string"}}
SHARE = {"type": "number", "minimum": 0, "maximum": 1}


def _positive(kind: Mapping[str, Any] = NUMBER) -> dict[str, Any]:
    return {**kind, "exclusiveMinimum": 0}


def _one_of(*words: str) -> dict[str, Any]:
    return {"enum": list(words)}


def _filter(
    *, enabled: bool = True, action: str = "drop", missing: str = "pass", **own: tuple[dict, Any]
) -> dict[str, tuple[dict, Any]]:
    """Return name -> (schema, default) of one filter."""
    return {
        "enabled": (BOOLEAN, enabled),
        "action": (_one_of("drop", "warn"), action),
        "missing": (_one_of("pass", "warn", "drop"), missing),
        **own,
    }


COMPOSITE_WORDS = ["composite", "combined", "stitched", "merged", "focused maps"]
COMPOSITE_TOOLS = ["chimera", "coot", "phenix", "combine_focused_maps"]
SHARPENED_WORDS = ["sharpened", "postprocessed", "post-processed", "deepemhancer"]
RAW_WORDS = ["unsharpened", "raw", "unfiltered"]
FSC_CRITERIA = ["0.143", "0.5", "1/2 bit", "3 sigma"]

FILTERS: dict[str, dict[str, tuple[dict, Any]]] = {
    "F01_method": _filter(methods=(WORDS, ["singleParticle", "helical"])),
    "F02_resolution": _filter(missing="drop", min=(_positive(), 2.0), max=(_positive(), 6.0)),
    "F03_status": _filter(statuses=(WORDS, ["REL"])),
    "F04_no_model": _filter(),
    "F05_model_count": _filter(mode=(_one_of("one", "best"), "one")),
    "F06_overlap": _filter(words=(WORDS, ["FULLOVERLAP"])),
    "F07_half_maps": _filter(enabled=False, min_count=(_positive(INTEGER), 2)),
    "F08_map_size": _filter(
        max_voxels=(_positive(INTEGER), 600**3), max_kbytes=(_positive(), 864000)
    ),
    "F09_voxel": _filter(
        min=(_positive(), 0.4),
        max=(_positive(), 3.0),
        max_edge_difference=(SHARE, 0.01),
        nyquist=(BOOLEAN, True),
    ),
    "F10_composite": _filter(
        missing="warn",
        words=(WORDS, COMPOSITE_WORDS),
        software=(WORDS, COMPOSITE_TOOLS),
        related_words=(WORDS, ["focused", "consensus"]),
        max_related=({**INTEGER, "minimum": 0}, 1),
    ),
    "F11_sharpened": _filter(
        missing="warn",
        kind=(_one_of("any", "sharpened", "raw"), "any"),
        sharpened_words=(WORDS, SHARPENED_WORDS),
        raw_words=(WORDS, RAW_WORDS),
    ),
    "F12_res_method": _filter(action="warn", criteria=(WORDS, FSC_CRITERIA)),
    "F13_date": _filter(**{"from": (DATE, ""), "to": (DATE, "")}),
    "F14_model_size": _filter(
        min=({**NUMBER, "minimum": 0}, 50), max=({**NUMBER, "minimum": 0}, 20000)
    ),
    "F15_nucleic": _filter(min=(SHARE, 0.0), max=(SHARE, 1.0)),
    "F16_unknown": _filter(max=(SHARE, 0.05)),
    "F17_backbone": _filter(max=(SHARE, 0.5)),
    "F18_coverage": _filter(
        min_in_box=(SHARE, 0.9), min_explained=(SHARE, 0.5), min_inclusion=(SHARE, 0.5)
    ),
    "F19_fit": _filter(min_cc_mask=(NUMBER, 0.5), max_below_expected_q=(NUMBER, 0.25)),
    "F20_res_mismatch": _filter(
        missing="warn",
        max_difference=(_positive(), 0.5),
        half_maps=(BOOLEAN, False),
        max_factor=({**NUMBER, "minimum": 1}, 1.5),
    ),
    "F22_duplicate_data": _filter(digits=({**INTEGER, "minimum": 3, "maximum": 15}, 7)),
    "F21_redundant": _filter(enabled=False),
}

# Which relations between entries are edges, and how sequence clusters are read.
EDGES: dict[str, tuple[dict, Any]] = {
    "pdb": (BOOLEAN, True),
    "xref": (_one_of("off", "named", "shared"), "shared"),
    "data": (BOOLEAN, True),
    "seq": (_one_of("off", "any", "major"), "any"),
    "seq_identity": (_one_of(30, 40, 50, 70, 90, 95, 100), 30),
    "seq_min_residues": ({**INTEGER, "minimum": 0}, 40),
    "seq_major_share": ({"type": "number", "exclusiveMinimum": 0, "maximum": 1}, 0.5),
    "hub_limit": ({**INTEGER, "minimum": 0}, 0),
    "citation": (BOOLEAN, False),
    "uniprot": (_one_of("off", "on", "auto"), "auto"),
    "nucleic": (BOOLEAN, True),
    "nucleic_min_length": (_positive(INTEGER), 50),
    "user": (BOOLEAN, True),
}

SPLIT: dict[str, tuple[dict, Any]] = {
    "ratios": (
        {
            "type": "object",
            "additionalProperties": {"type": "number", "minimum": 0},
            "minProperties": 1,
        },
        {"train": 0.8, "val": 0.1, "test": 0.1},
    ),
    "seed": ({"type": ["integer", "null"]}, None),
    "tolerance": (SHARE, 0.02),
    "pins": (_one_of("stop", "report"), "stop"),
}


def _merged(
    table: Mapping[str, tuple[dict, Any]], given: Mapping[str, Any] | None, where: str
) -> dict[str, Any]:
    values = {name: copy.deepcopy(default) for name, (_, default) in table.items()}
    unknown = sorted(set(given or {}) - set(values))
    if unknown:
        known = ", ".join(sorted(values))
        raise ConfigError(f"{where}: unknown setting {unknown[0]!r}", remedy=f"known are {known}")
    return values | dict(given or {})


def filter_settings(given: Mapping[str, Mapping[str, Any]] | None = None) -> dict[str, dict]:
    """Return the settings of all filters: the given ones over the defaults.

    Parameters
    ----------
    given : mapping, optional
        Filter name (``F02_resolution``) to some of its settings.

    Raises
    ------
    ConfigError
        An unknown filter or setting, or bounds in the wrong order.
    """
    given = given or {}
    unknown = sorted(set(given) - set(FILTERS))
    if unknown:
        raise ConfigError(
            f"unknown filter {unknown[0]!r}", remedy=f"known are {', '.join(sorted(FILTERS))}"
        )
    settings = {name: _merged(table, given.get(name), name) for name, table in FILTERS.items()}
    for name, values in settings.items():
        for low, high in (("min", "max"), ("from", "to")):
            first, last = values.get(low, ""), values.get(high, "")
            if first != "" and last != "" and first > last:
                raise ConfigError(f"{name}: {low} {first} lies above {high} {last}")
    return settings


def edge_settings(given: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return the settings of the graph: the given ones over the defaults.

    `xref: named` joins an entry with those that its document names; `shared` also joins entries
    that name the same third one, which need not be in the pool. `hub_limit: 0` means no limit.
    `uniprot: auto` joins by UniProt accession only when there are no sequence clusters.

    Raises
    ------
    ConfigError
        An unknown setting.
    """
    return _merged(EDGES, given, "edges")


def split_settings(given: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return the settings of the split: the given ones over the defaults.

    Raises
    ------
    ConfigError
        An unknown setting, or shares that do not add to one.
    """
    settings = _merged(SPLIT, given, "split")
    total = sum(settings["ratios"].values())
    if abs(total - 1) > 1e-6:
        raise ConfigError(f"split: ratios {settings['ratios']} add to {total:g}, not to 1")
    return settings


def _schema(table: Mapping[str, tuple[dict, Any]]) -> dict[str, Any]:
    return {
        "type": "object",
        "additionalProperties": False,
        "default": {},
        "properties": {
            name: {**schema, "default": default} for name, (schema, default) in table.items()
        },
    }


def schema() -> dict[str, dict[str, Any]]:
    """Return the JSON schemas of `filters`, `edges` and `split`, with the defaults in them."""
    filters = {name: _schema(table) for name, table in sorted(FILTERS.items())}
    return {
        "filters": {
            "type": "object",
            "additionalProperties": False,
            "default": {},
            "properties": filters,
        },
        "edges": _schema(EDGES),
        "split": _schema(SPLIT),
    }
