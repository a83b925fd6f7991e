"""Where an improved map can be believed: three witnesses per voxel, the weakest decides."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter, map_coordinates

from cryoclarity.grid import Grid
from cryoclarity.io.atoms import Atoms
from cryoclarity.predict.agreement import (
    TRUNCATE,
    by_slabs,
    local_correlation,
    low_pass_sigma,
    reach,
)
from cryoclarity.predict.passes import further_passes, run_pass

CPU_PASSES = 2
GPU_PASSES = 6
# Spread and amplitude are compared over this distance, angstrom.
NEIGHBOURHOOD = 1.5
# The spread counts twice: trust is one half where it is half of the local amplitude.
SPREAD_FACTOR = 2.0
# Amplitudes below this share of the typical one count as nothing.
AMPLITUDE_FLOOR = 0.05
# Without a stated resolution only detail that any map fit for the network holds is compared.
ASSUMED_RESOLUTION = 8.0
ASSUMED_VOXELS = 4.0
RESIDUE_COLUMNS = ("chain", "resnum", "icode", "resname", "n_atoms", "trust", "trust_min")

Run = Callable[[np.ndarray, float], np.ndarray]


@dataclass(frozen=True)
class Trust:
    """Trust and its parts, each 0..1, on the network's grid.

    Attributes
    ----------
    grid : Grid
    density : (nz, ny, nx) float32
        The smallest of the parts at each voxel.
    parts : dict
        ``spread`` (1: all passes agree), ``agreement`` (with the input) and, with half maps,
        ``half_maps``.
    facts : dict
    """

    grid: Grid
    density: np.ndarray
    parts: dict[str, np.ndarray]
    facts: dict[str, object]


def reliable_limit(grid: Grid, spacing: float, resolution: float | None) -> tuple[float, bool]:
    """Return the resolution up to which the input is compared, and whether it was assumed.

    Parameters
    ----------
    grid : Grid, of the input
    spacing : float, angstrom, of the network's grid
    resolution : float or None
        Stated by the user or measured from half maps.
    """
    finest = 2.0 * max(*grid.voxel_size, spacing)
    if resolution is not None:
        return max(resolution, finest), False
    return max(ASSUMED_RESOLUTION, ASSUMED_VOXELS * max(grid.voxel_size)), True


def judge(
    run: Run,
    work: tuple[np.ndarray, float],
    prediction: np.ndarray,
    halves: Sequence[tuple[np.ndarray, float]],
    grid: Grid,
    limit: float,
    stride: int,
    passes: int,
) -> Trust:
    """Judge a prediction by further passes, by its input, and by half maps.

    Parameters
    ----------
    run : callable (density, input scale)
        Predicts on the network's grid.
    work : density on the network's grid and its input scale
    prediction : (nz, ny, nx) float32, what is judged
    halves : none, or both half maps as `work`
        Each takes one pass, one with boxes moved, one turned: their difference holds the noise
        of the data as well as the choice of boxes.
    grid : Grid, of the network
    limit : float, angstrom
        End of the band in which input and prediction are compared.
    stride, passes : int
    """
    looks = further_passes(max(passes, 2 if halves else 1), stride)
    parts = {}
    variance = np.zeros(prediction.shape, dtype=np.float32)
    degrees = 0
    if halves:
        pair = [
            run_pass(density, look, lambda array, s=scale: run(array, s))
            for (density, scale), look in zip(halves, looks, strict=False)
        ]
        looks = looks[2:]
        # Half of the difference is the error of the mean of both.
        _add_square(variance, *pair, 0.25)
        degrees += 1
        half = local_correlation(*pair, limit / 2 / grid.voxel_size[0])
        del pair
        np.maximum(half, 0, out=half)
        parts["half_maps"] = 2 * half / (1 + half)
    density, scale = work
    for look in looks:
        other = run_pass(density, look, lambda array: run(array, scale))
        _add_square(variance, other, prediction, 0.5)
        del other
        degrees += 1
    variance /= degrees
    parts["spread"] = steadiness(prediction, variance, grid)
    del variance
    parts["agreement"] = support(density, prediction, grid, limit)
    trust = parts["spread"].copy()
    for part in parts.values():
        np.minimum(trust, part, out=trust)
    facts = {
        "passes": len(looks) + (2 if halves else 0),
        "half_maps": bool(halves),
        "compared_to_a": limit,
    }
    return Trust(grid, trust, parts, facts)


def _add_square(total: np.ndarray, first: np.ndarray, second: np.ndarray, factor: float) -> None:
    for section, a, b in zip(total, first, second, strict=True):
        section += np.float32(factor) * np.square(a - b)


def steadiness(prediction: np.ndarray, variance: np.ndarray, grid: Grid) -> np.ndarray:
    """Return 1 where passes agree, falling with spread over local amplitude, in [0, 1]."""
    sigma = NEIGHBOURHOOD / grid.voxel_size[0]
    floor = np.float32(AMPLITUDE_FLOOR**2 * _typical_power(prediction))

    def compare(values: np.ndarray, spread: np.ndarray) -> np.ndarray:
        power = gaussian_filter(np.square(values), sigma, truncate=TRUNCATE) + floor
        unsteady = gaussian_filter(spread, sigma, truncate=TRUNCATE)
        return power / (power + np.float32(SPREAD_FACTOR**2) * unsteady)

    return by_slabs(compare, reach(sigma), (prediction, variance))


def _typical_power(prediction: np.ndarray) -> float:
    """Return the mean square of the voxels above the mean square: those of the molecule."""
    mean = sum(float(np.square(section).sum()) for section in prediction) / prediction.size
    total = count = 0.0
    for section in prediction:
        strong = np.square(section[np.square(section) > mean])
        total, count = total + float(strong.sum()), count + strong.size
    return total / count if count else 1.0


def support(density: np.ndarray, prediction: np.ndarray, grid: Grid, limit: float) -> np.ndarray:
    """Return the local correlation with the input up to a resolution, negative values as 0.

    Windows have the width of the resolution: narrower ones hold too few independent values.
    """
    spacing = grid.voxel_size[0]
    found = local_correlation(
        density, prediction, limit / spacing, before=low_pass_sigma(limit, spacing)
    )
    return np.maximum(found, 0, out=found)


def residue_table(trust: Trust, atoms: Atoms) -> list[dict[str, object]]:
    """Return one row per residue: mean and least trust at its heavy atoms, and mean parts.

    Residues with no atom inside the map are left out.
    """
    heavy = atoms.heavy()
    heavy = heavy.take(heavy.kind != "water")
    index = trust.grid.index_of(heavy.xyz)
    limits = np.asarray(trust.grid.shape) - 1
    heavy = heavy.take(inside := ((index >= 0) & (index <= limits)).all(axis=1))
    at = index[inside].T

    def sample(values: np.ndarray) -> np.ndarray:
        return map_coordinates(values, at, order=1, mode="nearest")

    columns = {"trust": sample(trust.density)}
    columns |= {name: sample(values) for name, values in sorted(trust.parts.items())}
    numbers, first = np.unique(heavy.residue_index, return_index=True)
    rows = []
    for number, atom in zip(numbers, first, strict=True):
        own = heavy.residue_index == number
        row = {
            "chain": heavy.chain[atom],
            "resnum": int(heavy.residue_number[atom]),
            "icode": heavy.insertion_code[atom] or ".",
            "resname": heavy.residue_name[atom],
            "n_atoms": int(own.sum()),
            "trust_min": f"{columns['trust'][own].min():.3f}",
        }
        rows.append(row | {name: f"{v[own].mean():.3f}" for name, v in columns.items()})
    return rows
