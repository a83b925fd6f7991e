"""Rolling checkpoints: complete or absent, verified before use, loadable without code."""

from __future__ import annotations

import io
import logging
import os
import pickle
import re
from pathlib import Path

import torch

from cryoclarity.io.files import atomic_path, sha256_of, write_text

LOGGER = logging.getLogger(__name__)
NAME = re.compile(r"step_(\d{9})\.pt")


class CheckpointStore:
    """A folder of checkpoints ``step_NNNNNNNNN.pt``, each with a ``.sha256`` beside it.

    Parameters
    ----------
    folder : path
        Must lie outside everything a workflow declares as output, which it deletes.
    keep : int
        How many of the newest to keep.
    """

    def __init__(self, folder: str | Path, keep: int = 2):
        self.folder = Path(folder)
        self.keep = keep

    def paths(self) -> list[Path]:
        """Checkpoints, newest first."""
        if not self.folder.is_dir():
            return []
        return sorted((p for p in self.folder.iterdir() if NAME.fullmatch(p.name)), reverse=True)

    def save(self, step: int, content: dict[str, object]) -> Path:
        """Write a checkpoint; a kill at any moment leaves the older ones valid.

        Raises
        ------
        ResourceError
            DISK_* when it cannot be written.
        """
        path = self.folder / f"step_{step:09d}.pt"
        buffer = io.BytesIO()
        torch.save(content, buffer)
        with atomic_path(path) as temporary:
            temporary.write_bytes(buffer.getbuffer())
        write_text(_sidecar(path), sha256_of(path) + "\n")
        _sync_folder(self.folder)
        for old in self.paths()[self.keep :]:
            _remove(old)
        return path

    def latest(self) -> tuple[Path, dict[str, object]] | None:
        """Newest checkpoint that is whole, or None."""
        for path in self.paths():
            sidecar = _sidecar(path)
            if not sidecar.exists() or sidecar.read_text().strip() != sha256_of(path):
                LOGGER.warning("checkpoint %s is damaged or unfinished: ignored", path)
                continue
            try:
                return path, torch.load(path, map_location="cpu", weights_only=True)
            except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
                reason = str(error).split("\n", 1)[0]
                LOGGER.warning("checkpoint %s cannot be loaded (%s): ignored", path, reason)
        return None

    def clear(self) -> None:
        """Remove all checkpoints, and the folder if nothing else is in it."""
        for path in self.paths():
            _remove(path)
        if self.folder.is_dir() and not any(self.folder.iterdir()):
            self.folder.rmdir()


def _sidecar(path: Path) -> Path:
    return path.with_name(path.name + ".sha256")


def _remove(path: Path) -> None:
    # The hash goes first: a checkpoint without one is never loaded.
    _sidecar(path).unlink(missing_ok=True)
    path.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
