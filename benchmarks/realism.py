"""How like real maps the simulated ones are: spectra, correlation with the target, negatives.

    OMP_NUM_THREADS=1 python benchmarks/realism.py --archive FOLDER --models FOLDER [--draws 2]

For real maps of an archive folder (with `manifest.tsv`) and for simulated maps of models: the
amplitude over that of the target in shells between 15, 10, 8, 6.5, 5.5, 4.7, 4, 3.5 and 3 A, the
correlation with the target in the same shells, and of the voxels within 3 A of atoms the share
below 0, the mean and the standard deviation. Both maps are on a 1 A grid, over their 99.999th
percentile, under a soft mask 3 A round the atoms; the target of a real map has one resolution,
the stated one. Shells finer than 0.8 times the resolution are left out.
"""

from __future__ import annotations

import argparse
import itertools
from pathlib import Path

import numpy as np
import scipy.fft

from cryoclarity.degrade.arrays import NumpyArrays
from cryoclarity.degrade.improvement import simulate_pair
from cryoclarity.degrade.placement import seed_of
from cryoclarity.degrade.spectrum import Frequencies
from cryoclarity.density.masks import soft_edge, zone_mask
from cryoclarity.density.normalise import percentile_scale
from cryoclarity.density.resample import network_grid, resample
from cryoclarity.grid import Grid
from cryoclarity.io.maps import read_map
from cryoclarity.io.model import read_atoms
from cryoclarity.io.tables import read_table
from cryoclarity.model.density import gaussian_density
from cryoclarity.targets.kernels import kernel_width
from cryoclarity.targets.resolution import target_atoms

LIMITS = (15.0, 10.0, 8.0, 6.5, 5.5, 4.7, 4.0, 3.5, 3.0)
FARTHEST = 40.0  # angstrom, outer limit of the first shell
MASK_RADIUS, MASK_EDGE = 3.0, 3.0
COARSEST = 8.0  # maps without molecular detail are left out
MODELS = ("1oky", "1cbs", "1us0", "1d66", "2gis", "1osm", "1jbe", "1y26", "2hhg", "1nsf")


def measure(density: np.ndarray, target: np.ndarray, grid: Grid, xyz: np.ndarray) -> dict:
    """Shell amplitudes and correlations under a soft mask, and statistics inside it."""
    inside = zone_mask(xyz, grid, MASK_RADIUS)
    soft = soft_edge(inside, MASK_EDGE)
    frequencies = Frequencies(NumpyArrays(), grid.shape, grid.voxel_size[0])
    first, second = (
        scipy.fft.rfftn((v * (soft / percentile_scale(v))).astype(np.float32))
        for v in (density, target)
    )
    edges = 1.0 / np.array([FARTHEST, *LIMITS])
    weight = frequencies._counts
    ratio, correlation = [], []
    for low, high in itertools.pairwise(edges):
        shells = (frequencies.frequency >= low) & (frequencies.frequency < high)
        power = [np.sum((frequencies.amplitude(f) ** 2 * weight)[shells]) for f in (first, second)]
        products = frequencies.amplitude(first) * frequencies.amplitude(second)
        cross = np.sum((frequencies.fsc(first, second) * products * weight)[shells])
        ratio.append(np.sqrt(power[0] / power[1]))
        correlation.append(cross / np.sqrt(power[0] * power[1]))
    scaled = np.clip(density / percentile_scale(density), None, 1.0)[inside]
    return {
        "ratio": ratio,
        "correlation": correlation,
        "negative": float((scaled < 0).mean()),
        "mean": float(np.clip(scaled, 0, 1).mean()),
        "deviation": float(np.clip(scaled, 0, 1).std()),
    }


def real(archive: Path, row: dict[str, str]) -> tuple[float, dict]:
    """Measure an entry of the archive."""
    resolution = float(row["resolution_A"])
    volume = read_map(archive / row["map_path"])
    atoms = target_atoms(read_atoms(archive / row["model_path"]))
    grid = network_grid(volume.grid, 1.0)
    density = resample(volume.density, volume.grid, grid)
    # Negatives of the file itself: resampling rings over the edge of a zone.
    width = kernel_width(np.full(len(atoms), resolution), "dimaio")
    target = gaussian_density(atoms.xyz, atoms.atomic_number, width, grid)
    found = measure(density, target, grid, atoms.xyz)
    inside = zone_mask(atoms.xyz, volume.grid, MASK_RADIUS)
    found["negative"] = float((volume.density[inside] < 0).mean())
    return resolution, found


def simulated(models: Path, name: str, draw: int) -> tuple[float, dict]:
    """Measure one draw of a model."""
    (path,) = models.glob(f"{name}.*")
    pair = simulate_pair(read_atoms(path), seed_of(1, name, draw))
    grid = Grid(pair.map.shape, (1.0, 1.0, 1.0))
    width = kernel_width(np.full(len(pair.atoms), pair.drawn.resolution), "dimaio")
    target = gaussian_density(pair.atoms.xyz, pair.atoms.atomic_number, width, grid)
    # The part that was cut off is no part of the map.
    shown = pair.map[tuple(np.rint(grid.index_of(pair.atoms.xyz)).astype(int).T)] != 0
    found = measure(pair.map, target, grid, pair.atoms.xyz[shown])
    return pair.drawn.resolution, found


def show(name: str, resolution: float, found: dict) -> None:
    """Print one row of the table."""
    cells = []
    for key in ("ratio", "correlation"):
        shown = [
            f"{v:.2f}" if limit >= 0.8 * resolution else "-"
            for v, limit in zip(found[key], LIMITS, strict=True)
        ]
        cells.append(" ".join(shown))
    tail = " | ".join(f"{found[key]:.2f}" for key in ("negative", "mean", "deviation"))
    stated = f"{resolution:.2f}" if resolution else "-"
    print(f"| {name} | {stated} | {cells[0]} | {cells[1]} | {tail} |", flush=True)


def summary(name: str, rows: list[tuple[float, dict]]) -> None:
    """Print the 10th, 50th and 90th percentile of all rows."""
    for share in (10, 50, 90):
        middle = {}
        for key in ("ratio", "correlation"):
            columns = []
            for index, limit in enumerate(LIMITS):
                values = [f[key][index] for d, f in rows if limit >= 0.8 * d]
                columns.append(np.percentile(values, share) if values else np.nan)
            middle[key] = columns
        for key in ("negative", "mean", "deviation"):
            middle[key] = np.percentile([f[key] for _, f in rows], share)
        show(f"{name}, {share} %", 0.0, middle)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--archive", type=Path, required=True)
    parser.add_argument("--models", type=Path, required=True)
    parser.add_argument("--draws", type=int, default=2)
    arguments = parser.parse_args()
    limits = " ".join(f"{v:g}" for v in LIMITS)
    print(f"| map | A | amplitude over target's, to {limits} A | correlation with target | "
          "negative | mean | sd |")  # fmt: skip
    print("|---|---|---|---|---|---|---|")
    rows = []
    for row in read_table(arguments.archive / "manifest.tsv"):
        usable = row["model_path"] not in ("", "-") and row["resolution_A"] not in ("", "-")
        if usable and float(row["resolution_A"]) <= COARSEST:
            rows.append(real(arguments.archive, row))
            show(row["emdb_id"], *rows[-1])
    summary("real", rows)
    made = []
    for name in MODELS:
        for draw in range(arguments.draws):
            made.append(simulated(arguments.models, name, draw))
            if not draw:
                show(f"{name} (simulated)", *made[-1])
    summary("simulated", made)


if __name__ == "__main__":
    main()
