"""Stage shards: paired training boxes of one entry, cut from volumes on a network's grid."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np

from cryoclarity.boxes.cutting import BoxStack, Start, padded_share
from cryoclarity.boxes.label_grid import LABELLED, labels_on_grid, largest_label
from cryoclarity.boxes.selection import Coverage, Selection, select_by_labels, select_by_target
from cryoclarity.boxes.tiling import box_starts
from cryoclarity.density.bands import band_map, feature_grid, molecule_mask
from cryoclarity.density.masks import automatic_mask, zone_mask
from cryoclarity.density.normalise import (
    PERCENTILE,
    SOLVENT_CLIP,
    masked_deviation,
    percentile_scale,
    scale_to_unit,
    solvent_standardise,
    solvent_statistics,
)
from cryoclarity.density.resample import (
    FINE_VOXEL,
    network_grid,
    resample,
    wants_fine_network,
)
from cryoclarity.errors import ConfigError, InputError
from cryoclarity.grid import Grid, Volume
from cryoclarity.io.atoms import Atoms
from cryoclarity.io.files import read_json, write_json
from cryoclarity.io.maps import read_map
from cryoclarity.io.model import read_atoms
from cryoclarity.io.shards import BoxArray, write_map_shard, write_shard
from cryoclarity.provenance import sidecar
from cryoclarity.stages.batch import EntryJob, Skip
from cryoclarity.stages.common import fetched, record_path

LOGGER = logging.getLogger(__name__)
VOXELS, BANDS = "voxels", "bands"
SPACING = {"enhance_1.0": 1.0, "enhance_0.5": 0.5, "resolution_1.0": 1.0}
DEFAULT_BOX = {"enhance": (60, 30), "resolution": (16, 16), BANDS: (16, 4)}
COVERAGE_RADIUS = 4.0  # angstrom around an atom
IDENTITY = ("emdb_id", "pdb_id", "split", "group")
ORIGIN = ("source", "engine")


@dataclass(frozen=True)
class ShardSettings:
    """How boxes are cut and which are kept.

    Attributes
    ----------
    dataset : 'enhance_1.0', 'enhance_0.5' or 'resolution_1.0'
    box_size, stride : int, voxels of the network's grid (of the 2 A grid for bands); 0 takes the
        default of the data set
    min_target_share : least share of voxels with a target above 0.05
    min_labelled_share : least share of labelled voxels
    min_coverage : least share of a box's density above the contour level that lies within 4 A
        of the model; without a contour level and a model nothing is dropped for it
    layout : 'voxels' of the map, or 'bands' of local power on a 2 A grid (resolution only)
    """

    dataset: str
    box_size: int = 0
    stride: int = 0
    min_target_share: float = 0.005
    min_labelled_share: float = 0.1
    min_coverage: float = 0.3
    layout: str = VOXELS

    def __post_init__(self) -> None:
        if self.dataset not in SPACING:
            raise ConfigError(f"dataset {self.dataset!r} is none of {', '.join(SPACING)}")
        if self.layout not in (VOXELS, BANDS) or (self.layout, self.task) == (BANDS, "enhance"):
            raise ConfigError(f"layout {self.layout!r} does not suit {self.dataset}")
        box, stride = DEFAULT_BOX[BANDS if self.layout == BANDS else self.task]
        object.__setattr__(self, "box_size", self.box_size or box)
        object.__setattr__(self, "stride", self.stride or stride)
        if self.box_size < 1 or self.stride < 1:
            raise ConfigError(f"box {self.box_size} and stride {self.stride} must be positive")
        for name in ("min_target_share", "min_labelled_share", "min_coverage"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"{name} is {getattr(self, name)}, must be within 0 and 1")

    @property
    def task(self) -> str:
        """'enhance' or 'resolution'."""
        return self.dataset.split("_")[0]


@dataclass(frozen=True)
class ShardInputs:
    """Files of one entry: the map, and what its task needs.

    Attributes
    ----------
    map : path
    target : path, enhance
    model : path, enhance, optional; with `contour` it allows the rule on coverage
    labels, codes : paths, resolution
    record : path of the JSON beside target or labels, optional
    contour : float or None
        Contour level in the units of the map.
    """

    map: Path
    target: Path | None = None
    model: Path | None = None
    labels: Path | None = None
    codes: Path | None = None
    record: Path | None = None
    contour: float | None = None

    def files(self) -> dict[str, Path]:
        """The files by role; the record counts only where it exists."""
        named = {role: path for role, path in vars(self).items() if role != "contour"}
        if named["record"] is not None and not named["record"].is_file():
            named["record"] = None
        return {role: path for role, path in named.items() if path is not None}


@dataclass(frozen=True)
class _Boxes:
    """What is written: volumes on the network's grid, boxes kept, and how values were scaled."""

    grid: Grid
    volumes: dict[str, tuple[np.ndarray, type]]
    selection: Selection
    normalisation: dict[str, object] = field(default_factory=dict)


def run_files(
    inputs: ShardInputs,
    out: str | Path,
    settings: ShardSettings,
    identity: Mapping[str, str] | None = None,
) -> dict[str, object]:
    """Cut the boxes of one entry and write them with their record ``<stem of out>.json``.

    Parameters
    ----------
    inputs : ShardInputs
    out : path of the HDF5 file
    settings : ShardSettings
    identity : mapping
        `IDENTITY`, kept as attributes; missing ones are empty.

    Returns
    -------
    dict
        ``boxes``, ``sha256``, ``considered``, ``dropped``.

    Raises
    ------
    InputError
        FILE_*, HDR_*, VAL_*, MOD_*, or SHARD_EMPTY when no box passes the rules.
    """
    out = Path(out)
    volume = read_map(inputs.map)
    grid = network_grid(volume.grid, SPACING[settings.dataset])
    boxes = _preparation(settings)(volume, grid, inputs, settings)
    selection = boxes.selection
    _require_boxes(selection, inputs.map)
    known = dict(identity or {})
    identity = {name: known.get(name, "") for name in IDENTITY} | _origin(inputs.record)
    record = sidecar("shards", asdict(settings) | {"contour": inputs.contour}, inputs.files())
    attributes = _attributes(boxes, settings, record) | identity
    if settings.layout == BANDS:
        digest = write_map_shard(out, _whole_maps(boxes, settings.box_size), attributes)
    else:
        digest = write_shard(out, _arrays(boxes, settings.box_size), attributes)
    facts = {
        "boxes": len(selection.starts),
        "sha256": digest,
        "considered": selection.considered,
        "dropped": selection.dropped,
    }
    padded = padded_share(boxes.grid.shape, selection.starts, settings.box_size)
    write_json(
        record_path(out),
        record
        | identity
        | facts
        | {
            "dataset": settings.dataset,
            "file": out.name,
            "grid_shape": list(boxes.grid.shape),
            "normalisation": boxes.normalisation,
            "padded_share": float(padded.mean()),
        },
    )
    return facts


def _origin(record: Path | None) -> dict[str, str]:
    """How labels or target came about: half maps, map or simulated, and by which engine."""
    facts = read_json(record) if record is not None and record.is_file() else {}
    return {name: str(facts.get(name, "")) for name in ORIGIN}


def _preparation(settings: ShardSettings) -> Callable[..., _Boxes]:
    if settings.layout == BANDS:
        return _band_boxes
    return _enhance_boxes if settings.task == "enhance" else _resolution_boxes


def _require_boxes(selection: Selection, path: Path) -> None:
    if selection.starts:
        return
    reasons = ", ".join(f"{name} {count}" for name, count in selection.dropped.items())
    raise InputError(
        f"0 of {selection.considered} boxes kept ({reasons})",
        code="SHARD_EMPTY",
        file=path,
        remedy="lower the least shares, or leave the entry out",
    )


def run_entry(job: EntryJob) -> dict[str, object]:
    """Cut the boxes of one entry: ``<dataset>.h5`` and ``<dataset>.json``.

    Raises
    ------
    Skip
        SEL_F09_VOXEL for the 0.5 A data set when the voxels are too coarse for it.
    """
    known = ShardSettings.__dataclass_fields__
    settings = ShardSettings(**{name: job.spec[name] for name in known if name in job.spec})
    files = fetched(job)
    if settings.dataset == "enhance_0.5":
        # By the rule of inference, so that no map trains a network that would not serve it.
        grid = read_map(files.map).grid
        if not wants_fine_network(grid):
            text = f"voxel {min(grid.voxel_size):.4g} A is not below {FINE_VOXEL} A"
            raise Skip(text, code="SEL_F09_VOXEL")
    if settings.task == "enhance":
        folder = job.upstream["simulate"].folder
        inputs = ShardInputs(
            files.map,
            target=folder / "target.mrc",
            record=folder / "target.json",
            model=files.model,
            contour=_number(job.row.get("contour", "")),
        )
    else:
        folder = job.upstream["labels"].folder
        inputs = ShardInputs(
            files.map,
            labels=folder / "local_resolution.mrc",
            codes=folder / "local_resolution.codes.mrc",
            record=folder / "local_resolution.json",
        )
    facts = run_files(inputs, job.folder / f"{settings.dataset}.h5", settings, job.row)
    return facts | {"dropped": json.dumps(facts["dropped"])}


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _enhance_boxes(
    volume: Volume, grid: Grid, inputs: ShardInputs, settings: ShardSettings
) -> _Boxes:
    target_volume = read_map(inputs.target)
    density = resample(volume.density, volume.grid, grid)
    target = resample(target_volume.density, target_volume.grid, grid)
    scale = _scale(density, inputs.map)
    target_scale = _scale(target, inputs.target)
    coverage = _coverage(density, grid, inputs, settings.min_coverage)
    target = scale_to_unit(target, target_scale)
    starts = list(box_starts(grid.shape, settings.box_size, settings.stride))
    selection = select_by_target(
        target, starts, settings.box_size, settings.min_target_share, coverage
    )
    normalisation = {
        "rule": "percentile",
        "percentile": PERCENTILE,
        "input_scale": scale,
        "target_scale": target_scale,
        "range": [0.0, 1.0],
    }
    volumes = {
        "input": (scale_to_unit(density, scale), np.float16),
        "target": (target, np.float16),
    }
    return _Boxes(grid, volumes, selection, normalisation)


def _scale(density: np.ndarray, path: Path) -> float:
    scale = percentile_scale(density)
    if scale is None:
        raise InputError(
            "0 boxes kept (no voxel is positive)",
            code="SHARD_EMPTY",
            file=path,
            remedy="invert the contrast of the map if the molecule is dark",
        )
    return scale


def _coverage(
    density: np.ndarray, grid: Grid, inputs: ShardInputs, minimum: float
) -> Coverage | None:
    """What the rule on unmodelled density needs, or None where there is no ground for it."""
    if inputs.model is None or inputs.contour is None or minimum <= 0:
        return None
    atoms = read_atoms(inputs.model).heavy()
    if inputs.record is not None and inputs.record.is_file():
        outcome = read_json(inputs.record).get("outcome", {})
        atoms = _shown_atoms(atoms, outcome.get("residues_without_density", []))
    return Coverage(density > inputs.contour, zone_mask(atoms.xyz, grid, COVERAGE_RADIUS), minimum)


def _shown_atoms(atoms: Atoms, weak: list[list[object]]) -> Atoms:
    """Leave out residues that the map does not show: the model explains nothing there."""
    named = {tuple(row) for row in weak}
    columns = (atoms.chain, atoms.residue_number, atoms.insertion_code, atoms.residue_name)
    rows = zip(*(column.tolist() for column in columns), strict=True)
    return atoms.take(np.array([row not in named for row in rows], dtype=bool))


def _resolution_boxes(
    volume: Volume, grid: Grid, inputs: ShardInputs, settings: ShardSettings
) -> _Boxes:
    values, mask, censored = _labels(inputs, grid)
    density = resample(volume.density, volume.grid, grid)
    inside = automatic_mask(density)
    median, deviation = solvent_statistics(density, inside)
    if not deviation > 0:
        raise _constant(inputs.map)
    starts = list(box_starts(grid.shape, settings.box_size, settings.stride))
    selection = select_by_labels(
        mask == LABELLED, starts, settings.box_size, settings.min_labelled_share
    )
    normalisation = {
        "rule": "solvent",
        "median_outside": median,
        "deviation_inside": deviation,
        "clip": list(SOLVENT_CLIP),
        "mask": "automatic",
        "mask_share": float(inside.mean()),
        "censored_level": censored,
    }
    volumes = {
        "input": (solvent_standardise(density, median, deviation), np.float16),
        "target": (values, np.float16),
        "mask": (mask, np.uint8),
    }
    return _Boxes(grid, volumes, selection, normalisation)


def _band_boxes(volume: Volume, grid: Grid, inputs: ShardInputs, settings: ShardSettings) -> _Boxes:
    """Band powers of the whole map, and labels of the voxels nearest to their grid."""
    density = resample(volume.density, volume.grid, grid)
    inside = molecule_mask(density)
    if not inside.any() or not masked_deviation(density, inside) > 0:
        raise _constant(inputs.map)
    found = band_map(density, inside)
    coarse = feature_grid(grid)
    values, mask, censored = _labels(inputs, coarse)
    volumes = {
        "input": (np.moveaxis(found.channels(), 0, -1), np.float16),
        "target": (values, np.float16),
        "mask": (mask, np.uint8),
    }
    # Boxes lie within the maps: a map smaller than a box is padded here, once.
    missing = [max(settings.box_size - n, 0) for n in coarse.shape]
    if any(missing):
        volumes = {name: (_padded(a, missing), dtype) for name, (a, dtype) in volumes.items()}
        coarse = replace(coarse, shape=volumes["mask"][0].shape)
    starts = list(box_starts(coarse.shape, settings.box_size, settings.stride))
    selection = select_by_labels(
        volumes["mask"][0] == LABELLED, starts, settings.box_size, settings.min_labelled_share
    )
    normalisation = {
        "rule": "solvent",
        "clip": list(SOLVENT_CLIP),
        "mask": "molecule",
        "mask_share": float(inside.mean()),
        "features": BANDS,
        "feature_spacing": coarse.voxel_size[0],
        "solvent_noise": found.solvent is not None,
        "censored_level": censored,
    }
    return _Boxes(coarse, volumes, selection, normalisation)


def _padded(array: np.ndarray, missing: list[int]) -> np.ndarray:
    edges = [(0, n) for n in missing] + [(0, 0)] * (array.ndim - 3)
    return np.pad(array, edges, mode="edge" if array.ndim == 4 else "constant")


def _constant(path: Path) -> InputError:
    return InputError(
        "0 boxes kept (the density inside the mask is constant)", code="SHARD_EMPTY", file=path
    )


def _labels(inputs: ShardInputs, grid: Grid) -> tuple[np.ndarray, np.ndarray, float]:
    """Labels, mask and censored level of an entry on a grid."""
    labels, codes = read_map(inputs.labels), read_map(inputs.codes)
    if not labels.grid.same_frame(codes.grid):
        raise InputError(
            f"codes are {codes.grid.shape} at {codes.grid.origin}, labels are "
            f"{labels.grid.shape} at {labels.grid.origin}",
            code="LABEL_HALVES_DIFFER",
            file=inputs.codes,
            remedy="give the codes that were written with the labels",
        )
    code_numbers = np.rint(codes.density).astype(np.uint8)
    censored = _censored_level(inputs.record, labels.density, code_numbers)
    values, mask = labels_on_grid(labels.density, code_numbers, labels.grid, grid, censored)
    return values, mask, censored


def _censored_level(record: Path | None, labels: np.ndarray, codes: np.ndarray) -> float:
    """Largest level that was tested; the largest label where no record tells."""
    levels = []
    if record is not None and record.is_file():
        levels = (read_json(record).get("detail") or {}).get("levels") or []
    if levels:
        return float(levels[-1]["resolution"])
    return largest_label(labels, codes)


def _arrays(boxes: _Boxes, side: int) -> dict[str, BoxArray]:
    starts: list[Start] = boxes.selection.starts
    stacks: dict[str, BoxArray] = {
        name: BoxStack(volume, starts, side, dtype)
        for name, (volume, dtype) in boxes.volumes.items()
    }
    return stacks | {
        "origin": np.array(starts, dtype=np.int32),
        "weight": boxes.selection.weight,
        "padded": padded_share(boxes.grid.shape, starts, side),
    }


def _whole_maps(boxes: _Boxes, side: int) -> dict[str, np.ndarray]:
    maps = {name: volume.astype(dtype) for name, (volume, dtype) in boxes.volumes.items()}
    starts = boxes.selection.starts
    return maps | {
        "origin": np.array(starts, dtype=np.int32),
        "weight": boxes.selection.weight,
        "padded": padded_share(boxes.grid.shape, starts, side),
    }


def _attributes(
    boxes: _Boxes, settings: ShardSettings, record: Mapping[str, object]
) -> dict[str, object]:
    return {
        "dataset": settings.dataset,
        "voxel_size": SPACING[settings.dataset],
        "box_size": settings.box_size,
        "stride": settings.stride,
        "grid_shape": boxes.grid.shape,
        "grid_origin": boxes.grid.origin,
        "normalisation": json.dumps(boxes.normalisation, sort_keys=True),
        "spec": json.dumps(record["parameters"], sort_keys=True),
        "sources": json.dumps(
            {role: facts["sha256"] for role, facts in record["inputs"].items()}, sort_keys=True
        ),
    }
