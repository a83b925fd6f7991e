"""Where to predict: a mask map or a zone around atoms, put on any grid by position."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cryoclarity.density.masks import default_contour, zone_mask
from cryoclarity.density.resample import resample_linear
from cryoclarity.errors import InputError
from cryoclarity.grid import Grid, Volume

DEFAULT_RADIUS = 4.0  # angstrom


@dataclass(frozen=True)
class Region:
    """A mask map with its contour, or positions with a radius.

    Attributes
    ----------
    mask : Volume or None
        Of any grid: it is placed by its position in space.
    contour : float or None
        Voxels at or above it are inside; None takes half of the maximum of a true mask.
    positions : (n, 3) float64 angstrom, or None
    radius : float, angstrom
    invert : bool
        Take the outside instead.
    """

    mask: Volume | None = None
    contour: float | None = None
    positions: np.ndarray | None = None
    radius: float = DEFAULT_RADIUS
    invert: bool = False

    def level(self) -> float:
        """Return the contour level in use.

        Raises
        ------
        InputError
            PRED_MASK when the mask has other values than a mask and no contour was given.
        """
        if self.contour is not None:
            return self.contour
        level = default_contour(self.mask.density)
        if level is None:
            raise InputError(
                "the mask is neither binary nor from 0 to 1",
                code="PRED_MASK",
                remedy="give --mask-contour",
            )
        return level

    def inside(self, grid: Grid) -> np.ndarray:
        """Return the voxels of a grid that are inside, bool.

        Raises
        ------
        InputError
            PRED_MASK when there are none.
        """
        if self.mask is None:
            found = zone_mask(self.positions, grid, self.radius)
        else:
            level = self.level()
            found = resample_linear(self.mask.density, self.mask.grid, grid) >= level
        # An inverted mask covers the map's own space; where no mask was drawn counts as inside.
        if self.invert:
            found = ~found
        if not found.any():
            raise InputError(
                "no voxel of the map is inside the mask",
                code="PRED_MASK",
                remedy="check the mask's position (NSTART, ORIGIN), voxel size and contour",
            )
        return found

    def facts(self) -> dict[str, object]:
        """Return the settings for the record of a run."""
        if self.mask is None:
            return {"kind": "model", "radius_a": self.radius, "invert": self.invert}
        return {"kind": "map", "contour": self.level(), "invert": self.invert}
