"""All numbers that compare one map with its model and its target.

What depends on the model alone is computed once in :class:`ModelReference`, because several
versions of a map (input, filtered, improved) are set beside each other.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy import fft

from cryoclarity.errors import ConfigError, InputError
from cryoclarity.evaluate.correlation import pearson, region_correlations
from cryoclarity.evaluate.fsc import FourierShells, FscCurve, crossing, transform
from cryoclarity.evaluate.soft_mask import soft_mask
from cryoclarity.evaluate.ssim import ssim_scores
from cryoclarity.grid import Grid
from cryoclarity.io.atoms import Atoms
from cryoclarity.model.density import electron_density, inside_box, model_transform
from cryoclarity.model.solvent_mask import molecular_mask
from cryoclarity.scoring.qscore import q_scores
from cryoclarity.targets.q_laws import SIGMAS, expected_q_score

FSC_THRESHOLDS = (0.5, 0.143)


@dataclass(frozen=True)
class ModelReference:
    """The model's side of every comparison, on the grid of a map.

    Attributes
    ----------
    atoms : Atoms
        Heavy atoms.
    grid : Grid
    resolution : float
        The stated resolution in angstrom, the same for all versions of a map.
    model_density : (nz, ny, nx) float64
        Model map cut sharply at the resolution, without F(000).
    inside : (nz, ny, nx) bool
        Molecular mask.
    transform, masked_transform : (nz, ny, nx // 2 + 1) complex
        Structure factors, and the transform of the model map under the soft mask.
    soft_mask : (nz, ny, nx) float32
    shells : FourierShells
    """

    atoms: Atoms
    grid: Grid
    resolution: float
    model_density: np.ndarray
    inside: np.ndarray
    transform: np.ndarray
    masked_transform: np.ndarray
    soft_mask: np.ndarray
    shells: FourierShells

    @classmethod
    def of_model(cls, atoms: Atoms, grid: Grid, resolution: float) -> ModelReference:
        """Compute the reference of a model.

        Parameters
        ----------
        atoms : Atoms
        grid : Grid
        resolution : float, angstrom

        Raises
        ------
        InputError
            EVAL_NO_MODEL when no heavy atom lies inside the map.
        ConfigError
            When the resolution is not positive.
        """
        if not resolution > 0:
            raise ConfigError(f"resolution {resolution} A is not positive")
        atoms = atoms.heavy()
        inside = molecular_mask(atoms, grid) if inside_box(atoms, grid).any() else None
        if inside is None or not inside.any():
            raise InputError(
                f"none of the model's {len(atoms)} heavy atoms lies inside the map",
                code="EVAL_NO_MODEL",
                remedy="check that map and model belong together and share a frame",
            )
        structure_factors = model_transform(atoms, grid)
        mask = soft_mask(atoms.xyz, grid)
        unsharp = fft.irfftn(structure_factors, s=grid.shape)
        return cls(
            atoms=atoms,
            grid=grid,
            resolution=float(resolution),
            model_density=electron_density(structure_factors, grid, resolution),
            inside=inside,
            transform=structure_factors,
            masked_transform=transform(unsharp * mask),
            soft_mask=mask,
            shells=FourierShells.of_box(grid.shape, grid.voxel_size_zyx),
        )


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
