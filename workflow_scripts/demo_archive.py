"""Generate the demo archive: models, maps and half maps in the public archives' paths."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from cryoclarity.cli.script import parser_for, script_main


def build_parser() -> argparse.ArgumentParser:
    """Return the parser."""
    parser = parser_for(__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder to write; gets archive.tsv")
    parser.add_argument(
        "--entries",
        type=Path,
        default=Path("config/demo_entries.tsv"),
        help="entry table (TSV) that says which entries to make",
    )
    return parser


def run(arguments: argparse.Namespace) -> None:
    """Write the archive."""
    from cryoclarity.demo.archive import write_archive
    from cryoclarity.io.tables import read_table

    write_archive(arguments.out, read_table(arguments.entries))


def main(argv: list[str] | None = None) -> int:
    """Run the script."""
    return script_main(build_parser(), run, argv)


if __name__ == "__main__":
    sys.exit(main())
