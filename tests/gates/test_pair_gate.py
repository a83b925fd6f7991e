"""A model in the wrong place, turned or mirrored is told from one that fits."""

import numpy as np
import pytest

from cryoclarity.errors import InputError
from cryoclarity.gates.pair_gate import (
    FitScores,
    check_half_contents,
    check_half_grids,
    cube_rotations,
    fit_atoms,
    fit_scores,
    frame_scores,
    judge_fit,
    judge_frame,
)
from cryoclarity.grid import Grid, Volume
from cryoclarity.io.atoms import Atoms
from cryoclarity.io.map_header import parse_header

GRID = Grid((48, 52, 56), (1.0, 1.0, 1.0), (-5.0, 7.0, 20.0))


def atoms_at(xyz, **columns):
    n = len(xyz)
    text = {
        name: np.array([value] * n)
        for name, value in {
            **{"element": "C", "name": "CA", "residue_name": "ALA", "chain": "A"},
            **{"insertion_code": "", "altloc": "", "kind": "protein"},
        }.items()
    }
    fields = {
        "xyz": np.asarray(xyz, dtype=np.float64),
        "atomic_number": np.full(n, 6),
        "residue_number": np.arange(n),
        "occupancy": np.ones(n),
        "b_iso": np.full(n, 20.0),
        "residue_index": np.arange(n),
    }
    return Atoms(**(text | fields | columns))


@pytest.fixture(scope="module")
def pair():
    """A chiral, lopsided chain of atoms and its density."""
    rng = np.random.default_rng(5)
    steps = rng.normal(size=(120, 3)) * (2.0, 1.2, 0.7)
    xyz = np.cumsum(steps, axis=0)
    xyz = (xyz - xyz.mean(axis=0)) / np.abs(xyz - xyz.mean(axis=0)).max(axis=0) * (15, 12, 9)
    xyz += GRID.position_of(np.array(GRID.shape) / 2.0)
    grid_points = GRID.position_of(np.indices(GRID.shape).reshape(3, -1).T)
    density = np.zeros(len(grid_points))
    for atom in xyz:
        density += np.exp(-((grid_points - atom) ** 2).sum(axis=1) / (2 * 1.2**2))
    density += rng.normal(size=len(density)) * 0.05
    volume = Volume(density.reshape(GRID.shape).astype(np.float32), GRID)
    return volume, atoms_at(xyz)


def codes(scores, resolution=3.0):
    refusals, warnings = judge_fit(scores, resolution)
    return [error.code for error in refusals] + [code for code, _ in warnings]


def test_a_good_pair_passes(pair):
    volume, atoms = pair
    scores = fit_scores(volume, atoms, 3.0)
    assert scores.inside == 1.0
    assert scores.z > 3
    assert codes(scores) == []


def test_score_is_the_mean_density_at_atoms(pair):
    volume, atoms = pair
    index = GRID.index_of(atoms.xyz)
    low = np.floor(index).astype(int)
    total = np.zeros(len(index))
    for corner in np.indices((2, 2, 2)).reshape(3, -1).T:
        weight = np.prod(np.where(corner, index - low, 1 - (index - low)), axis=1)
        total += weight * volume.density[tuple((low + corner).T)]
    density = volume.density.astype(np.float64)
    expected = (total.mean() - density.mean()) / density.std()
    assert fit_scores(volume, atoms).z == pytest.approx(expected, rel=1e-6)


def test_displaced_model(pair):
    volume, atoms = pair
    moved = atoms_at(atoms.xyz + np.array([0.0, 8.0, 8.0]))
    assert codes(fit_scores(volume, moved, 3.0))[0] == "PAIR_NO_FIT"
    outside = atoms_at(atoms.xyz + np.array([40.0, 0.0, 0.0]))
    assert codes(fit_scores(volume, outside, 3.0)) == ["PAIR_OUTSIDE"]


def test_mirrored_model_only_where_hands_are_visible(pair):
    volume, atoms = pair
    centre = atoms.xyz.mean(axis=0)
    mirrored = atoms_at((atoms.xyz - centre) * (-1, 1, 1) + centre)
    scores = fit_scores(volume, mirrored, 3.0)
    assert "PAIR_HAND" in codes(scores)
    assert "PAIR_HAND" not in codes(scores, 8.0)
    assert "PAIR_HAND" not in codes(scores, None)


def test_symmetric_particle_is_ambiguous_only():
    scores = FitScores(inside=1.0, z=5.0, z_rotated=4.9, z_shifted=1.0, z_mirrored=2.0)
    assert codes(scores) == ["W_FIT_AMBIGUOUS"]


def test_rotations_are_the_proper_group_of_the_cube():
    turns = cube_rotations()
    assert len(np.unique(turns.reshape(24, 9), axis=0)) == 24
    assert np.allclose(np.linalg.det(turns), 1)
    assert np.array_equal(turns[0], np.eye(3))


def test_atoms_that_count():
    xyz = np.arange(12.0).reshape(4, 3)
    atoms = atoms_at(
        xyz,
        occupancy=np.array([1.0, 0.4, 0.6, 0.0]),
        altloc=np.array(["", "A", "B", ""]),
        residue_number=np.array([1, 2, 2, 3]),
    )
    assert np.array_equal(fit_atoms(atoms), xyz[[0, 2]])
    assert len(fit_atoms(atoms_at(np.zeros((9000, 3))))) == 5000


def test_frames_are_told_apart_by_the_model(pair):
    from tests.gates.zoo import map_bytes

    volume, atoms = pair
    size = GRID.shape[::-1]
    raw = map_bytes(
        volume.density, cell=tuple(map(float, size)), start=(-5, 7, 20), origin=(50.0, 60.0, 70.0)
    )
    header = parse_header(raw)
    read = Volume(volume.density, header.grid, header, header.warnings)
    assert "W_FRAME_DISAGREE" in [code for code, _ in read.warnings]
    scores = frame_scores(read, atoms)
    assert scores["origin"] is None
    assert scores["nstart"] == pytest.approx(fit_scores(volume, atoms).z)
    assert judge_frame(scores, "origin").code == "PAIR_FRAME"
    assert judge_frame(scores, "nstart") is None


def test_half_maps():
    other = Grid(GRID.shape, GRID.voxel_size, (0.0, 0.0, 0.0))
    check_half_grids(GRID, (GRID, GRID))
    check_half_contents("a", ("b", "c"))
    with pytest.raises(InputError, match=r"PAIR_HALF_MISMATCH.*half map 2"):
        check_half_grids(GRID, (GRID, other))
    for primary, halves in (("a", ("b", "b")), ("a", ("b", "a"))):
        with pytest.raises(InputError, match="PAIR_HALF_SAME"):
            check_half_contents(primary, halves)
