#!/usr/bin/env python3
"""Train resolution networks on simulated maps of models and measure them on held-out ones."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from cryoclarity.cli.script import parser_for, script_main

MODEL_SUFFIXES = (".pdb", ".cif", ".ent", ".pdb.gz", ".cif.gz", ".ent.gz")


def build_parser() -> argparse.ArgumentParser:
    """Arguments of the script."""
    parser = parser_for(__doc__)
    parser.add_argument("--models", type=Path, metavar="FOLDER", help="atomic models, PDB or mmCIF")
    parser.add_argument(
        "--config", type=Path, default=Path("config/resolution_bands.yaml"), help="the recipe"
    )
    parser.add_argument(
        "--kin-of",
        type=Path,
        metavar="FOLDER",
        help="models of maps that stay a test: nothing akin to them is used; searched deeply",
    )
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="folder for all that is made")
    parser.add_argument(
        "--ship", type=Path, metavar="FOLDER", help="also write the first network, half precision"
    )
    return parser


def models_in(folder: Path | None) -> list[Path]:
    """Model files below a folder, sorted."""
    if folder is None:
        return []
    return sorted(p for p in folder.rglob("*") if p.name.endswith(MODEL_SUFFIXES))


def run(args: argparse.Namespace) -> None:
    """Simulate, train, test, and print the table."""
    from cryoclarity.stages.resolution_recipe import recipe_from, run_files, ship
    from cryoclarity.workflow.settings import read_settings

    recipe = recipe_from(read_settings(args.config))
    table = run_files(models_in(args.models), recipe, args.out, models_in(args.kin_of))
    if args.ship is not None:
        ship(next(iter(recipe.networks)), recipe, table, args.out, args.ship)
    sys.stdout.write("\t".join(table[0]) + "\n")
    for row in table:
        sys.stdout.write("\t".join(str(value) for value in row.values()) + "\n")


def main(argv: list[str] | None = None) -> int:
    """Run the script and return its exit status."""
    return script_main(build_parser(), run, argv, needed=("models", "out"))


if __name__ == "__main__":
    sys.exit(main())
