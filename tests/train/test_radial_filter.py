"""The radial linear baseline."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from cryoclarity.density.radial import apply_radial_filter
from cryoclarity.train.radial_filter import (
    fit_radial_filter,
    read_radial_filter,
    write_radial_filter,
)


def test_a_known_filter_is_found_again():
    rng = np.random.default_rng(0)
    wide = gaussian_filter(rng.standard_normal((64, 64, 64)), 1.0)
    blurred = gaussian_filter(wide, 1.0, mode="wrap", truncate=6)
    cuts = [(slice(i, i + 24),) * 3 for i in (5, 20, 35)]
    frequency, gain = fit_radial_filter([(wide[c], blurred[c]) for c in cuts], 1.5)
    assert frequency[-1] == pytest.approx(1 / 3)
    wanted = np.exp(-2 * (np.pi * frequency * 1.5) ** 2)
    np.testing.assert_allclose(gain[:9], wanted[:9], atol=0.08)
    undone = apply_radial_filter(wide, (1.5, 1.5, 1.5), frequency, gain)
    error = np.sqrt(np.mean((undone - blurred) ** 2) / np.mean(blurred**2))
    assert error < 0.05


def test_gain_is_the_least_squares_answer_for_scaled_boxes():
    box = np.random.default_rng(1).random((12, 12, 12))
    _, gain = fit_radial_filter([(box, 3 * box)], 1.0)
    np.testing.assert_allclose(gain, 3)
    _, gain = fit_radial_filter([(np.zeros_like(box), box)], 1.0)
    assert (gain == 1).all()


def test_table_goes_there_and_back(tmp_path):
    frequency, gain = np.array([0.0, 0.125]), np.array([1.5, -2e-7])
    write_radial_filter(tmp_path / "f.tsv", frequency, gain)
    found = read_radial_filter(tmp_path / "f.tsv")
    np.testing.assert_allclose(found, (frequency, gain))
    assert len(fit_radial_filter([], 1.0)[0]) == 0
