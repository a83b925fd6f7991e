"""Envelopes, soft masks and zones beside scipy and the target's masks."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from cryoclarity.degrade.arrays import NumpyArrays
from cryoclarity.degrade.placement import place
from cryoclarity.degrade.solvent import dilated, displace_solvent, envelope, soft
from cryoclarity.degrade.spectrum import Frequencies
from cryoclarity.degrade.zones import choose_atoms, near_atoms
from cryoclarity.density.masks import zone_mask
from cryoclarity.grid import Grid
from tests.degrade.models import SMALL_BOX, small_model

ARRAYS = NumpyArrays()
SHAPE = (30, 26, 28)


@pytest.fixture
def block() -> np.ndarray:
    inside = np.zeros(SHAPE, bool)
    inside[9:20, 8:17, 10:18] = True
    return inside


def test_envelope_is_the_blurred_count_of_atoms() -> None:
    position = np.random.default_rng(1).uniform(7, 18, (250, 3)).astype(np.float32)
    voxel = 1.5
    z, y, x = np.indices(SHAPE, dtype=np.float64)
    density = np.zeros(SHAPE)
    for pz, py, px in position.astype(np.float64):
        square = voxel**2 * ((z - pz) ** 2 + (y - py) ** 2 + (x - px) ** 2)
        density += (2 * np.pi * 4) ** -1.5 * np.exp(-square / 8)
    clear = np.abs(density - 0.010) > 1e-6
    assert np.array_equal(envelope(ARRAYS, position, SHAPE, voxel)[clear], (density > 0.010)[clear])


def test_dilation_is_that_by_a_ball(block) -> None:
    frequencies = Frequencies(ARRAYS, SHAPE, 1.2)
    offsets = np.indices((7, 7, 7)) - 3
    ball = 1.2 * np.sqrt(np.sum(offsets**2, axis=0)) <= 2.9
    wanted = ndimage.binary_dilation(block, ball)
    assert np.array_equal(dilated(ARRAYS, frequencies, block, 2.9), wanted)


def test_a_soft_mask_is_a_blurred_one(block) -> None:
    frequencies = Frequencies(ARRAYS, SHAPE, 1.2)
    wanted = ndimage.gaussian_filter(block.astype(np.float64), 1.5 / 1.2, mode="wrap", truncate=6)
    np.testing.assert_allclose(soft(ARRAYS, frequencies, block, 1.5), wanted, atol=2e-3)


def test_solvent_is_taken_off_in_proportion_to_the_mean(block) -> None:
    density = np.where(block, 3.0, 1.0).astype(np.float32)
    ours = displace_solvent(ARRAYS, density, block, block.astype(np.float32), 0.4)
    assert ours[block] == pytest.approx(1.8)
    assert ours[~block] == pytest.approx(1.0)


@pytest.mark.parametrize("radius", [1.3, 2.0, 5.0])
def test_zone_is_that_of_masks(radius) -> None:
    position = np.random.default_rng(2).uniform(-2, 30, (300, 3)).astype(np.float32)
    wanted = zone_mask(position[:, ::-1], Grid(SHAPE, (1.0, 1.0, 1.0)), radius)
    assert np.array_equal(near_atoms(ARRAYS, position, SHAPE, radius), wanted)


def test_a_zone_is_laid_round_a_chain_or_a_half_space() -> None:
    placed = place(small_model(), np.random.default_rng(3), SMALL_BOX)
    half = choose_atoms(placed, np.random.default_rng(4), one_chain=False, share=0.6)
    assert half.mean() == pytest.approx(0.6, abs=0.01)
    middle, rest = placed.position[half].mean(axis=0), placed.position[~half].mean(axis=0)
    assert np.linalg.norm(middle - rest) > 5
    height = placed.position[:, 0]
    chains = replace(placed, chain=(height > np.quantile(height, 0.4)).astype(int))
    one = choose_atoms(chains, np.random.default_rng(5), one_chain=True, share=0.6)
    assert len(set(chains.chain[one].tolist())) == 1
    assert one.sum() == np.sum(chains.chain == chains.chain[one][0])
