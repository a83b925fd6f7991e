"""Weights with their card, and bare published state dicts."""

from __future__ import annotations

import pickle
import zipfile
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from cryoclarity.errors import InputError
from cryoclarity.io.files import atomic_path, check_regular, read_json, sha256_of
from cryoclarity.nets.label_transform import PUBLISHED
from cryoclarity.nets.registry import build_network, infer_network

WEIGHTS = "weights.safetensors"
CARD = "card.json"
# Prefixes that wrappers leave in front of the names.
WRAPPERS = ("_orig_mod.", "module.")
# Keys under which training programs keep the state dict beside optimiser and epoch.
CONTAINERS = ("state_dict", "model", "model_state_dict", "net")
PUBLISHED_TASKS = {"scunet": "enhance", "unet3d": "resolution"}


def save_weights(path: str | Path, state: dict[str, Tensor]) -> str:
    """Write tensors as safetensors, atomically; return the sha256 of the file."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}
    with atomic_path(path) as temporary:
        save_file(tensors, temporary)
    return sha256_of(path)


def load_weights(path: str | Path) -> tuple[nn.Module, dict[str, object]]:
    """Load a trained network for inference.

    Parameters
    ----------
    path : path
        A folder with ``weights.safetensors`` and ``card.json``; a safetensors file with its card
        beside it (``card.json`` or the same stem); or a bare published state dict (``.pth``).

    Returns
    -------
    network : torch.nn.Module
        On the CPU, in evaluation mode.
    card : dict
        For a bare state dict only ``status``, ``network``, ``task``, ``labels`` and
        ``published: true``: it says nothing of grid, scale or box.

    Raises
    ------
    InputError
        WEIGHTS_FORMAT when the file cannot be loaded safely and strictly; WEIGHTS_MISMATCH when
        weights and card do not belong together; TRAIN_NO_DATA for the empty weights of a training
        that had no box.
    """
    path = Path(path)
    file = path / WEIGHTS if path.is_dir() else path
    check_regular(file)
    if file.suffix == ".safetensors":
        card = _read_card(file)
        state = _read_safetensors(file)
        _check_card(card, file)
    else:
        state = _read_bare(file)
        network = infer_network(state)
        card = {
            "status": "ok",
            "published": True,
            "network": network,
            "task": PUBLISHED_TASKS[network["name"]],
            "labels": PUBLISHED.to_dict() if network["name"] == "unet3d" else None,
        }
    return _build(card, state, file), card


def _build(card: dict, state: dict[str, Tensor], file: Path) -> nn.Module:
    network = build_network(card["network"])
    if found := _differences(network.state_dict(), state):
        raise InputError(
            f"tensors do not fit {card['network']['name']}: {found}",
            code="WEIGHTS_FORMAT",
            file=file,
            remedy="give the weights of one network, whole and as its authors named them",
        )
    network.load_state_dict(state, strict=True)
    return network.eval()


def _differences(wanted: dict[str, Tensor], given: dict[str, Tensor]) -> str:
    """Say how many tensors are missing, unknown or of another shape, naming the first of each."""
    kinds = {
        "missing": [name for name in wanted if name not in given],
        "unknown": [name for name in given if name not in wanted],
        "of another shape": [
            name
            for name, tensor in wanted.items()
            if name in given and given[name].shape != tensor.shape
        ],
    }
    return ", ".join(f"{len(n)} {kind} ({n[0]})" for kind, n in kinds.items() if n)


def _read_card(file: Path) -> dict:
    for candidate in (file.with_suffix(".json"), file.with_name(CARD)):
        if candidate.exists():
            card = read_json(candidate)
            if isinstance(card, dict):
                return card
    raise InputError(
        "no card (card.json) beside the weights",
        code="WEIGHTS_FORMAT",
        file=file,
        remedy="keep weights.safetensors and card.json together",
    )


def _check_card(card: dict, file: Path) -> None:
    if card.get("status") != "ok":
        raise InputError(
            f"training ended as {card.get('status')!r}",
            code="TRAIN_NO_DATA",
            file=file,
            remedy="give weights that were trained",
        )
    if not isinstance(card.get("network"), dict):
        raise InputError("the card names no network", code="WEIGHTS_FORMAT", file=file)
    found = sha256_of(file)
    if card.get("weights_sha256") != found:
        raise InputError(
            f"the card is for weights {card.get('weights_sha256')}, the file is {found}",
            code="WEIGHTS_MISMATCH",
            file=file,
        )


def _read_safetensors(file: Path) -> dict[str, Tensor]:
    try:
        return load_file(file)
    except (SafetensorError, OSError) as error:
        raise InputError(
            f"{file.stat().st_size} bytes that are no safetensors: {error}",
            code="WEIGHTS_FORMAT",
            file=file,
            remedy="copy the weights again, or train anew",
        ) from error


def _read_bare(file: Path) -> dict[str, Tensor]:
    """State dict of a .pth file; nothing but tensors is unpickled."""
    try:
        state = torch.load(file, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(
            f"{file.stat().st_size} bytes that are no file of tensors alone",
            code="WEIGHTS_FORMAT",
            file=file,
            remedy="save the state dict: torch.save(network.state_dict(), FILE)",
        ) from error
    for key in CONTAINERS:
        if isinstance(state, dict) and isinstance(state.get(key), dict):
            state = state[key]
            break
    named = isinstance(state, dict) and state and all(isinstance(name, str) for name in state)
    if not named or not all(isinstance(value, Tensor) for value in state.values()):
        raise InputError(
            f"holds {type(state).__name__}, no names of tensors",
            code="WEIGHTS_FORMAT",
            file=file,
            remedy="save the state dict: torch.save(network.state_dict(), FILE)",
        )
    for prefix in WRAPPERS:
        if state and all(name.startswith(prefix) for name in state):
            state = {name.removeprefix(prefix): tensor for name, tensor in state.items()}
    return state
