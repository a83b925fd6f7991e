"""From local resolution in angstrom to what a network is trained on, and back."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np


@dataclass(frozen=True)
class LabelTransform:
    """Standardisation of resolution labels; its constants travel in the weights' card.

    Attributes
    ----------
    kind : 'log2' standardises log2 of the resolution, 'angstrom' the resolution itself.
    mean, std : of the transformed training labels; 0 and 1 leave values as they are.
    minimum, maximum : range of the training labels in angstrom; decoded values are clipped to
        it. None: no limit.
    """

    kind: str = "log2"
    mean: float = 0.0
    std: float = 1.0
    minimum: float | None = None
    maximum: float | None = None

    def __post_init__(self):
        if self.kind not in ("log2", "angstrom"):
            raise ValueError(f"label transform {self.kind!r} is neither log2 nor angstrom")

    def raw(self, resolution: np.ndarray) -> np.ndarray:
        """The quantity that is standardised: log2 of the resolution, or the resolution."""
        return np.log2(resolution) if self.kind == "log2" else resolution

    def encode(self, resolution: np.ndarray) -> np.ndarray:
        """Resolution in angstrom (positive) to standardised labels."""
        return (self.raw(resolution) - self.mean) / self.std

    def decode(self, output: np.ndarray) -> np.ndarray:
        """Network output to resolution in angstrom, clipped to the range of training labels."""
        value = np.asarray(output) * self.std + self.mean
        resolution = np.exp2(value) if self.kind == "log2" else value
        return np.clip(resolution, self.minimum, self.maximum)

    def to_dict(self) -> dict[str, object]:
        """Plain content for a card."""
        return asdict(self)


# What the published local-resolution network answers: angstrom, unclipped.
PUBLISHED = LabelTransform("angstrom")
