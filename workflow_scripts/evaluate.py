#!/usr/bin/env python
"""Compare a map with its model: correlations, Fourier shell correlation, Q-score, SSIM."""

import sys
from pathlib import Path

from cryoclarity.cli.script import batch_arguments, parser_for, script_main


def run(arguments):
    from cryoclarity.stages.evaluate import run_files

    run_files(
        arguments.map,
        arguments.model,
        arguments.out,
        resolution=arguments.resolution,
        target_path=arguments.target,
        baseline_path=arguments.baseline,
        sigma=arguments.sigma,
    )


def build_parser():
    parser = parser_for(__doc__)
    parser.add_argument("--map", type=Path, help="map, MRC/CCP4, plain or .gz")
    parser.add_argument("--model", type=Path, help="atomic model, PDB or mmCIF, plain or .gz")
    parser.add_argument(
        "--resolution",
        type=float,
        help="stated resolution in angstrom; the same one for every version of a map",
    )
    parser.add_argument("--target", type=Path, help="target map on the same grid")
    parser.add_argument("--baseline", type=Path, help="another version of the map on the same grid")
    parser.add_argument("--sigma", type=float, default=0.6, help="sigma of the Q-score in angstrom")
    parser.add_argument("--out", type=Path, help="metrics, JSON (with --batch: the manifest)")
    batch_arguments(parser)
    return parser


def main(argv=None):
    needed = ("map", "model", "resolution", "out")
    return script_main(build_parser(), run, argv, stage="evaluate", needed=needed)


if __name__ == "__main__":
    sys.exit(main())
