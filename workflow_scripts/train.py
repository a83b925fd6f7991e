#!/usr/bin/env python3
"""Train a network on shards; stops and resumes on signals."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from cryoclarity.cli.script import parser_for, script_main, settings_of

SAME = (
    *("task", "index", "out", "data_folder", "device"),
    *("initial_weights", "other_checkpoint", "allow_empty", "verify"),
)
NETWORKS = ("scunet", "unet3d", "bands", "bands-voxelwise")
OVERRIDES = {
    "steps": (int, "optimiser steps in all"),
    "batch_size": (int, "boxes per step"),
    "learning_rate": (float, "peak learning rate"),
    "box": (int, "side of the box the network sees, voxels"),
    "seed": (int, "of weights, order and augmentation"),
    "workers": (int, "loader processes"),
}


def build_parser() -> argparse.ArgumentParser:
    """Arguments of the script."""
    parser = parser_for(__doc__)
    add, exits, others = parser.add_argument, ("exit", "continue"), ("refuse", "restart", "resume")
    add("--network", choices=NETWORKS, help="name; replaces the spec's network")
    add("--task", choices=("enhance", "resolution"), help="what to train")
    add("--index", type=Path, metavar="TABLE", help="index table of the shards (TSV)")
    add("--out", type=Path, metavar="FOLDER", help="folder for weights, card and metrics")
    add("--dataset", help="name of the dataset (default: stem of the index)")
    add("--spec", default="{}", metavar="JSON", help="settings; the options below replace its keys")
    for name, (kind, text) in OVERRIDES.items():
        add("--" + name.replace("_", "-"), type=kind, help=text)
    add("--device", default="auto", help="auto, cpu or cuda (mps: the CPU)")
    add("--data-folder", type=Path, default=Path(), help="what the index's paths are relative to")
    add("--state-folder", type=Path, help="checkpoints (default: results/train_state/DATASET)")
    add("--initial-weights", type=Path, metavar="FILE|DIR", help="start from these (fine-tuning)")
    add("--other-checkpoint", choices=others, default="refuse", help="one of other data, settings")
    add("--on-term", choices=exits, default="exit", help="after saving on a signal; exit is 85")
    add("--allow-empty", action="store_true", help="no training box: write empty, marked weights")
    add("--verify", action="store_true", help="compare shards with their recorded hashes first")
    return parser


def run(args: argparse.Namespace) -> int:
    """Train; status 85 after a signal."""
    from cryoclarity.train.loop import Stopped
    from cryoclarity.train.run import TrainJob, run_files, spec_with

    dataset = args.dataset or args.index.name.split(".tsv")[0]
    replaced = {name: getattr(args, name) for name in OVERRIDES}
    job = TrainJob(
        dataset=dataset,
        state_folder=args.state_folder or Path("results", "train_state", dataset),
        spec=spec_with(settings_of(args.spec), args.network, replaced),
        continue_after_stop=args.on_term == "continue",
        **{name: getattr(args, name) for name in SAME},
    )
    try:
        run_files(job)
    except Stopped as stopped:
        sys.stderr.write(f"{stopped}\n")
        return stopped.exit_status
    return 0


def main(argv: list[str] | None = None) -> int:
    """Run the script and return its exit status."""
    return script_main(build_parser(), run, argv, needed=("task", "index", "out"))


if __name__ == "__main__":
    sys.exit(main())
