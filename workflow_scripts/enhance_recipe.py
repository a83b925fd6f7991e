#!/usr/bin/env python3
"""Train a small improvement network and measure it on real maps left out of its training."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from cryoclarity.cli.script import parser_for, script_main


def build_parser() -> argparse.ArgumentParser:
    """Arguments of the script."""
    parser = parser_for(__doc__)
    parser.add_argument("--models", type=Path, metavar="FOLDER", help="atomic models, PDB or mmCIF")
    parser.add_argument(
        "--archive", type=Path, metavar="FOLDER", help="maps and models, laid out as the archives"
    )
    parser.add_argument(
        "--entries",
        type=Path,
        default=Path("config/archive_entries.tsv"),
        help="table of its training pairs: emdb_id, pdb_id, resolution",
    )
    parser.add_argument(
        "--config", type=Path, default=Path("config/enhance_recipe.yaml"), help="the recipe"
    )
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="folder for all that is made")
    parser.add_argument(
        "--ship",
        type=Path,
        metavar="FOLDER",
        help="also write the network in half precision, if the test carries it",
    )
    return parser


def run(args: argparse.Namespace) -> None:
    """Train, test, and print the table."""
    from cryoclarity.stages.degrade import models_below
    from cryoclarity.stages.enhance_recipe import recipe_from, run_files, ship
    from cryoclarity.workflow.settings import read_settings

    recipe = recipe_from(read_settings(args.config))
    found = run_files(models_below(args.models), args.entries, args.archive, recipe, args.out)
    sys.stdout.write((args.out / "per_map.tsv").read_text(encoding="utf-8"))
    sys.stdout.write((args.out / "summary.tsv").read_text(encoding="utf-8"))
    sys.stdout.write("".join(f"{name}\t{value}\n" for name, value in found.items()))
    if args.ship is not None:
        ship(recipe, args.out, args.ship)


def main(argv: list[str] | None = None) -> int:
    """Run the script and return its exit status."""
    return script_main(build_parser(), run, argv, needed=("models", "archive", "out"))


if __name__ == "__main__":
    sys.exit(main())
