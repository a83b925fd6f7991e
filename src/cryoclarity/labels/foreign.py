"""Label maps of other programs, brought to one rule.

A value is a resolution if it is finite, above 0 and below 100 angstrom; everything else means
"no answer". That covers 100 (ResMap), 0 (RELION, the fill of BlocRes and MonoRes) and NaN.
"""

from __future__ import annotations

import numpy as np

from cryoclarity.errors import InputError
from cryoclarity.labels.resmap import FAILED, LABELLED, NO_VALUE, OUTSIDE

__all__ = ["import_labels"]


def import_labels(
    values: np.ndarray, mask: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Resolution and codes of a label map of another program.

    Parameters
    ----------
    values : (z, y, x), angstrom
        0, 100 or more, negative and non-finite values mean no answer.
    mask : (z, y, x), optional
        Non-zero is particle: voxels without an answer there are worse than every level.
        Labels outside it are dropped.

    Returns
    -------
    resolution : (z, y, x) float32
        0 where there is no value.
    codes : (z, y, x) uint8
        0 outside, 1 labelled, 2 no answer inside the mask.

    Raises
    ------
    InputError
        LABEL_HALVES_DIFFER, LABEL_EMPTY.
    """
    values = np.asarray(values, np.float32)
    if mask is not None and mask.shape != values.shape:
        raise InputError(
            f"mask is {mask.shape}, labels are {values.shape}",
            code="LABEL_HALVES_DIFFER",
            remedy="give a mask on the grid of the labels",
        )
    valued = np.isfinite(values) & (values > 0) & (values < NO_VALUE)
    inside = valued if mask is None else np.asarray(mask) != 0
    valued &= inside
    if not valued.any():
        raise InputError("no voxel carries a value", code="LABEL_EMPTY")
    codes = np.where(valued, LABELLED, np.where(inside, FAILED, OUTSIDE)).astype(np.uint8)
    return np.where(valued, values, np.float32(0)), codes
