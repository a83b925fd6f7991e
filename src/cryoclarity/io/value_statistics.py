"""Statistics of a stream of values, in the memory of one block."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

# The share of voxels off the commonest value below which few distinct values count as sparse.
SPARSE_SHARE = 1e-4


@dataclass
class ValueStatistics:
    """Minimum, maximum, mean and standard deviation of a stream of values.

    Blocks are merged by the parallel update of Chan, Golub & LeVeque (1979), so that a large
    offset does not cost the precision of the spread.

    Attributes
    ----------
    count, nonfinite, zeros : int
        Values seen, of them not finite, of them exactly 0.
    first_nonfinite : int
        Number of the first value that is not finite, -1 without one.
    minimum, maximum, mean, squares : float
        Of the finite values; `squares` sums the squared distances from the mean.
    """

    count: int = 0
    minimum: float = math.inf
    maximum: float = -math.inf
    mean: float = 0.0
    squares: float = 0.0
    nonfinite: int = 0
    first_nonfinite: int = -1
    zeros: int = 0

    def update(self, values: np.ndarray) -> None:
        """Take in one block of values, any shape, any real type."""
        values = values.ravel()
        if not values.size:
            return
        with np.errstate(invalid="ignore"):  # a signalling NaN is counted below
            low, high = float(values.min()), float(values.max())
        if not (math.isfinite(low) and math.isfinite(high)):
            values = self._drop_nonfinite(values)
            if not values.size:
                return
            low, high = float(values.min()), float(values.max())
        seen = self.count - self.nonfinite
        exact = values.astype(np.float64)
        mean = float(exact.mean())
        exact -= mean
        delta, total = mean - self.mean, seen + values.size
        self.squares += float(exact @ exact) + delta**2 * seen * values.size / total
        self.mean += delta * values.size / total
        self.count += values.size
        self.zeros += values.size - int(np.count_nonzero(values))
        self.minimum, self.maximum = min(self.minimum, low), max(self.maximum, high)

    def _drop_nonfinite(self, values: np.ndarray) -> np.ndarray:
        bad = ~np.isfinite(values)
        if not self.nonfinite:
            self.first_nonfinite = self.count + int(np.argmax(bad))
        found = int(bad.sum())
        self.nonfinite += found
        self.count += found
        return values[~bad]

    @property
    def standard_deviation(self) -> float:
        """Population standard deviation of the finite values."""
        return math.sqrt(self.squares / max(self.count - self.nonfinite, 1))


@dataclass
class DistinctValues:
    """Count the values of a stream as long as fewer than `limit` distinct ones were seen."""

    limit: int
    counts: dict[float, int] = field(default_factory=dict)

    def update(self, values: np.ndarray) -> None:
        """Take in one block of values, any shape."""
        if len(self.counts) >= self.limit:
            return
        for value, count in zip(*np.unique(values, return_counts=True), strict=True):
            self.counts[float(value)] = self.counts.get(float(value), 0) + int(count)

    def sparse(self) -> tuple[int, float] | None:
        """Return (values off the commonest, the commonest), None where the map is not sparse."""
        if not self.counts or len(self.counts) >= self.limit:
            return None
        total = sum(self.counts.values())
        commonest = max(self.counts, key=self.counts.__getitem__)
        off = total - self.counts[commonest]
        return (off, commonest) if off < SPARSE_SHARE * total else None
