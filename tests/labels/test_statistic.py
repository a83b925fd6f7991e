"""The separable statistic against its definition, voxel by voxel in float64."""

from __future__ import annotations

import numpy as np
import pytest

from cryoclarity.labels.statistic import block_variance, level_basis, statistic_map
from tests.labels.plain_statistic import PlainLevel

LEVELS = [(2.2, 1.0), (3.7, 1.0), (4.2, 1.0), (7.1, 1.86)]


@pytest.fixture(scope="module")
def volume() -> np.ndarray:
    random = np.random.default_rng(3)
    return (random.normal(size=(26, 27, 28)) + 5).astype(np.float32)


@pytest.mark.parametrize(("level", "voxel_size"), LEVELS)
def test_statistic_equals_the_definition(volume, level: float, voxel_size: float) -> None:
    mask = np.zeros(volume.shape, bool)
    mask[6:19, 7:20, 8:21] = np.random.default_rng(4).random((13, 13, 13)) < 0.2
    mask[10] = False
    plain = PlainLevel(level, voxel_size)
    expected = plain.statistics(volume.astype(np.float64), mask)
    found = statistic_map(volume, mask, level_basis(level, voxel_size))
    assert np.abs(found - expected).max() < 2e-5 * expected.mean()


@pytest.mark.parametrize(("level", "voxel_size"), LEVELS)
def test_noise_variance_equals_the_definition(volume, level: float, voxel_size: float) -> None:
    cube = volume[:, :26, :26]
    basis = level_basis(level, voxel_size)
    width = 2 * basis.radius + 1
    region = np.ones(cube.shape, bool)
    region[0, 0, 0] = False
    starts = [width * i for i in range(26 // width)]
    plain = PlainLevel(level, voxel_size)
    blocks = [
        cube[z : z + width, y : y + width, x : x + width].astype(np.float64)
        for z in starts
        for y in starts
        for x in starts
        if z or y or x
    ]
    expected = np.mean([plain.block_variance(block) for block in blocks])
    variance, count = block_variance(cube, region, basis)
    assert count == len(blocks)
    assert float(variance) == pytest.approx(expected, rel=1e-5)
    # White noise of unit variance: the estimate is unbiased.
    assert float(variance) == pytest.approx(1.0, abs=0.1)


@pytest.mark.parametrize(("level", "voxel_size"), LEVELS)
def test_null_weights_and_trace_equal_the_definition(level: float, voxel_size: float) -> None:
    basis, plain = level_basis(level, voxel_size), PlainLevel(level, voxel_size)
    np.testing.assert_allclose(basis.eigenvalues, plain.eigenvalues(), atol=1e-10)
    assert basis.trace == pytest.approx(plain.trace(), rel=1e-10)


def test_no_block_gives_no_variance(volume) -> None:
    region = np.zeros(volume.shape, bool)
    assert block_variance(volume, region, level_basis(2.2, 1.0)) == (0, 0)
