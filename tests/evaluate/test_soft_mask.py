"""The soft mask against distances computed one by one."""

import numpy as np

from cryoclarity.evaluate.soft_mask import soft_mask, squared_distance_to_atoms
from cryoclarity.grid import Grid

GRID = Grid((14, 11, 17), (1.3, 0.9, 1.1), (-4.0, 2.0, 7.5))


def positions():
    rng = np.random.default_rng(4)
    low, high = np.asarray(GRID.origin) - 6, np.asarray(GRID.origin) + GRID.extent + 6
    return rng.uniform(low, high, size=(12, 3))


def brute_force():
    index = np.argwhere(np.ones(GRID.shape, dtype=bool))
    voxels = GRID.position_of(index)
    squares = ((voxels[:, None, :] - positions()[None]) ** 2).sum(axis=2)
    return np.sqrt(squares.min(axis=1)).reshape(GRID.shape)


def test_distance_is_that_of_the_nearest_atom():
    squared = squared_distance_to_atoms(positions(), GRID, 5.0)
    expected = np.minimum(brute_force(), 5.0)
    np.testing.assert_allclose(np.sqrt(squared), expected, atol=1e-5)


def test_profile_is_one_then_a_raised_cosine_then_zero():
    distance = brute_force()
    mask = soft_mask(positions(), GRID)
    ramp = 0.5 * (1 + np.cos(np.pi * (distance - 3) / 6))
    expected = np.where(distance <= 3, 1.0, np.where(distance >= 9, 0.0, ramp))
    np.testing.assert_allclose(mask, expected, atol=1e-6)


def test_atoms_far_outside_leave_the_mask_empty():
    assert not soft_mask(np.array([[500.0, 0.0, 0.0]]), GRID).any()
