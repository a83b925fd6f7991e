#!/usr/bin/env python
"""Predicted local resolution against Q-scores, residue by residue, on maps with models.

There is no truth for real maps. Where a map is worse its Q-scores are lower, so a network with
skill inside maps gives negative rank correlations; blurred density alone is the control that it
has to beat in size. ``--pairs`` is a TSV with the columns ``emdb_id map_path model_path`` and, if
known, ``resolution_A``; paths are relative to it. The table goes to the standard output.
"""

import argparse
import csv
import sys
from pathlib import Path

import numpy as np
from scipy.ndimage import gaussian_filter, map_coordinates

from cryoclarity.errors import CryoClarityError
from cryoclarity.evaluate.resolution_skill import rank_correlation
from cryoclarity.io.maps import read_map
from cryoclarity.io.model import read_atoms
from cryoclarity.predict.common import PredictSettings
from cryoclarity.predict.model import load_model
from cryoclarity.predict.resolution import local_resolution
from cryoclarity.scoring.qscore import q_scores

COLUMNS = (
    *("emdb_id", "reported_a", "weights", "residues", "median_a", "share_at_limits"),
    *("rho_with_q", "control_rho_with_q"),
)
CONTROL_BLUR = 3.0  # angstrom
FEWEST_RESIDUES = 20


def residue_means(values, residue, used):
    count = np.bincount(residue[used], minlength=residue.max() + 1)
    total = np.bincount(residue[used], values[used], minlength=residue.max() + 1)
    return np.divide(total, count, out=np.full(len(count), np.nan), where=count > 0)


def sampled(density, grid, xyz):
    return map_coordinates(density, grid.index_of(xyz).T, order=1, mode="nearest")


def row_of(name, reported, volume, atoms, weights):
    scores = q_scores(volume.density, volume.grid, atoms.xyz)
    model = load_model(weights, "resolution")
    found = local_resolution(volume, model, PredictSettings(device="cpu"))
    resolution = sampled(found.density, volume.grid, atoms.xyz)
    sigma = [CONTROL_BLUR / v for v in volume.grid.voxel_size_zyx]
    control = sampled(gaussian_filter(volume.density, sigma), volume.grid, atoms.xyz)
    # An atom at the mask's edge would mix a value with the 0 outside.
    used = ~scores.any_outside & (resolution >= found.facts["limits_a"][0])
    means = [
        residue_means(values, atoms.residue_index, used)
        for values in (scores.q_score[0], resolution, control)
    ]
    known = np.isfinite(means[0])
    q, predicted, density = (m[known] for m in means)
    if known.sum() < FEWEST_RESIDUES:
        return None
    return {
        "emdb_id": name,
        "reported_a": reported,
        "weights": weights.name,
        "residues": int(known.sum()),
        "median_a": f"{found.facts['median_a']:.2f}",
        "share_at_limits": f"{found.facts['share_at_limits']:.3f}",
        "rho_with_q": f"{rank_correlation(predicted, q):.3f}",
        "control_rho_with_q": f"{rank_correlation(density, q):.3f}",
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=Path, required=True)
    parser.add_argument("--weights", type=Path, nargs="+", required=True)
    parser.add_argument("--max-voxels", type=int, default=3_000_000)
    args = parser.parse_args()
    writer = csv.DictWriter(sys.stdout, COLUMNS, delimiter="\t", lineterminator="\n")
    writer.writeheader()
    with args.pairs.open(encoding="utf-8") as file:
        pairs = [row for row in csv.DictReader(file, delimiter="\t") if row["model_path"] != "-"]
    for pair in pairs:
        try:
            volume = read_map(args.pairs.parent / pair["map_path"])
            atoms = read_atoms(args.pairs.parent / pair["model_path"]).heavy()
            if volume.grid.size > args.max_voxels:
                continue
            for weights in args.weights:
                row = row_of(pair["emdb_id"], pair.get("resolution_A"), volume, atoms, weights)
                if row:
                    writer.writerow(row)
                    sys.stdout.flush()
        except CryoClarityError as error:
            print(f"{pair['emdb_id']}: {error}", file=sys.stderr)


if __name__ == "__main__":
    main()
