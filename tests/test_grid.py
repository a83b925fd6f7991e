"""Grids: index and position are inverse, axis order is turned round in one place."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cryoclarity.grid import Grid, Volume

lengths = st.floats(0.3, 15)
positions = st.floats(-500, 500)


@given(st.tuples(lengths, lengths, lengths), st.tuples(positions, positions, positions))
def test_position_and_index_are_inverse(voxel_size, origin):
    grid = Grid((9, 10, 11), voxel_size, origin)
    index = np.array([[0, 0, 0], [8, 9, 10], [1.5, 2.25, 3.75]])
    assert np.allclose(grid.index_of(grid.position_of(index)), index, atol=1e-6)


def test_position_is_xyz_and_index_is_zyx():
    grid = Grid((4, 5, 6), (1.0, 2.0, 3.0), (10.0, 20.0, 30.0))
    assert grid.position_of(np.array([1, 2, 3])).tolist() == [13.0, 24.0, 33.0]
    assert grid.extent == (6.0, 10.0, 12.0)


def test_contains_is_the_hull_of_voxel_centres():
    grid = Grid((4, 4, 4), (1.0, 1.0, 1.0))
    inside = grid.contains(np.array([[0, 0, 0], [3, 3, 3], [3.01, 0, 0], [-0.01, 0, 0]]))
    assert inside.tolist() == [True, True, False, False]


def test_volume_refuses_a_density_of_another_shape():
    with pytest.raises(ValueError, match="grid is"):
        Volume(np.zeros((3, 3, 3), np.float32), Grid((4, 4, 4), (1, 1, 1)))
