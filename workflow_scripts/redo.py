#!/usr/bin/env python
"""Forget what a stage made of one entry, and print the command that makes it again."""

import sys
from pathlib import Path

from cryoclarity.cli.script import parser_for, script_main


def run(arguments):
    from cryoclarity.workflow.redo import forget

    manifest = forget(arguments.stage, arguments.entry, arguments.results)
    print(f"snakemake --cores 2 --forcerun {manifest}")


def build_parser():
    parser = parser_for(__doc__)
    parser.add_argument("--stage", required=True, help="stage, such as qscore or predict_enhance")
    parser.add_argument("--entry", required=True, help="EMDB id, such as EMD-3488")
    parser.add_argument(
        "--results", type=Path, default=Path("results"), help="folder of the stages' folders"
    )
    return parser


def main(argv=None):
    return script_main(build_parser(), run, argv)


if __name__ == "__main__":
    sys.exit(main())
