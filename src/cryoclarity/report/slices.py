"""Central slices of maps side by side, as one picture."""

from __future__ import annotations

from pathlib import Path
from textwrap import wrap

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from cryoclarity.io.files import atomic_path

PANEL_INCHES = 3.2
DPI = 120
VERDICT_COLOURS = {"PASS": "seagreen", "WARN": "firebrick"}
CONTRAST = (1.0, 99.8)  # percentiles shown as black and white


def central_slices(density: np.ndarray) -> list[np.ndarray]:
    """Return the middle planes across z, y and x of a density (z, y, x)."""
    return [np.take(density, density.shape[axis] // 2, axis=axis) for axis in range(3)]


def save_map_page(
    path: str | Path,
    maps: dict[str, np.ndarray],
    limits: dict[str, tuple[float, float]],
    caption: str,
) -> None:
    """Draw the central slices of maps, one row per map, with a grey scale each, on one page.

    Parameters
    ----------
    path : path
        Ends in .png; the same bytes on every run.
    maps : title to (nz, ny, nx)
    limits : title to (black, white)
        Maps without an entry are drawn in a contrast of their own.
    caption : str
        Below the pictures: weights and purpose.
    """
    figure = Figure(
        figsize=(PANEL_INCHES * 3.4, PANEL_INCHES * 1.08 * len(maps)), layout="constrained"
    )
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(maps), 3, squeeze=False)
    for row, (title, density) in zip(axes, maps.items(), strict=True):
        images = central_slices(density)
        # One scale per row, so that the three planes of a map can be compared.
        low, high = limits.get(title) or np.percentile(
            np.concatenate([image.ravel() for image in images]), CONTRAST
        )
        for axis, name, image in zip(row, "zyx", images, strict=True):
            drawn = axis.imshow(
                image, cmap="gray", vmin=low, vmax=max(high, low + 1e-30), origin="lower"
            )
            axis.set_title(f"{title}, across {name}", fontsize=8)
            axis.set_axis_off()
        figure.colorbar(drawn, ax=list(row), shrink=0.8).ax.tick_params(labelsize=7)
    figure.supxlabel(caption, fontsize=7)
    _save(figure, path)


def save_checks(path: str | Path, checks: list[dict[str, object]], caption: str) -> None:
    """Draw checks as one page: verdict, figure and threshold, and a slice of what was tested.

    Parameters
    ----------
    path : path
        Ends in .png; the same bytes on every run.
    checks : list of dict
        Keys ``name verdict figure threshold text`` and ``images``, (title, (n, m) array) each.
    caption : str
    """
    columns = max(len(check["images"]) for check in checks) + 1
    figure = Figure(
        figsize=(PANEL_INCHES * columns, 0.85 * PANEL_INCHES * len(checks)), layout="constrained"
    )
    FigureCanvasAgg(figure)
    for row, check in zip(
        figure.subplots(len(checks), columns, squeeze=False), checks, strict=True
    ):
        for axis in row:
            axis.set_axis_off()
        colour = VERDICT_COLOURS.get(check["verdict"], "dimgray")
        row[0].text(0, 0.85, check["name"], fontsize=11, weight="bold")
        row[0].text(0, 0.68, check["verdict"], fontsize=11, weight="bold", color=colour)
        row[0].text(0, 0.6, "\n".join(wrap(check["text"], 44)), fontsize=8, va="top")
        for axis, (title, image) in zip(row[1:], check["images"], strict=False):
            low, high = np.percentile(image, CONTRAST)
            axis.imshow(image, cmap="gray", vmin=low, vmax=max(high, low + 1e-30), origin="lower")
            axis.set_title(title, fontsize=8)
    figure.supxlabel(caption, fontsize=7)
    _save(figure, path)


def _save(figure: Figure, path: str | Path) -> None:
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=DPI, format="png", metadata={"Software": None})
