"""Simulate the target map of a model, each atom at its own resolution."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from cryoclarity.cli.script import batch_arguments, header_argument, parser_for, script_main


def grid_argument(text: str) -> str | float:
    """Return 'map' or a spacing in angstrom."""
    return text if text == "map" else float(text)


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of this script."""
    parser = parser_for(__doc__)
    parser.add_argument("--map", type=Path, help="map whose grid is used, never its values")
    parser.add_argument("--model", type=Path, help="model (PDB or mmCIF, plain or .gz)")
    parser.add_argument(
        "--qscores",
        type=Path,
        help="table of atoms with Q (and a line '# sigma=0.6'), or with resolution_A in angstrom",
    )
    parser.add_argument(
        "--grid",
        type=grid_argument,
        default="map",
        metavar="map|SPACING",
        help="the map's own grid, or a spacing in angstrom",
    )
    parser.add_argument(
        "--kernel", choices=("dimaio", "molmap"), default="dimaio", help="width of the atoms"
    )
    parser.add_argument(
        "--q-map",
        choices=("cubic", "linear-kind", "matched"),
        default="cubic",
        help="law from Q to resolution",
    )
    parser.add_argument(
        "--smooth",
        choices=("half", "atom", "residue", "group", "window5"),
        default="half",
        help="smoothing of Q over residues",
    )
    parser.add_argument("--resolution", type=float, help="stated resolution of the map in angstrom")
    parser.add_argument(
        "--waters", action="store_true", help="keep waters where --resolution is 2.5 or better"
    )
    parser.add_argument("--voxel-size", type=float, help="angstrom; replaces the map's header's")
    header_argument(parser)
    parser.add_argument("--out", type=Path, help="map to write; its record takes the suffix .json")
    batch_arguments(parser)
    return parser


def run(arguments: argparse.Namespace) -> None:
    """Simulate by hand."""
    from cryoclarity.stages.simulate import SimulationSettings, run_files

    names = ("grid", "kernel", "q_map", "smooth", "resolution", "waters")
    settings = SimulationSettings(**{name: getattr(arguments, name) for name in names})
    run_files(
        *(arguments.map, arguments.model, arguments.qscores, arguments.out, settings),
        voxel_size=arguments.voxel_size,
        canonical=arguments.header == "canonical",
    )


def main(argv: list[str] | None = None) -> int:
    """Run the script and return its exit status."""
    needed = ("map", "model", "qscores", "out")
    return script_main(build_parser(), run, argv, stage="simulate", needed=needed)


if __name__ == "__main__":
    sys.exit(main())
