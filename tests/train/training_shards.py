"""Small shards and index tables for the training tests."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from scipy.ndimage import gaussian_filter

from cryoclarity.io.shards import write_shard


def attributes(side: int) -> dict[str, object]:
    """Root attributes that training reads."""
    normalisation = {"rule": "percentile", "percentile": 99.999, "input_scale": 3.2}
    return {
        "voxel_size": 1.0,
        "box_size": side,
        "normalisation": json.dumps(normalisation),
        "spec": "{}",
    }


def enhance_arrays(seed: int, boxes: int, side: int) -> dict[str, np.ndarray]:
    """Blobs as targets in [0, 1]; inputs are blurred and noisy."""
    rng = np.random.default_rng(seed)
    points = rng.random((boxes, side, side, side)) > 0.985
    target = np.stack([gaussian_filter(p.astype(float), 1.0) for p in points])
    target = np.clip(target / target.max(), 0, 1)
    noisy = np.stack([gaussian_filter(t, 1.2) for t in target])
    noisy = np.clip(noisy / noisy.max() + 0.05 * rng.standard_normal(noisy.shape), 0, 1)
    origin = np.zeros((boxes, 3), np.int32)
    weight = np.ones(boxes, np.float32)
    return {
        "input": noisy.astype(np.float16),
        "target": target.astype(np.float16),
        "origin": origin,
        "weight": weight,
    }


def resolution_arrays(seed: int, boxes: int, side: int = 16) -> dict[str, np.ndarray]:
    """Noise whose power follows the label; a ball is labelled, a shell is censored."""
    rng = np.random.default_rng(seed)
    level = rng.uniform(3, 8, size=(boxes, 1, 1, 1))
    grid = np.indices((side, side, side)) - (side - 1) / 2
    radius = np.sqrt((grid**2).sum(axis=0))
    mask = np.where(radius < side / 3, 1, np.where(radius < side / 2.5, 2, 0)).astype(np.uint8)
    values = level * rng.standard_normal((boxes, side, side, side)) / 8
    target = np.where(mask == 1, level, np.where(mask == 2, 8.0, 0.0))
    return {
        "input": values.astype(np.float16),
        "target": target.astype(np.float16),
        "mask": np.broadcast_to(mask, values.shape).copy(),
        "origin": np.zeros((boxes, 3), np.int32),
        "weight": np.ones(boxes, np.float32),
    }


def write_dataset(
    folder: Path, task: str = "enhance", side: int = 26, counts: tuple[int, ...] = (6, 3, 3)
) -> Path:
    """Write shards and their index; the last one is for validation. Returns the index's path."""
    make = enhance_arrays if task == "enhance" else resolution_arrays
    lines = ["emdb_id\tgroup\tsplit\tpath\tsha256\tboxes\tweight"]
    for number, count in enumerate(counts):
        emdb_id = f"EMD-{number + 1}"
        path = Path("shards") / f"{emdb_id}.h5"
        digest = write_shard(folder / path, make(number, count, side), attributes(side))
        split = "val" if number == len(counts) - 1 else "train"
        lines.append(f"{emdb_id}\tg{number}\t{split}\t{path}\t{digest}\t{count}\t1.0")
    index = folder / f"{task}_1.0.tsv"
    index.write_text("\n".join(lines) + "\n")
    return index
