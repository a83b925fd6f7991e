"""Stage degrade: simulated entries from atomic models, marked as such, for training alone.

An entry is one draw of one model. It leaves what the stages fetch and simulate, or fetch and
labels, leave of a measured entry, so that the stage shards needs to know nothing; but its target
and its labels are the truth that the map was made from, and its name begins with SIM.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from cryoclarity.boxes.leaks import EntryFacts, compute_groups
from cryoclarity.boxes.sequences import chain_sequences
from cryoclarity.degrade.improvement import simulate_pair
from cryoclarity.degrade.parameters import (
    IMPROVEMENT_BOX,
    RESOLUTION_BOX,
    ImprovementRanges,
    ResolutionRanges,
)
from cryoclarity.degrade.placement import Placed, place, seed_of
from cryoclarity.degrade.resolution import simulate_map
from cryoclarity.errors import ConfigError, InputError, IntegrityError
from cryoclarity.grid import Grid, Volume
from cryoclarity.io.files import sha256_of, write_json
from cryoclarity.io.maps import write_map
from cryoclarity.io.model import read_atoms, write_mmcif
from cryoclarity.io.tables import write_table
from cryoclarity.labels.resmap import LABELLED, OUTSIDE
from cryoclarity.provenance import sidecar
from cryoclarity.stages.batch import EntryJob
from cryoclarity.stages.common import HALF_MAPS, MAP, MODELS
from cryoclarity.targets.resolution import target_atoms

LOGGER = logging.getLogger(__name__)
TASKS = ("enhance", "resolution")
RANGES = ("measured", "wide")
TABLE_COLUMNS = (
    "emdb_id", "pdb_id", "split", "weight", "group", "source", "model", "model_sha256", "draw",
)  # fmt: skip
SOURCE = "simulated"
SUFFIXES = (".cif.gz", ".pdb.gz", ".ent.gz", ".cif", ".pdb", ".ent")
FEWEST_ATOMS_PER_RESIDUE = 4.0  # below: traces of C-alpha or of phosphorus
FEWEST_ATOMS = 300


@dataclass(frozen=True)
class DegradeSettings:
    """What is made of a model.

    Attributes
    ----------
    task : 'enhance' or 'resolution'
    seed : int
    draw : int
        Odd draws of `resolution` are masked maps, even ones keep the noise of the solvent.
    ranges : 'measured' or 'wide'
    resolution : float or None, angstrom
        Of `enhance`; drawn when None.
    """

    task: str
    seed: int = 1
    draw: int = 0
    ranges: str = "measured"
    resolution: float | None = None

    def __post_init__(self) -> None:
        if self.task not in TASKS:
            raise ConfigError(f"task {self.task!r} is none of {', '.join(TASKS)}")
        if self.ranges not in RANGES:
            raise ConfigError(f"ranges {self.ranges!r} is none of {', '.join(RANGES)}")
        if self.seed < 0 or self.draw < 0:
            raise ConfigError(f"seed {self.seed} and draw {self.draw} must not be negative")
        if self.resolution is not None and not 1.5 <= self.resolution <= 9.0:
            raise ConfigError(f"resolution is {self.resolution:g} A, must be within 1.5 and 9")


def run_files(
    model: str | Path, out: str | Path, settings: DegradeSettings, name: str = ""
) -> dict[str, object]:
    """Simulate one draw of a model into a folder.

    Writes ``map.map.gz`` and ``model.cif.gz``; for `enhance` ``target.mrc`` and its record; for
    `resolution` both half maps, ``local_resolution.mrc``, its codes and its record.

    Parameters
    ----------
    model : path
    out : path
        Folder.
    settings : DegradeSettings
    name : str
        Of the model, part of the seed; its file's stem when empty.

    Returns
    -------
    dict
        The record.

    Raises
    ------
    InputError
        FILE_*, MOD_*.
    """
    model, out = Path(model), Path(out)
    out.mkdir(parents=True, exist_ok=True)
    name = name or model_name(model)
    seed = seed_of(settings.seed, name, settings.draw)
    box = IMPROVEMENT_BOX if settings.task == "enhance" else RESOLUTION_BOX
    placed = place(read_atoms(model), np.random.default_rng([*seed, 1]), box)
    make = _write_pair if settings.task == "enhance" else _write_map
    facts = make(out, placed, seed, settings)
    write_mmcif(out / MODELS[0], placed.whole, name.upper())
    record = sidecar("degrade", asdict(settings) | {"name": name}, {"model": model})
    record |= {"source": SOURCE, "engine": "truth", "voxel_size": placed.voxel_size} | facts
    stem = "target" if settings.task == "enhance" else "local_resolution"
    write_json(out / f"{stem}.json", record)
    return record


def run_entry(job: EntryJob) -> dict[str, object]:
    """Simulate one row of a table of simulated entries.

    Raises
    ------
    IntegrityError
        FILE_CHANGED when the model is not the one that the table was made from.
    """
    row, model = job.row, Path(job.row["model"])
    if not model.is_file():
        raise InputError("not there", code="FILE_MISSING", file=model)
    digest = sha256_of(model)
    if row["model_sha256"] and digest != row["model_sha256"]:
        raise IntegrityError(
            f"sha256 is {digest}, the table of simulated entries says {row['model_sha256']}",
            code="FILE_CHANGED",
            file=model,
            remedy="make the table again",
        )
    settings = DegradeSettings(
        task=job.spec["task"],
        seed=int(job.spec["seed"]),
        draw=int(row["draw"]),
        ranges=job.spec["ranges"],
    )
    record = run_files(model, job.folder, settings)
    return {"source": SOURCE, "median": record["median"]}


def make_table(
    models: Sequence[Path],
    out: str | Path,
    *,
    draws: int,
    seed: int,
    shares: tuple[float, float],
    weight: float = 1.0,
    measured: Sequence[EntryFacts] = (),
) -> list[dict[str, object]]:
    """Write a table of simulated entries, in which kin share a group and a split.

    Parameters
    ----------
    models : paths
        Traces and small models are left out, with a word in the log.
    out : path
    draws : int
        Per model.
    seed : int
        Of the split.
    shares : (val, test)
        Of the groups; a group with a measured entry goes where that is.
    weight : float
        Of each entry in training.
    measured : facts of the entries of the real data set
        Simulated kin of entries in several splits are left out.

    Returns
    -------
    list of dict
        The rows.
    """
    if draws < 1 or min(shares) < 0 or sum(shares) >= 1:
        raise ConfigError(f"draws {draws} must be positive, shares {shares} leave room for train")
    facts = {path: found for path in sorted(models) if (found := _facts_of(path)) is not None}
    groups = compute_groups([*facts.values(), *measured])
    splits: dict[str, set[str]] = {}
    names: dict[str, str] = {}
    for entry in measured:
        splits.setdefault(groups[entry.emdb_id], set()).update({entry.split} - {""})
        names[groups[entry.emdb_id]] = entry.group or entry.emdb_id
    rows = []
    for path, entry in facts.items():
        group = groups[entry.emdb_id]
        known = splits.get(group, set())
        if len(known) > 1:
            LOGGER.warning("%s left out: kin of entries in %s", path.name, sorted(known))
            continue
        split = next(iter(known)) if known else _split(group, seed, shares)
        group = names.get(group, group)
        for draw in range(draws):
            values = (f"{entry.emdb_id}-{draw:03d}", entry.pdb_id, split, f"{weight:g}", group,
                      SOURCE, path.as_posix(), sha256_of(path), draw)  # fmt: skip
            rows.append(dict(zip(TABLE_COLUMNS, values, strict=True)))
    write_table(out, rows, TABLE_COLUMNS)
    return rows


def model_name(path: Path) -> str:
    """Return a model's file name without its suffixes."""
    for suffix in SUFFIXES:
        if path.name.endswith(suffix):
            return path.name.removesuffix(suffix)
    return path.stem


def models_below(folder: Path) -> list[Path]:
    """Return the models of a folder, sorted."""
    return sorted(path for path in folder.iterdir() if path.name.endswith(SUFFIXES))


def _facts_of(path: Path) -> EntryFacts | None:
    """Name and sequences of a model, None when nothing can be simulated from it."""
    atoms = target_atoms(read_atoms(path))
    polymer = atoms.take(np.isin(atoms.kind, ("protein", "nucleic")))
    residues = len(np.unique(polymer.residue_index))
    if len(polymer) < max(FEWEST_ATOMS, FEWEST_ATOMS_PER_RESIDUE * residues):
        LOGGER.warning("%s left out: %d atoms, %d residues", path.name, len(polymer), residues)
        return None
    name = model_name(path)
    sequences = tuple(chain_sequences(atoms))
    return EntryFacts(f"SIM-{name}", pdb_id=name.lower(), sequences=sequences)


def _split(group: str, seed: int, shares: tuple[float, float]) -> str:
    """Split of a group by a hash: new groups move no old one."""
    digest = hashlib.sha256(f"{seed} {group}".encode()).digest()
    place = int.from_bytes(digest[:8], "little") / 2**64
    if place < shares[0]:
        return "val"
    return "test" if place < sum(shares) else "train"


def _write_pair(
    out: Path, placed: Placed, seed: list[int], settings: DegradeSettings
) -> Mapping[str, object]:
    ranges = ImprovementRanges.wide() if settings.ranges == "wide" else ImprovementRanges()
    pair = simulate_pair(placed, seed, resolution=settings.resolution, ranges=ranges)
    grid = Grid(placed.shape, (placed.voxel_size,) * 3)
    write_map(out / MAP, Volume(pair.map.astype(np.float32), grid))
    write_map(out / "target.mrc", Volume(pair.target.astype(np.float32), grid))
    inside = pair.local_resolution[pair.mask]
    return {"drawn": asdict(pair.drawn), "median": float(np.median(inside))}


def _write_map(
    out: Path, placed: Placed, seed: list[int], settings: DegradeSettings
) -> Mapping[str, object]:
    ranges = ResolutionRanges.wide() if settings.ranges == "wide" else ResolutionRanges()
    made = simulate_map(placed, seed, ranges=ranges)
    grid = Grid(placed.shape, (placed.voxel_size,) * 3)
    masked = settings.draw % 2 == 1
    files = {
        MAP: made.masked_map if masked else made.map,
        HALF_MAPS[0]: made.half_map_1,
        HALF_MAPS[1]: made.half_map_2,
        "local_resolution.mrc": made.truth,
        "local_resolution.codes.mrc": np.where(made.mask, LABELLED, OUTSIDE),
    }
    for name, values in files.items():
        write_map(out / name, Volume(values.astype(np.float32), grid))
    labels = made.truth[made.mask]
    return {
        "drawn": asdict(made.drawn),
        "masked": masked,
        "labelled_voxels": int(labels.size),
        "median": float(np.median(labels)),
    }
