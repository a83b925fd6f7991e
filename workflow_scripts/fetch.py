#!/usr/bin/env python
"""Fetch the map, half maps and model of one entry, verified, into a folder."""

import sys
from pathlib import Path

from cryoclarity.cli.script import batch_arguments, parser_for, script_main


def build_parser():
    parser = parser_for(__doc__)
    parser.add_argument("--emdb-id", help="map entry, such as EMD-5168")
    parser.add_argument("--pdb-id", default="", help="model entry, such as 3mfp")
    parser.add_argument(
        "--base-url",
        default="https://files.wwpdb.org/pub",
        help="archive: https://, file:// or a folder, with emdb/ and pdb/ below it",
    )
    parser.add_argument(
        "--half-maps",
        choices=("auto", "required", "never"),
        default="auto",
        help="auto takes them when the archive has them",
    )
    parser.add_argument("--timeout", type=float, default=30.0, help="seconds without a byte")
    parser.add_argument("--attempts", type=int, default=6, help="attempts per file")
    parser.add_argument("--out", type=Path, help="folder, or with --batch the manifest")
    batch_arguments(parser)
    return parser


def run(arguments):
    from cryoclarity.archive.fetch import Source
    from cryoclarity.archive.http import Limits
    from cryoclarity.stages.fetch import Wanted, run_files

    wanted = Wanted(arguments.emdb_id, arguments.pdb_id, arguments.half_maps)
    limits = Limits(timeout_s=arguments.timeout)
    source = Source(arguments.base_url, limits, arguments.attempts)
    run_files(wanted, source, arguments.out)


def main(argv=None):
    return script_main(build_parser(), run, argv, stage="fetch", needed=("emdb_id", "out"))


if __name__ == "__main__":
    sys.exit(main())
