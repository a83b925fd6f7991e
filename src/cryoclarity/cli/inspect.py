"""``cryoclarity inspect``: are these files usable?"""

from __future__ import annotations

from cryoclarity.cli.script import parser_for, script_main


def main(argv: list[str] | None = None) -> int:
    """Run the command; return its exit status."""
    parser = parser_for("Say of each file whether it is a usable map or model, and why not.")
    parser.prog = "cryoclarity inspect"
    parser.add_argument("files", nargs="+", metavar="FILE", help="maps and models, plain or .gz")
    parser.add_argument("--json", action="store_true", help="one JSON object per file and line")
    return script_main(parser, _run, argv)


def _run(arguments) -> None:
    from cryoclarity.stages.inspect import run_files

    run_files(arguments.files, as_json=arguments.json)
