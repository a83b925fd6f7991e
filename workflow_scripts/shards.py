"""Cut the training boxes of one entry into an HDF5 file."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from cryoclarity.cli.script import batch_arguments, parser_for, script_main

DATASETS = ("enhance_1.0", "enhance_0.5", "resolution_1.0")


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of this script."""
    parser = parser_for(__doc__)
    parser.add_argument("--dataset", choices=DATASETS, help="task and voxel size in angstrom")
    parser.add_argument("--map", type=Path, help="experimental map")
    parser.add_argument("--target", type=Path, help="enhance: simulated target")
    parser.add_argument("--model", type=Path, help="enhance: model, for the rule on coverage")
    parser.add_argument("--contour", type=float, help="enhance: contour level, in map units")
    parser.add_argument("--labels", type=Path, help="resolution: labels in angstrom")
    parser.add_argument("--codes", type=Path, help="resolution: codes of the labels (0, 1, 2, 3)")
    parser.add_argument(
        "--box-size", type=int, default=0, help="side of a box in voxels; 0: 60, resolution 16"
    )
    parser.add_argument(
        "--stride", type=int, default=0, help="step between boxes in voxels; 0: 30, resolution 16"
    )
    for name, default, what in (
        ("target", 0.005, "of voxels with a target above 0.05"),
        ("labelled", 0.1, "of labelled voxels"),
    ):
        parser.add_argument(
            f"--min-{name}-share", type=float, default=default, help=f"least share {what}"
        )
    parser.add_argument(
        "--min-coverage", type=float, default=0.3, help="least modelled share of the density"
    )
    for name in ("emdb-id", "pdb-id", "split", "group"):
        parser.add_argument(f"--{name}", default="", help="kept as an attribute")
    parser.add_argument("--out", type=Path, help="HDF5 file; its record takes the suffix .json")
    batch_arguments(parser)
    return parser


def run(arguments: argparse.Namespace) -> None:
    """Cut boxes by hand."""
    from cryoclarity.errors import ConfigError
    from cryoclarity.stages.common import record_path
    from cryoclarity.stages.shards import IDENTITY, ShardInputs, ShardSettings, run_files

    given = vars(arguments)
    roles = ("target",) if arguments.dataset.startswith("enhance") else ("labels", "codes")
    for role in roles:
        if given[role] is None:
            raise ConfigError(f"--dataset {arguments.dataset} needs --{role}")
    inputs = ShardInputs(
        **{name: given[name] for name in ("map", *roles, "model", "contour")},
        record=record_path(given[roles[0]]),
    )
    names = ("box_size", "stride", "min_target_share", "min_labelled_share", "min_coverage")
    settings = ShardSettings(arguments.dataset, **{name: given[name] for name in names})
    run_files(inputs, arguments.out, settings, {name: given[name] for name in IDENTITY})


def main(argv: list[str] | None = None) -> int:
    """Run the script and return its exit status."""
    needed = ("dataset", "map", "out")
    return script_main(build_parser(), run, argv, stage="shards", needed=needed)


if __name__ == "__main__":
    sys.exit(main())
