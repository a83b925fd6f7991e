"""Stage simulate: the target map, one Gaussian per atom at the atom's own resolution."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from cryoclarity.errors import ConfigError, InputError
from cryoclarity.grid import Grid, Volume
from cryoclarity.io.atoms import Atoms
from cryoclarity.io.files import write_json
from cryoclarity.io.map_header import MAX_VOXELS
from cryoclarity.io.maps import read_header, write_map
from cryoclarity.io.model import read_atoms
from cryoclarity.model.density import GAUSSIAN_CUTOFF, atoms_reaching, gaussian_density
from cryoclarity.provenance import sidecar
from cryoclarity.stages.batch import EntryJob
from cryoclarity.stages.common import fetched, record_path, stated_resolution
from cryoclarity.stages.score_table import MAX_MISSING_FRACTION, ScoreTable, join, read_scores
from cryoclarity.targets.kernels import KERNELS, kernel_width
from cryoclarity.targets.q_laws import MAPPINGS, RESOLUTION_RANGE
from cryoclarity.targets.resolution import (
    REPORTED_FACTORS,
    WINSOR_PERCENTILES,
    AtomResolution,
    ResolutionSettings,
    atom_resolution,
    target_atoms,
)
from cryoclarity.targets.smoothing import SMOOTHINGS, fill_missing, residues_of

TARGET = "target.mrc"
QUANTILES = (0.0, 0.25, 0.5, 0.75, 1.0)


@dataclass(frozen=True)
class SimulationSettings:
    """What a target depends on besides its inputs.

    Attributes
    ----------
    grid : 'map' or a voxel size in angstrom
    kernel : 'dimaio' or 'molmap'
    q_map : 'cubic', 'linear-kind' or 'matched'
    smooth : 'half', 'atom', 'residue', 'group' or 'window5'
    resolution : float or None, angstrom
        As stated for the map.
    sigma : float or None
        Demanded of the Q-scores; None takes what the table says.
    waters : bool
        Keep waters where the resolution is 2.5 A or better.
    """

    grid: str | float = "map"
    kernel: str = "dimaio"
    q_map: str = "cubic"
    smooth: str = "half"
    resolution: float | None = None
    sigma: float | None = None
    waters: bool = False

    def __post_init__(self) -> None:
        known = {"kernel": tuple(KERNELS), "q_map": MAPPINGS, "smooth": SMOOTHINGS}
        for name, values in known.items():
            if getattr(self, name) not in values:
                raise ConfigError(f"{name} is {getattr(self, name)!r}, not one of {values}")
        if self.grid != "map" and not (math.isfinite(self.grid) and self.grid > 0):
            raise ConfigError(f"grid spacing is {self.grid}, must be positive")
        if self.resolution is not None and not (
            math.isfinite(self.resolution) and self.resolution > 0
        ):
            raise ConfigError(f"resolution is {self.resolution} A, must be positive")


def run_files(
    map_path: str | Path,
    model_path: str | Path,
    scores_path: str | Path,
    out: str | Path,
    settings: SimulationSettings,
    *,
    voxel_size: float | None = None,
    canonical: bool = False,
) -> dict[str, float | int]:
    """Simulate a target and write it with its record ``<stem of out>.json``.

    Parameters
    ----------
    map_path : path
        Gives the grid; its values are not read.
    model_path, scores_path, out : path
    settings : SimulationSettings
    voxel_size : float, optional
        Angstrom; replaces that of the map's header, also where its cell is zero.
    canonical : bool
        The target gives its position by NSTART alone where that can say it.

    Returns
    -------
    dict
        ``atoms``, ``atoms_missing``, ``resolution_median``, ``target_maximum``.

    Raises
    ------
    InputError
        FILE_*, HDR_*, MOD_*, SIM_SIGMA, SIM_KEYS or SIM_OUTSIDE.
    """
    size = None if voxel_size is None else (voxel_size,) * 3
    header = read_header(map_path, voxel_size=size)
    grid = output_grid(header.grid, settings.grid)
    table = read_scores(scores_path, settings.sigma)
    model = read_atoms(model_path)
    atoms = target_atoms(model, waters=settings.waters, reported=settings.resolution)
    if not len(atoms):
        raise InputError("no atom takes part in a target", code="MOD_NO_ATOMS", file=model_path)
    scores = join(atoms, table, scores_path)
    per_atom = resolutions(atoms, scores, table, settings, header.grid)
    width = kernel_width(per_atom.resolution, settings.kernel)
    weight = atoms.atomic_number * atoms.occupancy
    reaching = int(atoms_reaching(atoms.xyz, weight, width, grid, GAUSSIAN_CUTOFF).sum())
    if not reaching:
        raise InputError(
            f"no atom of {Path(model_path).name} reaches the box at {grid.origin} A",
            code="SIM_OUTSIDE",
            file=map_path,
            remedy="give the model that was built into this map",
        )
    density = gaussian_density(atoms.xyz, weight, width, grid)
    facts = {
        "atoms": len(atoms),
        "atoms_missing": int(np.isnan(scores).sum()),
        "atoms_reaching": reaching,
        "resolution_median": round(float(np.median(per_atom.resolution)), 4),
        "target_maximum": float(density.max()),
    }
    inputs = {"map": map_path, "model": model_path, "qscores": scores_path}
    record = sidecar("simulate", parameters(settings, table), inputs)
    record["outcome"] = _outcome(per_atom, len(model), facts)
    target = Volume(density, grid, header if settings.grid == "map" else None)
    write_map(out, target, canonical=canonical)
    write_json(record_path(out), record)
    return facts


def run_entry(job: EntryJob) -> dict[str, float | int]:
    """Simulate one entry's target on its map's grid: ``target.mrc`` and ``target.json``."""
    files = fetched(job)
    settings = SimulationSettings(
        kernel=job.spec.get("kernel", "dimaio"),
        q_map=job.spec.get("q_map", "cubic"),
        smooth=job.spec.get("smooth", "half"),
        sigma=job.spec.get("sigma"),
        waters=job.spec.get("waters", False),
        resolution=stated_resolution(job.row),
    )
    scores = job.upstream["qscore"].folder / "qscores.tsv.gz"
    return run_files(files.map, files.require_model(), scores, job.folder / TARGET, settings)


def output_grid(grid: Grid, spacing: str | float) -> Grid:
    """Return the map's grid, or one of another spacing from the same origin within its hull."""
    if spacing == "map":
        return grid
    # The grain absorbs the float32 rounding of header words: 1.0000001 x 99 must give 100 points.
    shape = tuple(
        math.floor(v * (n - 1) / spacing + 1e-4) + 1
        for n, v in zip(grid.shape, grid.voxel_size_zyx, strict=True)
    )
    if math.prod(shape) > MAX_VOXELS:
        raise ConfigError(f"a grid of {spacing} A has {shape} voxels, more than {MAX_VOXELS}")
    return Grid(shape, (spacing,) * 3, grid.origin)


def resolutions(
    atoms: Atoms,
    values: np.ndarray,
    table: ScoreTable,
    settings: SimulationSettings,
    map_grid: Grid,
) -> AtomResolution:
    """Return one resolution per atom: as given by the table, or by the law from its Q-scores."""
    if table.given:
        filled, counts = fill_missing(values, residues_of(atoms))
        return AtomResolution(filled, counts)
    return atom_resolution(
        atoms,
        values,
        ResolutionSettings(
            sigma=table.sigma,
            mapping=settings.q_map,
            smoothing=settings.smooth,
            kernel=settings.kernel,
            voxel_size=math.prod(map_grid.voxel_size) ** (1.0 / 3.0),
            reported=settings.resolution,
        ),
    )


def parameters(settings: SimulationSettings, table: ScoreTable) -> dict[str, object]:
    """Return every setting that the target depends on."""
    values: dict[str, object] = asdict(settings) | {
        "sigma": table.sigma,
        "weight": "atomic number x occupancy",
        "cutoff": GAUSSIAN_CUTOFF,
        "resolution_source": "resolution_A" if table.given else "Q",
    }
    if table.given:
        # Neither law nor smoothing took part.
        return values | {"q_map": None, "smooth": None}
    return values | {
        "clip_A": list(RESOLUTION_RANGE),
        "winsor_percentiles": list(WINSOR_PERCENTILES),
        "reported_factors": list(REPORTED_FACTORS),
        "max_missing_fraction": MAX_MISSING_FRACTION,
    }


def _outcome(per_atom: AtomResolution, in_model: int, facts: Mapping) -> dict[str, object]:
    quantiles = np.quantile(per_atom.resolution, QUANTILES)
    return {
        **facts,
        "atoms_in_model": in_model,
        "filled": per_atom.counts,
        "resolution_quantiles": [round(float(q), 4) for q in quantiles],
        "residues_without_density": per_atom.weak_residues,
    }
