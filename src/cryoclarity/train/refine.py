"""Trainer of the small improvement network, and what it would add to a whole map."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn

from cryoclarity.nets.refine import BLOCK
from cryoclarity.nets.registry import build_network
from cryoclarity.train.agreement_loss import AgreementLoss
from cryoclarity.train.loop import Trainer
from cryoclarity.train.settings import settings_from

MARGIN = 12  # voxels round the target that a network sees when it is judged
WARMUP_SHARE = 0.05


def refine_trainer(
    spec: Mapping[str, object], loss: Mapping[str, float], state: dict[str, Tensor] | None
) -> Trainer:
    """Return a trainer of a new network, or of one that goes on from a state.

    Parameters
    ----------
    spec : training settings; ``network`` names the network
    loss : arguments of :class:`AgreementLoss`
    state : state dict to start from
    """
    warmup = max(round(WARMUP_SHARE * spec["steps"]), 1)
    settings = settings_from("enhance", {"warmup_steps": warmup, **spec})
    torch.manual_seed(settings.seed)
    network = build_network(settings.network)
    if state is not None:
        network.load_state_dict(state)
    return Trainer(network, settings, AgreementLoss(**loss), torch.device("cpu"))


def window_means(trainer: Trainer) -> str:
    """Return the means since the last call as text, and begin anew."""
    means = trainer.window.means()
    trainer.window = type(trainer.window)()
    return " ".join(f"{name} {value:.4f}" for name, value in means.items())


def copied_state(network: nn.Module, strength: float | None = None) -> dict[str, Tensor]:
    """Return a copy of a network's tensors, with another strength if one is given."""
    state = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    return state if strength is None else with_strength(state, strength)


def with_strength(state: Mapping[str, Tensor], strength: float) -> dict[str, Tensor]:
    """Return tensors of a network with another strength."""
    return dict(state) | {"strength": state["strength"].new_full((1,), strength)}


def residual_of(network: nn.Module, given: np.ndarray, target: np.ndarray) -> np.ndarray:
    """What a network adds to a map at strength 1; 0 far from the target.

    Parameters
    ----------
    network : RefineNet
    given, target : (nz, ny, nx) float32
    """
    found = np.argwhere(target > 0)
    low = np.maximum(found.min(axis=0) - MARGIN, 0)
    high = np.minimum(found.max(axis=0) + 1 + MARGIN, given.shape)
    inside = tuple(map(slice, low, high))
    part = given[inside]
    padded = np.pad(part, [(0, -n % BLOCK) for n in part.shape])
    network.eval()
    with torch.inference_mode():
        added = network.residual(torch.from_numpy(padded)[None, None])[0, 0].numpy()
    result = np.zeros_like(given)
    result[inside] = added[tuple(map(slice, part.shape))]
    return result
