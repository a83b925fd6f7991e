#!/usr/bin/env python
"""Write the summary table and figure of a run, and print the table."""

import sys
from pathlib import Path

from cryoclarity.cli.script import parser_for, script_main, settings_of


def run(arguments):
    from cryoclarity.stages.report import read_summary, run_files

    if arguments.show:
        summary = read_summary(arguments.show)
    else:
        summary = run_files(
            arguments.manifests,
            arguments.cards,
            arguments.out,
            rows=arguments.rows,
            rejected=arguments.rejected,
            funnel=arguments.funnel,
            **settings_of(arguments.spec),
        )
    show(summary)


def show(summary):
    from rich.console import Console

    from cryoclarity.report.terminal import map_table, resolution_table

    # A log file has no width of its own; narrower than this the columns would be cut.
    console = Console(width=None if sys.stdout.isatty() else 150, highlight=False)
    if summary.rows:
        console.print(map_table(summary.rows))
    if summary.resolution_rows:
        console.print(resolution_table(summary.resolution_rows))
    for line in (
        *summary.verdicts,
        f"table:  {summary.table}",
        f"figure: {summary.figure}",
        f"page:   {summary.page}",
    ):
        console.print(line, soft_wrap=True)


def build_parser():
    parser = parser_for(__doc__)
    parser.add_argument(
        "--manifests", type=Path, nargs="+", default=[], help="manifests of the evaluation, TSV"
    )
    parser.add_argument(
        "--cards", type=Path, nargs="*", default=[], help="cards of the networks, JSON"
    )
    parser.add_argument(
        "--rows", type=Path, nargs="*", default=[], help="rows of the entry table, TSV"
    )
    parser.add_argument("--rejected", type=Path, help="table of rejected entries, TSV")
    parser.add_argument("--funnel", type=Path, help="counts of entries by stage and code, TSV")
    parser.add_argument("--spec", default="{}", metavar="JSON", help="settings of the report")
    parser.add_argument("--show", type=Path, metavar="FOLDER", help="only print a written report")
    parser.add_argument("--out", type=Path, default=Path("results/summary"), help="folder to write")
    return parser


def main(argv=None):
    return script_main(build_parser(), run, argv)


if __name__ == "__main__":
    sys.exit(main())
