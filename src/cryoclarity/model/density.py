"""Densities of atomic models on a map's grid, summed by gemmi.

Two kinds: one free Gaussian per atom (targets), and electron form factors with B-factors (the
model maps of evaluation). gemmi's grids are periodic; the first kind is padded against that, the
second is periodic by definition: its box is the crystal.
"""

from __future__ import annotations

import gemmi
import numpy as np
import scipy.fft

from cryoclarity.grid import Grid, squared_frequency
from cryoclarity.io.atoms import Atoms

# A Gaussian of standard deviation s is a Debye-Waller factor of B = 8 pi^2 s^2.
B_PER_VARIANCE = 8.0 * np.pi**2
# gemmi's neutron calculator places one constant per element; carbon's is divided out again.
CARRIER = gemmi.Element("C")
CARRIER_LENGTH = 6.646
GAUSSIAN_CUTOFF = 1e-7
ELECTRON_CUTOFF = 1e-6
BLUR_PER_SPACING = B_PER_VARIANCE / 1.1
CORNER_SQUARE = 0.75 * (1.0 + 1e-6)  # (voxel / d)^2 at the corner: 3 (1/2)^2


def cut_radius(weight: np.ndarray, width: np.ndarray, cutoff: float) -> np.ndarray:
    """Distance (n,) in angstrom at which a Gaussian falls to `cutoff`; 0 where it never exceeds it.

    Parameters
    ----------
    weight : (n,) integral of each Gaussian
    width : (n,) angstrom, standard deviation
    cutoff : density
    """
    peak = weight * (2.0 * np.pi * width**2) ** -1.5
    return width * np.sqrt(2.0 * np.log(np.maximum(peak / cutoff, 1.0)))


def atoms_reaching(
    position: np.ndarray, weight: np.ndarray, width: np.ndarray, grid: Grid, cutoff: float
) -> np.ndarray:
    """Whether each atom's Gaussian touches the box of the voxel centres, (n,) bool."""
    low = np.asarray(grid.origin)
    high = low + (np.asarray(grid.shape[::-1]) - 1) * np.asarray(grid.voxel_size)
    gap = np.linalg.norm(np.maximum(0.0, np.maximum(low - position, position - high)), axis=1)
    radius = cut_radius(weight, width, cutoff)
    return (radius > 0) & (gap <= radius)


def gaussian_density(
    position: np.ndarray,
    weight: np.ndarray,
    width: np.ndarray,
    grid: Grid,
    *,
    cutoff: float = GAUSSIAN_CUTOFF,
) -> np.ndarray:
    """Sum one Gaussian per atom, sampled at the voxel centres, without periodic images.

    Parameters
    ----------
    position : (n, 3) float64, angstrom
    weight : (n,)
        Integral of each Gaussian; atoms of weight 0 or less are left out.
    width : (n,) angstrom
        Standard deviation of each Gaussian.
    grid : Grid
    cutoff : float
        Density at which an atom ends, absolute.

    Returns
    -------
    (nz, ny, nx) float32

    Raises
    ------
    ValueError
        When a width is not positive or not finite: gemmi would leave NaN in the grid.
    """
    position, weight, width = (np.asarray(a, dtype=np.float64) for a in (position, weight, width))
    if not (np.isfinite(width).all() and (width > 0).all()):
        raise ValueError("every width must be positive and finite")
    if not (np.isfinite(position).all() and np.isfinite(weight).all()):
        raise ValueError("positions and weights must be finite")
    keep = atoms_reaching(position, np.maximum(weight, 0.0), width, grid, cutoff)
    if not keep.any():
        return np.zeros(grid.shape, dtype=np.float32)
    position, weight, width = position[keep], weight[keep], width[keep]
    radius = cut_radius(weight, width, cutoff).max()
    # An atom one radius outside a face has its tail at two; both faces share the padding.
    padded = tuple(
        n + int(np.ceil(2.0 * radius / v)) + 1
        for n, v in zip(grid.shape, grid.voxel_size_zyx, strict=True)
    )
    calculator = gemmi.DensityCalculatorN()
    calculator.cutoff = cutoff
    _set_grid(calculator, Grid(padded, grid.voxel_size, grid.origin))
    model = gemmi_model(
        position - np.asarray(grid.origin),
        [CARRIER] * len(position),
        weight / CARRIER_LENGTH,
        B_PER_VARIANCE * width**2,
    )
    calculator.put_model_density_on_grid(model)
    nz, ny, nx = grid.shape
    return np.ascontiguousarray(array_of(calculator.grid)[:nz, :ny, :nx])


def inside_box(atoms: Atoms, grid: Grid) -> np.ndarray:
    """Whether atoms (n,) lie in the cells of the voxels: others would wrap to the other face."""
    index = grid.index_of(atoms.xyz)
    return ((index >= -0.5) & (index < np.asarray(grid.shape) - 0.5)).all(axis=1)


def model_transform(atoms: Atoms, grid: Grid) -> np.ndarray:
    """Structure factors of a model in a P1 box equal to the map's grid.

    Electron form factors (five Gaussians), the file's B-factors and occupancies, heavy atoms of
    known element inside the box. The density is summed with an extra blur, which is divided
    out again in Fourier space, so that the sampling costs no accuracy.

    Parameters
    ----------
    atoms : Atoms
    grid : Grid

    Returns
    -------
    (nz, ny, nx // 2 + 1) complex128
        The `rfftn` of the model's density with its origin at the grid's, F(000) included; 0
        beyond the corner of the transform of a cube of the coarsest voxel.
    """
    atoms = atoms.heavy()
    atoms = atoms.take(inside_box(atoms, grid) & (atoms.occupancy > 0) & (atoms.atomic_number > 0))
    if not len(atoms):
        return np.zeros((*grid.shape[:2], grid.shape[2] // 2 + 1), dtype=np.complex128)
    spacing = max(grid.voxel_size)
    blur = max(0.0, BLUR_PER_SPACING * spacing**2 - float(atoms.b_iso.min()))
    calculator = gemmi.DensityCalculatorE()
    calculator.cutoff = ELECTRON_CUTOFF
    calculator.blur = blur
    _set_grid(calculator, grid)
    model = gemmi_model(
        atoms.xyz - np.asarray(grid.origin),
        [gemmi.Element(int(z)) for z in atoms.atomic_number],
        atoms.occupancy,
        atoms.b_iso,
    )
    calculator.put_model_density_on_grid(model)
    transform = scipy.fft.rfftn(array_of(calculator.grid).astype(np.float64))
    square = squared_frequency(grid.shape, grid.voxel_size_zyx)
    # Beyond the corner of the coarsest axis the division would only amplify rounding.
    kept = square <= CORNER_SQUARE / spacing**2
    transform *= np.where(kept, np.exp(0.25 * blur * np.where(kept, square, 0.0)), 0.0)
    return transform


def electron_density(transform: np.ndarray, grid: Grid, d_min: float) -> np.ndarray:
    """Model map at a resolution: sharp cutoff at `d_min`, mean zero, no solvent.

    The way of Afonine et al., Acta Cryst. D74:814 (2018) for map-model correlations.

    Parameters
    ----------
    transform : (nz, ny, nx // 2 + 1) complex
        As of :func:`model_transform`.
    grid : Grid
    d_min : float, angstrom

    Returns
    -------
    (nz, ny, nx) float64
    """
    square = squared_frequency(grid.shape, grid.voxel_size_zyx)
    kept = (square > 0) & (square < d_min**-2)
    return scipy.fft.irfftn(np.where(kept, transform, 0.0), s=grid.shape)


def _set_grid(calculator, grid: Grid) -> None:
    # The calculator must never see the cell or the space group of a model file.
    calculator.grid.set_unit_cell(gemmi.UnitCell(*grid.extent, 90, 90, 90))
    calculator.grid.spacegroup = gemmi.SpaceGroup("P 1")
    calculator.grid.set_size(*grid.shape[::-1])


def array_of(grid) -> np.ndarray:
    """Return gemmi's [x, y, z] grid as a (z, y, x) view."""
    return np.asarray(grid.array).transpose(2, 1, 0)


def gemmi_model(
    position: np.ndarray,
    elements: list[gemmi.Element],
    occupancy: np.ndarray,
    b_iso: np.ndarray,
) -> gemmi.Model:
    """Return a model of one residue; fresh atoms are isotropic, so that no ANISOU wins over B."""
    model = gemmi.Model(1)
    residue = gemmi.Residue()
    residue.name = "UNL"
    atom = gemmi.Atom()
    for xyz, element, occ, b in zip(
        position.tolist(), elements, occupancy.tolist(), b_iso.tolist(), strict=True
    ):
        atom.pos = gemmi.Position(*xyz)
        atom.element = element
        atom.occ = occ
        atom.b_iso = b
        residue.add_atom(atom)
    chain = gemmi.Chain("A")
    chain.add_residue(residue)
    model.add_chain(chain)
    return model
