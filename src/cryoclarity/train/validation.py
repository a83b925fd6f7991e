"""Scores of the averaged network on held-out boxes, beside what knows nothing."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from cryoclarity.boxes.label_grid import LABELLED
from cryoclarity.nets.label_transform import LabelTransform
from cryoclarity.nets.losses import EnhanceLoss
from cryoclarity.train.data import BoxDataset, Key, collate
from cryoclarity.train.loop import Trainer

ENHANCE_COLUMNS = ("val_loss", "val_l1", "val_ssim", "val_input_l1", "val_input_ssim")
RESOLUTION_COLUMNS = ("val_loss", "val_mae", "val_rmse", "val_constant_mae")


def validation_batches(dataset: BoxDataset, keys: list[Key], size: int) -> Iterator:
    """Batches of the fixed validation boxes."""
    for start in range(0, len(keys), size):
        yield collate([dataset[key] for key in keys[start : start + size]])


@torch.no_grad()
def validate_enhance(trainer: Trainer, dataset: BoxDataset, keys: list[Key]) -> dict[str, float]:
    """Loss, L1 and SSIM of the averaged network, and L1 and SSIM of the unprocessed input.

    Returns
    -------
    dict
        Keys `ENHANCE_COLUMNS`; empty without validation boxes.
    """
    loss: EnhanceLoss = trainer.loss
    sums = np.zeros(len(ENHANCE_COLUMNS))
    for batch in validation_batches(dataset, keys, trainer.settings.batch_size):
        batch = trainer.on_device(batch)
        value, terms = loss(trainer.forward(trainer.average, batch["input"]), batch)
        _, same = loss(batch["input"], batch)
        numbers = (value, terms["l1"], terms["ssim"], same["l1"], same["ssim"])
        sums += np.array([float(n) for n in numbers]) * len(batch["input"])
    if not keys:
        return {}
    # Plain floats: the rows travel in checkpoints, which hold no numpy objects.
    return dict(zip(ENHANCE_COLUMNS, (sums / len(keys)).tolist(), strict=True))


@torch.no_grad()
def validate_resolution(
    trainer: Trainer, dataset: BoxDataset, keys: list[Key], labels: LabelTransform, median: float
) -> dict[str, float]:
    """Loss, and errors over labelled voxels in angstrom beside the constant training median.

    Returns
    -------
    dict
        Keys `RESOLUTION_COLUMNS`; empty without a labelled validation voxel.
    """
    total = absolute = square = constant = 0.0
    count = 0
    for batch in validation_batches(dataset, keys, trainer.settings.batch_size):
        batch = trainer.on_device(batch)
        output = trainer.forward(trainer.average, batch["input"])
        total += float(trainer.loss(output, batch)[0]) * len(output)
        here = batch["mask"] == LABELLED
        truth = labels.decode(_numbers(batch["target"][here]))
        error = labels.decode(_numbers(output[here])) - truth
        absolute += np.abs(error).sum()
        square += np.square(error).sum()
        constant += np.abs(median - truth).sum()
        count += error.size
    if count == 0:
        return {}
    values = (total / len(keys), absolute / count, np.sqrt(square / count), constant / count)
    return dict(zip(RESOLUTION_COLUMNS, map(float, values), strict=True))


def _numbers(tensor: Tensor) -> np.ndarray:
    return tensor.double().cpu().numpy()
