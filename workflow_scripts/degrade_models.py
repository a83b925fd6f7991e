"""Simulate maps with known truth from atomic models, or list such entries in a table."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from cryoclarity.cli.script import batch_arguments, parser_for, script_main


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of this script."""
    parser = parser_for(__doc__)
    add = parser.add_argument
    add("--model", type=Path, help="one model (PDB or mmCIF, plain or .gz); --out is a folder")
    add("--task", choices=("enhance", "resolution"), help="map and target, or labelled half maps")
    add("--draw", type=int, default=0, help="number of the draw (resolution: odd ones are masked)")
    add("--seed", type=int, default=1, help="of everything random")
    add("--ranges", choices=("measured", "wide"), default="measured", help="how far to go")
    add("--resolution", type=float, help="for enhance, in angstrom instead of a drawn one")
    add("--table", type=Path, metavar="FOLDER", help="folder of models to list; --out is a TSV")
    add("--draws", type=int, default=2, help="entries per model in the table")
    shares = {"nargs": 2, "type": float, "metavar": ("VAL", "TEST")}
    add("--shares", default=(0.1, 0.1), help="of the groups, for validation and test", **shares)
    add("--weight", type=float, default=1.0, help="of each entry in training")
    add("--rows", type=Path, nargs="*", default=[], help="real entries: results/batches/*.tsv")
    add("--fetch", type=Path, nargs="*", default=[], help="and results/fetch/*.tsv, to find kin")
    add("--out", type=Path, help="folder of an entry, or the table")
    batch_arguments(parser)
    return parser


def run(arguments: argparse.Namespace) -> None:
    """Simulate one model, or write a table."""
    from cryoclarity.errors import ConfigError
    from cryoclarity.stages import degrade, index

    if (arguments.model is None) == (arguments.table is None):
        raise ConfigError("give either --model or --table")
    if arguments.model is not None:
        if arguments.task is None:
            raise ConfigError("--model needs --task")
        names = ("task", "seed", "draw", "ranges", "resolution")
        settings = degrade.DegradeSettings(**{name: getattr(arguments, name) for name in names})
        degrade.run_files(arguments.model, arguments.out, settings)
        return
    measured = index.gather_facts(index.entry_rows(arguments.rows), arguments.fetch)
    degrade.make_table(
        degrade.models_below(arguments.table),
        arguments.out,
        draws=arguments.draws,
        seed=arguments.seed,
        shares=tuple(arguments.shares),
        weight=arguments.weight,
        measured=measured,
    )


def main(argv: list[str] | None = None) -> int:
    """Run the script and return its exit status."""
    return script_main(build_parser(), run, argv, stage="degrade", needed=("out",))


if __name__ == "__main__":
    sys.exit(main())
