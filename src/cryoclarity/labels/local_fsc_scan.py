"""The bands of a local Fourier shell correlation, from low to high frequency.

Only what the answer needs is computed: planes and rows near voxels that no band has decided yet,
frequencies that a band holds, and averages on a coarser grid. The square of a Gaussian average of
width s is split into two averages of width s / sqrt(2), the first sampled every other voxel and
the second bringing the values back to every voxel. At that spacing what aliases is below 1e-6.
"""

from __future__ import annotations

import math

import numpy as np
import scipy.fft

from cryoclarity.labels.banded import BlockBand, gaussian_band, in_threads
from cryoclarity.labels.statistic import mask_bounds

__all__ = ["ArrayEngine", "BandScan"]

_REACH = 4.5
"""Standard deviations at which averages end."""
_VOXELS_PER_STEP = 1.75
"""Least width of the window in steps of the coarse grid."""
_BAND_REACH = 5.0
_TINY = 1e-30
_BLOCK = 16


class ArrayEngine:
    """The few array operations of the scan, here on the CPU with scipy.

    planes : planes worked on at a time.
    """

    planes = 4

    def __init__(self, threads: int = 1) -> None:
        self.threads = threads

    def load(self, values: np.ndarray):
        """Array to the device."""
        return values

    def fetch(self, values) -> np.ndarray:
        """Array from the device."""
        return values

    def empty(self, shape: tuple[int, ...], like):
        """Array of the type of another one, not set."""
        return np.empty(shape, like.dtype)

    def forward(self, values):
        """Real Fourier transform over the last three axes."""
        return scipy.fft.rfftn(values, axes=(-3, -2, -1), workers=self.threads)

    def back(self, values, axis: int):
        """Inverse Fourier transform along one axis."""
        return scipy.fft.ifft(values, axis=axis, overwrite_x=True)

    def back_real(self, values, length: int):
        """Inverse of a real transform along the last axis."""
        return scipy.fft.irfft(values, n=length, overwrite_x=True)

    def where(self, condition, first, second):
        """Choose per voxel."""
        return np.where(condition, first, second)

    def exp(self, values):
        """Exponential."""
        return np.exp(values)

    def each(self, function, items) -> None:
        """Call a function for every item; the calls are independent."""
        in_threads(function, items, self.threads)


class BandScan:
    """Correlation of two half maps under a window, band after band.

    Parameters
    ----------
    engine : ArrayEngine
    transforms : list of (2, z, y, x // 2 + 1) complex64, on the engine
        The half maps; then, if wanted, the half maps with random phases.
    inside : (z, y, x) bool
        Voxels to decide.
    voxel_size : (z, y, x), angstrom
    window : float
        Standard deviation of the averages in angstrom.
    width : float
        Standard deviation of a band in 1/angstrom.
    """

    def __init__(self, engine, transforms: list, inside, voxel_size, window: float, width: float):
        self.engine, self.transforms = engine, transforms
        self.inside, self.shape, self.width = inside, inside.shape, width
        z, y = (np.fft.fftfreq(n, v) for n, v in zip(self.shape[:2], voxel_size, strict=False))
        self.axes = [z, y, np.fft.rfftfreq(self.shape[2], voxel_size[2])]
        self.spacing = [window / edge for edge in voxel_size]
        self.averages = [_Average(engine, spread) for spread in self.spacing]
        self.buffer = None

    def run(self, bands, thresholds, limit: float, start: float) -> tuple:
        """Frequency of the first crossing (0: none was above), and where there was none.

        Parameters
        ----------
        bands, thresholds : (count,) float64
        limit : float
            1/angstrom, the value where no band falls below its threshold.
        start : float
            1/angstrom, first band corrected by the random phases.
        """
        crossing = np.zeros(self.shape, np.float32)
        at_limit = np.zeros(self.shape, bool)
        if not self.inside.any():
            return crossing, at_limit
        low, high = mask_bounds(self.inside)
        whole = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
        state = _State(self.engine, self.inside[whole])
        for index, frequency in enumerate(bands):
            box = state.box()
            if box is None:
                break
            place = [(a + s.start, a + s.stop) for a, s in zip(low, box, strict=True)]
            before = None if index == 0 else float(bands[index - 1])
            step = state.step(box, before, float(frequency), float(thresholds[index]))
            corrected = len(self.transforms) > 1 and frequency >= start
            self._band(float(frequency), place, corrected, step)
        state.crossing = self.engine.where(state.going, float(limit), state.crossing)
        crossing[whole] = self.engine.fetch(state.crossing)
        at_limit[whole] = self.engine.fetch(state.going)
        return crossing, at_limit

    def _band(self, frequency: float, place: list[tuple[int, int]], corrected: bool, step) -> None:
        """Hand the correlation of one band, some planes at a time, to `step(first, values)`."""
        sums = [
            self._coarse(transforms, frequency, place)
            for transforms in self.transforms[: 2 if corrected else 1]
        ]
        edges = [stop - start for start, stop in place]
        block = max(self.engine.planes, self.averages[0].factor)
        block -= block % self.averages[0].factor

        def planes(first: int) -> None:
            count = min(block, edges[0] - first)
            found = [self._correlation(values, first, count, edges) for values in sums]
            value = found[0]
            if corrected:
                chance = found[1].clip(-0.99, 0.99)
                value = (value - chance) / (1 - chance)
            step(first, value)

        self.engine.each(planes, range(0, edges[0], block))

    def _correlation(self, sums, first: int, count: int, edges: list[int]):
        """Windowed correlation of some planes from the averages on the coarse grid."""
        z, y, x = self.averages
        engine = self.engine
        lines = sums[:, first // z.factor :].swapaxes(1, 2)
        out = engine.empty((3, lines.shape[1], count, lines.shape[3]), sums)
        part = z.fine.apply(lines, out, -2).swapaxes(1, 2)
        part = y.fine.apply(part, engine.empty((3, count, edges[1], part.shape[3]), sums), -2)
        cross, one, two = x.fine.apply(part, engine.empty((3, count, *edges[1:]), sums), -1)
        return cross / (one.clip(_TINY) * two.clip(_TINY)).clip(_TINY) ** 0.5

    def _coarse(self, transforms, frequency: float, place: list[tuple[int, int]]):
        """Averages of h1 h2, h1 h1 and h2 h2 on the coarse grid around a box, (3, z, y, x)."""
        engine = self.engine
        ranges = [average.needs(*pair) for average, pair in zip(self.averages, place, strict=True)]
        sizes = [
            average.coarse_count(stop - start)
            for average, (start, stop) in zip(self.averages, place, strict=True)
        ]
        filtered, rows = self._planes(transforms, frequency, ranges[0])
        depth = ranges[0][1] - ranges[0][0]
        flat = engine.empty((3, depth, sizes[1], sizes[2]), transforms.real)

        def some(first: int) -> None:
            stop = min(first + engine.planes, depth)
            one, two = self._rows(filtered[:, first:stop], rows, ranges)
            products = engine.empty((3, *one.shape), one)
            products[0], products[1], products[2] = one * two, one * one, two * two
            lines = engine.empty((*products.shape[:3], sizes[2]), one)
            self.averages[2].coarse.apply(products, lines, -1)
            self.averages[1].coarse.apply(lines, flat[:, first:stop], -2)

        engine.each(some, range(0, depth, engine.planes))
        sums = engine.empty((3, sizes[0], sizes[1], sizes[2]), flat)
        self.averages[0].coarse.apply(flat.swapaxes(1, 2), sums.swapaxes(1, 2), -2)
        return sums

    def _planes(self, transforms, frequency: float, planes: tuple[int, int]):
        """Band-passed half maps, transformed back along z, in the wanted planes.

        Returns (2, planes, rows, columns) complex and the rows of the transform that they are;
        frequencies far above the band are left out.
        """
        engine = self.engine
        highest = frequency + _BAND_REACH * self.width
        rows = np.flatnonzero(np.abs(self.axes[1]) <= highest)
        columns = int(np.count_nonzero(self.axes[2] <= highest))
        wanted = np.arange(*planes) % self.shape[0]
        shape = (2, len(wanted), len(rows), columns)
        if self.buffer is None or self.buffer.shape[0] < math.prod(shape):
            self.buffer = engine.empty((math.prod(shape),), transforms)
        found = self.buffer[: math.prod(shape)].reshape(shape)
        squares = [engine.load((axis**2).astype(np.float32)) for axis in self.axes]
        block = 2 * engine.planes

        def some(first: int) -> None:
            chosen = rows[first : first + block]
            radius = squares[0][:, None, None] + squares[1][chosen][:, None] + squares[2][:columns]
            gain = engine.exp(-0.5 * ((radius**0.5 - frequency) / self.width) ** 2)
            part = engine.back(transforms[:, :, chosen, :columns] * gain, 1)
            found[:, :, first : first + block] = part[:, wanted]

        engine.each(some, range(0, len(rows), block))
        return found, rows

    def _rows(self, part, rows: np.ndarray, ranges: list[tuple[int, int]]):
        """Finish the transform of some planes and cut out the wanted rows and columns."""
        engine = self.engine
        lines = engine.empty((*part.shape[:2], self.shape[1], part.shape[3]), part)
        lines[:] = 0
        lines[:, :, rows] = part
        lines = _cut(engine.back(lines, 2), ranges[1], self.shape[1], 2)
        values = engine.back_real(lines, self.shape[2])
        return _cut(values, ranges[2], self.shape[2], 3)


def _cut(values, wanted: tuple[int, int], size: int, axis: int):
    """Range of an axis of a periodic array of four axes."""
    first, last = wanted
    index = slice(first, last) if first >= 0 and last <= size else np.arange(first, last) % size
    return values[(slice(None),) * axis + (index,)]


class _Average:
    """A Gaussian average along one axis, to a coarse grid and back.

    spread : standard deviation in voxels.
    """

    def __init__(self, engine, spread: float) -> None:
        self.factor = max(1, int(spread / _VOXELS_PER_STEP))
        each = spread / math.sqrt(2)
        self.first_reach = math.ceil(_REACH * each)
        self.second_reach = self.factor * math.ceil(_REACH * each / self.factor)
        coarse = gaussian_band(each, self.first_reach, _BLOCK, step_out=self.factor)
        fine = gaussian_band(each, self.second_reach, _BLOCK * self.factor, step_in=self.factor)
        self.coarse = BlockBand(engine.load(coarse.matrix), coarse.advance)
        self.fine = BlockBand(engine.load(fine.matrix), fine.advance)

    def coarse_count(self, length: int) -> int:
        """Samples of the coarse grid behind `length` results."""
        return (length - 1 + 2 * self.second_reach) // self.factor + 1

    def needs(self, start: int, stop: int) -> tuple[int, int]:
        """First and one-past-last voxel behind the results from start to stop."""
        first = start - self.second_reach
        last = first + self.factor * (self.coarse_count(stop - start) - 1)
        return first - self.first_reach, last + self.first_reach + 1


class _State:
    """What is known of the voxels of a box after some bands."""

    def __init__(self, engine, inside: np.ndarray) -> None:
        self.engine = engine
        self.going = engine.load(inside.copy())
        like = engine.load(np.zeros(1, np.float32))
        self.crossing = engine.empty(inside.shape, like)
        self.crossing[:] = 0
        self.previous = engine.empty(inside.shape, like)

    def box(self) -> tuple[slice, ...] | None:
        """Box of the voxels that every band so far has passed."""
        going = self.engine.fetch(self.going)
        if not going.any():
            return None
        return tuple(slice(a, b) for a, b in zip(*mask_bounds(going), strict=True))

    def step(self, box, before: float | None, frequency: float, threshold: float):
        """Function that takes the correlation of some planes of the box into account."""
        going, crossing, previous = (v[box] for v in (self.going, self.crossing, self.previous))
        where = self.engine.where

        def planes(first: int, values) -> None:
            part = slice(first, first + len(values))
            excess = values - threshold
            if before is not None:
                ends = going[part] & (excess < 0)
                share = previous[part] / (previous[part] - excess).clip(1e-6)
                found = before + (frequency - before) * share
                crossing[part] = where(ends, found, crossing[part])
            going[part] &= excess >= 0
            previous[part] = excess

        return planes
