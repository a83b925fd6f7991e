"""The model's side of a comparison with maps: density, masks and transforms on one grid."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import fft

from cryoclarity.errors import ConfigError, InputError
from cryoclarity.evaluate.fsc import FourierShells, transform
from cryoclarity.evaluate.soft_mask import soft_mask
from cryoclarity.grid import Grid
from cryoclarity.io.atoms import Atoms
from cryoclarity.model.density import electron_density, inside_box, model_transform
from cryoclarity.model.solvent_mask import molecular_mask


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
