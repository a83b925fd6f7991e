"""Options of the prediction, shared by the script and the console commands."""

from __future__ import annotations

import argparse
import math
from pathlib import Path

from cryoclarity.cli.script import header_argument

BLENDS = ("gaussian", "hann", "uniform")
POSITIVE = (
    *("stride", "batch_size", "voxel_size", "mask_radius", "max_memory"),
    *("trust_passes", "resolution", "passes"),
)
GIGABYTE = 1_000_000_000


def prediction_arguments(parser: argparse.ArgumentParser, *, trust: bool = False) -> None:
    """Add everything but task, map, weights and output; `trust` is the default of --trust."""
    add = parser.add_argument
    add(
        "--half1",
        type=Path,
        metavar="FILE",
        help="half map: their mean stands in for the map",
    )
    add("--half2", type=Path, metavar="FILE", help="the other half map; both also serve --trust")
    add(
        "--mode",
        choices=("default", "published"),
        default="default",
        help="published: the original program step by step, with its faults, for bare weights too",
    )
    add("--voxel-size", type=float, metavar="A", help="angstrom; replaces the header's")
    add("--mask", type=Path, metavar="FILE", help="mask map, placed by its position in space")
    add(
        "--mask-contour",
        type=float,
        metavar="LEVEL",
        help="inside is at or above it (default: half of the maximum; 0 in published mode)",
    )
    add("--mask-invert", action="store_true", help="keep the outside of mask or model zone")
    add("--mask-model", type=Path, metavar="FILE", help="keep the zone around these atoms")
    add("--mask-radius", type=float, default=4.0, metavar="A", help="of the zone, angstrom")
    add(
        "--stride",
        type=int,
        metavar="VOXELS",
        help="step between boxes on the network's grid (default: half a box; 12 if published)",
    )
    add("--blend", choices=BLENDS, default="gaussian", help="weights of overlapping boxes")
    add("--batch-size", type=int, metavar="BOXES", help="boxes at a time (default: by device)")
    add("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps")
    add(
        "--amplitude",
        choices=("fitted", "network"),
        default="fitted",
        help="fitted: scale and offset of the input inside the mask; network: its own units",
    )
    add("--seed", type=int, help="of the coin toss by which the published program pads")
    add("--invert", action="store_true", help="change the sign of the input first")
    add("--max-memory", type=float, metavar="GB", help="largest host memory, gigabytes")
    add(
        "--captured",
        action="store_true",
        help="batches of one size through a captured graph: faster on a GPU",
    )
    header_argument(parser)
    add("--estimate", action="store_true", help="say time and memory, measured on one box; stop")
    _judging_arguments(parser, trust)


def _judging_arguments(parser: argparse.ArgumentParser, trust: bool) -> None:
    group = parser.add_argument_group("how far to believe the result")
    group.add_argument(
        "--trust",
        action=argparse.BooleanOptionalAction,
        default=trust,
        help="enhance: also write <stem>_trust.mrc, 0 to 1 per voxel",
    )
    group.add_argument(
        "--trust-passes",
        type=int,
        metavar="N",
        help="further passes for --trust (default: 2 on a CPU, 6 on a GPU)",
    )
    group.add_argument(
        "--resolution",
        type=float,
        metavar="A",
        help="of the input: --trust compares up to here (default: by half maps, else 4)",
    )
    group.add_argument(
        "--model",
        type=Path,
        metavar="FILE",
        help="with --trust: also write <stem>_residues.tsv, a row per residue of this model",
    )
    group.add_argument(
        "--symmetry",
        metavar="GROUP",
        help="enhance: Cn or Dn about the box's middle, main axis z; says what is lost of it",
    )
    group.add_argument(
        "--impose-symmetry",
        action="store_true",
        help="with --symmetry: average the result over the operators",
    )
    group.add_argument(
        "--ligand-safe",
        action="store_true",
        help="enhance: blend the input back where the network took density away",
    )
    group.add_argument(
        "--passes",
        type=int,
        metavar="N",
        help="resolution: also write <stem>_spread.mrc, angstrom, over N passes with dropout",
    )


def inputs_and_options(arguments: argparse.Namespace, task: str, weights: Path):
    """Return what the stage needs from parsed arguments.

    Raises
    ------
    ConfigError
        A value that no option can take.
    """
    from cryoclarity.errors import ConfigError
    from cryoclarity.stages.predict import Inputs, Options

    for name in (*POSITIVE, "mask_contour"):
        value, option = getattr(arguments, name), "--" + name.replace("_", "-")
        if value is not None and not math.isfinite(value):
            raise ConfigError(f"{option} {value} must be finite")
        if value is not None and name in POSITIVE and not value > 0:
            raise ConfigError(f"{option} {value} must be positive")
    if arguments.impose_symmetry and arguments.symmetry is None:
        raise ConfigError("--impose-symmetry needs --symmetry", remedy="--symmetry C4, D2, ...")
    if (arguments.half1 is None) != (arguments.half2 is None):
        raise ConfigError("--half1 and --half2 belong together")
    halves = None if arguments.half1 is None else (arguments.half1, arguments.half2)
    inputs = Inputs(
        weights=weights,
        map=arguments.map,
        half_maps=halves,
        voxel_size=arguments.voxel_size,
        mask=arguments.mask,
        mask_model=arguments.mask_model,
        mask_contour=arguments.mask_contour,
        mask_radius=arguments.mask_radius,
        mask_invert=arguments.mask_invert,
        model=arguments.model,
        canonical=arguments.header == "canonical",
    )
    limit = arguments.max_memory
    settings = {
        "stride": arguments.stride,
        "blend": arguments.blend,
        "batch_size": arguments.batch_size,
        "device": arguments.device,
        "amplitude": arguments.amplitude,
        "invert": arguments.invert,
        "max_memory": None if limit is None else int(limit * GIGABYTE),
        "trust": arguments.trust and task == "enhance" and arguments.mode == "default",
        "trust_passes": arguments.trust_passes,
        "resolution": arguments.resolution,
        "ligand_safe": arguments.ligand_safe,
        "passes": arguments.passes,
        "trust_parts": arguments.model is not None,
        "symmetry": arguments.symmetry,
        "impose_symmetry": arguments.impose_symmetry,
        "captured": arguments.captured,
    }
    return inputs, Options(task, arguments.mode, arguments.seed, settings)


def estimate_line(found: dict[str, object]) -> str:
    """Return the outcome of --estimate as one line."""
    return (
        f"about {duration(found['seconds'])} on {found['device']}: "
        f"{found['boxes_predicted']} of {found['boxes']} boxes, {found['passes']} passes, "
        f"{found['seconds_per_box']:.3g} s per box; "
        f"memory {found['memory_bytes'] / GIGABYTE:.2f} GB"
    )


def duration(seconds: float) -> str:
    """Return a time in the unit that suits it."""
    if seconds < 120:
        return f"{seconds:.1f} s"
    if seconds < 7200:
        return f"{seconds / 60:.1f} min"
    return f"{seconds / 3600:.1f} h"
