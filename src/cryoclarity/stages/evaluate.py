"""Evaluate maps against their model, their target and their local resolution labels."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cryoclarity.density.shift import relative_shift
from cryoclarity.errors import ConfigError, InputError
from cryoclarity.evaluate.local_resolution import labelled_voxels
from cryoclarity.evaluate.local_resolution import map_metrics as resolution_metrics
from cryoclarity.evaluate.metrics import MapMetrics, defined, map_metrics
from cryoclarity.evaluate.reference import ModelReference
from cryoclarity.evaluate.soft_mask import INNER_DISTANCE, OUTER_DISTANCE
from cryoclarity.evaluate.views import Views
from cryoclarity.grid import Grid, Volume
from cryoclarity.io.files import read_json, write_json
from cryoclarity.io.maps import read_map
from cryoclarity.io.model import read_atoms
from cryoclarity.io.tables import write_table
from cryoclarity.provenance import sidecar
from cryoclarity.scoring.qscore import DEFAULT_SIGMA
from cryoclarity.stages.batch import EntryJob, Skip
from cryoclarity.stages.common import fetched, stated_resolution

NO_LABEL = 100.0  # what the label tools write where they have no value, besides 0
PREDICT_STAGES = ("predict_enhance", "predict_resolution")
RESOLUTION_DATASET = "resolution_1.0"
FSC_COLUMNS = ("row", "frequency_inv_a", "fsc_model", "fsc_model_masked")
TRUST = "enhanced_trust.mrc"
# Versions of a map, and the file of each in the folder of the improvement stage.
PREDICTED_ROWS = {
    "roundtrip": "roundtrip.mrc",
    "clipped": "clipped.mrc",
    "radial_filter": "radial_filter.mrc",
    "enhanced": "enhanced.mrc",
}


def run_files(
    map_path: str | Path,
    model_path: str | Path,
    out: str | Path,
    *,
    resolution: float,
    target_path: str | Path | None = None,
    baseline_path: str | Path | None = None,
    sigma: float = DEFAULT_SIGMA,
) -> dict[str, object]:
    """Evaluate one map by hand and write its metrics as flat JSON.

    Parameters
    ----------
    map_path, model_path : path
    out : path
        JSON to write.
    resolution : float, angstrom
        The stated resolution; give the same one for all versions of a map.
    target_path : path, optional
        Target map on the same grid: adds SSIM and CC_target.
    baseline_path : path, optional
        Another version of the map on the same grid: its metrics are added with the prefix
        ``baseline_``, and ``delta_<metric>`` is map minus baseline.
    sigma : float, angstrom
        Width of the reference Gaussian of the Q-score.

    Returns
    -------
    dict
        What was written.

    Raises
    ------
    InputError
        FILE_*, HDR_*, VAL_*, MOD_*, EVAL_NO_MODEL, or PAIR_FRAME for maps on another grid.
    ConfigError
        A resolution or sigma that is no positive number.
    """
    for name, value in (("resolution", resolution), ("sigma", sigma)):
        if not 0 < value < math.inf:
            raise ConfigError(f"{name} is {value} A, must be positive")
    volume = read_map(map_path)
    target = _density_on(volume.grid, target_path)
    baseline = _density_on(volume.grid, baseline_path)
    reference = ModelReference.of_model(read_atoms(model_path), volume.grid, resolution)
    metrics = map_metrics(volume.density, reference, target=target, sigma=sigma).values
    content: dict[str, object] = dict(metrics)
    if baseline is not None:
        before = map_metrics(baseline, reference, target=target, sigma=sigma).values
        content |= {f"baseline_{key}": value for key, value in before.items()}
        content |= _deltas(metrics, before)
    parameters = {"resolution": float(resolution), "sigma": float(sigma)} | _mask_parameters()
    inputs = {
        "map": map_path,
        "model": model_path,
        "target": target_path,
        "baseline": baseline_path,
    }
    content |= parameters | sidecar("evaluate", parameters, inputs)
    write_json(out, content)
    return content


def _deltas(after: dict[str, object], before: dict[str, object]) -> dict[str, float | None]:
    """Return after minus before of what the map itself decides; None where one is undefined."""
    deltas = {}
    for key, value in after.items():
        if isinstance(value, bool | int) or key == "Q_expected":
            continue  # flags, counts, and what follows from the resolution alone
        earlier = before[key]
        known = value is not None and earlier is not None
        deltas[f"delta_{key}"] = value - earlier if known else None
    return deltas


def _mask_parameters() -> dict[str, float]:
    return {"soft_mask_inner": INNER_DISTANCE, "soft_mask_outer": OUTER_DISTANCE}


def _density_on(grid: Grid, path: str | Path | None) -> np.ndarray | None:
    if path is None:
        return None
    volume = read_map(path)
    if not volume.grid.same_frame(grid):
        raise InputError(
            f"lies on another grid ({volume.grid.shape}, voxel {volume.grid.voxel_size} A) than"
            f" the map ({grid.shape}, voxel {grid.voxel_size} A)",
            code="PAIR_FRAME",
            file=path,
            remedy="resample it onto the map's grid first",
        )
    return volume.density


@dataclass(frozen=True)
class _Plane:
    """Planes of several maps at one height, for the figure."""

    index: int
    names: list[str]
    values: list[np.ndarray]

    def add_density(self, name: str, density: np.ndarray | None) -> None:
        """Add a plane of a density, brought to [0, 1] by the map's own 99.9th percentile."""
        if density is None:
            return
        level = float(np.percentile(density, 99.9))
        plane = density[self.index] / level if level > 0 else np.zeros_like(density[self.index])
        self.add_values(name, np.clip(plane, 0.0, 1.0))

    def add_values(self, name: str, plane: np.ndarray) -> None:
        """Add a plane as it is."""
        self.names.append(name)
        self.values.append(plane.astype(np.float16))


def run_entry(job: EntryJob) -> dict[str, object]:
    """Evaluate all versions of an entry's map and its predicted local resolution.

    Upstream stages: ``fetch``, and as far as they are there ``simulate``, ``labels``,
    ``predict_enhance`` and ``predict_resolution``. Writes ``metrics.json``, ``fsc.tsv``,
    ``slices.npy`` (float16, one plane per name listed in the metrics) and ``views.npz`` (uint8,
    planes through three axes for the viewer of the report).

    Raises
    ------
    Skip
        When nothing was predicted for the entry, or what was predicted has nothing to be
        compared with.
    InputError
        As of :func:`run_files`.
    """
    improved, resolved = (_has(job, stage) for stage in PREDICT_STAGES)
    if not improved and not resolved:
        codes = [job.upstream[s].code for s in PREDICT_STAGES if s in job.upstream]
        code = next(filter(None, codes), "CONFIG")
        raise Skip("nothing was predicted for this entry", code=code)
    files = fetched(job)
    volume = read_map(files.map)
    sigma = float(job.spec.get("sigma", DEFAULT_SIGMA))
    stated = stated_resolution(job.row)
    reference = None
    if improved and stated and files.model is not None:
        reference = ModelReference.of_model(read_atoms(files.model), volume.grid, stated)
    labels = _labels(job, volume.grid) if resolved else None
    if reference is None and labels is None:
        raise Skip("neither model and resolution nor labels to compare with", code="EVAL_NO_MODEL")
    metrics = _evaluate_rows(job, volume, reference, sigma) if reference else {}
    write_table(job.folder / "fsc.tsv", _fsc_rows(metrics), FSC_COLUMNS)
    inside = reference.inside if reference is not None else _valid(labels)
    plane = _Plane(_busiest_plane(inside), [], [])
    maps = _shown_maps(job, volume, improved)
    for name, density in maps.items():
        plane.add_density(name, density)
    local, resolutions = None, {}
    if labels is not None:
        local, resolutions = _evaluate_resolution(job, volume, labels)
    for name, values in resolutions.items():
        plane.add_values(name, values[plane.index])
    np.save(job.folder / "slices.npy", np.stack(plane.values))
    views = _views(job, inside, maps, resolutions)
    np.savez(job.folder / "views.npz", **views.arrays())
    content = {
        "emdb_id": job.row["emdb_id"],
        "pdb_id": job.row.get("pdb_id", ""),
        "split": job.row.get("split", ""),
        "group": job.row.get("group", ""),
        "resolution": stated,
        "rows": {name: row.values for name, row in metrics.items()},
        "local_resolution": local,
        "checks": _checks(job, volume, maps.get("enhanced"), metrics, stated),
        "views": _views_record(views),
        "slices": {
            "axis": "z",
            "index": plane.index,
            "names": plane.names,
            "voxel_size": list(volume.grid.voxel_size),
        },
        "parameters": {"resolution": stated, "sigma": sigma} | _mask_parameters(),
    }
    write_json(job.folder / "metrics.json", content)
    return {"rows": len(metrics), "labelled": local["n_labelled"] if local else 0}


def _has(job: EntryJob, stage: str) -> bool:
    return stage in job.upstream and job.upstream[stage].ok


def _target(job: EntryJob, grid: Grid) -> np.ndarray | None:
    if not _has(job, "simulate"):
        return None
    return _density_on(grid, job.upstream["simulate"].folder / "target.mrc")


def _labels(job: EntryJob, grid: Grid) -> np.ndarray | None:
    if not _has(job, "labels"):
        return None
    return _density_on(grid, job.upstream["labels"].folder / "local_resolution.mrc")


def _evaluate_rows(
    job: EntryJob, volume: Volume, reference: ModelReference, sigma: float
) -> dict[str, MapMetrics]:
    target = _target(job, volume.grid)
    folder = job.upstream["predict_enhance"].folder
    rows = {"input": map_metrics(volume.density, reference, target=target, sigma=sigma)}
    for name, file in PREDICTED_ROWS.items():
        if (folder / file).exists():
            density = _density_on(volume.grid, folder / file)
            rows[name] = map_metrics(density, reference, target=target, sigma=sigma)
    return rows


def _fsc_rows(metrics: dict[str, MapMetrics]) -> list[dict[str, str]]:
    return [
        {
            "row": name,
            "frequency_inv_a": f"{frequency:.6f}",
            "fsc_model": f"{plain:.5f}",
            "fsc_model_masked": f"{masked:.5f}",
        }
        for name, row in metrics.items()
        for frequency, plain, masked in zip(
            row.fsc.frequency, row.fsc.correlation, row.fsc_masked.correlation, strict=True
        )
    ]


def _valid(labels: np.ndarray) -> np.ndarray:
    return np.isfinite(labels) & (labels > 0) & (labels < NO_LABEL)


def _busiest_plane(inside: np.ndarray) -> int:
    """Plane with most of the molecule: the middle of the box often shows solvent only."""
    counts = np.count_nonzero(inside, axis=(1, 2))
    return int(counts.argmax()) if counts.any() else inside.shape[0] // 2


def _shown_maps(job: EntryJob, volume: Volume, improved: bool) -> dict[str, np.ndarray]:
    """Return the densities that are shown beside each other, in order."""
    maps = {"input": volume.density}
    if improved:
        folder = job.upstream["predict_enhance"].folder
        maps["enhanced"] = _density_on(volume.grid, folder / "enhanced.mrc")
    target = _target(job, volume.grid)
    return maps if target is None else maps | {"target": target}


def _views(
    job: EntryJob,
    inside: np.ndarray,
    maps: dict[str, np.ndarray],
    resolutions: dict[str, np.ndarray],
) -> Views:
    """Cut planes through three axes of all maps of the entry."""
    views = Views.around(inside)
    for name, density in maps.items():
        views.add_density(name, density)
    trust = job.upstream["predict_enhance"].folder / TRUST if "enhanced" in maps else None
    if trust is not None and trust.exists():
        values = read_map(trust).density
        views.add_values("trust", np.where(values > 0, values, np.nan), (0.0, 1.0))
    known = [values[np.isfinite(values)] for values in resolutions.values()]
    if known and sum(map(len, known)):
        # One scale for label and prediction, so that equal colours mean equal resolution.
        limits = tuple(np.percentile(np.concatenate(known), (1, 99)))
        for name, values in resolutions.items():
            views.add_values(name, values, limits)
    return views


def _views_record(views: Views) -> dict[str, object]:
    return {
        "names": list(views.planes),
        "limits": {name: list(pair) for name, pair in views.limits.items()},
        "numbers": [views.numbers(axis).tolist() for axis in range(3)],
        "step": views.step,
    }


def _checks(
    job: EntryJob,
    volume: Volume,
    enhanced: np.ndarray | None,
    metrics: dict[str, MapMetrics],
    stated: float | None,
) -> dict[str, object]:
    """What a reader of the improved map has to know before believing it."""
    if enhanced is None:
        return {}
    checks: dict[str, object] = {
        "shift_voxels": float(np.linalg.norm(relative_shift(volume.density, enhanced)))
    }
    if "enhanced" in metrics:
        values = metrics["enhanced"].values
        crossing = values["d_fsc_model_masked_0.143"]
        checks["cc_peaks_degenerate"] = values["cc_peaks_degenerate"]
        checks["finer_than_data"] = bool(stated and crossing and crossing < stated)
    record = read_json(job.upstream["predict_enhance"].folder / "enhanced.json")
    checks["enhanced_before"] = any(code == "W_PRED_ENHANCED" for code, _ in record["warnings"])
    return checks


def _evaluate_resolution(
    job: EntryJob, volume: Volume, labels: np.ndarray
) -> tuple[dict[str, float | int | None], dict[str, np.ndarray]]:
    """Return the metrics, and label and prediction with NaN where they have no value."""
    prediction = _density_on(
        volume.grid, job.upstream["predict_resolution"].folder / "resolution.mrc"
    )
    valid = _valid(labels)
    voxels = labelled_voxels(prediction, labels, valid, volume.density)
    metrics = resolution_metrics(voxels, training_median(job.spec))
    maps = {
        "label": np.where(valid, labels, np.nan),
        "resolution": np.where(prediction > 0, prediction, np.nan),
    }
    return {key: defined(value) for key, value in metrics.items()}, maps


def training_median(spec: dict) -> float | None:
    """Median label of the training set, from the card of the local resolution network.

    Parameters
    ----------
    spec : dict
        ``weights`` names the folder (or the card) of each network.

    Returns
    -------
    float or None
        Angstrom; None when the network has no card, or its card does not know the labels.
    """
    weights = spec.get("weights", {}).get(RESOLUTION_DATASET)
    if not weights:
        return None
    card = Path(weights)
    if card.is_dir():
        card = card / "card.json"
    if not card.is_file():
        return None
    median = read_json(card).get("training_median")
    return None if median is None else float(median)
