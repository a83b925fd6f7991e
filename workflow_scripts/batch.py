#!/usr/bin/env python
"""Write the rows of one batch of the entry table."""

import sys
from pathlib import Path

from cryoclarity.cli.script import parser_for, script_main


def run(arguments):
    from cryoclarity.workflow.batches import write_members

    write_members(arguments.entries, arguments.table, arguments.name, arguments.out)


def main(argv=None):
    parser = parser_for(__doc__)
    parser.add_argument("--entries", type=Path, required=True, help="entry table, TSV")
    parser.add_argument("--table", type=Path, required=True, help="batch of each entry, TSV")
    parser.add_argument("--name", required=True, help="batch to write")
    parser.add_argument("--out", type=Path, required=True, help="rows of the batch, TSV")
    return script_main(parser, run, argv)


if __name__ == "__main__":
    sys.exit(main())
