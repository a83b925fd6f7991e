"""Tiling: complete cover whatever the sizes, and weights that sum to what they should."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cryoclarity.boxes.blend import BLENDS, weight_sum, window
from cryoclarity.boxes.tiling import axis_starts, box_starts, count_boxes, cut_box, overlap
from cryoclarity.errors import ConfigError


@given(st.integers(1, 300), st.integers(1, 64), st.integers(1, 100))
@settings(max_examples=100)
def test_every_voxel_is_covered(size, box, stride):
    starts = axis_starts(size, box, stride)
    covered = np.zeros(max(size, box), bool)
    for start in starts:
        covered[start : start + box] = True
    assert covered.all()
    assert starts[0] == 0 and starts[-1] == max(size - box, 0)
    assert starts == sorted(set(starts))


def test_published_starts_leave_holes_where_ours_do_not():
    """96 voxels in steps of 48: the published rule predicts an eighth of the volume."""
    starts = [-48 + 48 * k for k in range(2)]
    assert max(starts) + 48 == 48
    assert axis_starts(96, 48, 48) == [0, 48]


@pytest.mark.parametrize("blend", BLENDS)
@given(
    shape=st.tuples(st.integers(3, 14), st.integers(3, 14), st.integers(3, 14)),
    box=st.integers(4, 9),
    stride=st.integers(2, 9),
)
@settings(max_examples=12, deadline=None)
def test_sums_of_weights_are_outer_products(blend, shape, box, stride):
    weights = window(box, blend)
    cube = weights[:, None, None] * weights[:, None] * weights
    total = np.zeros([max(n, box) for n in shape])
    for start in box_starts(shape, box, stride):
        in_array, in_box = overlap(start, box, total.shape)
        total[in_array] += cube[in_box]
    z, y, x = (weight_sum(n, box, stride, blend) for n in shape)
    assert np.allclose(z[:, None, None] * y[:, None] * x, total, rtol=1e-5)
    assert total.min() > 0
    assert count_boxes(shape, box, stride) == len(list(box_starts(shape, box, stride)))


def test_boxes_beyond_the_array_hold_zeros():
    array = np.arange(1, 28, dtype=np.float32).reshape(3, 3, 3)
    cut = cut_box(array, (-1, 0, 2), 4)
    assert cut.sum() == array[:, :, 2].sum()
    assert np.array_equal(cut[1:, :3, 0], array[:, :, 2])
    assert not cut_box(array, (9, 0, 0), 4).any()


def test_an_unknown_blend_is_refused():
    with pytest.raises(ConfigError):
        window(8, "linear")
