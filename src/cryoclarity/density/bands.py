"""Power of a map in bands of resolution: what a network needs in order to judge local resolution.

A network that is given voxels must first invent band-pass filters, squares, means and logarithms.
Here they are computed: the map's power in eleven bands around every voxel of a 2 angstrom grid,
seen as the shape of the local spectrum, against the mean of the molecule, and against the solvent.
All of it is free of scale and offset, and turns with the map.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.fft import irfftn, next_fast_len, rfftn
from scipy.ndimage import distance_transform_edt, gaussian_filter, label

from cryoclarity.density.normalise import SOLVENT_CLIP, masked_deviation
from cryoclarity.grid import Grid, squared_frequency

SPACING = 1.0  # angstrom, of the map
BLOCK = 2  # voxels of the map per voxel of the features
# Angstrom; neighbouring bands share the power within 15 % of an edge.
BAND_EDGES = (20.0, 12.0, 9.0, 7.5, 6.2, 5.2, 4.4, 3.8, 3.3, 2.9, 2.5, 2.15)
EDGE_WIDTH = 0.15
BANDS = len(BAND_EDGES) - 1
MEAN_WIDTH = 3.0  # angstrom, standard deviation of the local mean
SOLVENT_DISTANCE = 6.0  # angstrom from the mask
PADDING = 16  # voxels; keeps one face of the box out of the local spectrum of the other
POWER_FLOOR = 1e-7  # of the largest summed power
# Solvent within this of its median, in deviations of the molecule, was masked away; where that is
# so for most of it (a sphere in a cube leaves half), the map says nothing about its noise.
BLANK = 1e-3
LEAST_NOISY_SHARE = 0.25
MASK_BLUR = 3.0  # angstrom
MASK_NOISE = 2.5  # standard deviations of the blurred solvent
MASK_SHARE = 0.15  # of the blurred maximum
LARGEST_MASK_SHARE = 0.5  # where a cut-out holds so little solvent that noise cannot be told
LEAST_BODY = 0.02  # of the largest body: smaller ones are specks of noise
NOISE_CLIP = (-1.0, 3.0)
VOXEL_CHANNELS = BLOCK**3
CHANNELS = 3 * BANDS + 1 + VOXEL_CHANNELS


@dataclass(frozen=True)
class BandMap:
    """A map and its band powers, with the constants by which they become channels.

    Attributes
    ----------
    voxels : (2z, 2y, 2x) float, the map in units of the deviation inside the mask, clipped
    powers : (11, z, y, x) float, on the grid of :func:`feature_grid`
    floor : added to every denominator
    inside_mean : (11,) mean power inside the mask
    solvent : (11,) median power of the solvent, or None where the solvent was masked away
    """

    voxels: np.ndarray
    powers: np.ndarray
    floor: float
    inside_mean: np.ndarray
    solvent: np.ndarray | None

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape (z, y, x) of the features."""
        return self.powers.shape[1:]

    def channels(self, part: tuple[slice, slice, slice] = (slice(None),) * 3) -> np.ndarray:
        """Return the channels of a part of the map, (42, z, y, x).

        In order: 11 shares of the local power, 11 powers against the molecule's mean, 11 against
        the solvent's median (0 without solvent), 1 flag for solvent, and the 8 voxels of each
        block, all of them in ranges that suit a network.
        """
        powers = self.powers[:, *part]
        result = np.empty((CHANNELS, *powers.shape[1:]), dtype=powers.dtype)
        total = powers.sum(axis=0) + self.floor
        result[:BANDS] = np.log10(powers / total + 1e-5) + 1.5
        mean = _column(self.inside_mean + self.floor)
        result[BANDS : 2 * BANDS] = np.log10(powers / mean + 1e-3)
        noise = slice(2 * BANDS, 3 * BANDS)
        if self.solvent is None:
            result[noise] = 0
        else:
            ratio = powers / _column(self.solvent + self.floor)
            result[noise] = np.clip(np.log10(ratio + 1e-2), *NOISE_CLIP)
        result[3 * BANDS] = self.solvent is not None
        doubled = tuple(slice(*(BLOCK * i for i in s.indices(n)[:2])) for s, n in self._axes(part))
        result[3 * BANDS + 1 :] = space_to_depth(self.voxels[doubled])
        return result

    def _axes(self, part: tuple[slice, slice, slice]):
        return zip(part, self.shape, strict=True)


def feature_grid(grid: Grid) -> Grid:
    """Return the 2 angstrom grid of the features of a map at 1 angstrom.

    Voxel i lies in the middle of the map's voxels 2i and 2i + 1; an odd last voxel is repeated.
    """
    shape = tuple(-(-n // BLOCK) for n in grid.shape)
    voxel = tuple(BLOCK * v for v in grid.voxel_size)
    origin = tuple(
        o + (BLOCK - 1) / 2 * v for o, v in zip(grid.origin, grid.voxel_size, strict=True)
    )
    return Grid(shape, voxel, origin)


def band_map(density: np.ndarray, mask: np.ndarray) -> BandMap:
    """Compute band powers and their constants.

    Parameters
    ----------
    density : (nz, ny, nx)
        At 1 angstrom per voxel; float64 is computed in float64, anything else in float32.
    mask : (nz, ny, nx) bool
        Where the molecule is; must hold a voxel.

    Returns
    -------
    BandMap
        On a grid of half as many voxels per axis, rounded up.

    Raises
    ------
    ValueError
        If the mask is empty, or the density inside it is constant.
    """
    dtype = np.float64 if density.dtype == np.float64 else np.float32
    even = [(0, n % BLOCK) for n in density.shape]
    work, mask = np.pad(density.astype(dtype, copy=False), even, mode="edge"), np.pad(mask, even)
    if not mask.any():
        raise ValueError("the mask is empty")
    solvent = _solvent(mask)
    median = np.median(work[solvent]) if solvent.any() else np.median(work)
    deviation = masked_deviation(work, mask)
    if not deviation > 0:
        raise ValueError("the density inside the mask is constant")
    work = (work - dtype(median)) / dtype(deviation)
    powers = band_powers(work)
    inside = _blocks(mask.astype(np.float32)) > 0
    noisy = solvent & (np.abs(work) > BLANK)
    if noisy.sum() > LEAST_NOISY_SHARE * solvent.sum():
        blocks = _blocks(noisy.astype(np.float32)) > 1 - 1.5 / VOXEL_CHANNELS
    else:
        blocks = np.zeros(inside.shape, dtype=bool)
    return BandMap(
        voxels=np.clip(work, *SOLVENT_CLIP, out=work),
        powers=powers,
        floor=POWER_FLOOR * float(powers.sum(axis=0).max()),
        inside_mean=powers[:, inside].mean(axis=1, dtype=np.float64),
        solvent=np.median(powers[:, blocks], axis=1) if blocks.any() else None,
    )


def molecule_mask(density: np.ndarray) -> np.ndarray:
    """Return where the molecule is, (nz, ny, nx) bool, in maps with solvent noise and without.

    Parameters
    ----------
    density : (nz, ny, nx)
        At 1 angstrom per voxel.

    Returns
    -------
    ndarray
        Voxels whose density, blurred by 3 angstrom, exceeds the median by 2.5 standard deviations
        of the solvent and by 15 % of the way to the maximum; bodies of less than 2 % of the
        largest are left out. The deviation is taken from the voxels below the median, which the
        molecule hardly reaches: 1.4826 x the median distance (normal distribution). A map that
        was masked has none, and the share of the maximum decides.
    """
    blurred = gaussian_filter(density.astype(np.float32), MASK_BLUR / SPACING, truncate=4.0)
    median = float(np.median(blurred))
    below = blurred[blurred < median]
    noise = 1.4826 * float(np.median(median - below)) if below.size else 0.0
    height = float(blurred.max()) - median
    level = max(min(MASK_NOISE * noise, LARGEST_MASK_SHARE * height), MASK_SHARE * height)
    bodies, count = label(blurred > median + level)
    if not count:
        return np.zeros(density.shape, dtype=bool)
    sizes = np.bincount(bodies.ravel())
    sizes[0] = 0
    return (sizes >= LEAST_BODY * sizes.max())[bodies] & (bodies > 0)


def band_powers(density: np.ndarray) -> np.ndarray:
    """Return the local power of a map in eleven bands, (11, nz / 2, ny / 2, nx / 2).

    Parameters
    ----------
    density : (nz, ny, nx), even sides
        At 1 angstrom per voxel, solvent near 0: beyond the box it counts as 0.

    Returns
    -------
    ndarray
        Square of the band-passed map, averaged over blocks of 2^3 voxels and by a Gaussian of
        3 angstrom.
    """
    shape = density.shape
    # An even padded size keeps the filters exactly symmetric under a reversal of an axis.
    padded = tuple(2 * next_fast_len(-(-(n + PADDING) // 2), real=True) for n in shape)
    spectrum = rfftn(density, padded)
    frequency = np.sqrt(squared_frequency(padded, (SPACING,) * 3)).astype(density.dtype)
    powers = np.empty((BANDS, *(n // BLOCK for n in shape)), dtype=density.dtype)
    for band in range(BANDS):
        passed = irfftn(spectrum * band_weight(frequency, band), padded)
        passed = passed[tuple(slice(n) for n in shape)]
        mean = _blocks(passed * passed)
        sigma = MEAN_WIDTH / (BLOCK * SPACING)
        powers[band] = gaussian_filter(mean, sigma, mode="nearest", truncate=4.0)
    # The Fourier transform leaves no negative power, but the mean of zeros may round below 0.
    return np.maximum(powers, 0, out=powers)


def band_weight(frequency: np.ndarray, band: int) -> np.ndarray:
    """Return the amplitude weight of a band; the squares of all bands add up to 1 between edges.

    Parameters
    ----------
    frequency : 1/angstrom
    band : 0 to 10
    """
    rise, fall = (_step(frequency, 1.0 / BAND_EDGES[k]) for k in (band, band + 1))
    return np.sqrt(np.maximum(rise - fall, 0))


def space_to_depth(voxels: np.ndarray) -> np.ndarray:
    """Return the voxels of each 2^3 block as channels, (8, z, y, x): dz slowest, dx fastest."""
    z, y, x = (n // BLOCK for n in voxels.shape)
    cut = voxels.reshape(z, BLOCK, y, BLOCK, x, BLOCK)
    return cut.transpose(1, 3, 5, 0, 2, 4).reshape(VOXEL_CHANNELS, z, y, x)


def _step(frequency: np.ndarray, edge: float) -> np.ndarray:
    start = edge * (1 - EDGE_WIDTH / 2)
    return np.clip((frequency - start) / (EDGE_WIDTH * edge), 0, 1)


def _blocks(density: np.ndarray) -> np.ndarray:
    """Mean over blocks of 2^3 voxels."""
    z, y, x = (n // BLOCK for n in density.shape)
    return density.reshape(z, BLOCK, y, BLOCK, x, BLOCK).mean(axis=(1, 3, 5))


def _solvent(mask: np.ndarray) -> np.ndarray:
    if mask.all():
        return ~mask
    return distance_transform_edt(~mask) > SOLVENT_DISTANCE / SPACING


def _column(values: np.ndarray) -> np.ndarray:
    return values[:, None, None, None]
