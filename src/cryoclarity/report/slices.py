"""Central slices of maps side by side, as one picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import wrap

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from cryoclarity.io.files import atomic_path

PANEL_INCHES = 3.2
DPI = 120
VERDICT_COLOURS = {"PASS": "seagreen", "WARN": "firebrick"}
OUTLINE = "gold"
CONTRAST = (1.0, 99.8)  # percentiles shown as black and white


def central_slices(density: np.ndarray) -> list[np.ndarray]:
    """Return the middle planes across z, y and x of a density (z, y, x)."""
    return [np.take(density, density.shape[axis] // 2, axis=axis) for axis in range(3)]


@dataclass(frozen=True)
class MapRow:
    """One row of a page of maps.

    Attributes
    ----------
    title : str
    density : (nz, ny, nx)
    limits : (low, high), or None for a contrast of its own
    colours : name of a colour map
    level : float or None
        A contour line is drawn there.
    where : (nz, ny, nx) bool, or None
        Nothing is drawn elsewhere.
    """

    title: str
    density: np.ndarray
    limits: tuple[float, float] | None = None
    colours: str = "gray"
    level: float | None = None
    where: np.ndarray | None = None


def save_map_page(
    path: str | Path,
    rows: Sequence[MapRow],
    voxel_size_zyx: tuple[float, float, float],
    caption: str,
) -> None:
    """Draw the central slices of maps, one row per map, with a scale bar each, on one page.

    Parameters
    ----------
    path : path
        Ends in .png; the same bytes on every run.
    rows : sequence of MapRow
    voxel_size_zyx : (z, y, x), angstrom
    caption : str
        Below the pictures: how to read them, weights and purpose.
    """
    figure = Figure(
        figsize=(PANEL_INCHES * 3.4, PANEL_INCHES * 1.08 * len(rows)), layout="constrained"
    )
    FigureCanvasAgg(figure)
    for axes, row in zip(figure.subplots(len(rows), 3, squeeze=False), rows, strict=True):
        _draw_row(figure, list(axes), row, voxel_size_zyx)
    figure.supxlabel(caption, fontsize=8)
    _save(figure, path)


def _draw_row(figure: Figure, axes: list, row: MapRow, voxel_size_zyx) -> None:
    images = central_slices(row.density)
    shown = [None] * 3 if row.where is None else central_slices(row.where)
    low, high = row.limits or _contrast(images, shown)
    high = max(high, low + 1e-30)
    for number, (axis, image, where) in enumerate(zip(axes, images, shown, strict=True)):
        # What is seen of plane z are y (up) and x (right), and so on.
        up, right = (v for k, v in enumerate(voxel_size_zyx) if k != number)
        extent = (0, image.shape[1] * right, 0, image.shape[0] * up)
        seen = image if where is None else np.ma.masked_array(image, ~where)
        axis.set_facecolor("black")
        drawn = axis.imshow(
            seen, cmap=row.colours, vmin=low, vmax=high, origin="lower", extent=extent
        )
        if row.level is not None and image.min() < row.level < image.max():
            y, x = ((np.arange(n) + 0.5) * v for n, v in zip(image.shape, (up, right), strict=True))
            axis.contour(x, y, image, [row.level], colors=OUTLINE, linewidths=0.5)
        axis.set_title(f"{row.title}, across {'zyx'[number]}", fontsize=8)
        axis.set_xticks([])
        axis.set_yticks([])
        _scale_bar(axis, extent[1], extent[3])
    figure.colorbar(drawn, ax=axes, shrink=0.8).ax.tick_params(labelsize=7)


def _contrast(images: list[np.ndarray], shown: list) -> tuple[float, float]:
    """Return one scale for the three planes of a map, from what is drawn of them."""
    pairs = zip(images, shown, strict=True)
    drawn = [i.ravel() if where is None else i[where] for i, where in pairs]
    values = np.concatenate(drawn)
    return tuple(np.percentile(values, CONTRAST)) if values.size else (0.0, 1.0)


def _scale_bar(axis, width: float, height: float) -> None:
    """Draw a bar of a round length near a fifth of the width, in angstrom."""
    decade = 10.0 ** np.floor(np.log10(width / 5))
    length = max(n * decade for n in (1, 2, 5) if n * decade <= width / 5)
    left, bottom = 0.04 * width, 0.04 * height
    axis.plot([left, left + length], [bottom, bottom], color=OUTLINE, linewidth=2)
    axis.text(left, bottom + 0.02 * height, f"{length:g} Å", color=OUTLINE, fontsize=7)


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
