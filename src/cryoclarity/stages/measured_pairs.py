"""Measured maps with their targets, ready to train and to test an improvement network."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cryoclarity.archive.paths import map_path, model_paths
from cryoclarity.boxes.leaks import EntryFacts, compute_groups
from cryoclarity.boxes.sequences import chain_sequences
from cryoclarity.density.normalise import percentile_scale, scale_to_unit
from cryoclarity.density.resample import network_grid, resample
from cryoclarity.errors import InputError
from cryoclarity.evaluate.correlation import pearson
from cryoclarity.evaluate.fsc import transform
from cryoclarity.evaluate.reference import ModelReference
from cryoclarity.grid import Grid, Volume
from cryoclarity.io.atoms import Atoms
from cryoclarity.io.maps import read_map
from cryoclarity.io.model import read_atoms
from cryoclarity.io.tables import read_table
from cryoclarity.stages.qscore import run_files as score
from cryoclarity.stages.simulate import SimulationSettings
from cryoclarity.stages.simulate import run_files as simulate
from cryoclarity.targets.resolution import target_atoms

LOGGER = logging.getLogger(__name__)
SPACING = 1.0


@dataclass(frozen=True)
class MeasuredMap:
    """A measured pair with all that judges it.

    Attributes
    ----------
    name : str
    fold : int
    volume : Volume, as read
    atoms : Atoms
    grid : Grid of the network
    pair : Pair on that grid
    reference : ModelReference on the map's grid
    """

    name: str
    fold: int
    volume: Volume
    atoms: Atoms
    grid: Grid
    pair: object
    reference: ModelReference

    def gains(self, network, strengths: Sequence[float]) -> list[float]:
        """Gain over the clip, CC_mask plus mean masked FSC, of a network at several strengths.

        The network runs once, on the molecule with a margin. A loss of CC_mask counts twice.

        Parameters
        ----------
        network : with a method ``residual``
        strengths : factors of the residual
        """
        from cryoclarity.train.refine import residual_of

        given = self.pair.input
        residual = residual_of(network, given, self.pair.target)
        before = self._score(given)
        gains = []
        for strength in strengths:
            after = self._score(np.maximum(given + np.float32(strength) * residual, 0.0))
            change = after[0] - before[0]
            gains.append(change + min(change, 0.0) + after[1] - before[1])
        return gains

    def _score(self, values: np.ndarray) -> tuple[float, float]:
        density = resample(values, self.grid, self.volume.grid)
        known = self.reference
        curve = known.shells.correlate(transform(density * known.soft_mask), known.masked_transform)
        inside = pearson(density[known.inside], known.model_density[known.inside])
        return inside, curve.mean_up_to(known.resolution)


def measured_maps(
    entries: Path, archive: Path, out: Path, folds: int, seed: int
) -> list[MeasuredMap]:
    """Make targets of measured maps from their models' Q-scores, and spread kin over folds.

    Parameters
    ----------
    entries : table with the columns emdb_id, pdb_id, resolution
    archive : folder laid out as the public archives
    out : folder
        ``<entry>/qscores.tsv.gz`` and ``<entry>/target.mrc``; made once.
    folds : number of folds
    seed : of the order of the groups

    Raises
    ------
    InputError
        FILE_MISSING; TRAIN_NO_DATA for fewer groups than folds.
    """
    rows = read_table(entries)
    models = {row["emdb_id"]: _model(archive, row["pdb_id"]) for row in rows}
    atoms = {name: read_atoms(path) for name, path in models.items()}
    chosen = fold_of([facts_of(name, found) for name, found in atoms.items()], folds, seed)
    return [
        _measured(row, archive, models[row["emdb_id"]], atoms, chosen[row["emdb_id"]], out)
        for row in rows
    ]


def facts_of(name: str, atoms: Atoms, split: str = "") -> EntryFacts:
    """Return what decides whether two maps are akin."""
    return EntryFacts(name, split=split, sequences=tuple(chain_sequences(target_atoms(atoms))))


def fold_of(facts: Sequence[EntryFacts], folds: int, seed: int) -> dict[str, int]:
    """Return the fold of each entry: kin together, folds of nearly equal size.

    Raises
    ------
    InputError
        TRAIN_NO_DATA for fewer groups than folds.
    """
    members: dict[str, list[str]] = {}
    for name, group in sorted(compute_groups(facts).items()):
        members.setdefault(group, []).append(name)
    if len(members) < folds:
        raise InputError(
            f"{len(members)} groups of kin, {folds} folds",
            code="TRAIN_NO_DATA",
            remedy="add entries, or ask for fewer folds",
        )
    sizes, chosen = [0] * folds, {}
    for group in np.random.default_rng(seed).permutation(sorted(members)).tolist():
        fold = sizes.index(min(sizes))
        sizes[fold] += len(members[group])
        chosen |= dict.fromkeys(members[group], fold)
    return chosen


def _model(archive: Path, pdb_id: str) -> Path:
    for name in model_paths(pdb_id):
        if (archive / name).is_file():
            return archive / name
    raise InputError(f"no model {pdb_id}", code="FILE_MISSING", file=archive)


def _measured(
    row: dict[str, str], archive: Path, model: Path, atoms: dict, fold: int, out: Path
) -> MeasuredMap:
    from cryoclarity.train.pairs import Pair

    name, resolution = row["emdb_id"], float(row["resolution"])
    source, folder = archive / map_path(name), out / name
    folder.mkdir(parents=True, exist_ok=True)
    scores, target_file = folder / "qscores.tsv.gz", folder / "target.mrc"
    if not scores.exists():
        score(source, model, scores)
    if not target_file.exists():
        simulate(source, model, scores, target_file, SimulationSettings(resolution=resolution))
    volume = read_map(source)
    grid = network_grid(volume.grid, SPACING)
    given, target = (
        _unit(resample(density, volume.grid, grid), name)
        for density in (volume.density, read_map(target_file).density)
    )
    reference = ModelReference.of_model(atoms[name], volume.grid, resolution)
    LOGGER.info("%s: fold %d, %s voxels", name, fold, given.shape)
    pair = Pair.scaled(name, given, target, resolution)
    return MeasuredMap(name, fold, volume, atoms[name], grid, pair, reference)


def _unit(density: np.ndarray, name: str) -> np.ndarray:
    scale = percentile_scale(density)
    if scale is None:
        raise InputError(f"{name} has no positive density", code="PRED_NO_SIGNAL")
    return scale_to_unit(density, scale)
