#!/usr/bin/env python
"""Improve a map, or predict its local resolution, on the grid of the input.

An improved map is for looking and building: not for refinement targets, deposition or FSC
resolution.
"""

import sys
from pathlib import Path

from cryoclarity.cli.predict_options import (
    estimate_line,
    inputs_and_options,
    prediction_arguments,
)
from cryoclarity.cli.script import batch_arguments, parser_for, script_main
from cryoclarity.cli.signals import stopped_cleanly


def run(arguments):
    from cryoclarity.stages.predict import estimate_files, run_files

    inputs, options = inputs_and_options(arguments, arguments.task, arguments.weights)
    if arguments.estimate:
        print(estimate_line(estimate_files(inputs, options)))
        return
    with stopped_cleanly():
        run_files(inputs, options, arguments.out)


def build_parser():
    parser = parser_for(__doc__)
    parser.add_argument("--task", choices=("enhance", "resolution"), help="what to predict")
    parser.add_argument(
        "--weights",
        type=Path,
        metavar="FILE|DIR",
        help="folder or file with its card; a folder of folders by data set; or a bare published "
        "state dict (.pth)",
    )
    parser.add_argument("--map", type=Path, help="map, MRC/CCP4, plain or .gz")
    parser.add_argument("--out", type=Path, help="map to write (with --batch: the manifest)")
    prediction_arguments(parser)
    batch_arguments(parser)
    return parser


def main(argv=None):
    needed = ("task", "weights", "out")
    return script_main(build_parser(), run, argv, stage="predict", needed=needed)


if __name__ == "__main__":
    sys.exit(main())
