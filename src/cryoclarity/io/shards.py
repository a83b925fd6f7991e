"""Shards: the training boxes of one entry in one HDF5 file, one box per chunk.

A file holds ``input`` and ``target`` (N, b, b, b) float16, for labels also ``mask`` (N, b, b, b)
uint8, and per box ``origin`` (N, 3) int32, ``weight`` and ``padded`` (N,) float32. Root attributes
say what the boxes are and from what they were made. Nothing is compressed: with boxes drawn at
random an uncompressed half-precision chunk is the fastest to read.

Boxes with many channels overlap too much to be stored one by one. Then the file holds the maps they
are cut from, ``input`` (z, y, x, channels), ``target`` and ``mask`` (z, y, x), the attribute
``layout`` says ``map``, and ``origin`` tells where each box of side ``box_size`` begins.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

import h5py
import numpy as np

from cryoclarity.errors import IntegrityError
from cryoclarity.io.files import atomic_path, sha256_of

SCHEMA_VERSION = 1
BOX_ARRAYS = ("input", "target", "mask")
COLUMNS = ("origin", "weight", "padded")
REMEDY = "run the shards stage of this entry again"
MAP_LAYOUT = "map"


class BoxArray(Protocol):
    """What can be written box by box: an array, or something that cuts boxes when asked."""

    shape: tuple[int, ...]
    dtype: np.dtype

    def __getitem__(self, number: int) -> np.ndarray: ...


def write_shard(
    path: str | Path,
    arrays: Mapping[str, BoxArray],
    attributes: Mapping[str, str | int | float | tuple],
) -> str:
    """Write one shard atomically; equal content gives equal bytes.

    Parameters
    ----------
    path : path
    arrays : mapping of name to array
        `BOX_ARRAYS` (N, b, b, b), written one box at a time so that the source may be lazy, and
        `COLUMNS` (N, ...).
    attributes : mapping
        Root attributes; ``schema_version`` is added.

    Returns
    -------
    str
        sha256 of the file.

    Raises
    ------
    ResourceError
        DISK_*.
    ValueError
        If the arrays differ in their number of boxes.
    """
    counts = {name: array.shape[0] for name, array in arrays.items()}
    if len(set(counts.values())) != 1:
        raise ValueError(f"arrays differ in their number of boxes: {counts}")
    return _write(path, arrays, attributes, _write_array)


def write_map_shard(
    path: str | Path,
    arrays: Mapping[str, np.ndarray],
    attributes: Mapping[str, str | int | float | tuple],
) -> str:
    """Write a shard of whole maps, from which boxes are cut when they are read.

    Parameters
    ----------
    path : path
    arrays : mapping of name to array
        ``input`` (z, y, x, channels), ``target`` and ``mask`` (z, y, x); ``origin`` (N, 3) int32,
        first voxels of the boxes, and the other `COLUMNS`.
    attributes : mapping
        With ``box_size``.

    Returns
    -------
    str
        sha256 of the file.

    Raises
    ------
    ResourceError
        DISK_*.
    ValueError
        If the maps differ in shape.
    """
    shapes = {name: arrays[name].shape[:3] for name in BOX_ARRAYS if name in arrays}
    if len(set(shapes.values())) != 1:
        raise ValueError(f"maps differ in shape: {shapes}")
    # Channels last and contiguous: a row of a box is one read.
    return _write(path, arrays, {**attributes, "layout": MAP_LAYOUT}, _write_whole)


def _write(path: str | Path, arrays: Mapping, attributes: Mapping, write_array: Callable) -> str:
    with atomic_path(path) as temporary:
        with h5py.File(temporary, "w", libver="latest", track_times=False) as file:
            for name, array in arrays.items():
                write_array(file, name, array)
            for name, value in {**attributes, "schema_version": SCHEMA_VERSION}.items():
                file.attrs[name] = value
    return sha256_of(path)


def _write_whole(file: h5py.File, name: str, array: BoxArray) -> None:
    file.create_dataset(name, data=np.asarray(array), track_times=False)


def _write_array(file: h5py.File, name: str, array: BoxArray) -> None:
    if name not in BOX_ARRAYS:
        _write_whole(file, name, array)
        return
    dataset = file.create_dataset(
        name, array.shape, array.dtype, chunks=(1, *array.shape[1:]), track_times=False
    )
    for number in range(array.shape[0]):
        dataset[number] = array[number]


class ShardReader:
    """Boxes of one shard in any order.

    The file is opened on first use and again in every other process: an HDF5 handle survives
    neither a fork nor pickling.

    Parameters
    ----------
    path : path
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        self._file: h5py.File | None = None
        self._pid = -1
        self._attributes: dict[str, object] = {}
        self._columns: dict[str, np.ndarray] = {}

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_file": None, "_pid": -1}

    def __len__(self) -> int:
        self._open()
        return self._count()

    @property
    def attrs(self) -> dict[str, object]:
        """Root attributes as plain values."""
        self._open()
        return dict(self._attributes)

    @property
    def columns(self) -> dict[str, np.ndarray]:
        """What is stored per box: ``origin`` (N, 3), ``weight`` (N,), ``padded`` (N,)."""
        self._open()
        return dict(self._columns)

    def read(self, number: int) -> dict[str, np.ndarray]:
        """Return the arrays (b, b, b) of one box, as stored, with its entries of the columns.

        A box of several channels is (channels, b, b, b).

        Raises
        ------
        IntegrityError
            SHARD_CORRUPT when the file is no shard or the box cannot be read.
        IndexError
            When there is no such box.
        """
        file = self._open()
        if not 0 <= number < self._count():
            raise IndexError(f"{self.path}: no box {number} among {self._count()}")
        where: object = number
        if self._whole():
            side = int(self._attributes["box_size"])
            where = tuple(slice(s, s + side) for s in self._columns["origin"][number].tolist())
        try:
            boxes = {name: file[name][where] for name in BOX_ARRAYS if name in file}
        except OSError as error:
            raise self._corrupt(f"box {number} cannot be read: {error}") from error
        if self._whole():
            boxes["input"] = np.moveaxis(boxes["input"], -1, 0)
        return boxes | {name: column[number] for name, column in self._columns.items()}

    def _whole(self) -> bool:
        return self._attributes.get("layout") == MAP_LAYOUT

    def _count(self) -> int:
        return len(self._columns["origin"]) if self._whole() else self._file["input"].shape[0]

    def close(self) -> None:
        """Close the file; the next read opens it again."""
        if self._file is not None and self._pid == os.getpid():
            self._file.close()
        self._file = None

    def _open(self) -> h5py.File:
        if self._file is None or self._pid != os.getpid():
            try:
                # One box per chunk in random order: a chunk cache would only be copied through.
                self._file = h5py.File(self.path, "r", libver="latest", rdcc_nbytes=0)
            except OSError as error:
                raise self._corrupt(f"expected an HDF5 file, found {error}") from error
            self._pid = os.getpid()
            self._check()
        return self._file

    def _check(self) -> None:
        version = self._file.attrs.get("schema_version")
        if version != SCHEMA_VERSION:
            raise self._corrupt(f"expected schema version {SCHEMA_VERSION}, found {version}")
        missing = [name for name in ("input", "target") if name not in self._file]
        if missing:
            raise self._corrupt(f"expected input and target, found no {missing[0]}")
        self._attributes = {name: _plain(value) for name, value in self._file.attrs.items()}
        self._columns = {name: self._file[name][()] for name in COLUMNS if name in self._file}

    def _corrupt(self, message: str) -> IntegrityError:
        return IntegrityError(message, code="SHARD_CORRUPT", file=self.path, remedy=REMEDY)


def _plain(value: object) -> object:
    return value.item() if isinstance(value, np.generic) else value


def verify(path: str | Path, sha256: str) -> None:
    """Compare a shard with its recorded hash.

    Raises
    ------
    IntegrityError
        SHARD_CORRUPT when the file is missing or another one.
    """
    found = sha256_of(path) if Path(path).is_file() else "no file"
    if found != sha256:
        raise IntegrityError(
            f"expected {sha256}, found {found}", code="SHARD_CORRUPT", file=path, remedy=REMEDY
        )
