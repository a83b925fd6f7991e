"""Laws between Q and resolution: published values, inverses, refusals."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cryoclarity.targets.kernels import kernel_resolution, kernel_width
from cryoclarity.targets.q_laws import (
    cubic_resolution,
    expected_q_score,
    law_sigma,
    linear_resolution,
    matched_resolution,
)

CUBIC_06 = {1.5: 0.9651, 2.0: 0.8181, 3.0: 0.5804, 4.0: 0.4084, 6.0: 0.2156, 9.0: 0.1329}
# Mean Q (sigma 0.6) of a protein whose atoms all have this width, on a 0.5 and a 1.0 A grid.
SIMULATED = {0.675: (0.947, 0.902), 1.125: (0.777, 0.753), 1.801: (0.516, 0.502)}


def test_cubic_law_and_inverse():
    for resolution, score in CUBIC_06.items():
        assert expected_q_score(resolution) == pytest.approx(score, abs=1e-4)
        assert cubic_resolution(np.array([score]), 0.6)[0] == pytest.approx(resolution, abs=5e-3)
    ends = cubic_resolution(np.array([2.0, -1.0]), 0.6)
    assert ends.tolist() == [1.0, 10.0]


@settings(max_examples=50, deadline=None, derandomize=True)
@given(st.floats(1.0, 6.0), st.sampled_from([0.4, 0.6]))
def test_cubic_round_trip(resolution, sigma):
    back = cubic_resolution(np.array([expected_q_score(resolution, sigma)]), sigma)
    assert back[0] == pytest.approx(resolution, abs=1e-4)


@pytest.mark.parametrize("sigma", [0.4, 0.6])
def test_laws_fall_strictly(sigma):
    assert (np.diff(expected_q_score(np.linspace(0.5, 16.0, 3000), sigma)) < 0).all()
    score = np.linspace(-0.2, 1.2, 500)
    assert (np.diff(cubic_resolution(score, sigma)) <= 0).all()
    for voxel_size in (0.5, 1.0):
        assert (np.diff(matched_resolution(score, sigma, voxel_size, "molmap")) <= 1e-12).all()


def test_lines_by_kind():
    kind = np.array(["protein", "nucleic", "water", "ion", "ligand", "protein"])
    score = np.array([0.6, 0.6, 0.6, 0.6, 0.6, 0.2])
    cubic = cubic_resolution(score, 0.6)
    found = linear_resolution(score, 0.6, kind)
    expected = [(1.1192 - 0.6) / 0.1775, (0.9973 - 0.6) / 0.1377]
    expected += [(1.0001 - 0.6) / 0.0895, (1.0795 - 0.6) / 0.1103]
    np.testing.assert_allclose(found[:4], expected, rtol=1e-12)
    np.testing.assert_array_equal(found[4:], cubic[4:])


def test_matched_gives_the_simulated_width():
    for width, scores in SIMULATED.items():
        for score, voxel_size in zip(scores, (0.5, 1.0), strict=True):
            for kernel in ("molmap", "dimaio"):
                found = matched_resolution(np.array([score]), 0.6, voxel_size, kernel)
                expected = np.clip(kernel_resolution(width, kernel), 1.0, 10.0)
                assert found[0] == pytest.approx(expected, abs=0.12)


def test_kernel_widths():
    np.testing.assert_allclose(kernel_width([3.0], "molmap"), 0.675, atol=5e-4)
    np.testing.assert_allclose(kernel_width([2.0, 6.0], "dimaio"), [0.90, 1.62], atol=5e-3)
    np.testing.assert_allclose(kernel_resolution(kernel_width([3.3], "dimaio"), "dimaio"), 3.3)
    with pytest.raises(ValueError, match="kernel"):
        kernel_width([3.0], "box")
    with pytest.raises(ValueError, match="positive"):
        kernel_width([3.0, 0.0], "molmap")


@pytest.mark.parametrize("sigma", [0.5, 1.0, float("nan")])
def test_sigma_without_a_law(sigma):
    with pytest.raises(ValueError, match="no law"):
        law_sigma(sigma)
