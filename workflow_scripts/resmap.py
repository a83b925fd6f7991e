"""Label every voxel of a map or of two half maps with a local resolution (ResMap)."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from cryoclarity.cli.script import batch_arguments, parser_for, script_main


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of this script."""
    parser = parser_for(__doc__)
    parser.add_argument("--map", type=Path, help="single map (MRC/CCP4, plain or .gz)")
    parser.add_argument("--half1", type=Path, help="first half map; better than a single map")
    parser.add_argument("--half2", type=Path, help="second half map")
    parser.add_argument("--mask", type=Path, help="mask on the map's grid; non-zero is particle")
    parser.add_argument(
        "--min-res", type=float, default=0.0, help="first level in angstrom (0: 2.2 voxels)"
    )
    parser.add_argument(
        "--max-res", type=float, default=0.0, help="last level in angstrom (0: 4 voxels)"
    )
    parser.add_argument("--step-res", type=float, default=1.0, help="step of levels in angstrom")
    parser.add_argument("--p-value", type=float, default=0.05, help="significance, at most 0.05")
    parser.add_argument(
        "--voxel-size", type=float, help="voxel size in angstrom instead of the header's"
    )
    parser.add_argument(
        "--mask-cut",
        choices=("cube", "sphere"),
        default="cube",
        help="how half-map masks end before the box does: as ResMap 1.1.5 or as 1.1.4",
    )
    parser.add_argument(
        "--engine",
        choices=("resmap", "resmap-binary"),
        default="resmap",
        help="our own ResMap, or the real program",
    )
    parser.add_argument("--binary", help="executable for --engine resmap-binary")
    parser.add_argument("--seconds", type=float, default=3600.0, help="its time limit in seconds")
    parser.add_argument(
        "--out",
        type=Path,
        help="map of angstrom, 100 = no value; codes go to .codes.mrc, the record to .json",
    )
    batch_arguments(parser)
    return parser


def run(arguments: argparse.Namespace) -> None:
    """Label by hand."""
    from cryoclarity.errors import ConfigError
    from cryoclarity.labels.resmap import ResmapParameters
    from cryoclarity.stages.labels import LabelInputs, LabelSettings, run_files

    halves = (arguments.half1, arguments.half2)
    single = arguments.map is not None
    if single == any(halves) or (any(halves) and not all(halves)):
        raise ConfigError("give either --map, or --half1 and --half2")
    names = ("min_res", "max_res", "step_res", "p_value", "mask_cut")
    parameters = ResmapParameters(**{name: getattr(arguments, name) for name in names})
    run_files(
        LabelInputs((arguments.map,) if single else halves, arguments.mask),
        arguments.out,
        LabelSettings(
            arguments.engine, parameters, arguments.voxel_size, arguments.binary, arguments.seconds
        ),
    )


def main(argv: list[str] | None = None) -> int:
    """Run the script and return its exit status."""
    return script_main(build_parser(), run, argv, stage="labels", needed=("out",))


if __name__ == "__main__":
    sys.exit(main())
