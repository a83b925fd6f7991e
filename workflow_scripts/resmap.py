"""Label every voxel of a map or of two half maps with a local resolution (ResMap)."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from cryoclarity.cli.script import batch_arguments, header_argument, parser_for, script_main


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of this script."""
    parser = parser_for(__doc__)
    add = parser.add_argument
    add("--map", type=Path, help="single map (MRC/CCP4, plain or .gz)")
    add("--half1", type=Path, help="first half map; better than a single map")
    add("--half2", type=Path, help="second half map")
    add("--import", type=Path, dest="foreign", help="labels of RELION, BlocRes, MonoRes, ResMap")
    add("--mask", type=Path, help="mask on the map's grid; non-zero is particle")
    add("--min-res", type=float, default=0.0, help="first level in angstrom (0: 2.2 voxels)")
    add("--max-res", type=float, default=0.0, help="last in angstrom (0: resmap 4 voxels, else 15)")
    add("--step-res", type=float, help="step of levels in angstrom (resmap 1, else 0.5)")
    add("--p-value", type=float, default=0.05, help="significance, at most 0.05")
    add("--voxel-size", type=float, help="voxel size in angstrom instead of the header's")
    cut = "how half-map masks end before the box does: as ResMap 1.1.5 or as 1.1.4"
    add("--mask-cut", choices=("cube", "sphere"), default="cube", help=cut)
    engines = ("resmap", "resmap-exact", "fsc", "resmap-binary")
    add("--engine", choices=engines, default="resmap", help="fsc needs half maps; see docs")
    add("--fsc-threshold", type=float, default=0.5, help="0.5 or 0.143, for --engine fsc")
    add("--fsc-window", type=float, default=0.0, help="its width in angstrom (0: chosen)")
    add("--randomise", action="store_true", help="fsc: subtract phase-randomised correlation")
    devices = "where resmap-exact and fsc compute; auto: a GPU that torch sees, if any"
    add("--device", choices=("auto", "cpu", "cuda"), default="cpu", help=devices)
    add("--binary", help="executable for --engine resmap-binary")
    add("--seconds", type=float, default=3600.0, help="its time limit in seconds")
    add("--figure", action="store_true", help="write .png and a ChimeraX .cxc beside --out")
    add("--out", type=Path, help="map in angstrom; codes go to .codes.mrc, the record to .json")
    header_argument(parser)
    batch_arguments(parser)
    return parser


def run(arguments: argparse.Namespace) -> None:
    """Label by hand."""
    from cryoclarity.errors import ConfigError
    from cryoclarity.labels.resmap import ResmapParameters
    from cryoclarity.stages.labels import LabelInputs, LabelSettings, import_files, run_files

    halves = (arguments.half1, arguments.half2)
    single, foreign = arguments.map is not None, arguments.foreign is not None
    if single + any(halves) + foreign != 1 or (any(halves) and not all(halves)):
        raise ConfigError("give one of --map, --import, or --half1 and --half2")
    if foreign:
        if arguments.figure:
            raise ConfigError("--figure draws labels on a density, which --import has not")
        import_files(arguments.foreign, arguments.out, arguments.mask)
        return
    if arguments.step_res is None:
        arguments.step_res = 1.0 if arguments.engine in ("resmap", "resmap-binary") else 0.5
    names = ("min_res", "max_res", "step_res", "p_value", "mask_cut")
    parameters = ResmapParameters(**{name: getattr(arguments, name) for name in names})
    names = ("engine", "voxel_size", "binary", "seconds", "fsc_threshold", "fsc_window")
    others = {name: getattr(arguments, name) for name in (*names, "randomise", "device", "threads")}
    canonical = arguments.header == "canonical"
    inputs = LabelInputs((arguments.map,) if single else halves, arguments.mask, canonical)
    settings = LabelSettings(parameters=parameters, **others)
    run_files(inputs, arguments.out, settings, arguments.figure)


def main(argv: list[str] | None = None) -> int:
    """Run the script and return its exit status."""
    return script_main(build_parser(), run, argv, stage="labels", needed=("out",))


if __name__ == "__main__":
    sys.exit(main())
