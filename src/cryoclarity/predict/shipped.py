"""Weights that come with the package, for those who give none."""

from __future__ import annotations

from pathlib import Path

from cryoclarity import data

FOLDER = Path(data.__file__).parent / "weights"
FILES = ("weights.safetensors", "card.json")


def shipped_weights(dataset: str, folder: Path = FOLDER) -> Path | None:
    """Return the folder of the weights of a data set inside the package, None if there are none.

    Parameters
    ----------
    dataset : 'enhance_1.0', 'enhance_0.5' or 'resolution_1.0'
    folder : where to look
    """
    found = folder / dataset
    return found if all((found / name).is_file() for name in FILES) else None
