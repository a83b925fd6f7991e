"""Index the shards of a data set and prove that no kin are in different splits."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from cryoclarity.cli.script import parser_for, script_main


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of this script."""
    parser = parser_for(__doc__)
    parser.add_argument("--dataset", help="enhance_1.0, enhance_0.5 or resolution_1.0")
    tables = {
        "rows": "parts of the entry table (TSV)",
        "fetch": "manifests of the fetch stage",
        "manifests": "manifests of the shards stage",
    }
    for name, what in tables.items():
        parser.add_argument(f"--{name}", nargs="+", type=Path, default=[], help=what)
    parser.add_argument("--leaks", type=Path, help="table of kinships to write")
    parser.add_argument(
        "--groups",
        action="store_true",
        help="write the entry table with a computed group column instead of an index",
    )
    parser.add_argument(
        "--one-per-map",
        action="store_true",
        help="of entries with the same map keep the one of lowest number (filter F22)",
    )
    parser.add_argument("--out", type=Path, help="table to write")
    return parser


def run(arguments: argparse.Namespace) -> None:
    """Index, or group."""
    from cryoclarity.errors import ConfigError
    from cryoclarity.stages.index import IndexInputs, run_files, run_groups

    inputs = IndexInputs(arguments.rows, arguments.fetch, arguments.manifests)
    if arguments.groups:
        run_groups(inputs, arguments.out)
        return
    if arguments.dataset is None:
        raise ConfigError("--dataset is needed for an index")
    leaks = arguments.leaks or arguments.out.with_suffix(".leaks.tsv")
    one_per_map = arguments.one_per_map
    run_files(arguments.dataset, inputs, arguments.out, leaks, one_per_map=one_per_map)


def main(argv: list[str] | None = None) -> int:
    """Run the script and return its exit status."""
    return script_main(build_parser(), run, argv, needed=("rows", "fetch", "out"))


if __name__ == "__main__":
    sys.exit(main())
