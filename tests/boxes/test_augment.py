"""The 24 proper rotations."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from cryoclarity.boxes.augment import (
    IDENTITY,
    ROTATIONS,
    centre_start,
    crop,
    random_placement,
    rotate,
    rotation_matrix,
)


def test_there_are_24_distinct_proper_rotations():
    array = np.random.default_rng(0).random((5, 5, 5))
    assert len(ROTATIONS) == 24
    assert len({rotate(array, r).tobytes() for r in ROTATIONS}) == 24
    assert all(round(np.linalg.det(rotation_matrix(r))) == 1 for r in ROTATIONS)
    assert np.array_equal(rotate(array, IDENTITY), array)


def test_they_form_a_group_and_act_as_their_matrices():
    array = np.random.default_rng(1).random((3, 3, 3))
    by_matrix = {rotation_matrix(r).tobytes(): r for r in ROTATIONS}
    for first, second in itertools.product(ROTATIONS, repeat=2):
        product = rotation_matrix(first) @ rotation_matrix(second)
        combined = by_matrix[product.tobytes()]
        assert np.array_equal(rotate(rotate(array, second), first), rotate(array, combined))
    assert all(rotation_matrix(r).T.tobytes() in by_matrix for r in ROTATIONS)


def test_matrix_says_where_voxels_come_from():
    array = np.random.default_rng(2).random((4, 4, 4))
    centre = 1.5
    for rotation in ROTATIONS:
        matrix, turned = rotation_matrix(rotation), rotate(array, rotation)
        for index in np.ndindex(array.shape):
            origin = matrix.T @ (np.array(index) - centre) + centre
            assert turned[index] == array[tuple(np.rint(origin).astype(int))]


def test_a_mirrored_chiral_object_is_not_in_its_own_orbit():
    chiral = np.zeros((3, 3, 3))
    for value, index in enumerate([(0, 0, 0), (0, 0, 1), (0, 1, 1), (1, 1, 1)], start=1):
        chiral[index] = value
    orbit = {rotate(chiral, r).tobytes() for r in ROTATIONS}
    assert np.ascontiguousarray(chiral[::-1]).tobytes() not in orbit


def test_leading_axes_stay_and_unequal_sides_are_refused():
    array = np.random.default_rng(3).random((2, 3, 3, 3))
    turned = rotate(array, ROTATIONS[7])
    assert turned.flags.c_contiguous
    assert np.array_equal(turned[1], rotate(array[1], ROTATIONS[7]))
    with pytest.raises(ValueError, match="differ"):
        rotate(np.zeros((3, 3, 4)), IDENTITY)


def test_random_crops_reach_every_offset_and_rotation():
    generator = np.random.default_rng(4)
    placements = [random_placement(generator, 60, 48) for _ in range(600)]
    assert {start[0] for start, _ in placements} == set(range(13))
    assert {rotation for _, rotation in placements} == set(ROTATIONS)
    assert random_placement(generator, 24, 24, rotate_box=False) == ((0, 0, 0), IDENTITY)
    box = np.arange(5**3).reshape(5, 5, 5)
    assert crop(box, centre_start(5, 3), 3)[1, 1, 1] == box[2, 2, 2]
