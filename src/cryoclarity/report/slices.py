"""Central slices of maps side by side, as one picture."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from cryoclarity.io.files import atomic_path

PANEL_INCHES = 3.2
DPI = 120
CONTRAST = (1.0, 99.8)  # percentiles shown as black and white


def central_slices(density: np.ndarray) -> list[np.ndarray]:
    """Return the middle planes across z, y and x of a density (z, y, x)."""
    return [np.take(density, density.shape[axis] // 2, axis=axis) for axis in range(3)]


def save_slices(path: str | Path, panels: list[tuple[str, np.ndarray]], columns: int = 3) -> None:
    """Draw 2-D arrays in grey, each in its own contrast, and write a PNG.

    Parameters
    ----------
    path : path
        Ends in .png; the same bytes on every run.
    panels : list of (title, (n, m) array)
        Row by row from the left.
    columns : int
    """
    rows = -(-len(panels) // columns)
    size = (PANEL_INCHES * columns, PANEL_INCHES * 1.08 * rows)
    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    axes = np.atleast_1d(figure.subplots(rows, columns)).ravel()
    for axis, (title, image) in zip(axes, panels, strict=False):
        low, high = np.percentile(image, CONTRAST)
        axis.imshow(image, cmap="gray", vmin=low, vmax=max(high, low + 1e-30), origin="lower")
        axis.set_title(title, fontsize=9)
    for axis in axes:
        axis.set_axis_off()
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=DPI, format="png", metadata={"Software": None})
