#!/usr/bin/env python
"""Gather the rejected entries of all stages; stop when too many failed."""

import sys
from pathlib import Path

from cryoclarity.cli.script import parser_for, script_main


def run(arguments):
    from cryoclarity.io.tables import read_table, write_table
    from cryoclarity.report.rejected import (
        FUNNEL_COLUMNS,
        REJECTED_COLUMNS,
        check_failed_fraction,
        funnel,
        gather_rejected,
    )

    entries = [row for path in arguments.rows for row in read_table(path)]
    rejected = gather_rejected(arguments.manifests, entries)
    counts = funnel(arguments.manifests)
    for row in counts:
        sys.stdout.write("{stage}\t{status}\t{code}\t{entries}\n".format(**row))
    if arguments.funnel:
        write_table(arguments.funnel, counts, FUNNEL_COLUMNS)
    check_failed_fraction(arguments.manifests, arguments.max_failed_fraction)
    write_table(arguments.out, rejected, REJECTED_COLUMNS)


def build_parser():
    parser = parser_for(__doc__)
    parser.add_argument(
        "--manifests", type=Path, nargs="+", required=True, help="stage manifests in order, TSV"
    )
    parser.add_argument(
        "--rows", type=Path, nargs="*", default=[], help="tables that give PDB ids, TSV"
    )
    parser.add_argument(
        "--max-failed-fraction",
        type=float,
        default=0.2,
        help="largest failed share of a stage's entries (0 to 1); below five failures never a stop",
    )
    parser.add_argument("--funnel", type=Path, help="also write the counts by stage and code, TSV")
    parser.add_argument("--out", type=Path, required=True, help="rejected entries, TSV")
    return parser


def main(argv=None):
    return script_main(build_parser(), run, argv)


if __name__ == "__main__":
    sys.exit(main())
