#!/usr/bin/env python
"""Select entries of EMDB: a manifest with splits, and why every other entry was left out."""

import sys
from pathlib import Path

from cryoclarity.cli.script import parser_for, script_main, settings_of


def build_parser():
    parser = parser_for(__doc__)
    source = parser.add_argument_group("source (one of them, or in --spec)")
    source.add_argument("--list", help="a published list that is shipped, such as cryoten")
    source.add_argument("--table", type=Path, help="own entries, TSV: emdb_id, pdb_id if any")
    source.add_argument("--query", help="search of EMDB, Lucene syntax")
    parser.add_argument(
        "--config", type=Path, help="YAML file with the sections selection and archive"
    )
    parser.add_argument(
        "--spec", metavar="JSON", help="selection and archive as the workflow gives them"
    )
    parser.add_argument("--responses", type=Path, help="folder of saved answers")
    parser.add_argument("--offline", action="store_true", help="use saved answers only")
    parser.add_argument("--update", action="store_true", help="ask everything once more")
    parser.add_argument("--code", default="", metavar="HASH", help="hash of the code")
    parser.add_argument("--out", type=Path, help="folder to write")
    return parser


def run(arguments):
    from cryoclarity.stages.select import run_files, services_of
    from cryoclarity.workflow.settings import read_settings, validated

    given = settings_of(arguments.spec or "{}")
    if arguments.config:
        given = read_settings(arguments.config)
    schema = Path(__file__).resolve().parents[1] / "schemas" / "config.schema.yaml"
    sections = {name: given.get(name, {}) for name in ("selection", "archive")}
    sections = validated({"entries": "-", **sections}, schema)
    settings, archive = sections["selection"], sections["archive"]
    own = {name: getattr(arguments, name) for name in ("list", "table", "query")}
    if any(own.values()):
        settings |= {name: str(value or "") for name, value in own.items()}
    archive |= {"responses": str(arguments.responses or archive["responses"])}
    archive |= {name: archive[name] or getattr(arguments, name) for name in ("offline", "update")}
    selection = run_files(settings, services_of(archive), arguments.out, arguments.code)
    for row in selection.funnel.rows:
        if row["dropped"]:
            print(f"{row['filter']:<20} {row['in']:>7} -> {row['out']:>7}")
    for name, count in selection.assignment.counts.items():
        print(f"{name:<20} {count:>7} entries")


def main(argv=None):
    return script_main(build_parser(), run, argv, needed=("out",))


if __name__ == "__main__":
    sys.exit(main())
