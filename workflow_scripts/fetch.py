#!/usr/bin/env python
"""Fetch the map, half maps, masks and model of one entry, verified, into a folder."""

import sys
from pathlib import Path

from cryoclarity.cli.script import batch_arguments, parser_for, script_main

ARCHIVE = "https://files.wwpdb.org/pub"


def build_parser():
    parser = parser_for(__doc__)
    parser.add_argument("--emdb-id", help="map entry, such as EMD-5168")
    parser.add_argument("--pdb-id", default="", help="model entry, such as 3mfp")
    parser.add_argument(
        "--base-url",
        action="append",
        metavar="URL",
        help="archive with emdb/ and pdb/ below it: https://, file:// or a folder; more than one:"
        f" mirrors in order (default: {ARCHIVE})",
    )
    parser.add_argument("--half-maps", choices=("auto", "required", "never"), default="auto")
    parser.add_argument("--mask", action="append", default=[], metavar="NAME", help="mask's name")
    parser.add_argument("--documents", default="", help="folder of saved entry documents")
    parser.add_argument("--timeout", type=float, default=30.0, help="seconds without a byte")
    parser.add_argument("--attempts", type=int, default=6, help="attempts per file")
    parser.add_argument("--offline", action="store_true", help="ask nothing of the network")
    parser.add_argument("--update", action="store_true", help="take what has changed upstream")
    parser.add_argument("--verify", action="store_true", help="hash what is here once more")
    parser.add_argument("--no-resume", action="store_true", help="large files start from zero")
    parser.add_argument("--hard-link", action="store_true", help="link files of a folder")
    parser.add_argument("--allow-http", action="store_true", help="http:// to any machine")
    parser.add_argument("--out", type=Path, help="folder, or with --batch the manifest")
    batch_arguments(parser)
    return parser


def run(arguments):
    from cryoclarity.archive.entry_check import document_at_hand
    from cryoclarity.archive.fetch import Downloader
    from cryoclarity.archive.http import Limits
    from cryoclarity.archive.slots import user_folder
    from cryoclarity.archive.source import Source
    from cryoclarity.cli.progress import transfers
    from cryoclarity.stages.fetch import Wanted, run_files

    wanted = Wanted(
        emdb_id=arguments.emdb_id,
        pdb_id=arguments.pdb_id,
        half_maps=arguments.half_maps,
        masks=tuple(arguments.mask),
        document=document_at_hand(arguments.documents, arguments.emdb_id),
    )
    flags = ("attempts", "offline", "update", "verify", "hard_link", "allow_http")
    source = Source(
        mirrors=tuple(arguments.base_url or [ARCHIVE]),
        limits=Limits(timeout_s=arguments.timeout),
        resume=not arguments.no_resume,
        slots=user_folder(),
        **{name: getattr(arguments, name) for name in flags},
    )
    with transfers() as progress, Downloader(source, progress) as downloader:
        run_files(wanted, source, arguments.out, downloader=downloader)


def main(argv=None):
    return script_main(build_parser(), run, argv, stage="fetch", needed=("emdb_id", "out"))


if __name__ == "__main__":
    sys.exit(main())
