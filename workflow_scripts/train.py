#!/usr/bin/env python3
"""Train SCUNet or the 3-D U-Net on shards; stops and resumes on signals."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from cryoclarity.cli.script import parser_for, script_main


def build_parser() -> argparse.ArgumentParser:
    """Arguments of the script."""
    parser = parser_for(__doc__)
    add = parser.add_argument
    add("--network", choices=("scunet", "unet3d"), help="name; overrides the spec's network")
    add("--task", choices=("enhance", "resolution"), help="what to train")
    add("--index", type=Path, metavar="TABLE", help="index table of the shards (TSV)")
    add("--out", type=Path, metavar="FOLDER", help="folder for weights, card and metrics")
    add("--dataset", help="name of the dataset (default: stem of the index)")
    add("--spec", default="{}", metavar="JSON", help="settings as JSON")
    add("--steps", type=int, help="optimiser steps in all")
    add("--batch-size", type=int, help="boxes per step")
    add("--learning-rate", type=float, help="peak learning rate")
    add("--box", type=int, help="side of the box the network sees (voxels)")
    add("--seed", type=int, help="of weights, order and augmentation")
    add("--workers", type=int, help="loader processes")
    add("--device", default="auto", help="auto, cpu or cuda")
    add("--data-folder", type=Path, default=Path(), help="what the index's paths are relative to")
    add("--state-folder", type=Path, help="checkpoints (default: results/train_state/DATASET)")
    add("--initial-weights", type=Path, metavar="FILE|DIR", help="start from these (fine-tuning)")
    add(
        "--other-checkpoint",
        choices=("refuse", "restart", "resume"),
        default="refuse",
        help="what to do with a checkpoint of other data or settings",
    )
    add(
        "--on-term",
        choices=("exit", "continue"),
        default="exit",
        help="after saving on a signal: exit with status 85, or go on",
    )
    add("--allow-empty", action="store_true", help="no training box: write empty, marked weights")
    add("--verify", action="store_true", help="compare shards with their recorded hashes first")
    return parser


def run(args: argparse.Namespace) -> int:
    """Train by hand or in the workflow; status 85 after a signal."""
    from cryoclarity.errors import ConfigError
    from cryoclarity.stages.train import TrainJob, run_files
    from cryoclarity.train.loop import Stopped

    try:
        spec = json.loads(args.spec)
    except json.JSONDecodeError as error:
        raise ConfigError(f"--spec is no JSON: {error}") from error
    if args.network and spec.get("network", {}).get("name") != args.network:
        spec["network"] = {"name": args.network}
    for name in ("steps", "batch_size", "learning_rate", "box", "seed", "workers"):
        if getattr(args, name) is not None:
            spec[name] = getattr(args, name)
    dataset = args.dataset or args.index.name.split(".tsv")[0]
    job = TrainJob(
        args.task,
        dataset,
        args.index,
        args.out,
        args.state_folder or Path("results", "train_state", dataset),
        spec,
        data_folder=args.data_folder,
        device=args.device,
        initial_weights=args.initial_weights,
        other_checkpoint=args.other_checkpoint,
        allow_empty=args.allow_empty,
        verify=args.verify,
        continue_after_stop=args.on_term == "continue",
    )
    try:
        run_files(job)
    except Stopped as stopped:
        sys.stderr.write(f"{stopped}\n")
        return stopped.exit_status
    return 0


def main(argv: list[str] | None = None) -> int:
    """Entry point."""
    return script_main(build_parser(), run, argv, needed=("task", "index", "out"))


if __name__ == "__main__":
    sys.exit(main())
