"""A network with its card, and which one serves a map."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from cryoclarity.density.resample import wants_fine_network
from cryoclarity.errors import ConfigError, InputError
from cryoclarity.grid import Grid
from cryoclarity.io.files import read_json, sha256_of
from cryoclarity.train.weights import CARD, WEIGHTS, load_weights

LOGGER = logging.getLogger(__name__)
NORMALISATIONS = {"enhance": "percentile", "resolution": "solvent"}


@dataclass(frozen=True)
class Model:
    """Weights in memory with what their card says.

    Attributes
    ----------
    network : torch.nn.Module
    card : dict
    sha256 : of the weights file
    """

    network: nn.Module
    card: dict
    sha256: str

    @property
    def spacing(self) -> float:
        """Voxel size of the network's grid in angstrom."""
        return float(self.card["voxel_size"])

    @property
    def box(self) -> int:
        """Box size in voxels."""
        return int(self.card["box"])

    @property
    def channels(self) -> int:
        """Channels of the first layer: a measure of the working memory."""
        return next(p.shape[0] for p in self.network.parameters() if p.ndim == 5)

    def normalisation(self) -> dict[str, object]:
        """Return the card's normalisation as a dict with the key ``rule``."""
        found = self.card.get("normalisation")
        if isinstance(found, str) and found.startswith("{"):
            found = json.loads(found)  # shards carry it as text
        return found if isinstance(found, dict) else {"rule": found}


def dataset_for(task: str, grid: Grid) -> str:
    """Return the name of the data set whose network serves a map.

    Parameters
    ----------
    task : 'enhance' or 'resolution'
    grid : Grid
        Improvement takes the 0.5 angstrom network below 0.8 angstrom per voxel.
    """
    fine = task == "enhance" and wants_fine_network(grid)
    return f"{task}_{'0.5' if fine else '1.0'}"


def weights_path(path: str | Path, task: str, grid: Grid) -> Path:
    """Return the weights within what the user named: a file, a folder, or a folder of folders.

    Where a folder of folders has no network for fine voxels, the one of 1 angstrom serves.
    """
    path = Path(path)
    if path.is_dir() and not (path / CARD).exists():
        wanted = dataset_for(task, grid)
        for inner in (path / wanted, path / f"{task}_1.0"):
            if inner.is_dir():
                if inner.name != wanted:
                    LOGGER.warning(
                        "no %s network: %s limits the result to 2 angstrom", wanted, inner.name
                    )
                return inner
    return path


def load_model(path: str | Path, task: str) -> Model:
    """Load weights for the default mode.

    Parameters
    ----------
    path : folder or file
    task : 'enhance' or 'resolution'

    Raises
    ------
    ConfigError
        Bare published weights, which do not say their grid, box or scale.
    InputError
        WEIGHTS_MISMATCH for weights of another task or another normalisation; WEIGHTS_FORMAT for
        a card that lacks a key; TRAIN_NO_DATA for the empty weights of a training without boxes.
    """
    network, card = load_weights(path)
    if card.get("published"):
        raise ConfigError(
            "bare weights do not say grid, box and scale",
            file=path,
            remedy="give --mode published, or keep the card beside the weights",
        )
    if card.get("task") != task:
        raise InputError(
            f"weights are for {card.get('task')!r}, asked for {task!r}",
            code="WEIGHTS_MISMATCH",
            file=path,
        )
    missing = [key for key in ("voxel_size", "box") if not card.get(key)]
    if missing:
        raise InputError(f"the card lacks {missing}", code="WEIGHTS_FORMAT", file=path)
    model = Model(network, card, weights_hash(path))
    rule = model.normalisation().get("rule")
    if rule not in (None, NORMALISATIONS[task]):
        raise InputError(
            f"weights want input scaled by {rule!r}, this version knows {NORMALISATIONS[task]!r}",
            code="WEIGHTS_MISMATCH",
            file=path,
        )
    return model


def weights_hash(path: str | Path) -> str:
    """Return the sha256 of a weights file, or of the one in a folder."""
    path = Path(path)
    return sha256_of(path / WEIGHTS if path.is_dir() else path)


def card_status(folder: str | Path) -> str:
    """Return the status in the card of a folder of weights.

    Raises
    ------
    InputError
        FILE_MISSING and its kin.
    """
    card = read_json(Path(folder) / CARD)
    return str(card.get("status")) if isinstance(card, dict) else "unreadable"
