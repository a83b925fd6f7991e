"""All numbers that compare one map with its model and its target.

What depends on the model alone is computed once in :class:`ModelReference`, because several
versions of a map (input, filtered, improved) are set beside each other.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from cryoclarity.errors import InputError
from cryoclarity.evaluate.correlation import pearson, region_correlations
from cryoclarity.evaluate.fsc import FscCurve, crossing, transform
from cryoclarity.evaluate.reference import ModelReference
from cryoclarity.evaluate.ssim import ssim_scores
from cryoclarity.scoring.qscore import q_scores
from cryoclarity.targets.q_laws import SIGMAS, expected_q_score

FSC_THRESHOLDS = (0.5, 0.143)


@dataclass(frozen=True)
class MapMetrics:
    """Numbers and curves of one map.

    Attributes
    ----------
    values : dict
        Flat metrics; None where one is not defined.
    fsc, fsc_masked : FscCurve
    """

    values: dict[str, float | int | bool | None]
    fsc: FscCurve
    fsc_masked: FscCurve


def map_metrics(
    density: np.ndarray,
    reference: ModelReference,
    *,
    target: np.ndarray | None = None,
    sigma: float = 0.6,
) -> MapMetrics:
    """Compare a map with its model and, where there is one, its target.

    Parameters
    ----------
    density : (nz, ny, nx) float32
        On the reference's grid, in the form that is written to disk.
    reference : ModelReference
    target : (nz, ny, nx) float32, optional
        On the same grid.
    sigma : float, angstrom
        Width of the reference Gaussian of the Q-score.

    Raises
    ------
    InputError
        VAL_NONFINITE or VAL_CONSTANT when the map holds no comparable values.
    """
    if not np.isfinite(density).all():
        raise InputError("the map holds NaN or infinite voxels", code="VAL_NONFINITE")
    if density.min() == density.max():
        raise InputError(f"all voxels are {density.min():g}", code="VAL_CONSTANT")
    values = region_correlations(density, reference.model_density, reference.inside)
    curve = reference.shells.correlate(transform(density), reference.transform)
    masked = reference.shells.correlate(
        transform(density * reference.soft_mask), reference.masked_transform
    )
    values |= _fsc_values(curve, "model", reference.resolution)
    values |= _fsc_values(masked, "model_masked", reference.resolution)
    values |= _q_values(density, reference, sigma)
    if target is not None:
        values |= _target_values(density, target, reference.inside)
    return MapMetrics({key: defined(value) for key, value in values.items()}, curve, masked)


def _fsc_values(curve: FscCurve, name: str, resolution: float) -> dict[str, float | bool | None]:
    values: dict[str, float | bool | None] = {}
    for threshold in FSC_THRESHOLDS:
        key = f"d_fsc_{name}_{threshold}"
        values[key], values[f"{key}_at_nyquist"] = crossing(curve, threshold)
    values[f"mean_fsc_{name}"] = curve.mean_up_to(resolution)
    return values


def _q_values(
    density: np.ndarray, reference: ModelReference, sigma: float
) -> dict[str, float | int]:
    """Mean Q over the atoms all of whose points lie inside the map."""
    scores = q_scores(density, reference.grid, reference.atoms.xyz, sigma=sigma)
    scored = scores.q_score[0][~scores.any_outside]
    has_law = any(math.isclose(sigma, known) for known in SIGMAS)
    return {
        "Q_mean": float(scored.mean()) if scored.size else math.nan,
        "Q_expected": float(expected_q_score(reference.resolution, sigma)) if has_law else math.nan,
        "n_atoms": len(reference.atoms),
        "n_atoms_scored": int(scored.size),
    }


def _target_values(density: np.ndarray, target: np.ndarray, inside: np.ndarray) -> dict[str, float]:
    return ssim_scores(density, target, inside) | {
        "CC_target_box": pearson(density, target),
        "CC_target_mask": pearson(density[inside], target[inside]),
    }


def defined(value: float | int | bool | None) -> float | int | bool | None:
    """Return a metric, or None where it is NaN or infinite: JSON has neither."""
    return None if isinstance(value, float) and not math.isfinite(value) else value
