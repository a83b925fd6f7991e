"""The console command: one map in hand, without the workflow."""

from __future__ import annotations

import argparse
import importlib
import sys

from cryoclarity import __version__

COMMANDS = {
    "enhance": "improve a map",
    "resolution": "predict the local resolution of a map",
    "inspect": "say whether files are usable maps or models, and why not",
    "doctor": "say what machine, devices, packages and weights there are, and try them",
    "export": "write a network as one file that torch runs without this package",
    "check-hallucination": "test what a network makes up, on one map",
}


def main(argv: list[str] | None = None) -> int:
    """Run the subcommand that the first argument names; return its exit status."""
    argv = sys.argv[1:] if argv is None else argv
    commands = "\n".join(f"  {name:20}{text}" for name, text in COMMANDS.items())
    parser = argparse.ArgumentParser(
        prog="cryoclarity",
        description="Clearer cryo-EM maps, on the grid they came on.",
        epilog=f"commands:\n{commands}\n\n`cryoclarity COMMAND --help` tells the rest.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"cryoclarity {__version__}")
    parser.add_argument("command", choices=COMMANDS, metavar="COMMAND", help="see below")
    arguments = parser.parse_args(argv[:1])
    module = importlib.import_module(f"cryoclarity.cli.{arguments.command.replace('-', '_')}")
    return module.main(argv[1:])
