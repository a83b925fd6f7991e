"""Predict improved maps or local resolution: for one map by hand, and for the entries of a batch.

Modules that load torch are imported inside functions: the scripts set the number of threads first,
and everything else of this package works without torch.
"""

from __future__ import annotations

import logging
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from cryoclarity import __version__
from cryoclarity.errors import ConfigError, InputError
from cryoclarity.grid import Volume
from cryoclarity.io.files import write_json
from cryoclarity.io.maps import read_map, write_map
from cryoclarity.io.model import read_atoms
from cryoclarity.provenance import sidecar
from cryoclarity.stages.batch import EntryJob, Skip
from cryoclarity.stages.common import fetched

if TYPE_CHECKING:
    from cryoclarity.predict.enhance import Prediction
    from cryoclarity.predict.model import Model
    from cryoclarity.predict.region import Region

LOGGER = logging.getLogger(__name__)
TASKS = ("enhance", "resolution")
MODES = ("default", "published")
RADIAL_FILTER = "radial_filter.tsv"
OUTPUTS = {"enhance": "enhanced.mrc", "resolution": "resolution.mrc"}
DEFAULT_RADIUS = 4.0


@dataclass(frozen=True)
class Inputs:
    """Files of one prediction by hand; None where there is none.

    Attributes
    ----------
    weights : file or folder
    map : path, or None when two half maps are given instead: their mean is taken
    half_maps : two paths
    voxel_size : angstrom, replaces the header's
    mask, mask_model : paths
    mask_contour : level of the mask map
    mask_radius : angstrom around the atoms of `mask_model`
    mask_invert : take the outside
    """

    weights: Path
    map: Path | None = None
    half_maps: tuple[Path, Path] | None = None
    voxel_size: float | None = None
    mask: Path | None = None
    mask_model: Path | None = None
    mask_contour: float | None = None
    mask_radius: float = DEFAULT_RADIUS
    mask_invert: bool = False


@dataclass(frozen=True)
class Options:
    """How to predict; see :class:`cryoclarity.predict.enhance.PredictSettings` for the rest.

    Attributes
    ----------
    task : 'enhance' or 'resolution'
    mode : 'default' or 'published'
    seed : of the published rule's coin toss; None always pads behind
    settings : keyword arguments of PredictSettings
    """

    task: str
    mode: str = "default"
    seed: int | None = None
    settings: dict[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class Outcome:
    """What a prediction by hand read and wrote."""

    before: Volume
    after: Volume
    facts: dict[str, object]


def run_files(inputs: Inputs, options: Options, out: str | Path) -> Outcome:
    """Predict for one map and write the result with its record ``<stem>.json``.

    Raises
    ------
    ConfigError, InputError, ResourceError
        See the functions of :mod:`cryoclarity.predict`.
    """
    if options.task not in TASKS or options.mode not in MODES:
        raise ConfigError(f"task {options.task!r} or mode {options.mode!r} is unknown")
    volume = read_input(inputs)
    if options.mode == "published":
        after, facts, warnings = _published(inputs, options, volume)
        sha256 = facts["weights_sha256"]
    else:
        from cryoclarity.predict.model import load_model, weights_path

        path = weights_path(inputs.weights, options.task, volume.grid)
        model = load_model(path, options.task)
        prediction = _predict(volume, model, options, read_region(inputs))
        after, facts = volume.with_density(prediction.density), prediction.facts
        warnings, sha256 = prediction.warnings, model.sha256
    write_map(out, after, label=header_label(options.task, sha256))
    parameters = asdict(options) | {
        "mask_contour": inputs.mask_contour,
        "mask_radius": inputs.mask_radius,
        "mask_invert": inputs.mask_invert,
        "voxel_size": inputs.voxel_size,
    }
    files = {"map": inputs.map, "mask": inputs.mask, "mask_model": inputs.mask_model}
    halves = inputs.half_maps or (None, None)
    files |= {"half_map_1": halves[0], "half_map_2": halves[1]}
    record = sidecar("predict", parameters, files) | {
        "outcome": facts,
        "warnings": [list(w) for w in (*volume.warnings, *warnings)],
    }
    write_json(record_path(out), record)
    return Outcome(volume, after, facts)


def run_entry(job: EntryJob) -> dict[str, float | int] | None:
    """Predict for one entry of a batch.

    The spec holds ``task``, ``weights`` (folder or card by data set), ``splits`` and optionally
    ``stride blend batch_size device amplitude``.
    """
    spec, task = job.spec, job.spec["task"]
    splits = spec.get("splits")
    if splits and job.row.get("split") not in splits:
        raise Skip(f"split {job.row.get('split')!r} is not predicted", code="SEL_SPLIT")
    from cryoclarity.predict.enhance import reference_maps
    from cryoclarity.predict.model import dataset_for, load_model
    from cryoclarity.train.radial_filter import read_radial_filter

    volume = read_map(fetched(job).map)
    folder = _entry_weights(spec, dataset_for(task, volume.grid))
    model = load_model(folder, task)
    keys = ("stride", "blend", "batch_size", "device", "amplitude")
    settings = {key: spec[key] for key in keys if spec.get(key) is not None}
    prediction = _predict(volume, model, Options(task, settings=settings), None)
    label = header_label(task, model.sha256)
    maps = {OUTPUTS[task]: prediction.density}
    if task == "enhance":
        # A user's own weights may come without the filter of their training set.
        table = folder / RADIAL_FILTER
        baseline = read_radial_filter(table) if table.exists() else (np.zeros(0), np.zeros(0))
        references = reference_maps(volume, model, baseline)
        maps |= {f"{name}.mrc": density for name, density in references.items()}
    for name, density in maps.items():
        write_map(job.folder / name, volume.with_density(density), label=label)
    record = {"outcome": prediction.facts, "warnings": [list(w) for w in prediction.warnings]}
    write_json(record_path(job.folder / OUTPUTS[task]), record)
    return {
        "boxes": prediction.facts["boxes"],
        "boxes_predicted": prediction.facts["boxes_predicted"],
    }


def _entry_weights(spec: dict, dataset: str) -> Path:
    given = spec.get("weights", {}).get(dataset)
    if not given:
        raise Skip(f"no weights of {dataset}", code="TRAIN_NO_DATA")
    from cryoclarity.predict.model import card_status

    folder = Path(given)
    folder = folder.parent if folder.suffix == ".json" else folder
    if card_status(folder) == "skipped":
        raise Skip(f"{dataset} had no training data", code="TRAIN_NO_DATA")
    return folder


def _predict(volume: Volume, model: Model, options: Options, region: Region | None) -> Prediction:
    from cryoclarity.predict.enhance import PredictSettings, enhance
    from cryoclarity.predict.resolution import local_resolution

    predict = enhance if options.task == "enhance" else local_resolution
    return predict(volume, model, PredictSettings(**options.settings), region)


def _published(
    inputs: Inputs, options: Options, volume: Volume
) -> tuple[Volume, dict[str, object], list[tuple[str, str]]]:
    from cryoclarity.predict.published import PublishedSettings, run_published

    settings = PublishedSettings(
        stride=options.settings.get("stride"),
        batch_size=options.settings.get("batch_size"),
        device=options.settings.get("device", "auto"),
        mask_contour=inputs.mask_contour if inputs.mask_contour is not None else 0.0,
        mask_radius=inputs.mask_radius,
        mask_invert=inputs.mask_invert,
        seed=options.seed,
    )
    mask = read_map(inputs.mask) if inputs.mask else None
    atoms = read_atoms(inputs.mask_model) if inputs.mask_model else None
    after, facts = run_published(options.task, inputs.weights, volume, settings, mask, atoms)
    return after, facts, []


def read_input(inputs: Inputs) -> Volume:
    """Read the map, or the mean of the half maps when no map is given.

    Raises
    ------
    ConfigError
        Neither is given.
    InputError
        FILE_*, HDR_*, VAL_*, or PAIR_HALF_MISMATCH.
    """
    voxel = None if inputs.voxel_size is None else (inputs.voxel_size,) * 3
    if inputs.map is not None:
        return read_map(inputs.map, voxel_size=voxel)
    if inputs.half_maps is None:
        raise ConfigError("no map", remedy="give --map, or --half1 and --half2")
    first, second = (read_map(path, voxel_size=voxel) for path in inputs.half_maps)
    if not first.grid.same_frame(second.grid):
        raise InputError(
            f"half maps differ in grid: {first.grid} and {second.grid}",
            code="PAIR_HALF_MISMATCH",
            file=inputs.half_maps[1],
        )
    return first.with_density(np.float32(0.5) * (first.density + second.density))


def read_region(inputs: Inputs) -> Region | None:
    """Read the mask map or the mask model; None when neither is given.

    Raises
    ------
    ConfigError
        Both are given.
    InputError
        FILE_*, HDR_*, VAL_*, MOD_*.
    """
    from cryoclarity.predict.region import Region

    if inputs.mask and inputs.mask_model:
        raise ConfigError("both a mask map and a mask model", remedy="give one of them")
    if inputs.mask:
        mask = read_map(inputs.mask)
        return Region(mask=mask, contour=inputs.mask_contour, invert=inputs.mask_invert)
    if inputs.mask_model:
        positions = read_atoms(inputs.mask_model).heavy().xyz
        return Region(positions=positions, radius=inputs.mask_radius, invert=inputs.mask_invert)
    return None


def header_label(task: str, weights_sha256: str) -> str:
    """Return the label line of an output: what made it, and what it must not be used for."""
    tool = f"cryoclarity {__version__} {task} {weights_sha256[:12]}"
    return f"{tool}: not for refinement, deposition, FSC"


def record_path(out: str | Path) -> Path:
    """Return where the record of an output lies: same folder and stem, suffix .json."""
    out = Path(out)
    return (out.with_suffix("") if out.suffix == ".gz" else out).with_suffix(".json")
