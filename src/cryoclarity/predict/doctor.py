"""What torch finds on this machine, and whether weights load and answer."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch

from cryoclarity.density.bands import CHANNELS
from cryoclarity.errors import CryoClarityError
from cryoclarity.io.files import read_json
from cryoclarity.nets.device import choose_device
from cryoclarity.nets.registry import BAND_LAYOUT, box_layout
from cryoclarity.predict.bands import run_features
from cryoclarity.predict.engine import Runner
from cryoclarity.predict.model import Model, load_model
from cryoclarity.train.weights import CARD

TOLERANCE = 1e-3  # relative, between the CPU and any other device


def devices() -> list[dict[str, object]]:
    """Return name, memory and a test of each device: does a convolution give what the CPU gives?"""
    names = ["cpu", *(f"cuda:{n}" for n in range(torch.cuda.device_count()))]
    names += ["mps"] if torch.backends.mps.is_available() else []
    generator = torch.Generator().manual_seed(0)
    box, kernel = (torch.randn(1, c, n, n, n, generator=generator) for c, n in ((4, 16), (4, 3)))
    expected = torch.nn.functional.conv3d(box, kernel)
    found = []
    for name in names:
        row: dict[str, object] = {"device": name, "threads": torch.get_num_threads()}
        try:
            device = torch.device(name)
            answer = torch.nn.functional.conv3d(box.to(device), kernel.to(device)).cpu()
            error = float((answer - expected).abs().max() / expected.abs().max())
            row |= {"works": error < TOLERANCE, "problem": ""}
            if device.type == "cuda":
                properties = torch.cuda.get_device_properties(device)
                row |= {"name": properties.name, "memory_gb": properties.total_memory / 1e9}
        except RuntimeError as error:
            row |= {"works": False, "problem": str(error).splitlines()[0]}
        found.append(row)
    return found


def try_weights(folder: str | Path, device: str = "auto") -> list[dict[str, object]]:
    """Load every network under a folder and run one box through it.

    Parameters
    ----------
    folder : path
        A folder with a card, or one with such folders.
    device : str

    Returns
    -------
    list of dict
        Keys ``weights task works problem`` and, where it works, ``sha256 box seconds_per_box``.
    """
    folder = Path(folder)
    cards = [folder / CARD] if (folder / CARD).exists() else sorted(folder.glob(f"*/{CARD}"))
    return [_try(card.parent, device) for card in cards]


def _try(folder: Path, device: str) -> dict[str, object]:
    task = folder.name.split("_")[0]
    row: dict[str, object] = {"weights": str(folder), "task": task, "works": False, "problem": ""}
    try:
        model = load_model(folder, _task_of(folder))
    except CryoClarityError as error:
        return row | {"problem": " ".join(str(error).split())}
    run = _runner(model, choose_device(device))
    run()
    began = time.perf_counter()
    answer = run()
    seconds = time.perf_counter() - began
    finite = bool(np.isfinite(answer).all())
    return row | {
        "task": model.card["task"],
        "works": finite,
        "problem": "" if finite else "the answer is not finite",
        "sha256": model.sha256[:12],
        "box": model.box,
        "seconds_per_box": seconds,
    }


def _runner(model: Model, device: torch.device) -> Callable[[], np.ndarray]:
    """Return what runs one random box through a network."""
    box, rng = [model.box] * 3, np.random.default_rng(0)
    if box_layout(model.card["network"]["name"]) == BAND_LAYOUT:
        network = model.network.to(device).eval()
        return partial(run_features, network, device, rng.random((CHANNELS, *box), np.float32))
    return partial(Runner(model.network, device, 1), rng.random((1, *box), dtype=np.float32))


def _task_of(folder: Path) -> str:
    card = read_json(folder / CARD)
    return str(card.get("task")) if isinstance(card, dict) else ""
