"""``cryoclarity export``: a network as one file that torch runs without this package."""

from __future__ import annotations

from pathlib import Path

from cryoclarity.cli.one_map import PROJECT_WEIGHTS, default_weights
from cryoclarity.cli.script import parser_for, script_main


def main(argv: list[str] | None = None) -> int:
    """Run the command; return its exit status."""
    parser = parser_for(
        "Write a trained network as an exported program of torch (.pt2), with a record beside it. "
        "It takes boxes of one size, any number at a time; cutting, scaling and blending them is "
        "up to the program that loads it."
    )
    parser.prog = "cryoclarity export"
    add = parser.add_argument
    add(
        "--weights",
        type=Path,
        metavar="FILE|DIR",
        help=f"trained network (default: {PROJECT_WEIGHTS} in this folder, or the shipped one)",
    )
    add("--task", choices=("enhance", "resolution"), required=True, help="of the network")
    add("--out", type=Path, required=True, help="file to write, .pt2; its record is .json")
    add("--box", type=int, metavar="VOXELS", help="size of the boxes (default: the card's)")
    return script_main(parser, _run, argv)


def _run(arguments) -> None:
    from cryoclarity.predict.export import export_weights

    weights = arguments.weights or default_weights(arguments.task)
    record = export_weights(weights, arguments.out, arguments.task, arguments.box)
    shape = " x ".join(str(n) for n in record["input_shape"])
    deviation = record["largest_relative_deviation"]
    print(f"{arguments.out}  takes {shape}, off by {deviation:.1g} of the largest answer")
    print(f"{arguments.out.with_suffix('.json')}  record")
