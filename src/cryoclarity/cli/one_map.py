"""One map, or a table of maps, through a network: the map, its record, a picture, a script."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from cryoclarity import __version__
from cryoclarity.cli.map_report import write_map_report
from cryoclarity.cli.predict_options import (
    estimate_line,
    inputs_and_options,
    prediction_arguments,
)
from cryoclarity.cli.script import parser_for, script_main
from cryoclarity.cli.signals import stopped_cleanly
from cryoclarity.errors import ConfigError, CryoClarityError

if TYPE_CHECKING:
    from cryoclarity.stages.predict import Outcome

DESCRIPTIONS = {
    "enhance": "Improve a map. The result is for looking and building: not for refinement "
    "targets, deposition or FSC resolution.",
    "resolution": "Predict the local resolution of a map, in angstrom; 0 outside the mask.",
}
SUFFIXES = {"enhance": "_enhanced", "resolution": "_resolution"}
FAINT = 0.5  # of the contour: where trust is drawn
EXTRA = {"trust": "trust, 0 to 1", "spread": "spread of dropout passes, angstrom"}
PAGE = {
    "enhance": "Middle planes; bright is density, lines are the suggested contours. Trust, where "
    "there is density: blue is backed by the input, look up the input where it is not.",
    "resolution": "Middle planes; lines are the suggested contour, black is outside the mask.",
}
TABLES = (".tsv", ".tsv.gz")
MAP_SUFFIXES = (".gz", ".mrc", ".map", ".ccp4", ".rec")
PROJECT_WEIGHTS = Path("results", "train")
PURPOSE = "not for refinement targets, deposition or FSC resolution"
# Why a task has no weights in the package, and what else would do.
NOT_SHIPPED = {
    "enhance": (
        " (small networks trained so far do not improve maps they never saw beyond cutting "
        "negative density off; see docs/training.md)",
        " on many measured pairs, or use published weights with --mode published",
    )
}


def map_command(task: str, argv: list[str] | None) -> int:
    """Run ``cryoclarity enhance`` or ``cryoclarity resolution``; return the exit status."""
    parser = parser_for(DESCRIPTIONS[task])
    parser.prog = f"cryoclarity {task}"
    parser.add_argument(
        "map", nargs="?", type=Path, help="map, MRC/CCP4, or a TSV table with the column 'map'"
    )
    parser.add_argument(
        "--weights",
        type=Path,
        metavar="FILE|DIR",
        help=f"trained network (default: {PROJECT_WEIGHTS} in this folder, or the shipped one)",
    )
    parser.add_argument(
        "--out",
        type=Path,
        help=f"map to write (default: <stem>{SUFFIXES[task]}.mrc in this folder); with a table "
        "the folder",
    )
    parser.add_argument(
        "--report", action="store_true", help="also write a page with all planes, HTML"
    )
    prediction_arguments(parser, trust=task == "enhance")
    return script_main(parser, lambda arguments: _run(task, arguments), argv)


def _run(task: str, arguments: argparse.Namespace) -> int:
    weights = default_weights(task) if arguments.weights is None else arguments.weights
    given = arguments.map or arguments.half1
    if given is None:
        raise ConfigError("no map", remedy="give MAP, or --half1 and --half2")
    if str(given).endswith(TABLES):
        return _run_table(task, arguments, weights)
    out = arguments.out or Path(map_stem(given) + SUFFIXES[task] + ".mrc")
    if arguments.estimate:
        from cryoclarity.stages.predict import estimate_files

        print(estimate_line(estimate_files(*inputs_and_options(arguments, task, weights))))
        return 0
    with stopped_cleanly():
        _one(task, arguments, weights, out)
    return 0


def _run_table(task: str, arguments: argparse.Namespace, weights: Path) -> int:
    """Run every map of a table; the worst status of all is returned."""
    from cryoclarity.io.tables import read_table

    table, folder, worst = arguments.map, arguments.out or Path(), 0
    rows = read_table(table)
    if arguments.estimate:
        raise ConfigError("--estimate takes one map", remedy="name a map of the table")
    if not rows or "map" not in rows[0]:
        raise ConfigError("no column 'map', or no row", file=table)
    for row in rows:
        # Paths in a table are relative to the table.
        arguments.map = table.parent / row["map"]
        out = folder / (map_stem(arguments.map) + SUFFIXES[task] + ".mrc")
        try:
            with stopped_cleanly():
                _one(task, arguments, weights, out)
        except CryoClarityError as error:
            sys.stderr.write(" ".join(str(error).split()) + "\n")
            worst = max(worst, error.exit_status)
    return worst


def _one(task: str, arguments: argparse.Namespace, weights: Path, out: Path) -> None:
    from cryoclarity.io.files import write_text
    from cryoclarity.report.slices import save_map_page
    from cryoclarity.stages.predict import companion, run_files

    inputs, options = inputs_and_options(arguments, task, weights)
    if inputs.map is not None and out.exists() and out.samefile(inputs.map):
        raise ConfigError(f"{out} is the input itself", remedy="give another --out")
    outcome = run_files(inputs, options, out)
    shown = inputs.map or inputs.half_maps[0]
    extra = {companion(out, f"_{name}.mrc"): density for name, density in outcome.maps.items()}
    caption = f"{PAGE[task]}\nweights {outcome.facts['weights_sha256'][:12]}: {PURPOSE}"
    page = _page(task, shown, out, outcome)
    save_map_page(companion(out, ".png"), page, outcome.before.grid.voxel_size_zyx, caption)
    write_text(companion(out, ".cxc"), _script(task, shown, out, outcome, list(extra)))
    print("\n".join(_summary(task, out, outcome)))
    for path in extra:
        print(f"{path}  {EXTRA[path.stem.rsplit('_', 1)[1]]}")
    if options.settings["trust"] and inputs.model:
        print(f"{companion(out, '_residues.tsv')}  trust per residue")
    companions = {".png": "picture", ".cxc": "ChimeraX script", ".json": "record"}
    if arguments.report:
        links = {text: companion(out, suffix).name for suffix, text in companions.items()}
        write_map_report(companion(out, ".html"), task, shown.name, outcome, links)
        companions[".html"] = "page with all planes"
    for suffix, text in companions.items():
        print(f"{companion(out, suffix)}  {text}")
    print(f"weights: {weights}, sha256 {outcome.facts['weights_sha256'][:12]}")


def _summary(task: str, out: Path, outcome: Outcome) -> list[str]:
    """Say of the new map how to look at it, and of its symmetry what is left."""
    facts = outcome.facts
    if task == "resolution" or facts.get("suggested_contour") is None:
        return [f"{out}"]
    lines = [f"{out}  look at it at contour {facts['suggested_contour']:.4g}; {PURPOSE}"]
    if found := facts.get("symmetry"):
        after = "averaged" if found["imposed"] else f"{found['cc_after']:.3f}"
        lines.append(
            f"symmetry {found['group']}: correlation {found['cc_before']:.3f}, now {after}"
        )
    return lines


def _page(task: str, shown: Path, out: Path, outcome: Outcome) -> list:
    """Rows of the picture: input, result, and what more there is, drawn where it says anything."""
    from cryoclarity.density.masks import suggest_contour
    from cryoclarity.report.slices import MapRow

    before, after = outcome.before.density, outcome.after.density
    level = suggest_contour(before)
    rows = [MapRow(f"input {shown.name}", before, level=level)]
    if task == "enhance":
        level = outcome.facts.get("suggested_contour") or suggest_contour(after)
        rows.append(MapRow(f"prediction {out.name}", after, level=level))
        where = after > FAINT * level
    else:
        where = after > 0
        rows.append(MapRow(f"resolution in Å, {out.name}", after, None, "viridis_r", None, where))
    drawn = {"trust": ((0.5, 1.0), "RdYlBu"), "spread": (None, "magma")}
    for name, density in outcome.maps.items():
        limits, colours = drawn[name]
        rows.append(MapRow(EXTRA[name], density, limits, colours, None, where))
    return rows


def _script(task: str, shown: Path, out: Path, outcome: Outcome, extra: list[Path]) -> str:
    from cryoclarity.density.masks import suggest_contour

    after = outcome.after.density
    level = suggest_contour(outcome.before.density)
    if task == "enhance":
        trust = extra[0] if extra else None
        return enhance_script(shown, level, out, suggest_contour(after), trust)
    inside = after[after > 0]
    limits = (float(inside.min()), float(inside.max())) if inside.size else (0.0, 1.0)
    return resolution_script(shown, level, out, limits)


def default_weights(task: str, folder: Path = PROJECT_WEIGHTS) -> Path:
    """Return the folder of the project's own trained networks, or of those that are shipped.

    Raises
    ------
    ConfigError
        When the project in the current folder has none for the task, and none are shipped.
    """
    from cryoclarity.predict.shipped import shipped_weights

    if any(folder.glob(f"{task}_*/card.json")):
        return folder
    shipped = shipped_weights(f"{task}_1.0")
    if shipped is None:
        why, remedy = NOT_SHIPPED.get(task, ("", ""))
        raise ConfigError(
            f"no weights: none are shipped for {task}{why}, and {folder} holds no such network",
            remedy=f"give --weights FOLDER, or train with snakemake in this folder first{remedy}",
        )
    return shipped.parent


def map_stem(path: Path) -> str:
    """Return the name of a map without the suffixes of maps and of gzip."""
    name = path.name
    while name.lower().endswith(MAP_SUFFIXES):
        name = name[: name.rindex(".")]
    return name


def enhance_script(
    before: Path, level: float, after: Path, new_level: float, trust: Path | None = None
) -> str:
    """Return ChimeraX commands that show an improved map over its input, coloured by trust."""
    first, second = _names(before, after)
    colour = "color #2 cornflowerblue\n"
    if trust is not None:
        (third,) = _names(trust, after)[:1]
        colour = (
            f"open {third}\nhide #3 models\n"
            "color sample #2 map #3 palette 0.5,firebrick:0.9,lightgray:1,cornflowerblue\n"
        )
    return (
        f"{_head()}"
        f"open {first}\nopen {second}\n"
        f"volume #1 level {level:.5g}\nvolume #2 level {new_level:.5g}\n"
        f"color #1 gray\ntransparency #1 70\n{colour}view\n"
    )


def resolution_script(before: Path, level: float, after: Path, limits: tuple[float, float]) -> str:
    """Return ChimeraX commands that colour a map by its local resolution."""
    first, second = _names(before, after)
    low, high = limits
    return (
        f"{_head()}"
        f"open {first}\nopen {second}\nvolume #1 level {level:.5g}\nhide #2 models\n"
        f"color sample #1 map #2 palette rainbow range {low:.4g},{high:.4g}\nview\n"
    )


def _head() -> str:
    return f"# cryoclarity {__version__}: a prediction, {PURPOSE}.\n"


def _names(before: Path, after: Path) -> tuple[str, str]:
    """Name both files as seen from the script, which ChimeraX runs in its own folder."""
    folder = after.resolve().parent
    return tuple(f'"{os.path.relpath(path.resolve(), folder)}"' for path in (before, after))
