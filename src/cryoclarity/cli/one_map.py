"""One map, or a table of maps, through a network: the map, its record, a picture, a script."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from cryoclarity import __version__
from cryoclarity.cli.predict_options import inputs_and_options, prediction_arguments
from cryoclarity.cli.script import parser_for, script_main
from cryoclarity.errors import ConfigError, CryoClarityError

DESCRIPTIONS = {
    "enhance": "Improve a map. The result is for looking and building: not for refinement "
    "targets, deposition or FSC resolution.",
    "resolution": "Predict the local resolution of a map, in angstrom; 0 outside the mask.",
}
SUFFIXES = {"enhance": "_enhanced", "resolution": "_resolution"}
TABLES = (".tsv", ".tsv.gz")
MAP_SUFFIXES = (".gz", ".mrc", ".map", ".ccp4", ".rec")
PROJECT_WEIGHTS = Path("results", "train")
PURPOSE = "not for refinement targets, deposition or FSC resolution"


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
        help=f"trained network (default: {PROJECT_WEIGHTS} of the project in this folder)",
    )
    parser.add_argument(
        "--out",
        type=Path,
        help=f"map to write (default: <stem>{SUFFIXES[task]}.mrc in this folder); with a table "
        "the folder",
    )
    prediction_arguments(parser)
    return script_main(parser, lambda arguments: _run(task, arguments), argv)


def _run(task: str, arguments: argparse.Namespace) -> int:
    weights = default_weights(task) if arguments.weights is None else arguments.weights
    given = arguments.map or arguments.half1
    if given is None:
        raise ConfigError("no map", remedy="give MAP, or --half1 and --half2")
    if str(given).endswith(TABLES):
        return _run_table(task, arguments, weights)
    out = arguments.out or Path(map_stem(given) + SUFFIXES[task] + ".mrc")
    _one(task, arguments, weights, out)
    return 0


def _run_table(task: str, arguments: argparse.Namespace, weights: Path) -> int:
    """Run every map of a table; the worst status of all is returned."""
    from cryoclarity.io.tables import read_table

    table, folder, worst = arguments.map, arguments.out or Path(), 0
    rows = read_table(table)
    if not rows or "map" not in rows[0]:
        raise ConfigError("no column 'map', or no row", file=table)
    for row in rows:
        # Paths in a table are relative to the table.
        arguments.map = table.parent / row["map"]
        out = folder / (map_stem(arguments.map) + SUFFIXES[task] + ".mrc")
        try:
            _one(task, arguments, weights, out)
        except CryoClarityError as error:
            sys.stderr.write(" ".join(str(error).split()) + "\n")
            worst = max(worst, error.exit_status)
    return worst


def _one(task: str, arguments: argparse.Namespace, weights: Path, out: Path) -> None:
    from cryoclarity.density.masks import suggest_contour
    from cryoclarity.io.files import write_text
    from cryoclarity.report.slices import central_slices, save_slices
    from cryoclarity.stages.predict import record_path, run_files

    inputs, options = inputs_and_options(arguments, task, weights)
    if inputs.map is not None and out.exists() and out.samefile(inputs.map):
        raise ConfigError(f"{out} is the input itself", remedy="give another --out")
    outcome = run_files(inputs, options, out)
    stem = record_path(out).with_suffix("")
    before, after = outcome.before.density, outcome.after.density
    titles = [f"{name}, across {axis}" for name in ("input", out.name) for axis in "zyx"]
    images = central_slices(before) + central_slices(after)
    save_slices(Path(f"{stem}.png"), list(zip(titles, images, strict=True)))
    shown = (inputs.map or inputs.half_maps[0], suggest_contour(before))
    if task == "enhance":
        script = enhance_script(*shown, out, suggest_contour(after))
    else:
        inside = after[after > 0]
        limits = (float(inside.min()), float(inside.max())) if inside.size else (0.0, 1.0)
        script = resolution_script(*shown, out, limits)
    write_text(f"{stem}.cxc", script)
    print(f"{out}")
    for suffix, text in ((".png", "picture"), (".cxc", "ChimeraX script"), (".json", "record")):
        print(f"{stem}{suffix}  {text}")


def default_weights(task: str, folder: Path = PROJECT_WEIGHTS) -> Path:
    """Return the folder of the project's own trained networks.

    Raises
    ------
    ConfigError
        When the project in the current folder has none for the task.
    """
    if not any(folder.glob(f"{task}_*/card.json")):
        raise ConfigError(
            f"no weights: none are shipped, and {folder} here holds no {task} network",
            remedy="give --weights FOLDER, or train with snakemake in this folder first",
        )
    return folder


def map_stem(path: Path) -> str:
    """Return the name of a map without the suffixes of maps and of gzip."""
    name = path.name
    while name.lower().endswith(MAP_SUFFIXES):
        name = name[: name.rindex(".")]
    return name


def enhance_script(before: Path, level: float, after: Path, new_level: float) -> str:
    """Return ChimeraX commands that show an improved map over its input."""
    first, second = _names(before, after)
    return (
        f"{_head()}"
        f"open {first}\nopen {second}\n"
        f"volume #1 level {level:.5g}\nvolume #2 level {new_level:.5g}\n"
        "color #1 gray\ntransparency #1 70\ncolor #2 cornflowerblue\nview\n"
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
