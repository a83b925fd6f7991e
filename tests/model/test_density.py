"""Model densities against direct float64 sums, and the traps of a periodic grid."""

from __future__ import annotations

import json

import gemmi
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cryoclarity.grid import Grid, squared_frequency
from cryoclarity.io.atoms import Atoms
from cryoclarity.io.maps import read_map
from cryoclarity.io.model import read_atoms
from cryoclarity.model.density import electron_density, gaussian_density, model_transform
from cryoclarity.model.solvent_mask import molecular_mask

GRID = Grid((18, 20, 17), (1.0, 1.05, 0.97), (14.2, -9.6, 15.05))


def make_atoms(xyz, elements, *, b_iso=30.0, occupancy=1.0):
    count = len(xyz)
    numbers = [gemmi.Element(e.capitalize()).atomic_number for e in elements]
    return Atoms(
        xyz=np.asarray(xyz, dtype=np.float64),
        element=np.array(elements),
        atomic_number=np.array(numbers),
        name=np.array([f"{e}{i}" for i, e in enumerate(elements)]),
        residue_name=np.full(count, "UNL"),
        chain=np.full(count, "A"),
        residue_number=np.arange(1, count + 1),
        insertion_code=np.full(count, ""),
        altloc=np.full(count, ""),
        occupancy=np.broadcast_to(np.asarray(occupancy, float), count).copy(),
        b_iso=np.broadcast_to(np.asarray(b_iso, float), count).copy(),
        kind=np.full(count, "ligand"),
        residue_index=np.arange(count),
    )


def direct_sum(position, weight, width, grid):
    """Sum of Gaussians without cutoff in float64."""
    index = np.indices(grid.shape).reshape(3, -1).T
    points = grid.position_of(index)
    total = np.zeros(len(points))
    for r, w, s in zip(position, weight, width, strict=True):
        square = ((points - r) ** 2).sum(axis=1)
        total += w * (2 * np.pi * s**2) ** -1.5 * np.exp(-square / (2 * s**2))
    return total.reshape(grid.shape)


def inside(fraction):
    """Position at fractions (x, y, z) of the test grid's hull."""
    return GRID.position_of(np.asarray(fraction)[..., ::-1] * (np.asarray(GRID.shape) - 1))


@settings(max_examples=12, deadline=None, derandomize=True)
@given(st.integers(0, 10_000))
def test_same_as_direct_sum(seed):
    rng = np.random.default_rng(seed)
    # A third of the atoms lies outside the box, some of them on a face.
    position = inside(rng.uniform(-0.5, 1.5, size=(30, 3)))
    position[:2] = inside([[0.0, 0.5, 0.5], [1.0, 1.0, 1.0]])
    weight = rng.uniform(0.5, 30.0, size=30)
    width = rng.uniform(0.4, 2.3, size=30)
    expected = direct_sum(position, weight, width, GRID)
    found = gaussian_density(position, weight, width, GRID)
    assert found.dtype == np.float32
    assert np.abs(found - expected).max() <= 1e-5 * expected.max()


def test_mass_of_inner_atoms():
    position = inside([[0.5, 0.5, 0.5], [0.45, 0.55, 0.5]])
    density = gaussian_density(position, np.array([6.0, 3.5]), np.array([0.8, 1.1]), GRID)
    mass = density.sum(dtype=np.float64) * np.prod(GRID.voxel_size)
    assert mass == pytest.approx(9.5, rel=1e-4)


def test_nothing_wraps_to_the_other_face():
    z, y, x = GRID.shape
    face = gaussian_density(inside([[0.0, 0.5, 0.5]]), np.array([7.0]), np.array([1.0]), GRID)
    assert face[:, :, 0].max() > 0.1
    assert face[:, :, x // 2 :].max() == 0.0
    beyond = GRID.position_of(np.array([[z + 2.0, y / 2, x / 2]]))
    outside = gaussian_density(beyond, np.array([7.0]), np.array([1.0]), GRID)
    assert outside[-1].max() > 0
    assert outside[: z // 2].max() == 0.0


def test_far_and_vanishing_atoms_leave_zeros():
    far = gaussian_density(inside([[5.0, 0.5, 0.5]]), np.array([7.0]), np.array([1.0]), GRID)
    assert not far.any()
    # Peak below the cutoff: gemmi's radius would be the root of a negative number.
    faint = gaussian_density(inside([[0.5] * 3] * 2), np.array([1e-6, 0.0]), np.full(2, 4.0), GRID)
    assert not faint.any()


@pytest.mark.parametrize("width", [0.0, -1.0, np.nan, np.inf])
def test_impossible_widths_are_refused(width):
    with pytest.raises(ValueError, match="width"):
        gaussian_density(inside([[0.5] * 3]), np.array([6.0]), np.array([width]), GRID)


def exact_transform(atoms, grid, h):
    """Structure factors of the indices `h` (n, 3: z, y, x) from the tables, in float64."""
    s = h / np.asarray(grid.extent[::-1])
    square = (s**2).sum(axis=1)
    total = np.zeros(len(h), dtype=complex)
    for i in range(len(atoms)):
        table = gemmi.Element(int(atoms.atomic_number[i])).c4322
        form = sum(
            a * np.exp(-b * square / 4) for a, b in zip(table.a, table.b, strict=True)
        ) * np.exp(-atoms.b_iso[i] * square / 4)
        place = (atoms.xyz[i] - np.asarray(grid.origin))[::-1]
        total += atoms.occupancy[i] * form * np.exp(-2j * np.pi * (s @ place))
    return total / np.prod(grid.voxel_size)


@pytest.mark.parametrize("b_iso", [0.0, 20.0, 190.0])
def test_transform_same_as_structure_factors(b_iso):
    rng = np.random.default_rng(3)
    xyz = inside(rng.uniform(0.05, 0.95, size=(12, 3)))
    atoms = make_atoms(xyz, ["C", "N", "O", "S", "ZN", "P"] * 2, b_iso=b_iso)
    atoms.occupancy[::5] = 0.5
    transform = model_transform(atoms, GRID)
    # Towards the Nyquist frequency (2.1 A) the sampling aliases, whatever the blur.
    index = np.argwhere(squared_frequency(GRID.shape, GRID.voxel_size_zyx) <= 0.33**2)
    h = np.where(index > np.asarray(GRID.shape) // 2, index - GRID.shape, index)
    expected = exact_transform(atoms, GRID, h)
    error = np.abs(transform[tuple(index.T)] - expected)
    assert error.max() <= 2e-3 * np.abs(expected).max()
    assert np.sqrt((error**2).mean() / (np.abs(expected) ** 2).mean()) <= 1e-3


def test_electron_density_is_cut_and_without_mean():
    atoms = make_atoms(inside([[0.5] * 3, [0.6, 0.4, 0.5]]), ["C", "O"])
    full = model_transform(atoms, GRID)
    density = electron_density(full, GRID, 3.0)
    transform = np.abs(np.fft.rfftn(density))
    beyond = squared_frequency(GRID.shape, GRID.voxel_size_zyx) >= 1 / 9.0
    assert density.mean() == pytest.approx(0.0, abs=1e-12)
    assert transform[beyond].max() < 1e-9 * transform.max()
    assert full[0, 0, 0].real > 0


def test_atoms_that_must_not_count():
    centre, beside, beyond = inside([[0.5] * 3, [0.3] * 3, [1.4, 0.5, 0.5]])
    one = make_atoms([centre], ["C"])
    more = make_atoms(
        [centre, beside, beside, beyond, beside],
        ["C", "H", "D", "C", "C"],
        occupancy=[1.0, 1.0, 1.0, 1.0, 0.0],
    )
    np.testing.assert_array_equal(model_transform(more, GRID), model_transform(one, GRID))
    np.testing.assert_array_equal(molecular_mask(more, GRID), molecular_mask(one, GRID))
    assert not model_transform(make_atoms([beside], ["H"]), GRID).any()
    assert not molecular_mask(make_atoms([beside], ["H"]), GRID).any()


def test_mask_of_one_atom_is_a_ball():
    grid = Grid((24, 24, 24), (0.4, 0.4, 0.4), (1.0, 2.0, 3.0))
    centre = grid.position_of(np.array([12.0, 12.0, 12.0]))
    mask = molecular_mask(make_atoms([centre], ["C"]), grid)
    distance = np.linalg.norm(grid.position_of(np.argwhere(mask)) - centre, axis=1)
    # Carbon's radius 1.775 + 1.1 - 0.9, up to the grid.
    assert 1.6 < distance.max() < 2.4
    assert mask.sum() == (distance <= distance.max()).sum()


def test_reference_correlations_and_mask(shared):
    metrics = json.loads((shared / "reference" / "qscore" / "metrics.json").read_text())
    pairs = {name: case for name, case in metrics.items() if "map" in case}
    assert len(pairs) == 2
    for case in pairs.values():
        volume = read_map(next((shared / "archive").rglob(case["map"])))
        atoms = read_atoms(next((shared / "archive").rglob(case["model"] + "*")))
        transform = model_transform(atoms, volume.grid)
        model = electron_density(transform, volume.grid, case["d_min"])
        mask = molecular_mask(atoms, volume.grid)
        assert mask.sum() == case["n_inside"]
        box = np.corrcoef(volume.density.ravel(), model.ravel())[0, 1]
        within = np.corrcoef(volume.density[mask], model[mask])[0, 1]
        assert box == pytest.approx(case["CC_box"], abs=1e-4)
        assert within == pytest.approx(case["CC_mask"], abs=1e-4)
