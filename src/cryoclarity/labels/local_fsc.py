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
from dataclasses import dataclass

import numpy as np
import scipy.fft

from cryoclarity.errors import InputError
from cryoclarity.labels.region import density_mask, silent_share
from cryoclarity.labels.resmap import FAILED, LABELLED, OUTSIDE

__all__ = [
    "ArrayEngine",
    "LocalFscParameters",
    "LocalFscResult",
    "global_fsc",
    "local_fsc",
]

WINDOW_VOXELS = 3.5
WINDOW_PER_RESOLUTION = 1.0
COARSEST = 15.0
NULL_WIDTHS = 1.645
"""One-sided 95 % point of the normal distribution."""
RANDOMISE_BELOW = 0.8
GLOBAL_THRESHOLD = 0.143
_TINY = 1e-30


@dataclass(frozen=True)
class LocalFscParameters:
    """Settings of a run.

    threshold : correlation at which resolution is read off, 0.5 or 0.143 by custom.
    window : standard deviation of the Gaussian window in angstrom; 0 takes the larger of 3.5
        voxels and the resolution of the whole map.
    coarsest : angstrom, the first band; voxels that fail there are worse than every level.
    randomise : subtract what a correlation of phase-randomised half maps shows (Chen et al.,
        Ultramicroscopy 135:24, 2013).
    seed : of the random phases.
    threads : for the Fourier transforms.
    """

    threshold: float = 0.5
    window: float = 0.0
    coarsest: float = COARSEST
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


class ArrayEngine:
    """The few array operations of the scan, here on the CPU with scipy."""

    def __init__(self, threads: int = 1) -> None:
        self.threads = threads

    def load(self, values: np.ndarray):
        """Array to the device."""
        return values

    def fetch(self, values) -> np.ndarray:
        """Array from the device."""
        return values

    def forward(self, values):
        """Real Fourier transform over three axes."""
        return scipy.fft.rfftn(values, workers=self.threads)

    def back(self, values, shape: tuple[int, int, int]):
        """Inverse of `forward`."""
        return scipy.fft.irfftn(values, s=shape, workers=self.threads)

    def where(self, condition, first, second):
        """Choose per voxel."""
        return np.where(condition, first, second)

    def exp(self, values):
        """Exponential."""
        return np.exp(values)


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
    radius = _frequency(first.shape, voxel_size)
    width = 1 / max(n * v for n, v in zip(first.shape, voxel_size, strict=True))
    count = int(0.5 / max(voxel_size) / width) + 1
    shell = np.minimum(np.rint(radius / width), count).astype(np.int32).ravel()
    one = scipy.fft.rfftn(first, workers=threads)
    two = scipy.fft.rfftn(second, workers=threads)
    # Columns between the first and, for even edges, the last stand for two frequencies each.
    twice = np.ones(one.shape[2])
    twice[1 : (first.shape[2] + 1) // 2] = 2

    def shells(values: np.ndarray) -> np.ndarray:
        return np.bincount(shell, (values * twice).ravel(), minlength=count + 1)[:count]

    cross = shells((one * two.conj()).real)
    power = shells(np.abs(one) ** 2) * shells(np.abs(two) ** 2)
    return np.arange(count) * width, cross / np.sqrt(np.maximum(power, _TINY))


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
        LABEL_HALVES_DIFFER, PAIR_HALF_SAME.
    """
    parameters = parameters or LocalFscParameters()
    first, second = (np.asarray(volume, np.float32) for volume in maps)
    _check(first, second, mask)
    half = np.float32(0.5)
    inside = (
        density_mask(half * (first + second), half * (first - second))
        if mask is None
        else np.asarray(mask) != 0
    )
    shells, curve = global_fsc(first, second, voxel_size, parameters.threads)
    overall = _first_below(shells, curve, GLOBAL_THRESHOLD, 0.5 / max(voxel_size))
    window = parameters.window or max(
        WINDOW_VOXELS * max(voxel_size), WINDOW_PER_RESOLUTION / overall
    )
    start = _first_below(shells, curve, RANDOMISE_BELOW, math.inf)
    scan = _Scan(first, second, voxel_size, parameters, window, start, engine)
    crossing, at_limit = scan.run()
    valued = inside & (crossing > 0)
    codes = np.where(valued, LABELLED, np.where(inside, FAILED, OUTSIDE)).astype(np.uint8)
    with np.errstate(divide="ignore"):
        resolution = np.where(valued, 1 / crossing, 0).astype(np.float32)
    return LocalFscResult(
        resolution=resolution,
        codes=codes,
        frequencies=scan.bands,
        thresholds=scan.thresholds,
        window=window,
        band_width=scan.width,
        randomised_from=start if parameters.randomise and math.isfinite(start) else None,
        global_resolution=1 / overall,
        silent_share=silent_share((first, second), inside),
        zero_box_share=float(np.mean((first == 0) & (second == 0))),
        at_limit=int(np.count_nonzero(at_limit & valued)),
    )


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


def _frequency(shape: tuple[int, int, int], voxel_size: tuple[float, float, float]) -> np.ndarray:
    """Length of the frequency vector of a real transform, float32, 1/angstrom."""
    z, y = (np.fft.fftfreq(n, v) for n, v in zip(shape[:2], voxel_size[:2], strict=True))
    x = np.fft.rfftfreq(shape[2], voxel_size[2])
    return np.sqrt(z[:, None, None] ** 2 + y[:, None] ** 2 + x**2).astype(np.float32)


def _first_below(shells: np.ndarray, curve: np.ndarray, threshold: float, otherwise: float):
    """Frequency of the first shell beyond the origin below a threshold."""
    below = np.flatnonzero(curve[1:] < threshold)
    return float(shells[1:][below[0]]) if len(below) else otherwise


class _Scan:
    """One pass over the bands, from low to high frequency."""

    def __init__(
        self, first, second, voxel_size, parameters, window: float, start: float, engine
    ) -> None:
        self.engine = engine or ArrayEngine(parameters.threads)
        self.shape = first.shape
        self.parameters = parameters
        # The square root of the weights is the window that an FSC would multiply in; bands
        # narrower than its transform would only repeat each other.
        self.width = 1 / (2 * math.pi * math.sqrt(2) * window)
        self.limit = 0.5 / max(voxel_size)
        lowest = 1 / parameters.coarsest
        count = max(3, math.ceil((self.limit - lowest) / (0.5 * self.width)))
        self.bands = lowest + (self.limit - lowest) * np.arange(count) / count
        self.start = start + 2 * self.width
        radius = _frequency(self.shape, voxel_size)
        self.thresholds = self._thresholds(radius, window, voxel_size)
        self.radius = self.engine.load(radius)
        self.smooth = self.engine.exp(-2 * (math.pi * window) ** 2 * self.radius**2)
        self.halves = [self.engine.forward(self.engine.load(v)) for v in (first, second)]
        self.randomised = self._randomised(start) if parameters.randomise else None

    def _thresholds(self, radius: np.ndarray, window: float, voxel_size) -> np.ndarray:
        """The asked threshold, raised where a window holds too few independent samples."""
        samples = (4 * math.pi * window**2) ** 1.5 / math.prod(voxel_size)
        values, counts = np.unique(np.rint(radius / (0.1 * self.width)), return_counts=True)
        values, total = values * 0.1 * self.width, counts.sum()
        gain = np.exp(-(((values - self.bands[:, None]) / self.width) ** 2))
        share = (gain @ counts) ** 2 / (total * (gain**2 @ counts))
        return np.maximum(self.parameters.threshold, NULL_WIDTHS / np.sqrt(samples * share))

    def _randomised(self, start: float) -> list:
        """Transforms with random phases beyond a frequency."""
        random = np.random.default_rng(self.parameters.seed)
        found = []
        for transform in self.halves:
            noise = random.standard_normal(self.shape, dtype=np.float32)
            phase = self.engine.forward(self.engine.load(noise))
            phase = phase / (abs(phase) + _TINY)
            mixed = abs(transform) * phase
            found.append(self.engine.where(self.radius < start, transform, mixed))
        return found

    def _correlation(self, halves: list, gain):
        """Windowed correlation of two band-passed volumes at every voxel."""
        one, two = (self.engine.back(transform * gain, self.shape) for transform in halves)

        def averaged(product):
            return self.engine.back(self.engine.forward(product) * self.smooth, self.shape)

        power = averaged(one * one).clip(_TINY) * averaged(two * two).clip(_TINY)
        return averaged(one * two) / power.clip(_TINY) ** 0.5

    def _band(self, frequency: float):
        gain = self.engine.exp(-0.5 * ((self.radius - frequency) / self.width) ** 2)
        found = self._correlation(self.halves, gain)
        if self.randomised is not None and frequency >= self.start:
            chance = self._correlation(self.randomised, gain).clip(-0.99, 0.99)
            found = (found - chance) / (1 - chance)
        return found

    def run(self) -> tuple[np.ndarray, np.ndarray]:
        """Frequency of the first crossing (0: none was above), and where there was none."""
        where = self.engine.where
        previous = crossing = going = None
        for index, (frequency, threshold) in enumerate(
            zip(self.bands, self.thresholds, strict=True)
        ):
            excess = self._band(float(frequency)) - float(threshold)
            if previous is None:
                going = excess >= 0
                crossing = excess * 0
            else:
                step = float(frequency - self.bands[index - 1])
                share = previous / (previous - excess).clip(1e-6)
                found = float(self.bands[index - 1]) + step * share
                ends = going & (excess < 0)
                crossing = where(ends, found, crossing)
                going = going & (excess >= 0)
            previous = excess
        crossing = self.engine.fetch(where(going, crossing * 0 + self.limit, crossing))
        return crossing, self.engine.fetch(going)
