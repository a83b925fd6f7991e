"""``cryoclarity check-hallucination MAP``: five tests of what a network makes up."""

from __future__ import annotations

from pathlib import Path

from cryoclarity.cli.one_map import PROJECT_WEIGHTS, default_weights, map_stem
from cryoclarity.cli.predict_options import inputs_and_options, prediction_arguments
from cryoclarity.cli.script import parser_for, script_main
from cryoclarity.cli.signals import stopped_cleanly
from cryoclarity.errors import ConfigError


def main(argv: list[str] | None = None) -> int:
    """Run the command; return its exit status, 0 whatever the verdicts."""
    parser = parser_for(
        "Test on one map what a network makes up: noise only, phases randomised beyond d, a chain "
        "deleted, the other hand, half maps swapped. Each ends as PASS, WARN or SKIP."
    )
    parser.prog = "cryoclarity check-hallucination"
    parser.add_argument("map", nargs="?", type=Path, help="map, MRC/CCP4, plain or .gz")
    parser.add_argument(
        "--weights",
        type=Path,
        metavar="FILE|DIR",
        help=f"trained network (default: {PROJECT_WEIGHTS} of the project in this folder)",
    )
    parser.add_argument(
        "--out", type=Path, help="record to write, .json (default: <stem>_hallucination.json)"
    )
    prediction_arguments(parser)
    return script_main(parser, _run, argv)


def _run(arguments) -> None:
    from cryoclarity.stages.check import run_files

    given = arguments.map or arguments.half1
    if given is None:
        raise ConfigError("no map", remedy="give MAP, or --half1 and --half2")
    if arguments.mode == "published":
        raise ConfigError("check-hallucination knows the default mode only")
    weights = arguments.weights or default_weights("enhance")
    inputs, options = inputs_and_options(arguments, "enhance", weights)
    out = arguments.out or Path(f"{map_stem(given)}_hallucination.json")
    with stopped_cleanly():
        checks = run_files(inputs, options, out)
    for check in checks:
        print(f"{check.verdict}  {check.name}: {check.text}")
    print(f"{out}  record\n{out.with_suffix('.png')}  picture")
