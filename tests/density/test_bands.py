"""Band powers against a plain float64 computation, and what they must not depend on."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from scipy.spatial import cKDTree

from cryoclarity.boxes.augment import ROTATIONS, rotate
from cryoclarity.density import bands
from cryoclarity.density.bands import band_map, feature_grid, molecule_mask, space_to_depth
from cryoclarity.grid import Grid
from cryoclarity.train.data import turned


def ball(shape: tuple[int, int, int], radius: float) -> np.ndarray:
    axes = np.ogrid[tuple(slice(n) for n in shape)]
    squares = [(axis - (n - 1) / 2) ** 2 for axis, n in zip(axes, shape, strict=True)]
    return squares[0] + squares[1] + squares[2] < radius**2


def case(shape=(36, 36, 36), noise=0.1, seed=3, radius=10.0) -> tuple[np.ndarray, np.ndarray]:
    """A textured ball in noise, float64, with its mask."""
    rng = np.random.default_rng(seed)
    mask = ball(shape, radius)
    texture = gaussian_filter(rng.standard_normal(shape), 1.0)
    return mask * (2 + texture / texture.std()) + noise * rng.standard_normal(shape), mask


def gaussian_mean(array: np.ndarray, sigma: float) -> np.ndarray:
    """Gaussian mean with repeated ends, by one dense matrix per axis."""
    reach = int(4.0 * sigma + 0.5)
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    weights /= weights.sum()
    for axis, n in enumerate(array.shape):
        matrix = np.zeros((n, n))
        for i in range(n):
            for offset, weight in zip(range(-reach, reach + 1), weights, strict=True):
                matrix[i, min(max(i + offset, 0), n - 1)] += weight
        array = np.moveaxis(np.tensordot(matrix, array, (1, axis)), 0, axis)
    return array


def plain_powers(density: np.ndarray, padded: int) -> np.ndarray:
    """Band powers by full complex transforms and loops over the bands."""
    n = density.shape[0]
    frequency = np.fft.fftfreq(padded)
    radius = np.sqrt(
        frequency[:, None, None] ** 2 + frequency[:, None] ** 2 + frequency[None, None] ** 2
    )
    large = np.zeros((padded,) * 3)
    large[:n, :n, :n] = density
    transform = np.fft.fftn(large)
    steps = []
    for edge in bands.BAND_EDGES:
        low, high = 0.925 / edge, 1.075 / edge
        steps.append(np.interp(radius, [low, high], [0.0, 1.0]))
    powers = []
    for k in range(11):
        passed = np.fft.ifftn(transform * np.sqrt(np.clip(steps[k] - steps[k + 1], 0, None))).real
        square = passed[:n, :n, :n] ** 2
        mean = sum(square[a::2, b::2, c::2] for a in (0, 1) for b in (0, 1) for c in (0, 1)) / 8
        powers.append(gaussian_mean(mean, 1.5))
    return np.stack(powers)


@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float64, 1e-9), (np.float32, 2e-4)])
def test_powers_equal_a_plain_computation(dtype, tolerance):
    density, _ = case()
    expected = plain_powers(density, 54)
    found = bands.band_powers(density.astype(dtype))
    assert found.dtype == dtype and found.shape == (11, 18, 18, 18)
    assert np.allclose(found, expected, rtol=0, atol=tolerance * expected.max())


@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float64, 1e-6), (np.float32, 5e-3)])
def test_channels_equal_their_definition(dtype, tolerance):
    density, mask = case()
    found = band_map(density.astype(dtype), mask).channels()
    assert found.shape == (42, 18, 18, 18) and found.dtype == dtype
    inside_values = density[mask]
    # Beyond 6 A of the mask: a slow search of the nearest voxel of the mask.
    voxels, everywhere = np.argwhere(mask), np.indices(mask.shape).reshape(3, -1).T
    far = cKDTree(voxels).query(everywhere)[0].reshape(mask.shape) > 6
    scaled = (density - np.median(density[far])) / inside_values.std()
    powers = plain_powers(scaled, 54)
    floor = 1e-7 * powers.sum(axis=0).max()
    blocks = mask.reshape(18, 2, 18, 2, 18, 2).max(axis=(1, 3, 5))
    shares = np.log10(powers / (powers.sum(axis=0) + floor) + 1e-5) + 1.5
    assert np.allclose(found[:11], shares, atol=tolerance)
    mean = powers[:, blocks].mean(axis=1)[:, None, None, None]
    assert np.allclose(found[11:22], np.log10(powers / (mean + floor) + 1e-3), atol=tolerance)
    assert (found[33] == 1).all()
    assert found[22:33].min() >= -1 and found[22:33].max() <= 3
    solvent = np.median(found[22:33][:, ~blocks], axis=1)
    assert np.abs(solvent).max() < 0.3  # a solvent voxel is like the solvent's median
    voxels = np.clip(scaled, -3, 6)
    assert np.allclose(found[34], voxels[::2, ::2, ::2], atol=tolerance)
    assert np.allclose(found[35], voxels[::2, ::2, 1::2], atol=tolerance)
    assert np.allclose(found[38], voxels[1::2, ::2, ::2], atol=tolerance)


def test_features_turn_with_the_map():
    density, mask = case((22, 22, 22), 0.2, radius=4.0)
    channels = band_map(density, mask).channels()
    assert (channels[33] == 1).all()
    for rotation in ROTATIONS:
        of_turned = band_map(rotate(density, rotation), rotate(mask, rotation)).channels()
        assert np.allclose(of_turned, turned(channels, rotation), atol=1e-8)


def test_scale_and_offset_do_not_matter():
    density, mask = case()
    plain = band_map(density, mask).channels()
    assert np.allclose(band_map(250 * density - 7, mask).channels(), plain, atol=1e-7)


def test_a_masked_map_has_no_solvent_channels():
    density, mask = case()
    found = band_map(density * mask, mask)
    channels = found.channels()
    assert found.solvent is None
    assert (channels[22:34] == 0).all() and np.isfinite(channels).all()


def test_a_part_equals_the_same_part_of_the_whole():
    found = band_map(*case())
    part = (slice(2, 9), slice(0, 18), slice(11, 18))
    assert np.array_equal(found.channels(part), found.channels()[:, *part])


def test_odd_sides_and_positions():
    density, mask = case((31, 36, 33))
    found = band_map(density.astype(np.float32), mask)
    grid = feature_grid(Grid((31, 36, 33), (1.0, 1.0, 1.0), (5.0, 6.0, 7.0)))
    assert found.shape == grid.shape == (16, 18, 17)
    assert grid.voxel_size == (2.0, 2.0, 2.0) and grid.origin == (5.5, 6.5, 7.5)
    assert np.array_equal(space_to_depth(found.voxels)[0], found.voxels[::2, ::2, ::2])


def test_an_empty_or_constant_molecule_is_refused():
    density, mask = case()
    with pytest.raises(ValueError, match="empty"):
        band_map(density, np.zeros_like(mask))
    with pytest.raises(ValueError, match="constant"):
        band_map(np.ones_like(density), mask)


@pytest.mark.parametrize("noise", [0.0, 0.3, 1.0])
def test_the_molecule_is_found_with_and_without_noise(noise):
    density, mask = case((48, 48, 48), noise, radius=12)
    found = molecule_mask(density)
    assert (found & mask).sum() > 0.9 * mask.sum()
    assert found.sum() < 1.8 * mask.sum()
    assert not molecule_mask(np.zeros((8, 8, 8))).any()
