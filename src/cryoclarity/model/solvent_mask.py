"""The molecular mask of a model: where correlations inside the molecule are taken."""

from __future__ import annotations

import gemmi
import numpy as np

from cryoclarity.grid import Grid
from cryoclarity.io.atoms import Atoms
from cryoclarity.model.density import array_of, gemmi_model, inside_box

PROBE_RADIUS = 1.1
SHRINK_RADIUS = 0.9


def molecular_mask(atoms: Atoms, grid: Grid) -> np.ndarray:
    """Points inside the molecule: atoms dilated by radius + 1.1 A, then shrunk by 0.9 A.

    The rule and the radii of cctbx's bulk-solvent mask. Hydrogens and atoms of zero occupancy are
    left out, as are atoms outside the box, which would wrap to its other face. No islands of
    solvent are removed.

    Parameters
    ----------
    atoms : Atoms
    grid : Grid
        Taken as a periodic P1 cell.

    Returns
    -------
    (nz, ny, nx) bool
        True inside the molecule.
    """
    atoms = atoms.heavy()
    atoms = atoms.take(inside_box(atoms, grid) & (atoms.occupancy > 0))
    solvent = gemmi.FloatGrid(*grid.shape[::-1])
    solvent.set_unit_cell(gemmi.UnitCell(*grid.extent, 90, 90, 90))
    solvent.spacegroup = gemmi.SpaceGroup("P 1")
    masker = gemmi.SolventMasker(gemmi.AtomicRadiiSet.Cctbx)
    masker.rprobe = PROBE_RADIUS
    masker.rshrink = SHRINK_RADIUS
    masker.island_min_volume = -1
    model = gemmi_model(
        atoms.xyz - np.asarray(grid.origin),
        [gemmi.Element(int(z)) for z in atoms.atomic_number],
        atoms.occupancy,
        atoms.b_iso,
    )
    masker.put_mask_on_float_grid(solvent, model)
    return np.ascontiguousarray(array_of(solvent) < 0.5)
