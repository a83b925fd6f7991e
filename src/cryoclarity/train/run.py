"""Train one network on one dataset: index table in, weights with a card out."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from cryoclarity.boxes.augment import centre_start, crop
from cryoclarity.errors import ConfigError, InputError
from cryoclarity.io.files import sha256_of, write_json
from cryoclarity.io.tables import write_table
from cryoclarity.nets.device import choose_device
from cryoclarity.nets.label_transform import LabelTransform
from cryoclarity.nets.losses import EnhanceLoss, ResolutionLoss
from cryoclarity.nets.registry import BAND_LAYOUT, box_layout, build_network
from cryoclarity.provenance import software_versions
from cryoclarity.train import data, validation
from cryoclarity.train.checkpoint import CheckpointStore
from cryoclarity.train.loop import Hooks, Trainer, run, stop_on_signals
from cryoclarity.train.progress import Progress, progress_path
from cryoclarity.train.radial_filter import fit_radial_filter, write_radial_filter
from cryoclarity.train.ranks import device_of_rank, join, leave
from cryoclarity.train.settings import TrainSettings, settings_from
from cryoclarity.train.weights import CARD, WEIGHTS, load_weights, save_weights

LOGGER = logging.getLogger(__name__)
METRICS = "metrics.tsv"
RADIAL_FILTER = "radial_filter.tsv"
RADIAL_BOXES = 2000
TRAIN_COLUMNS = {
    "enhance": ("train_loss", "train_l1", "train_ssim", *validation.ENHANCE_COLUMNS),
    "resolution": ("train_loss", "train_abs", *validation.RESOLUTION_COLUMNS),
}
RULE_KEYS = ("rule", "percentile", "range", "clip", "mask", "features", "feature_spacing")
OTHER_CHECKPOINT = ("refuse", "restart", "resume")


@dataclass(frozen=True)
class TrainJob:
    """One call of the stage.

    Attributes
    ----------
    task : 'enhance' or 'resolution'
    dataset : name, for the card and the log
    index : index table of the shards
    out : folder for weights, card, metrics and baseline
    spec : settings, see `cryoclarity.train.settings.TrainSettings`
    state_folder : rolling checkpoints; outside every declared output
    data_folder : what the paths of the index are relative to
    device : 'auto', 'cpu' or 'cuda'
    initial_weights : weights to start from (fine-tuning); its network replaces the spec's
    other_checkpoint : what to do with a checkpoint of other data or settings: 'refuse', 'restart'
        from the beginning, or 'resume' all the same
    allow_empty : write weights marked 'skipped' when the training split has no box
    verify : compare every shard with its recorded hash first
    continue_after_stop : save on a signal and go on
    rendezvous : where the processes of ``torchrun`` meet
    """

    task: str
    dataset: str
    index: Path
    out: Path
    state_folder: Path
    spec: Mapping[str, object] = field(default_factory=dict)
    data_folder: Path = Path()
    device: str = "auto"
    initial_weights: Path | None = None
    other_checkpoint: str = "refuse"
    allow_empty: bool = False
    verify: bool = False
    continue_after_stop: bool = False
    rendezvous: str = "env://"


@dataclass(frozen=True)
class Prepared:
    """What the loop works on: entries per split, datasets, label constants."""

    settings: TrainSettings
    train: list[data.IndexEntry]
    held_out: list[data.IndexEntry]
    training: data.BoxDataset
    validating: data.BoxDataset
    labels: LabelTransform | None
    median: float
    attributes: dict[str, object]


def run_files(job: TrainJob) -> dict[str, object]:
    """Train from an index table, or go on from a checkpoint, and write the outputs.

    Started by ``torchrun``, several processes share every batch and the first of them writes;
    `accumulate` parts of a batch, and any number of processes, give the sums of one.

    Returns
    -------
    dict
        The card.

    Raises
    ------
    ConfigError
        Settings or folders that cannot be; shards of another task or layout.
    InputError
        TRAIN_NO_DATA, TRAIN_NONFINITE, TRAIN_OTHER_DATA.
    Stopped
        After a signal; a checkpoint is in the state folder.
    """
    settings, initial = _settings(job)
    if not job.data_folder.is_dir():
        raise ConfigError("no such folder of data", file=job.data_folder, remedy="--data-folder")
    train = data.read_index(job.index, "train")
    index_hash = sha256_of(job.index)
    if not train:
        return _no_data(job, settings, index_hash)
    if job.verify:
        data.verify_shards(train + data.read_index(job.index, "val"), job.data_folder)
    prepared = _prepare(job, settings, train, initial)
    if prepared is None:
        return _no_data(job, settings, index_hash)
    try:
        return _run(job, prepared, initial, index_hash)
    finally:
        leave()


def _run(
    job: TrainJob, prepared: Prepared, initial: tuple | None, index_hash: str
) -> dict[str, object]:
    settings = prepared.settings
    trainer = _trainer(job, settings, initial)
    identity = {
        "settings": _fingerprint(settings, job),
        "index": index_hash,
    }
    store = CheckpointStore(job.state_folder, settings.keep_checkpoints)
    _resume(trainer, store, identity, job.other_checkpoint)
    _train(trainer, prepared, store, identity, job)
    card = _card(job, prepared, index_hash)
    if trainer.ranks.leads:
        card = _write_outputs(job, trainer, prepared, card)
        store.clear()
    return trainer.ranks.of_leader(card)


def _trainer(job: TrainJob, settings: TrainSettings, initial: tuple | None) -> Trainer:
    """Network, loss and device of this process."""
    device = device_of_rank(choose_device(job.device, double=True))
    ranks = join(device, job.rendezvous)
    if settings.batch_size % (ranks.world * settings.accumulate):
        raise ConfigError(
            f"batch_size {settings.batch_size} for {ranks.world} processes x "
            f"accumulate {settings.accumulate}",
            remedy="use a multiple",
        )
    if settings.deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True)
        torch.backends.cudnn.benchmark = False
    torch.manual_seed(settings.seed)
    network = build_network(settings.network)
    if initial is not None:
        network.load_state_dict(initial[0].state_dict())
    if ranks.rank:
        # The same weights everywhere, but not the same units dropped.
        torch.manual_seed(settings.seed + ranks.rank)
    loss = (EnhanceLoss if job.task == "enhance" else ResolutionLoss)(**settings.loss)
    return Trainer(network, settings, loss, device, ranks)


def spec_with(
    spec: Mapping[str, object], network: str | None, replaced: Mapping[str, object]
) -> dict[str, object]:
    """Settings with some keys replaced.

    Parameters
    ----------
    spec : mapping
    network : name that replaces the network of another name, arguments included
    replaced : keys and values; None leaves a key as it is
    """
    spec = dict(spec)
    if network is not None and spec.get("network", {}).get("name") != network:
        spec["network"] = {"name": network}
    return spec | {key: value for key, value in replaced.items() if value is not None}


def _settings(job: TrainJob) -> tuple[TrainSettings, tuple | None]:
    if job.other_checkpoint not in OTHER_CHECKPOINT:
        raise ConfigError(f"other_checkpoint {job.other_checkpoint!r}")
    if job.initial_weights is None:
        return settings_from(job.task, job.spec), None
    network, card = load_weights(job.initial_weights)
    if card["task"] != job.task:
        raise InputError(
            f"initial weights are for {card['task']}, asked for {job.task}",
            code="WEIGHTS_MISMATCH",
            file=job.initial_weights,
        )
    return settings_from(job.task, {**job.spec, "network": card["network"]}), (network, card)


def _fingerprint(settings: TrainSettings, job: TrainJob) -> str:
    initial = job.initial_weights
    if initial is None:
        return settings.fingerprint()
    file = initial / WEIGHTS if initial.is_dir() else initial
    return f"{settings.fingerprint()}+{sha256_of(file)}"


def _prepare(
    job: TrainJob, settings: TrainSettings, train: list[data.IndexEntry], initial: tuple | None
) -> Prepared | None:
    """Datasets and label constants; None when no voxel has a label."""
    source = data.BoxSource(train, job.data_folder)
    first = source.read(0, 0)
    if ("mask" in first) != (job.task == "resolution"):
        raise ConfigError(f"the shards of {job.index} are not of the task {job.task}")
    name = settings.network["name"]
    if (first["input"].ndim == 4) != (box_layout(name) == BAND_LAYOUT):
        raise ConfigError(
            f"the shards of {job.index} do not suit the network {name}",
            remedy=f"cut them with the layout {box_layout(name)}",
        )
    held_out = data.read_index(job.index, "val")
    if not held_out:
        LOGGER.warning("the validation split is empty: no validation")
    labels, median = None, 0.0
    if job.task == "resolution":
        labels, median = data.fit_labels(source, settings.labels)
        if labels is None:
            return None
        if initial is not None and initial[1].get("labels"):
            # Fine-tuning keeps the scale that the network's output already has.
            labels = LabelTransform(**initial[1]["labels"])
    training = data.BoxDataset(
        source, settings.seed, settings.box, labels, rotations=settings.rotations
    )
    held_source = data.BoxSource(held_out, job.data_folder)
    validating = data.BoxDataset(held_source, settings.seed, settings.box, labels, augment=False)
    attributes = dict(source.reader(0).attrs)
    return Prepared(settings, train, held_out, training, validating, labels, median, attributes)


def _resume(trainer: Trainer, store: CheckpointStore, identity: dict[str, str], other: str) -> None:
    found = trainer.ranks.of_leader(store.latest() if trainer.ranks.leads else None)
    if found is None:
        return
    path, state = found
    belongs = state["identity"] == identity
    if not belongs and other == "refuse":
        raise InputError(
            f"belongs to {json.dumps(state['identity'])}, this run is {json.dumps(identity)}",
            code="TRAIN_OTHER_DATA",
            file=path,
            remedy="remove the folder, or give --other-checkpoint restart or resume",
        )
    if not belongs and other == "restart":
        LOGGER.warning("checkpoint %s is of other data or settings: starting over", path)
        if trainer.ranks.leads:
            store.clear()
        return
    trainer.restore(state)
    LOGGER.info("resumed at step %d from %s", trainer.step, path)


def _train(
    trainer: Trainer,
    prepared: Prepared,
    store: CheckpointStore,
    identity: dict[str, str],
    job: TrainJob,
) -> None:
    settings, train, ranks = prepared.settings, prepared.train, trainer.ranks
    steps_per_epoch = data.epoch_length(train, settings.batch_size) // settings.batch_size
    sampler = data.StepSampler(
        train,
        settings.seed,
        settings.batch_size,
        trainer.step,
        settings.steps,
        ranks.rank,
        ranks.world,
    )
    keys = data.fixed_keys(prepared.held_out, settings.validate_boxes) if prepared.held_out else []
    LOGGER.info(
        "%d parameters, %d boxes of %d entries, %d steps of %d boxes, epoch = %d steps, device %s",
        sum(p.numel() for p in trainer.parameters),
        sum(entry.boxes for entry in train),
        len(train),
        settings.steps,
        settings.batch_size,
        steps_per_epoch,
        trainer.device,
    )

    def validate() -> dict[str, float]:
        if not ranks.leads:
            return {}
        if settings.task == "enhance":
            return validation.validate_enhance(trainer, prepared.validating, keys)
        return validation.validate_resolution(
            trainer, prepared.validating, keys, prepared.labels, prepared.median
        )

    def save() -> None:
        state = trainer.state()
        if ranks.leads:
            LOGGER.info("saved %s", store.save(trainer.step, {**state, "identity": identity}))

    progress = Progress(progress_path(job.state_folder), trainer.step)

    def note(row: dict[str, float]) -> None:
        if ranks.leads:
            progress.add(row)

    with stop_on_signals() as stop:
        hooks = Hooks(validate, save, stop, job.continue_after_stop, note)
        batches = data.batches(prepared.training, sampler, settings.workers)
        run(trainer, batches, steps_per_epoch, hooks)


def _write_outputs(
    job: TrainJob, trainer: Trainer, prepared: Prepared, card: dict[str, object]
) -> dict[str, object]:
    write_metrics(job.out / METRICS, job.task, trainer.rows)
    if job.task == "enhance":
        voxel_size = _voxel_size(prepared.attributes)
        frequency, gain = fit_radial_filter(_radial_pairs(prepared), voxel_size)
        write_radial_filter(job.out / RADIAL_FILTER, frequency, gain)
    state, row = trainer.exported()
    card |= {"weights_sha256": save_weights(job.out / WEIGHTS, state), "metrics": _finite(row)}
    write_json(job.out / CARD, card)
    return card


def _card(job: TrainJob, prepared: Prepared, index_hash: str) -> dict[str, object]:
    settings, attributes = prepared.settings, prepared.attributes
    return {
        "status": "ok",
        "schema_version": 1,
        "dataset": job.dataset,
        "task": job.task,
        "network": settings.network,
        "voxel_size": _voxel_size(attributes),
        "box": settings.box,
        "stored_box": int(attributes.get("box_size", settings.box)),
        "normalisation": _rule(attributes.get("normalisation")),
        "labels": prepared.labels.to_dict() if prepared.labels else None,
        "training_median": prepared.median if prepared.labels else None,
        "training": {
            "settings": settings.to_dict(),
            "index_sha256": index_hash,
            "entries": [entry.emdb_id for entry in prepared.train],
            "boxes": sum(entry.boxes for entry in prepared.train),
            "validation_entries": [entry.emdb_id for entry in prepared.held_out],
        },
        "licence": settings.licence,
        "versions": software_versions(),
        "purpose": "for looking at maps; not for refinement targets, deposition or resolution",
    }


def _no_data(job: TrainJob, settings: TrainSettings, index_hash: str) -> dict[str, object]:
    """Leave marked, empty outputs behind so that a workflow can go on, or refuse."""
    if not job.allow_empty:
        raise InputError(
            "the training split has no box, or no labelled voxel",
            code="TRAIN_NO_DATA",
            file=job.index,
            remedy="add entries, or look into the rejected table for why they are missing",
        )
    LOGGER.warning("TRAIN_NO_DATA: dataset %s has no training box; no network", job.dataset)
    write_metrics(job.out / METRICS, job.task, [])
    if job.task == "enhance":
        write_radial_filter(job.out / RADIAL_FILTER, np.zeros(0), np.zeros(0))
    card = {
        "status": "skipped",
        "code": "TRAIN_NO_DATA",
        "schema_version": 1,
        "dataset": job.dataset,
        "task": job.task,
        "network": settings.network,
        "training": {"settings": settings.to_dict(), "index_sha256": index_hash},
        "weights_sha256": save_weights(job.out / WEIGHTS, {}),
        "versions": software_versions(),
    }
    write_json(job.out / CARD, card)
    return card


def write_metrics(path: Path, task: str, rows: list[dict[str, float]]) -> None:
    """Write the metrics table: one row per epoch (or per `validate_every` steps), no times."""
    columns = ("epoch", "step", *TRAIN_COLUMNS[task], "lr", "clip_fraction", "skipped_steps")
    write_table(path, [{k: f"{v:.6g}" for k, v in row.items()} for row in rows], columns)


def _radial_pairs(prepared: Prepared) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    source, box = prepared.training.source, prepared.settings.box
    for _, _, entry, number in data.fixed_keys(prepared.train, RADIAL_BOXES):
        arrays = source.read(entry, number)
        start = centre_start(arrays["input"].shape[-1], box)
        yield crop(arrays["input"], start, box), crop(arrays["target"], start, box)


def _voxel_size(attributes: Mapping[str, object]) -> float:
    return float(np.atleast_1d(attributes["voxel_size"])[0])


def _rule(text: object) -> dict[str, object]:
    """The rule by which inputs were scaled, without the constants of one map."""
    found = json.loads(text) if text else {}
    return {key: found[key] for key in RULE_KEYS if key in found}


def _finite(row: Mapping[str, float]) -> dict[str, float]:
    return {key: float(value) for key, value in row.items() if np.isfinite(value)}
