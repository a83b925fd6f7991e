"""Planes of several maps through three axes, small enough to travel inside a page."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

MARGIN = 6  # voxels shown around the molecule
MOST_PLANES = 15  # per axis
MOST_PIXELS = 128  # per side of a plane
AXES = "zyx"
BRIGHTEST = 99.9  # percentile of a map that is drawn white
NO_VALUE = 0  # byte of a voxel without a value, in maps of values


@dataclass
class Views:
    """Planes of several maps, cut at the same places.

    Attributes
    ----------
    window : three slices
        The part of the map that is shown, (z, y, x).
    planes : dict of name to three (n, height, width) uint8
        Along z, y and x, in that order.
    limits : dict of name to (low, high)
        What bytes 1 and 255 stand for, for maps of values; densities are shown from 0 to their
        own 99.9th percentile.
    """

    window: tuple[slice, slice, slice]
    planes: dict[str, list[np.ndarray]] = field(default_factory=dict)
    limits: dict[str, tuple[float, float]] = field(default_factory=dict)

    @classmethod
    def around(cls, inside: np.ndarray) -> Views:
        """Start with the box around the marked voxels (nz, ny, nx), or the whole map."""
        window = []
        for axis, size in enumerate(inside.shape):
            others = tuple(other for other in range(3) if other != axis)
            marked = np.flatnonzero(inside.any(axis=others))
            low, high = (marked[0], marked[-1]) if marked.size else (0, size - 1)
            window.append(slice(max(0, int(low) - MARGIN), min(size, int(high) + MARGIN + 1)))
        return cls(tuple(window))

    def numbers(self, axis: int) -> np.ndarray:
        """Plane numbers shown along an axis, counted in the whole map."""
        shown = self.window[axis]
        count = min(MOST_PLANES, shown.stop - shown.start)
        return np.unique(np.linspace(shown.start, shown.stop - 1, count + 2)[1:-1].round()).astype(
            int
        )

    @property
    def step(self) -> int:
        """Every how many voxels a pixel stands; the same along both sides."""
        longest = max(shown.stop - shown.start for shown in self.window)
        return -(-longest // MOST_PIXELS)

    def add_density(self, name: str, density: np.ndarray | None) -> None:
        """Add a density (nz, ny, nx), black at zero and below."""
        if density is None:
            return
        level = float(np.percentile(density, BRIGHTEST)) or 1.0
        self._add(name, np.clip(density / abs(level), 0, 1) * 255)

    def add_values(self, name: str, values: np.ndarray, limits: tuple[float, float]) -> None:
        """Add a map of values (nz, ny, nx); NaN is shown as nothing."""
        low, high = limits
        scaled = 1 + 254 * np.clip((values - low) / max(high - low, 1e-6), 0, 1)
        self._add(name, np.where(np.isfinite(values), scaled, NO_VALUE))
        self.limits[name] = (float(low), float(high))

    def _add(self, name: str, scaled: np.ndarray) -> None:
        planes = []
        for axis in range(3):
            shown = list(self.window)
            shown = [slice(part.start, part.stop, self.step) for part in shown]
            shown[axis] = self.numbers(axis)
            planes.append(np.moveaxis(scaled[tuple(shown)], axis, 0).round().astype(np.uint8))
        self.planes[name] = planes

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the planes under names like ``input_z``, as they are stored."""
        return {
            f"{name}_{axis}": plane
            for name, planes in self.planes.items()
            for axis, plane in zip(AXES, planes, strict=True)
        }
