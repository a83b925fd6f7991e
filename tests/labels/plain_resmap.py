"""ResMap 1.1.5 as its description reads: full transforms, one Python step per voxel.

An oracle for the parity engine and the plain side of the benchmark. Nothing here is shared with
the engine; only numpy, and scipy where the original itself calls it.
"""

from __future__ import annotations

import time
from collections import defaultdict
from contextlib import contextmanager
from math import ceil, exp, floor, lgamma, log, sqrt

import numpy as np
from scipy import ndimage
from scipy.optimize import brentq
from scipy.signal import find_peaks_cwt
from scipy.stats import chi2

from tests.labels.plain_statistic import PlainLevel

NONE = 255


def half_up(value: float) -> int:
    return floor(value + 0.5)


def grid(size: int) -> np.ndarray:
    """Radius of every voxel, float32; the centre lies between voxels for even sizes."""
    axis = np.linspace(floor(-size / 2), floor(size / 2), size)
    z, y, x = np.meshgrid(axis, axis, axis, indexing="ij")
    return np.sqrt(z**2 + y**2 + x**2).astype(np.float32)


def spectrum(volume: np.ndarray) -> np.ndarray:
    size = len(volume)
    shifted = np.fft.fftshift(np.fft.fftn(volume)).astype(np.complex64)
    amplitude = np.abs(shifted)
    amplitude = amplitude - amplitude.min()
    power = ((amplitude / amplitude.max()) ** 2).astype(np.float32)
    bins = round(size / 2 - 1)
    edges = np.linspace(0, bins, bins)
    which = np.digitize(grid(size).ravel(), edges) - 1
    order = np.argsort(which, kind="stable")
    running = np.cumsum(power.ravel()[order], dtype=np.float32)
    found, before, end = [], np.float32(0), 0
    for count in np.bincount(which, minlength=bins):
        end += count
        found.append((running[end - 1] - before) / count + 1e-10)
        before = running[end - 1]
    return np.array(found)


def taper(size: int) -> np.ndarray:
    h = 0.54 - 0.46 * np.cos(2 * np.pi * np.arange(size) / (size - 1))
    return (h**2)[:, None, None] * h[None, :, None] * h


def low_pass(density: np.ndarray) -> float:
    size = len(density)
    if size > 160:
        cut = slice(size // 2 - 80, size // 2 + 80)
        density = density[cut, cut, cut] * taper(160)
    curve = spectrum(density)
    fall = np.diff(np.log(curve))
    peaks = find_peaks_cwt(-fall, np.arange(1, 10), min_snr=2)
    if len(peaks) == 0 or max(peaks) >= len(curve) - 3:
        return 0.0
    peak = int(max(peaks))
    tail = fall[peak + 2 :]
    if abs(tail.mean()) < 1e-4 and tail.var() < 1e-4:
        return half_up((peak - 1) / len(curve) / 0.01) * 0.01
    return 0.0


def resample(volume: np.ndarray, size: int) -> np.ndarray:
    axis = np.arange(size) * (len(volume) - 1) / (size - 1)
    places = np.meshgrid(axis, axis, axis, indexing="ij")
    found = ndimage.map_coordinates(volume.astype(np.float64), places, order=3, mode="mirror")
    return found.astype(np.float32)


def blurred_mask(volume: np.ndarray) -> np.ndarray:
    blurred = ndimage.gaussian_filter(volume, 0.02 * len(volume))
    return blurred > 0.05 * blurred.max()


def noise_curve(density, difference, mask, sphere) -> tuple[np.ndarray, int]:
    size = len(density)
    if size <= 160:
        if difference is not None:
            return spectrum(difference), 0
        grown = mask
        for _ in range(3):
            grown = ndimage.binary_dilation(grown, np.ones((5, 5, 5)))
        outside = (~(grown & sphere)).astype(np.float32)
        return spectrum(density * ndimage.gaussian_filter(outside, 0.02 * size)), 0
    inner = ndimage.distance_transform_cdt(mask, "taxicab")
    outer = ndimage.distance_transform_cdt(~mask & sphere, "taxicab")
    width = inner.max() if difference is not None else min(inner.max(), outer.max())
    edge = 2 * (int(width) // 2)
    if difference is not None:
        source = difference
        centre = np.clip(np.unravel_index(inner.argmax(), inner.shape), edge, size - edge)
    else:
        source, centre = density, np.unravel_index(outer.argmax(), outer.shape)
    z, y, x = (slice(int(c) - edge // 2, int(c) + edge // 2) for c in centre)
    return spectrum(source[z, y, x] * taper(edge)), edge


def whiten(volumes, curve: np.ndarray, edge: int, voxel_size: float) -> list[np.ndarray]:
    size = len(volumes[0])
    elbow = max(10.0, 2.1 * voxel_size)

    def indices(bins: int) -> tuple[int, int]:
        wavelength = 2 * voxel_size / np.linspace(1e-10, 1, bins)
        return (
            int(np.argmin((wavelength - elbow) ** 2)),
            int(np.argmin((wavelength - 1.05 * elbow) ** 2)),
        )

    bins = len(curve)
    first, ramp = indices(bins)
    x = np.arange(1, bins + 1)
    weight = np.where((x > first) & (x < bins), 1.0, np.where((x > ramp) & (x <= first), 0.5, 0))
    design = np.stack([np.ones(bins), x, x**2.0], axis=1)
    target = np.log(np.sqrt(curve))
    c = np.linalg.lstsq(weight[:, None] * design, weight * target, rcond=None)[0]
    if edge:
        full = round(size / 2 - 1)
        radius = np.clip(grid(size).astype(float), indices(full)[1], full) * (edge - 1) / size
    else:
        radius = np.clip(grid(size).astype(float), ramp, bins)
    gain = np.exp(-(c[0] + c[1] * radius + c[2] * radius**2))
    found = []
    for volume in volumes:
        transform = np.fft.fftshift(np.fft.fftn(volume)).astype(np.complex64)
        back = np.fft.ifftn(np.fft.ifftshift(gain * transform))
        found.append(np.real(back).astype(np.float32))
    return found


class Series:
    """Chance that a weighted sum of squares stays below a value (AS 204), one value a time."""

    def __init__(self, weights: np.ndarray) -> None:
        weights = weights.astype(np.float32).astype(np.float64)
        self.scale, self.count = weights.min(), len(weights)
        ratio = self.scale / weights
        self.gamma = (1 - ratio).astype(np.float32)
        self.first = sqrt(np.prod(ratio))
        self.power, self.b, self.a = np.ones_like(self.gamma), [], []

    def __call__(self, value: float) -> float:
        if value <= 0:
            return 0.0
        half, shape = value / self.scale / 2, self.count / 2
        chance = chi2.cdf(value / self.scale, self.count)
        total, rest = chance, 1 / self.first - 1
        for m in range(1, 20000):
            if m > len(self.a):
                self.power = self.power * self.gamma
                self.b.append(0.5 * float(self.power.sum(dtype=np.float64)))
                tail = sum(self.b[i] * self.a[m - 2 - i] for i in range(m - 1))
                self.a.append((self.b[-1] + tail) / m)
            chance -= exp(shape * log(half) - half - lgamma(shape + 1))
            shape += 1
            total += self.a[m - 1] * chance
            rest -= self.a[m - 1]
            if abs(chance * rest) < 1e-5 and abs(self.a[m - 1] * chance) < 1e-5 / self.first:
                break
        found = self.first * total
        return found if 0 <= found <= 1 else 1e10


def thresholds(values: np.ndarray, weights: np.ndarray, p: float, before: float):
    """Threshold under false-discovery control, the uncorrected one, and values above that."""
    series = Series(weights)
    top = float(weights.sum())
    while series(top) < 1 - p:
        top *= 2
    base = brentq(lambda c: series(c) - (1 - p), 0, top, xtol=1e-12)
    ordered = np.sort(values)
    count = int((ordered > base).sum())
    if count == 0:
        return np.inf, base, 0
    harmonic = sum(1.0 / j for j in range(1, len(values)))
    found = before
    for k in range(1, count, ceil(count / min(500, count))):
        found = float(ordered[len(values) - count + k])
        if series(found) > 1 - p * (count - k) / (len(values) * harmonic):
            break
    return found, base, count


class Level:
    """Bases of a level: 17 columns, or the published program's matrix of w^3 x w^3."""

    def __init__(self, level: float, voxel_size: float, published: bool) -> None:
        self.plain = PlainLevel(level, voxel_size)
        self.matrix = None
        if published:
            full, constant = self.plain.full, self.plain.constant
            self.matrix = (full @ full.T - np.outer(constant, constant)).astype(np.float32)
            self.root = self.plain.root.astype(np.float32)

    def statistic(self, volume: np.ndarray, z: int, y: int, x: int) -> float:
        if self.matrix is None:
            return self.plain.statistic(volume, z, y, x)
        weighted = self.root * self.plain.window(volume, z, y, x)
        return weighted @ (self.matrix @ weighted)

    def weights(self) -> np.ndarray:
        if self.matrix is None:
            found = self.plain.eigenvalues()
        else:
            found = np.linalg.eigvalsh(self.root[:, None] * self.matrix * self.root)[-16:]
        found = found.astype(np.float32)
        return found[found > 0.1 * found.max()]


def plain_local_resolution(
    maps,
    voxel_size: float,
    mask: np.ndarray | None = None,
    *,
    min_res: float = 0.0,
    max_res: float = 0.0,
    step_res: float = 1.0,
    p_value: float = 0.05,
    published: bool = False,
) -> dict:
    """Labels of the whole method: level index per voxel of the computing grid, and what led there.

    Raises FloatingPointError where a level has no noise block, as the program does.
    """
    spent: dict[str, float] = defaultdict(float)

    @contextmanager
    def clock(name: str):
        start = time.process_time()
        yield
        spent[name] += time.process_time() - start

    size = len(maps[0])
    if len(maps) == 1:
        f, g = maps[0] - maps[0].mean(dtype=np.float32), None
    else:
        f, g = (np.float32(0.5) * part for part in (maps[0] + maps[1], maps[0] - maps[1]))
    with clock("low-pass test"):
        factor = low_pass(f)
    if factor:
        size = half_up(size * factor)
        f, g, mask = (None if v is None else resample(v, size) for v in (f, g, mask))
        voxel_size = voxel_size / factor
    with clock("mask"):
        data = mask != 0 if mask is not None and not factor else blurred_mask(
            f if mask is None else mask
        )  # fmt: skip
        radius = grid(size)
        sphere = radius < size // 2 - 1
        inner = radius < size // 2 - 9
        if g is not None:
            inner = np.zeros_like(data)
            inner[9 : size - 9, 9 : size - 9, 9 : size - 9] = True
        particle = data & inner
        region = particle if g is not None else sphere ^ particle
    with clock("pre-whitening filter"):
        curve, edge = noise_curve(f, g, data, sphere)
        volumes = whiten([f] if g is None else [f, g], curve, edge, voxel_size)
    low = half_up(2.2 * voxel_size / 0.1) * 0.1 if min_res <= 2.2 * voxel_size else min_res
    high = max_res or half_up(4 * voxel_size / 0.5) * 0.5
    index = np.full(particle.shape, NONE, np.uint8)
    left, levels, level, threshold = particle.copy(), [], low, np.inf
    while True:
        with clock("copying back, eigenvalues"):
            basis = Level(level, voxel_size, published)
            weights = basis.weights()
        with clock("noise variance"):
            variance, blocks = variance_of(volumes[-1], region, basis.plain)
        if blocks == 0:
            raise FloatingPointError("no noise block")
        with clock("statistic"):
            values = np.array(
                [basis.statistic(volumes[0], *place) for place in np.argwhere(left)], np.float32
            )
        values = values / np.float32(variance + 1e-10)
        with clock("thresholds"):
            threshold, base, above = thresholds(values, weights, p_value, threshold)
        tested = len(values)
        with clock("copying back, eigenvalues"):
            assigned = 0
            for place, value in zip(np.argwhere(left), values, strict=True):
                if value > threshold:
                    index[tuple(place)], left[tuple(place)] = len(levels), False
                    assigned += 1
        levels.append(
            {"resolution": level, "blocks": blocks, "variance": variance, "threshold": threshold,
             "uncorrected": base, "above": above, "tested": tested, "assigned": assigned}
        )  # fmt: skip
        if (assigned < size and tested - assigned < size**2) or level >= high:
            break
        level += step_res
    return {
        "index": index, "mask": particle, "levels": levels, "factor": factor,
        "whitened": volumes[0], "spent": dict(spent), "curve": curve,
    }  # fmt: skip


def variance_of(noise: np.ndarray, region: np.ndarray, level: PlainLevel) -> tuple[float, int]:
    """Mean noise variance over the blocks from voxel 0 that lie in the region."""
    width = 2 * level.radius + 1
    starts = range(0, len(noise) - width + 1, width)
    trace, energies = level.trace(), []
    for z in starts:
        for y in starts:
            for x in starts:
                cut = (slice(z, z + width), slice(y, y + width), slice(x, x + width))
                if region[cut].all():
                    block = noise[cut].astype(np.float64)
                    weighted = level.root * (block.ravel() - block.mean())
                    energy = weighted @ weighted - np.sum((level.contrast.T @ weighted) ** 2)
                    energies.append(energy / trace)
    return (float(np.mean(energies)) if energies else 0.0), len(energies)
