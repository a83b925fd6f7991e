"""Score how well each atom of a model is resolved in a map (Q-score)."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from cryoclarity.cli.script import batch_arguments, parser_for, script_main


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of this script."""
    parser = parser_for(__doc__)
    parser.add_argument("--map", type=Path, help="map (MRC/CCP4, plain or .gz)")
    parser.add_argument("--model", type=Path, help="model (PDB or mmCIF, plain or .gz)")
    parser.add_argument(
        "--sigma", type=float, default=0.6, help="width of the reference Gaussian in angstrom"
    )
    parser.add_argument(
        "--altloc",
        choices=("all", "best"),
        default="all",
        help="score all alternative locations, or the best occupied one of each residue",
    )
    parser.add_argument("--out", type=Path, help="table to write (.tsv or .tsv.gz)")
    batch_arguments(parser)
    return parser


def run(arguments: argparse.Namespace) -> None:
    """Score by hand."""
    from cryoclarity.errors import ConfigError
    from cryoclarity.stages.qscore import run_files

    if not 0 < arguments.sigma < float("inf"):
        raise ConfigError(f"--sigma is {arguments.sigma}, must be positive")
    run_files(
        arguments.map,
        arguments.model,
        arguments.out,
        sigma=arguments.sigma,
        altloc=arguments.altloc,
    )


def main(argv: list[str] | None = None) -> int:
    """Run the script and return its exit status."""
    needed = ("map", "model", "out")
    return script_main(build_parser(), run, argv, stage="qscore", needed=needed)


if __name__ == "__main__":
    sys.exit(main())
