"""Which boxes are worth training on, and for what reason the others are not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cryoclarity.boxes.cutting import Start, counts_inside

# A target voxel above this share of its scale holds density of the model.
TARGET_LEVEL = 0.05
FEW_TARGET = "few_target_voxels"
LOW_COVERAGE = "low_coverage"
FEW_LABELLED = "few_labelled_voxels"


@dataclass(frozen=True)
class Selection:
    """Boxes that stay.

    Attributes
    ----------
    starts : first voxels (z, y, x), in cutting order
    weight : (n,) float32
        Share of the box that holds what it is kept for: target density, or labels.
    considered : int
        Boxes before the rules.
    dropped : number of boxes by reason
    """

    starts: list[Start]
    weight: np.ndarray
    considered: int
    dropped: dict[str, int]


@dataclass(frozen=True)
class Coverage:
    """What tells density that the model explains from density that it does not.

    Attributes
    ----------
    density : (nz, ny, nx) bool
        Experimental density above the contour level.
    zone : (nz, ny, nx) bool
        Voxels near an atom of the model.
    minimum : float
        Least share of the density of a box that must lie in the zone.
    """

    density: np.ndarray
    zone: np.ndarray
    minimum: float


def select_by_target(
    target: np.ndarray,
    starts: Sequence[Start],
    box: int,
    minimum: float,
    coverage: Coverage | None = None,
) -> Selection:
    """Keep boxes whose target is not empty and whose density the model explains.

    Parameters
    ----------
    target : (nz, ny, nx), scaled to [0, 1]
    starts : first voxels of all boxes
    box : int
    minimum : float
        Least share of voxels with a target above 0.05; empty boxes teach nothing but zero.
    coverage : Coverage, optional
        Without it nothing is dropped for unmodelled density.
    """
    share = counts_inside(target > TARGET_LEVEL, starts, box) / box**3
    reasons = np.where(share < minimum, FEW_TARGET, "")
    if coverage is not None:
        dense = counts_inside(coverage.density, starts, box)
        explained = counts_inside(coverage.density & coverage.zone, starts, box)
        low = explained < coverage.minimum * dense
        reasons = np.where((reasons == "") & low, LOW_COVERAGE, reasons)
    return _selection(starts, share, reasons)


def select_by_labels(
    labelled: np.ndarray, starts: Sequence[Start], box: int, minimum: float
) -> Selection:
    """Keep boxes of which at least the share `minimum` has a label.

    Parameters
    ----------
    labelled : (nz, ny, nx) bool
    starts, box, minimum : as in :func:`select_by_target`
    """
    share = counts_inside(labelled, starts, box) / box**3
    return _selection(starts, share, np.where(share < minimum, FEW_LABELLED, ""))


def _selection(starts: Sequence[Start], share: np.ndarray, reasons: np.ndarray) -> Selection:
    kept = np.flatnonzero(reasons == "")
    return Selection(
        starts=[starts[k] for k in kept],
        weight=share[kept].astype(np.float32),
        considered=len(starts),
        dropped=dict(sorted(Counter(reasons[reasons != ""].tolist()).items())),
    )
