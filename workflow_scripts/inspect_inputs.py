#!/usr/bin/env python
"""Say of each file whether it is a usable map or model, and why not."""

import sys
from pathlib import Path

from cryoclarity.cli.script import batch_arguments, parser_for, script_main, settings_of


def build_parser():
    parser = parser_for(__doc__)
    parser.add_argument("files", nargs="*", metavar="FILE", help="maps and models, plain or .gz")
    parser.add_argument(
        "--json",
        action="store_true",
        help="one JSON object per file and line; lengths in angstrom, triples x, y, z",
    )
    parser.add_argument("--out", type=Path, metavar="MANIFEST", help="only with --batch")
    batch_arguments(parser)
    return parser


def run(arguments):
    from cryoclarity.errors import ConfigError
    from cryoclarity.stages.inspect import run_files

    if not arguments.files:
        raise ConfigError("no FILE given")
    settings = settings_of(arguments.spec)
    run_files(arguments.files, as_json=arguments.json, settings=settings)


def main(argv=None):
    return script_main(build_parser(), run, argv, stage="inspect")


if __name__ == "__main__":
    sys.exit(main())
