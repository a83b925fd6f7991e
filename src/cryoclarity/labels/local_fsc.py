"""Local Fourier shell correlation of two half maps: the engine ``fsc``.

Both half maps are cut into overlapping bands of frequency. In every band the products h1*h2,
h1*h1 and h2*h2 are averaged under a Gaussian window around each voxel, which gives the
correlation of that voxel's surroundings as a function of frequency, for all voxels at once:
the quantity that BlocRes (Cardone, Heymann, Steven, J. Struct. Biol. 184:226, 2013) measures with
one pair of Fourier transforms per voxel, up to leakage between neighbouring bands. Resolution is
where the correlation first falls below a threshold.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from cryoclarity.errors import ConfigError, InputError
from cryoclarity.labels.banded import in_threads
from cryoclarity.labels.levels import FAILED, LABELLED, OUTSIDE
from cryoclarity.labels.local_fsc_scan import ArrayEngine, BandScan
from cryoclarity.labels.region import density_mask, silent_share

__all__ = ["LocalFscParameters", "LocalFscResult", "global_fsc", "local_fsc"]

WINDOW_VOXELS = 3.5
WINDOW_PER_RESOLUTION = 1.0
MOST_WINDOW = 1 / 8
"""Chosen window as a share of the shortest edge: it reaches 4.5 of its widths to either side."""
MOST_THRESHOLD = 0.9
"""Bands in which noise alone could reach more hold too few samples to be judged by."""
COARSEST = 15.0
NULL_WIDTHS = 1.645
"""One-sided 95 % point of the normal distribution."""
RANDOMISE_BELOW = 0.8
GLOBAL_THRESHOLD = 0.143
_TINY = 1e-30
_PLANES = 8


@dataclass(frozen=True)
class LocalFscParameters:
    """Settings of a run.

    threshold : correlation at which resolution is read off, 0.5 or 0.143 by custom.
    window : standard deviation of the Gaussian window in angstrom; 0 takes the larger of 3.5
        voxels and the resolution of the whole map, within an eighth of the shortest edge.
    coarsest : angstrom, the first band, if the window holds samples enough there; voxels that
        fail in the first band are worse than every level.
    finest : angstrom, no value is below it; 0 takes the Nyquist limit.
    randomise : subtract what a correlation of phase-randomised half maps shows (Chen et al.,
        Ultramicroscopy 135:24, 2013).
    seed : of the random phases.
    threads : for the Fourier transforms.
    """

    threshold: float = 0.5
    window: float = 0.0
    coarsest: float = COARSEST
    finest: float = 0.0
    randomise: bool = False
    seed: int = 0
    threads: int = 1


@dataclass(frozen=True)
class LocalFscResult:
    """Outcome of a run; lengths in angstrom, frequencies in 1/angstrom.

    resolution : (z, y, x) float32, 0 where there is no value.
    codes : (z, y, x) uint8, 0 outside the mask, 1 labelled, 2 worse than the first band.
    thresholds : per band, the larger of the asked threshold and the 95 % point of noise.
    at_limit : labelled voxels whose correlation never falls below the threshold.
    """

    resolution: np.ndarray
    codes: np.ndarray
    frequencies: np.ndarray
    thresholds: np.ndarray
    window: float
    band_width: float
    randomised_from: float | None
    global_resolution: float
    silent_share: float
    zero_box_share: float
    at_limit: int


class _Shells:
    """Frequencies of the half transform of a box: sums over shells, a few planes at a time."""

    def __init__(self, shape, voxel_size: tuple[float, float, float], threads: int) -> None:
        z, y = (np.fft.fftfreq(n, v) for n, v in zip(shape[:2], voxel_size, strict=False))
        x = np.fft.rfftfreq(shape[2], voxel_size[2])
        self.squares = [(axis**2).astype(np.float32) for axis in (z, y, x)]
        self.threads = threads

    def sums(self, width: float, count: int, values: Callable[[slice], list]) -> np.ndarray:
        """Sums per shell of `width` 1/angstrom, (quantities, count); the rest adds to the last.

        values : gives, for a slice of planes, arrays (planes, y, x) or None, which counts.
        """

        def planes(start: int) -> np.ndarray:
            place = slice(start, start + _PLANES)
            z, y, x = self.squares
            radius = np.sqrt(z[place, None, None] + (y[:, None] + x))
            shell = np.minimum(np.rint(radius / np.float32(width)), count - 1)
            shell = shell.astype(np.int64).ravel()
            return np.array(
                [
                    np.bincount(shell, None if v is None else v.ravel(), minlength=count)
                    for v in values(place)
                ]
            )

        return sum(in_threads(planes, range(0, len(self.squares[0]), _PLANES), self.threads))


def global_fsc(
    first: np.ndarray, second: np.ndarray, voxel_size: tuple[float, float, float], threads: int = 1
) -> tuple[np.ndarray, np.ndarray]:
    """Fourier shell correlation of two whole half maps.

    Parameters
    ----------
    first, second : (z, y, x) float32
    voxel_size : (z, y, x), angstrom

    Returns
    -------
    frequencies, correlation : (shells,) float64
        1/angstrom at the middle of each shell; shells of one over the longest box edge.
    """
    engine = ArrayEngine(threads)
    transforms = engine.forward(np.stack([first, second]))
    shells = _Shells(first.shape, voxel_size, threads)
    return _shell_correlation(transforms, shells, first.shape, voxel_size)


def _shell_correlation(transforms: np.ndarray, shells: _Shells, shape, voxel_size):
    """Frequencies and correlation of two half transforms, (2, z, y, x // 2 + 1)."""
    width = 1 / max(n * v for n, v in zip(shape, voxel_size, strict=True))
    count = int(0.5 / max(voxel_size) / width) + 1
    # Columns between the first and, for even edges, the last stand for two frequencies each.
    twice = np.ones(transforms.shape[3], np.float32)
    twice[1 : (shape[2] + 1) // 2] = 2

    def products(place: slice) -> list[np.ndarray]:
        one, two = transforms[:, place]
        cross = one.real * two.real + one.imag * two.imag
        powers = [part.real**2 + part.imag**2 for part in (one, two)]
        return [values * twice for values in (cross, *powers)]

    cross, one, two = shells.sums(width, count + 1, products)[:, :count]
    return np.arange(count) * width, cross / np.sqrt(np.maximum(one * two, _TINY))


def local_fsc(
    maps: tuple[np.ndarray, np.ndarray],
    voxel_size: tuple[float, float, float],
    parameters: LocalFscParameters | None = None,
    mask: np.ndarray | None = None,
    engine: ArrayEngine | None = None,
) -> LocalFscResult:
    """Local resolution of two half maps at every voxel of a mask.

    Parameters
    ----------
    maps : two (z, y, x) float32
        Half maps, not masked.
    voxel_size : (z, y, x), angstrom
    parameters : LocalFscParameters, optional
    mask : (z, y, x), optional
        Non-zero is particle; used for the output only. By default made from the density.
    engine : ArrayEngine, optional
        Where arrays are computed; on the CPU by default.

    Raises
    ------
    InputError
        LABEL_HALVES_DIFFER, LABEL_LEVEL_RANGE, PAIR_HALF_SAME.
    ConfigError
        A window wider than half of the box.
    """
    parameters = parameters or LocalFscParameters()
    threads = parameters.threads
    engine = engine or ArrayEngine(threads)
    first, second = (np.asarray(volume, np.float32) for volume in maps)
    _check(first, second, mask)
    inside = _inside(first, second, threads) if mask is None else np.asarray(mask) != 0
    transforms = engine.forward(engine.load(np.stack([first, second])))
    shells = _Shells(first.shape, voxel_size, threads)
    frequencies, curve = _shell_correlation(
        engine.fetch(transforms), shells, first.shape, voxel_size
    )
    limit = 0.5 / max(voxel_size)
    overall = _first_below(frequencies, curve, GLOBAL_THRESHOLD, limit)
    window = _window(parameters, first.shape, voxel_size, overall)
    start = _first_below(frequencies, curve, RANDOMISE_BELOW, math.inf)
    # The square root of the weights is the window that an FSC would multiply in; bands narrower
    # than its transform would only repeat each other.
    width = 1 / (2 * math.pi * math.sqrt(2) * window)
    if parameters.finest:
        limit = min(limit, 1 / parameters.finest)
    bands = _bands(parameters, limit, width)
    thresholds = _thresholds(shells, bands, width, window, voxel_size, parameters.threshold)
    bands, thresholds = _judged(bands, thresholds, parameters.threshold)
    pairs = [transforms]
    if parameters.randomise:
        pairs.append(_randomised(engine, transforms, shells, start, first.shape, parameters.seed))
    scan = BandScan(engine, pairs, inside, voxel_size, window, width)
    crossing, at_limit = scan.run(bands, thresholds, limit, start + 2 * width)
    valued = crossing > 0
    codes = np.full(inside.shape, OUTSIDE, np.uint8)
    codes[inside] = FAILED
    codes[valued] = LABELLED
    return LocalFscResult(
        resolution=np.divide(1, crossing, out=np.zeros_like(crossing), where=valued),
        codes=codes,
        frequencies=bands,
        thresholds=thresholds,
        window=window,
        band_width=width,
        randomised_from=start if parameters.randomise and math.isfinite(start) else None,
        global_resolution=1 / overall,
        silent_share=silent_share((first, second), inside),
        zero_box_share=float(np.mean((first == 0) & (second == 0))),
        at_limit=int(np.count_nonzero(at_limit)),
    )


def _inside(first: np.ndarray, second: np.ndarray, threads: int) -> np.ndarray:
    """Mask from the density of two half maps."""
    half = np.float32(0.5)
    return density_mask(half * (first + second), half * (first - second), threads)


def _window(parameters: LocalFscParameters, shape, voxel_size, overall: float) -> float:
    """Standard deviation of the window in angstrom; `overall` is the map's own limit in 1/A."""
    edge = min(n * v for n, v in zip(shape, voxel_size, strict=True))
    if not parameters.window:
        least = WINDOW_VOXELS * max(voxel_size)
        return max(least, min(WINDOW_PER_RESOLUTION / overall, MOST_WINDOW * edge))
    if parameters.window > edge / 2:
        raise ConfigError(
            f"the window is {parameters.window:g} A wide, the box {edge:g} A",
            remedy="a window of 3 to 10 voxels is local",
        )
    return parameters.window


def _judged(bands: np.ndarray, thresholds: np.ndarray, threshold: float):
    """Bands and thresholds from the first band on that noise alone does not pass."""
    usable = thresholds <= max(MOST_THRESHOLD, threshold)
    if not usable.any():
        raise InputError(
            f"no band from {1 / bands[0]:.2f} to {1 / bands[-1]:.2f} A holds samples enough",
            code="LABEL_LEVEL_RANGE",
            remedy="widen the window",
        )
    first = int(np.argmax(usable))
    return bands[first:], thresholds[first:]


def _bands(parameters: LocalFscParameters, limit: float, width: float) -> np.ndarray:
    """Middle frequencies of the bands, half a width apart."""
    lowest = 1 / parameters.coarsest
    if lowest >= limit:
        raise InputError(
            f"the finest level is {1 / limit:.2f} A, the coarsest {parameters.coarsest:.2f} A",
            code="LABEL_LEVEL_RANGE",
            remedy="lower the first level or raise the last",
        )
    count = max(3, math.ceil((limit - lowest) / (0.5 * width)))
    return lowest + (limit - lowest) * np.arange(count) / count


def _thresholds(
    shells: _Shells, bands: np.ndarray, width: float, window: float, voxel_size, threshold: float
) -> np.ndarray:
    """The asked threshold, raised where a window holds too few independent samples."""
    samples = (4 * math.pi * window**2) ** 1.5 / math.prod(voxel_size)
    step = 0.1 * width
    highest = math.sqrt(sum(float(axis.max()) for axis in shells.squares))
    counts = shells.sums(step, int(highest / step) + 2, lambda place: [None])[0]
    gain = np.exp(-(((np.arange(len(counts)) * step - bands[:, None]) / width) ** 2))
    share = (gain @ counts) ** 2 / (counts.sum() * (gain**2 @ counts))
    return np.maximum(threshold, NULL_WIDTHS / np.sqrt(samples * share))


def _randomised(engine: ArrayEngine, transforms, shells: _Shells, start: float, shape, seed: int):
    """Transforms with random phases beyond a frequency."""
    random = np.random.default_rng(seed)
    found = engine.empty(transforms.shape, transforms)
    z, y, x = shells.squares
    low = engine.load(z[:, None, None] + (y[:, None] + x) < start**2)
    for index, transform in enumerate(transforms):
        noise = random.standard_normal(shape, dtype=np.float32)
        phase = engine.forward(engine.load(noise))
        mixed = phase * (abs(transform) / (abs(phase) + _TINY))
        found[index] = engine.where(low, transform, mixed)
    return found


def _check(first: np.ndarray, second: np.ndarray, mask: np.ndarray | None) -> None:
    if first.shape != second.shape or (mask is not None and mask.shape != first.shape):
        shapes = [first.shape, second.shape] + ([] if mask is None else [mask.shape])
        raise InputError(
            f"shapes of half maps and mask are {shapes}",
            code="LABEL_HALVES_DIFFER",
            remedy="give volumes on one grid",
        )
    if np.array_equal(first, second):
        raise InputError(
            "the half maps are equal in every voxel",
            code="PAIR_HALF_SAME",
            remedy="give the two independent half maps",
        )


def _first_below(shells: np.ndarray, curve: np.ndarray, threshold: float, otherwise: float):
    """Frequency of the first shell beyond the origin below a threshold."""
    below = np.flatnonzero(curve[1:] < threshold)
    return float(shells[1:][below[0]]) if len(below) else otherwise
