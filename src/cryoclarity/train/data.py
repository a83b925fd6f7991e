"""Training boxes: which box at which step, cropped and turned how, as pure functions of the seed.

Neither the number of loader processes nor a resume in mid-epoch can change a bit: the order of an
epoch depends on (seed, epoch) and the placement of a sample on (seed, epoch, position) alone.
"""

from __future__ import annotations

import signal
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from cryoclarity.boxes.augment import Rotation, centre_start, crop, random_placement, rotate
from cryoclarity.boxes.label_grid import LABELLED
from cryoclarity.density.bands import BLOCK, VOXEL_CHANNELS
from cryoclarity.errors import InputError
from cryoclarity.io.shards import ShardReader, verify
from cryoclarity.io.tables import read_table
from cryoclarity.nets.label_transform import LabelTransform

OPEN_SHARDS = 128

Key = tuple[int, int, int, int]  # epoch, position in the epoch, entry, box


@dataclass(frozen=True)
class IndexEntry:
    """One shard of the index table."""

    emdb_id: str
    group: str
    split: str
    path: str
    sha256: str
    boxes: int
    weight: float


def read_index(path: str | Path, split: str | None = None) -> list[IndexEntry]:
    """Entries of an index table that have boxes, in file order.

    Parameters
    ----------
    path : TSV with the columns emdb_id group split path sha256 boxes weight
    split : keep this split only

    Raises
    ------
    InputError
        The table cannot be read, or lacks a column.
    """
    entries = []
    for row in read_table(path):
        try:
            entry = IndexEntry(
                row["emdb_id"],
                row["group"],
                row["split"],
                row["path"],
                row["sha256"],
                int(row["boxes"]),
                float(row["weight"] or 1),
            )
        except (KeyError, ValueError) as error:
            raise InputError(f"bad row or column: {error}", code="FILE_TEXT", file=path) from error
        if entry.boxes > 0 and entry.weight > 0 and split in (None, entry.split):
            entries.append(entry)
    return entries


def verify_shards(entries: Sequence[IndexEntry], folder: Path) -> None:
    """Compare every shard with its recorded hash.

    Raises
    ------
    IntegrityError
        SHARD_CORRUPT at the first difference.
    """
    for entry in entries:
        verify(folder / entry.path, entry.sha256)


def epoch_length(entries: Sequence[IndexEntry], batch_size: int) -> int:
    """Samples of one epoch: the number of boxes cut to whole batches, at least one batch."""
    return max(sum(entry.boxes for entry in entries) // batch_size, 1) * batch_size


def epoch_order(
    entries: Sequence[IndexEntry], seed: int, epoch: int, batch_size: int
) -> np.ndarray:
    """Order of one epoch, shape (samples, 2): entry number and box number.

    Entries are drawn in proportion to sqrt(boxes) x weight, so that one large map does not rule;
    the counts are stratified, and inside an entry no box comes twice before all came once.
    """
    generator = np.random.Generator(np.random.PCG64([seed, epoch]))
    length = epoch_length(entries, batch_size)
    share = np.array([np.sqrt(entry.boxes) * entry.weight for entry in entries])
    edges = np.cumsum(share) / share.sum()
    points = (np.arange(length) + generator.random()) / length
    drawn = np.minimum(np.searchsorted(edges, points, side="right"), len(entries) - 1)
    rows = []
    for number, count in enumerate(np.bincount(drawn, minlength=len(entries))):
        boxes = entries[number].boxes
        rounds = [generator.permutation(boxes) for _ in range(-(-int(count) // boxes))]
        chosen = np.concatenate(rounds)[:count] if rounds else np.zeros(0, dtype=np.int64)
        rows.append(np.stack([np.full(count, number), chosen], axis=1))
    return generator.permutation(np.concatenate(rows), axis=0)


class BoxSource:
    """Boxes of an index, read from shards that are opened on first use.

    Parameters
    ----------
    entries : index entries
    folder : path
        The paths of the index are relative to it.
    """

    def __init__(self, entries: Sequence[IndexEntry], folder: str | Path):
        self.entries = list(entries)
        self.folder = Path(folder)
        self._readers: OrderedDict[int, ShardReader] = OrderedDict()

    def __getstate__(self) -> dict[str, object]:
        # Open files must not travel to another process.
        return {**self.__dict__, "_readers": OrderedDict()}

    def reader(self, entry: int) -> ShardReader:
        """Reader of one entry's shard; the least recently used is dropped when many are open."""
        if entry not in self._readers:
            self._readers[entry] = ShardReader(self.folder / self.entries[entry].path)
            if len(self._readers) > OPEN_SHARDS:
                self._readers.popitem(last=False)[1].close()
        self._readers.move_to_end(entry)
        return self._readers[entry]

    def read(self, entry: int, box: int) -> dict[str, np.ndarray]:
        """Arrays of one stored box, float32 (``mask`` uint8), shape (b, b, b).

        The input of a shard of band powers is (channels, b, b, b).
        """
        stored = self.reader(entry).read(box)
        arrays = {name: stored[name].astype(np.float32) for name in ("input", "target")}
        if "mask" in stored:
            arrays["mask"] = stored["mask"]
        return arrays


class BoxDataset(Dataset):
    """Boxes as the network sees them, addressed by (epoch, position, entry, box).

    Parameters
    ----------
    source : BoxSource
    seed : int
    box : int
        Side of the crop.
    labels : LabelTransform, optional
        Standardises targets and adds ``mask`` (resolution task).
    augment : bool
        Random crop (and rotation); otherwise the central crop.
    rotations : bool
        Rotate when augmenting.
    """

    def __init__(
        self,
        source: BoxSource,
        seed: int,
        box: int,
        labels: LabelTransform | None = None,
        augment: bool = True,
        rotations: bool = True,
    ):
        self.source, self.seed, self.box, self.labels = source, seed, box, labels
        self.augment, self.rotations = augment, rotations

    def __getitem__(self, key: Key) -> dict[str, np.ndarray]:
        epoch, position, entry, box = key
        arrays = self.source.read(entry, box)
        side = arrays["input"].shape[-1]
        if side < self.box:
            raise InputError(
                f"boxes of side {side} are smaller than {self.box}",
                code="SHARD_CORRUPT",
                file=self.source.entries[entry].path,
                remedy="cut larger boxes or train on smaller ones",
            )
        if self.augment:
            generator = np.random.Generator(np.random.PCG64([self.seed, epoch, position]))
            start, rotation = random_placement(generator, side, self.box, self.rotations)
            arrays = {k: turned(crop(v, start, self.box), rotation) for k, v in arrays.items()}
        else:
            start = centre_start(side, self.box)
            arrays = {k: crop(v, start, self.box) for k, v in arrays.items()}
        if self.labels is not None:
            arrays = encode_labels(arrays, self.labels)
        return {name: _with_channels(array) for name, array in arrays.items()}


def turned(array: np.ndarray, rotation: Rotation) -> np.ndarray:
    """Rotate a box, (n, n, n), or a box of band channels, (channels, n, n, n).

    The last channels of the latter are the voxels of 2^3 blocks: they turn within their block.
    """
    result = rotate(array, rotation)
    if array.ndim == 4:
        order = np.arange(VOXEL_CHANNELS).reshape((BLOCK,) * 3)
        result[-VOXEL_CHANNELS:] = result[-VOXEL_CHANNELS:][rotate(order, rotation).ravel()]
    return result


def _with_channels(array: np.ndarray) -> np.ndarray:
    array = np.ascontiguousarray(array)
    return array if array.ndim == 4 else array[None]


def encode_labels(arrays: dict[str, np.ndarray], labels: LabelTransform) -> dict[str, np.ndarray]:
    """Standardise targets; voxels without a positive finite label leave the mask, with target 0."""
    usable = (arrays["mask"] > 0) & np.isfinite(arrays["target"]) & (arrays["target"] > 0)
    target = labels.encode(np.where(usable, arrays["target"], 1.0)).astype(np.float32)
    return {
        "input": arrays["input"],
        "target": np.where(usable, target, np.float32(0)),
        "mask": np.where(usable, arrays["mask"], 0).astype(np.uint8),
    }


def collate(samples: Sequence[dict[str, np.ndarray]]) -> dict[str, torch.Tensor]:
    """Stack samples to tensors (batch, channels, z, y, x)."""
    return {key: torch.from_numpy(np.stack([s[key] for s in samples])) for key in samples[0]}


class StepSampler:
    """Keys of each batch from one step to another; holds no state between batches.

    With several processes each takes every `world`-th key of a batch, from its `rank` on.
    """

    def __init__(
        self,
        entries: Sequence[IndexEntry],
        seed: int,
        batch_size: int,
        start: int,
        stop: int,
        rank: int = 0,
        world: int = 1,
    ):
        self.entries, self.seed, self.batch_size = entries, seed, batch_size
        self.start, self.stop = start, stop
        self.rank, self.world = rank, world

    def __len__(self) -> int:
        return self.stop - self.start

    def __iter__(self) -> Iterator[list[Key]]:
        per_epoch = epoch_length(self.entries, self.batch_size) // self.batch_size
        current, order = -1, np.zeros((0, 2), dtype=np.int64)
        for step in range(self.start, self.stop):
            epoch, batch = divmod(step, per_epoch)
            if epoch != current:
                current = epoch
                order = epoch_order(self.entries, self.seed, epoch, self.batch_size)
            first = batch * self.batch_size
            yield [
                (epoch, position, int(order[position, 0]), int(order[position, 1]))
                for position in range(first + self.rank, first + self.batch_size, self.world)
            ]


def _start_worker(_: int) -> None:
    # Ctrl-C reaches the whole group; only the training process may decide what to do.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    torch.set_num_threads(1)


def batches(
    dataset: BoxDataset, sampler: StepSampler, workers: int = 0, start_method: str = "forkserver"
) -> Iterator[dict[str, torch.Tensor]]:
    """Batches of the sampler, read in this process or by `workers` others; the bits are equal."""
    if workers == 0:
        for keys in sampler:
            yield collate([dataset[key] for key in keys])
        return
    loader = DataLoader(
        dataset,
        batch_sampler=sampler,
        num_workers=workers,
        collate_fn=collate,
        worker_init_fn=_start_worker,
        multiprocessing_context=start_method,
        prefetch_factor=4,
        # Its own generator: the loader would otherwise draw from the one that drop-out uses.
        generator=torch.Generator(),
    )
    yield from loader


def fixed_keys(entries: Sequence[IndexEntry], limit: int) -> list[Key]:
    """At most `limit` boxes, spread evenly over all boxes of all entries."""
    total = sum(entry.boxes for entry in entries)
    owner = np.repeat(np.arange(len(entries)), [entry.boxes for entry in entries])
    first = np.concatenate([[0], np.cumsum([entry.boxes for entry in entries])])
    chosen = np.unique(np.linspace(0, total - 1, min(limit, total)).round().astype(int))
    return [(0, 0, int(owner[i]), int(i - first[owner[i]])) for i in chosen]


def fit_labels(
    source: BoxSource, kind: str, limit: int = 5_000
) -> tuple[LabelTransform | None, float]:
    """Constants of the label standardisation, and the median label in angstrom.

    Without a single labelled voxel the constants are None.

    Parameters
    ----------
    source : training boxes; at most `limit` of them are read
    kind : 'log2' or 'angstrom'
    """
    values = []
    for _, _, entry, box in fixed_keys(source.entries, limit):
        arrays = source.read(entry, box)
        target = arrays["target"]
        values.append(target[(arrays["mask"] == LABELLED) & np.isfinite(target) & (target > 0)])
    labels = np.concatenate(values).astype(np.float64)
    if labels.size == 0:
        return None, 0.0
    raw = LabelTransform(kind).raw(labels)
    # A single level has no spread; dividing by 1 keeps it finite.
    std = float(raw.std()) or 1.0
    transform = LabelTransform(
        kind, float(raw.mean()), std, float(labels.min()), float(labels.max())
    )
    return transform, float(np.median(labels))
