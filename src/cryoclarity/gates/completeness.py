"""How complete a model is, and how much of a map it explains: what filters ask of the files."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import map_coordinates
from scipy.spatial import cKDTree

from cryoclarity.grid import Volume
from cryoclarity.io.atoms import POLYMERS, Atoms

UNKNOWN_RESIDUES = ("UNK", "UNX", "N", "DN")
NO_SIDE_CHAIN = ("GLY", "ALA", *UNKNOWN_RESIDUES)
BACKBONE = ("N", "CA", "C", "O", "OXT", "CB")
EXPLAINED_DISTANCE = 4.0  # angstrom
DEFAULT_CONTOUR_SD = 3.0
SAMPLED_VOXELS = 200_000
SAMPLING_SEED = 20240


@dataclass(frozen=True)
class ResidueCounts:
    """Residues of a model.

    Attributes
    ----------
    polymer : int
        Protein, nucleic and unknown residues.
    nucleic : int
    unknown : int
        UNK, UNX, N and DN.
    side_chain : int
        Amino acid residues that have a side chain beyond CB.
    backbone_only : int
        Those of them without any of its atoms.
    """

    polymer: int
    nucleic: int
    unknown: int
    side_chain: int
    backbone_only: int


def residue_counts(atoms: Atoms) -> ResidueCounts:
    """Count the residues of a model by kind and completeness."""
    heavy = atoms.heavy()
    first = np.unique(heavy.residue_index, return_index=True)[1]
    names, kinds = heavy.residue_name[first], heavy.kind[first]
    unknown = np.isin(names, UNKNOWN_RESIDUES)
    due = (kinds == "protein") & ~np.isin(names, NO_SIDE_CHAIN)
    beyond = np.unique(heavy.residue_index[~np.isin(heavy.name, BACKBONE)])
    complete = np.isin(heavy.residue_index[first], beyond)
    return ResidueCounts(
        polymer=int(np.count_nonzero(np.isin(kinds, POLYMERS) | unknown)),
        nucleic=int(np.count_nonzero(kinds == "nucleic")),
        unknown=int(np.count_nonzero(unknown)),
        side_chain=int(np.count_nonzero(due)),
        backbone_only=int(np.count_nonzero(due & ~complete)),
    )


@dataclass(frozen=True)
class Explained:
    """How map and model cover each other.

    Attributes
    ----------
    contour : float
        Level used, in the map's units.
    voxels : float or None
        Share of voxels above the contour within 4 angstrom of an atom; None without such voxels.
    atoms : float
        Share of heavy atoms at density above the contour; outside the map none is.
    """

    contour: float
    voxels: float | None
    atoms: float


def explained(volume: Volume, atoms: Atoms, contour: float | None = None) -> Explained:
    """Compare the map above a contour with the place of the model.

    Parameters
    ----------
    volume : Volume
    atoms : Atoms
    contour : float, optional
        By default the mean plus three standard deviations.

    Returns
    -------
    Explained
        From at most 200,000 voxels, drawn with a fixed seed.
    """
    density, grid = volume.density, volume.grid
    if contour is None:
        mean, deviation = density.mean(dtype=np.float64), density.std(dtype=np.float64)
        contour = float(mean + DEFAULT_CONTOUR_SD * deviation)
    positions = atoms.heavy().xyz
    above = np.flatnonzero(density.ravel() >= contour)
    if len(above) > SAMPLED_VOXELS:
        above = np.random.default_rng(SAMPLING_SEED).choice(above, SAMPLED_VOXELS, replace=False)
    share = None
    if len(above) and len(positions):
        voxels = grid.position_of(np.stack(np.unravel_index(above, density.shape), axis=-1))
        distance, _ = cKDTree(positions).query(voxels, distance_upper_bound=EXPLAINED_DISTANCE)
        share = float(np.mean(np.isfinite(distance)))
    inside = grid.contains(positions)
    values = map_coordinates(density, grid.index_of(positions[inside]).T, order=1, mode="nearest")
    included = np.count_nonzero(values >= contour) / max(len(positions), 1)
    return Explained(contour, share, float(included))
