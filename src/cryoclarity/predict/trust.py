"""Where an improved map can be believed: three witnesses per voxel, multiplied.

Spread and trust are held in one byte per voxel, so that beside the map on the network's grid and
the prediction a quarter of an array is enough.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import map_coordinates

from cryoclarity.grid import Grid
from cryoclarity.io.atoms import Atoms
from cryoclarity.predict.agreement import (
    VARIANCE_FLOOR,
    by_slabs,
    correlation_within,
    local_correlation,
    low_pass_sigma,
    mean_and_variance,
    reach,
    smooth,
)
from cryoclarity.predict.passes import Pass

CPU_PASSES = 2
GPU_PASSES = 6
# Spread and local variance are compared over this distance, angstrom.
NEIGHBOURHOOD = 1.5
# Without a stated resolution detail to here is compared: what ranked errors best on maps of known
# truth. Voxels must be able to hold it.
ASSUMED_RESOLUTION = 4.0
ASSUMED_VOXELS = 2.5
# Input and answer are compared in windows of half the resolution; wider ones rank errors worse.
WINDOW_SHARE = 0.5
# A byte holds a variance on a scale of eight steps per doubling about that of the prediction.
STEPS, MIDDLE = 8.0, 192.0
FULL = 255
RESIDUE_COLUMNS = ("chain", "resnum", "icode", "resname", "n_atoms", "trust", "trust_min")

Run = Callable[[np.ndarray, float, Pass], Iterator[np.ndarray]]
Moments = tuple[float, float]


@dataclass(frozen=True)
class Trust:
    """Trust and its parts in 255ths, uint8, on the network's grid.

    Attributes
    ----------
    grid : Grid
    density : (nz, ny, nx) uint8
        The product of the parts at each voxel.
    parts : dict
        ``spread`` (1: all passes agree), ``agreement`` (with the input) and, with half maps,
        ``half_maps``; empty unless asked for.
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
    looks: Sequence[Pass],
    keep_parts: bool = False,
) -> Trust:
    """Judge a prediction by further passes, by its input, and by half maps.

    Parameters
    ----------
    run : callable (density, input scale, pass)
        Predicts on the network's grid; yields finished sections.
    work : density on the network's grid and its input scale
    prediction : (nz, ny, nx) float32, what is judged
    halves : none, or both half maps as `work`
        Each takes one pass: their difference holds the noise of the data as well as the choice of
        boxes. They add two arrays to what is held.
    grid : Grid, of the network
    limit : float, angstrom
        End of the band in which input and prediction are compared.
    looks : sequence of Pass
    keep_parts : bool
    """
    density, scale = work
    moments = [mean_and_variance(array) for array in (density, prediction)]
    spread = Spread(prediction.shape, moments[1][1])
    support = None
    others = list(looks)
    if halves:
        pair = [_whole(run(*half, look)) for half, look in zip(halves, others, strict=False)]
        others = others[2:]
        # Half of the difference is the error of the mean of both.
        spread.add(iter(pair[0]), pair[1], 0.25 / (len(others) + 1))
        support = _half_map_support(*pair, limit / 2 / grid.voxel_size[0])
        del pair
    for look in others:
        sections = (section for part in run(density, scale, look) for section in part)
        spread.add(sections, prediction, 0.5 / (len(others) + bool(halves)))
    facts = {"passes": len(looks), "half_maps": bool(halves), "compared_to_a": limit}
    witnesses = Witnesses(grid.voxel_size[0], limit, moments, spread)
    arrays = [density, prediction, spread.levels] + ([] if support is None else [support])
    parts = {}
    if keep_parts:
        names = ["agreement", "spread"] + ([] if support is None else ["half_maps"])
        for number, name in enumerate(names):
            found = np.empty(prediction.shape, dtype=np.uint8)
            parts[name] = by_slabs(witnesses.part(number), witnesses.reach, arrays, found)
    trust = by_slabs(witnesses.product, witnesses.reach, arrays, spread.levels)
    return Trust(grid, trust, parts, facts)


def _whole(sections: Iterator[np.ndarray]) -> np.ndarray:
    return np.concatenate([part.copy() for part in sections])


def _half_map_support(first: np.ndarray, second: np.ndarray, sigma: float) -> np.ndarray:
    """Return what the mean of two halves is worth, in 255ths: 2c / (1 + c)."""
    found = local_correlation(first, second, sigma)
    np.maximum(found, 0, out=found)
    return in_bytes(2 * found / (1 + found))


def in_bytes(shares: np.ndarray) -> np.ndarray:
    """Return shares 0..1 as 255ths."""
    return np.rint(shares * np.float32(FULL)).astype(np.uint8)


class Spread:
    """The variance over passes per voxel, in one byte on a logarithmic scale.

    Parameters
    ----------
    shape : (nz, ny, nx)
    unit : float
        A variance of the order of what is expected; 0 counts as 1.
    """

    def __init__(self, shape: tuple[int, int, int], unit: float):
        self.levels = np.zeros(shape, dtype=np.uint8)
        self.unit = unit or 1.0
        exponent = (np.arange(FULL + 1) - MIDDLE) / STEPS
        self.table = (self.unit * 2.0**exponent).astype(np.float32)
        self.table[0] = 0

    def add(self, sections: Iterator[np.ndarray], other: np.ndarray, factor: float) -> None:
        """Add `factor` times the squared difference to another array, section by section."""
        for held, a, b in zip(self.levels, sections, other, strict=True):
            total = self.table[held] + np.float32(factor) * np.square(a - b)
            with np.errstate(divide="ignore"):
                level = MIDDLE + STEPS * np.log2(total / np.float32(self.unit))
            held[:] = np.rint(np.clip(level, 0, FULL))

    def variance(self, levels: np.ndarray) -> np.ndarray:
        """Return the variance that levels stand for, float32; rounded by 4 %."""
        return self.table[levels]


class Witnesses:
    """The parts of trust for blocks of density, prediction, spread and, if given, half maps.

    Parameters
    ----------
    spacing : float, angstrom
    limit : float, angstrom
    moments : overall mean and variance of density and prediction
    spread : Spread
    """

    def __init__(self, spacing: float, limit: float, moments: list[Moments], spread: Spread):
        self.moments, self.spread = moments, spread
        self.near = NEIGHBOURHOOD / spacing
        self.window = WINDOW_SHARE * limit / spacing
        self.before = low_pass_sigma(limit, spacing)
        self.reach = max(reach(self.near), reach(self.window) + reach(self.before))

    def agreement(self, density, prediction, *others) -> np.ndarray:
        """Local correlation with the input up to a resolution, negative values as 0."""
        if not all(variance > 0 for _, variance in self.moments):
            return np.zeros(density.shape, dtype=np.float32)
        pair = density, prediction
        found = correlation_within(pair, self.moments, self.window, self.before)
        return np.maximum(found, 0, out=found)

    def steadiness(self, density, prediction, levels, *others) -> np.ndarray:
        """1 where passes agree, falling with their variance over the local one."""
        mean, overall = self.moments[1]
        centred = prediction - np.float32(mean)
        local = smooth(np.square(centred), self.near)
        local -= np.square(smooth(centred, self.near))
        np.maximum(local, 0, out=local)
        unsteady = smooth(self.spread.variance(levels), self.near)
        unsteady += local
        unsteady += np.float32(VARIANCE_FLOOR * overall)
        return np.divide(local, unsteady, out=np.zeros_like(local), where=unsteady > 0)

    def _shares(self, *arrays: np.ndarray) -> Iterator[np.ndarray]:
        yield self.agreement(*arrays)
        yield self.steadiness(*arrays)
        for support in arrays[3:]:
            yield support * np.float32(1 / FULL)

    def part(self, number: int) -> Callable[..., np.ndarray]:
        """Return the function of one part in 255ths."""
        return lambda *arrays: in_bytes(list(self._shares(*arrays))[number])

    def product(self, *arrays: np.ndarray) -> np.ndarray:
        """Return the product of all parts in 255ths."""
        first, *others = self._shares(*arrays)
        for share in others:
            first *= share
        return in_bytes(first)


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
        return map_coordinates(values, at, np.float32, order=1, mode="nearest") / FULL

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
