"""Predict improved maps or local resolution: for one map by hand, and for the entries of a batch.

Modules that load torch are imported inside functions: the scripts set the number of threads first,
and everything else of this package works without torch.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from cryoclarity import __version__
from cryoclarity.errors import ConfigError, CryoClarityError, InputError
from cryoclarity.evaluate.fsc import crossing, fsc
from cryoclarity.grid import Volume
from cryoclarity.io.files import write_json
from cryoclarity.io.maps import read_map, write_map
from cryoclarity.io.model import read_atoms
from cryoclarity.io.tables import write_table
from cryoclarity.provenance import sidecar
from cryoclarity.stages.batch import EntryJob, Skip
from cryoclarity.stages.common import fetched

if TYPE_CHECKING:
    from cryoclarity.predict.common import Prediction
    from cryoclarity.predict.model import Model
    from cryoclarity.predict.region import Region
    from cryoclarity.predict.trust import Trust

TASKS = ("enhance", "resolution")
MODES = ("default", "published")
RADIAL_FILTER = "radial_filter.tsv"
OUTPUTS = {"enhance": "enhanced.mrc", "resolution": "resolution.mrc"}
DEFAULT_RADIUS = 4.0
SPEC_SETTINGS = (
    *("stride", "blend", "batch_size", "device", "amplitude"),
    *("trust", "trust_passes", "ligand_safe", "passes"),
)
HALF_MAP_FSC = 0.143


@dataclass(frozen=True)
class Inputs:
    """Files of one prediction by hand; None where there is none.

    Attributes
    ----------
    weights : file or folder
    map : path, or None when two half maps are given instead: their mean is taken
    half_maps : two paths; they also serve the trust map
    voxel_size : angstrom, replaces the header's
    mask, mask_model : paths
    mask_contour : level of the mask map
    mask_radius : angstrom around the atoms of `mask_model`
    mask_invert : take the outside
    model : path of a model that gives the rows of the trust table
    canonical : written maps give their position by NSTART alone where that can say it
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
    model: Path | None = None
    canonical: bool = False


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
    """What a prediction by hand read and wrote; `maps` are the further ones by their ending."""

    before: Volume
    after: Volume
    facts: dict[str, object]
    maps: dict[str, np.ndarray] = field(default_factory=dict)


def run_files(inputs: Inputs, options: Options, out: str | Path) -> Outcome:
    """Predict for one map and write the result with its record ``<stem>.json``.

    Raises
    ------
    ConfigError, InputError, ResourceError
        See the functions of :mod:`cryoclarity.predict`.
    """
    check_options(options)
    half_maps = read_half_maps(inputs)
    volume = read_input(inputs, half_maps)
    with named_files(inputs):
        if options.mode == "published":
            after, facts = _published(inputs, options, volume)
            found, sha256 = None, facts["weights_sha256"]
        else:
            model = _model(inputs, options, volume)
            options = with_resolution(options, half_maps)
            found = _predict(volume, model, options, read_region(inputs), half_maps)
            after, facts, sha256 = volume.with_density(found.density), found.facts, model.sha256
    label = header_label(options.task, sha256)
    write_map(out, after, label=label, canonical=inputs.canonical)
    maps = {} if found is None else found.maps
    for name, density in maps.items():
        further = volume.with_density(density)
        path = companion(out, f"_{name}.mrc")
        write_map(path, further, label=label, canonical=inputs.canonical)
    if found is not None and found.trust is not None and inputs.model is not None:
        _write_residues(found.trust, inputs.model, companion(out, "_residues.tsv"))
    warnings = volume.warnings if found is None else (*volume.warnings, *found.warnings)
    record = sidecar("predict", _parameters(inputs, options), _input_files(inputs))
    record |= {"outcome": facts, "warnings": [list(warning) for warning in warnings]}
    write_json(record_path(out), record)
    return Outcome(volume, after, facts, maps)


def estimate_files(inputs: Inputs, options: Options) -> dict[str, object]:
    """Return time and memory of a prediction without doing it; see `run_files`."""
    from cryoclarity.predict.common import PredictSettings
    from cryoclarity.predict.estimate import estimate

    check_options(options)
    if options.mode == "published":
        raise ConfigError("--estimate knows the default mode only")
    volume = read_input(inputs, read_half_maps(inputs))
    model = _model(inputs, options, volume)
    settings = PredictSettings(**options.settings)
    with named_files(inputs):
        return asdict(estimate(volume, model, settings, read_region(inputs), options.task))


@contextlib.contextmanager
def named_files(inputs: Inputs) -> Iterator[None]:
    """Let errors of the numeric core, which knows no paths, name the file they are about."""
    try:
        yield
    except CryoClarityError as error:
        if error.file is None and error.code.startswith("PRED_"):
            given = inputs.map or (inputs.half_maps or (None,))[0]
            mask = inputs.mask or inputs.mask_model
            found = mask if error.code == "PRED_MASK" and mask else given
            error.file = None if found is None else str(found)
        raise


def check_options(options: Options) -> None:
    """Refuse options that do not go together.

    Raises
    ------
    ConfigError
    """
    if options.task not in TASKS or options.mode not in MODES:
        raise ConfigError(f"task {options.task!r} or mode {options.mode!r} is unknown")
    settings = options.settings
    of_enhance = [name for name in ("trust", "ligand_safe", "symmetry") if settings.get(name)]
    of_resolution = [name for name in ("passes",) if settings.get(name)]
    wrong = of_resolution if options.task == "enhance" else of_enhance
    if options.mode == "published":
        wrong = of_enhance + of_resolution
    if wrong:
        names = ", ".join("--" + name.replace("_", "-") for name in wrong)
        raise ConfigError(f"{names}: not for task {options.task}, mode {options.mode}")


def with_resolution(options: Options, half_maps: tuple[Volume, Volume] | None) -> Options:
    """Measure the resolution of the half maps where a trust map needs it and none is stated."""
    settings = options.settings
    if half_maps is None or not settings.get("trust") or settings.get("resolution"):
        return options
    return replace(options, settings=settings | {"resolution": half_map_resolution(half_maps)})


def half_map_resolution(half_maps: tuple[Volume, Volume]) -> float | None:
    """Return where the unmasked FSC of two half maps falls below 0.143, angstrom.

    Without a mask solvent counts: the value is a careful one. None when they never agree.
    """
    first, second = half_maps
    curve = fsc(first.density, second.density, first.grid.voxel_size_zyx)
    return crossing(curve, HALF_MAP_FSC)[0]


def _model(inputs: Inputs, options: Options, volume: Volume) -> Model:
    from cryoclarity.predict.model import load_model, weights_path

    return load_model(weights_path(inputs.weights, options.task, volume.grid), options.task)


def _write_residues(trust: Trust, model: Path, out: Path) -> None:
    from cryoclarity.predict.trust import RESIDUE_COLUMNS, residue_table

    rows = residue_table(trust, read_atoms(model))
    write_table(out, rows, (*RESIDUE_COLUMNS, *sorted(trust.parts)))


def _parameters(inputs: Inputs, options: Options) -> dict[str, object]:
    return asdict(options) | {
        "mask_contour": inputs.mask_contour,
        "mask_radius": inputs.mask_radius,
        "mask_invert": inputs.mask_invert,
        "voxel_size": inputs.voxel_size,
    }


def _input_files(inputs: Inputs) -> dict[str, Path | None]:
    halves = inputs.half_maps or (None, None)
    files = {name: getattr(inputs, name) for name in ("map", "mask", "mask_model", "model")}
    return files | {"half_map_1": halves[0], "half_map_2": halves[1]}


def run_entry(job: EntryJob) -> dict[str, float | int] | None:
    """Predict for one entry of a batch.

    The spec holds ``task``, ``weights`` (folder or card by data set), ``splits`` and optionally
    ``stride blend batch_size device amplitude trust trust_passes ligand_safe passes``.
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
    settings = {key: spec[key] for key in SPEC_SETTINGS if spec.get(key) is not None}
    options = Options(task, settings=settings)
    check_options(options)
    prediction = _predict(volume, model, options, None)
    label = header_label(task, model.sha256)
    maps = {OUTPUTS[task]: prediction.density}
    for name, density in prediction.maps.items():
        maps[companion(OUTPUTS[task], f"_{name}.mrc").name] = density
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
    # Networks of band powers answer for a whole map at once.
    counts = ("boxes", "boxes_predicted")
    return {key: prediction.facts[key] for key in counts if key in prediction.facts}


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


def _predict(
    volume: Volume,
    model: Model,
    options: Options,
    region: Region | None,
    half_maps: tuple[Volume, Volume] | None = None,
) -> Prediction:
    from cryoclarity.predict.common import PredictSettings
    from cryoclarity.predict.enhance import enhance
    from cryoclarity.predict.resolution import local_resolution

    settings = PredictSettings(**options.settings)
    if options.task == "enhance":
        return enhance(volume, model, settings, region, half_maps if settings.trust else None)
    return local_resolution(volume, model, settings, region)


def _published(
    inputs: Inputs, options: Options, volume: Volume
) -> tuple[Volume, dict[str, object]]:
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
    return run_published(options.task, inputs.weights, volume, settings, mask, atoms)


def read_half_maps(inputs: Inputs) -> tuple[Volume, Volume] | None:
    """Read both half maps, if they are given.

    Raises
    ------
    InputError
        FILE_*, HDR_*, VAL_*, or PAIR_HALF_MISMATCH.
    """
    if inputs.half_maps is None:
        return None
    voxel = None if inputs.voxel_size is None else (inputs.voxel_size,) * 3
    first, second = (read_map(path, voxel_size=voxel) for path in inputs.half_maps)
    if not first.grid.same_frame(second.grid):
        raise InputError(
            f"half maps differ in grid: {first.grid} and {second.grid}",
            code="PAIR_HALF_MISMATCH",
            file=inputs.half_maps[1],
        )
    return first, second


def read_input(inputs: Inputs, half_maps: tuple[Volume, Volume] | None) -> Volume:
    """Read the map, or take the mean of the half maps when no map is given.

    Raises
    ------
    ConfigError
        Neither is given.
    InputError
        FILE_*, HDR_*, VAL_*, or PAIR_HALF_MISMATCH.
    """
    if inputs.map is None:
        if half_maps is None:
            raise ConfigError("no map", remedy="give --map, or --half1 and --half2")
        first, second = half_maps
        return first.with_density(np.float32(0.5) * (first.density + second.density))
    voxel = None if inputs.voxel_size is None else (inputs.voxel_size,) * 3
    volume = read_map(inputs.map, voxel_size=voxel)
    if half_maps is not None and not volume.grid.same_frame(half_maps[0].grid):
        raise InputError(
            f"half maps are on another grid than the map: {half_maps[0].grid} and {volume.grid}",
            code="PAIR_HALF_MISMATCH",
            file=inputs.half_maps[0],
        )
    return volume


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


def companion(out: str | Path, ending: str) -> Path:
    """Return the path of a further file of an output: same folder and stem."""
    return Path(f"{record_path(out).with_suffix('')}{ending}")
