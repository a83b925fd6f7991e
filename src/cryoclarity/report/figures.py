"""Figures of the report: slices before and after, Fourier shell correlation, learning curves.

Colours are those of Okabe & Ito, which stay apart for colour-blind readers; line styles and
markers repeat the distinction. Nothing here holds a date, so equal data give equal files.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from cryoclarity.io.files import atomic_path
from cryoclarity.report.table import MAP_ROWS, ROW_LABELS

DPI = 110
ROW_STYLES = {
    "input": {"color": "#000000", "linestyle": ":", "marker": "o"},
    "roundtrip": {"color": "#999999", "linestyle": "-.", "marker": "s"},
    "clipped": {"color": "#E69F00", "linestyle": "--", "marker": "^"},
    "radial_filter": {"color": "#009E73", "linestyle": (0, (5, 1)), "marker": "D"},
    "enhanced": {"color": "#0072B2", "linestyle": "-", "marker": "*"},
}
TRAINING, VALIDATION, BASELINE = "#999999", "#0072B2", "#D55E00"
DENSITY_PLANES = {"input": "before", "enhanced": "after", "target": "target"}
RESOLUTION_PLANES = {"label": "resolution, label", "resolution": "resolution, predicted"}
DOT_METRICS = {"CC_mask": "CC in mask", "mean_fsc_model": "mean FSC", "Q_mean": "mean Q"}
LINE_HEIGHT, PANEL_HEIGHT = 2.85, 3.4  # inches, of an entry and of the panels below them
SCALE_BAR = 20.0  # angstrom
CROP_MARGIN = 6  # voxels around the molecule


@dataclass(frozen=True)
class EntryPicture:
    """What the figure shows of one entry.

    Attributes
    ----------
    title : str
    resolution : float or None
        Stated resolution in angstrom.
    planes : dict of name to (ny, nx)
        Densities in [0, 1] and resolutions in angstrom (NaN where none) of one z plane.
    pixel : (x, y)
        Angstrom.
    curves : dict of row to (frequency, correlation)
        Map-model FSC by version of the map.
    """

    title: str
    resolution: float | None
    planes: dict[str, np.ndarray]
    pixel: tuple[float, float]
    curves: dict[str, tuple[np.ndarray, np.ndarray]] = field(default_factory=dict)


def summary_figure(
    path: str | Path,
    pictures: Sequence[EntryPicture],
    means: Mapping[str, Mapping[str, float]],
    training: Mapping[str, Sequence[Mapping[str, str]]],
    verdicts: Sequence[str],
) -> None:
    """Draw the one figure of a run.

    Parameters
    ----------
    path : path
        PNG to write.
    pictures : sequence of EntryPicture
        One line each.
    means : mapping of row to metrics
        Means over the held-out maps.
    training : mapping of data set to rows of its metrics table
    verdicts : sequence of str
        Printed on top.
    """
    local = any(set(p.planes) & set(RESOLUTION_PLANES) for p in pictures)
    names = [*DENSITY_PLANES, *(RESOLUTION_PLANES if local else ())]
    n_lines = max(len(pictures), 1)
    text = "\n".join(textwrap.fill(line, 34 * len(names) + 20) for line in verdicts)
    head = 0.2 * (text.count("\n") + 1) + 0.5
    width = 2.45 * len(names) + 5.6
    height = head + LINE_HEIGHT * n_lines + PANEL_HEIGHT
    figure = Figure(figsize=(width, height), dpi=DPI)
    figure.text(0.15 / width, 1 - 0.12 / height, text, fontsize=11, va="top")
    # Places are worked out here: matplotlib's own layout solver does not always end alike.
    grid = figure.add_gridspec(
        n_lines,
        len(names) + 2,
        width_ratios=[2.3] * len(names) + [0.7, 4.2],
        left=0.45 / width,
        right=1 - 0.45 / width,
        top=1 - head / height,
        bottom=(PANEL_HEIGHT + 0.45) / height,
        wspace=0.07,
        hspace=0.32,
    )
    for line, picture in enumerate(pictures):
        _draw_entry(figure, grid, line, picture, names)
    if not pictures:
        axes = figure.add_subplot(grid[:, :])
        _say(axes, "no improved map and no predicted local resolution to show")
    panels = _bottom_panels(figure, len(training) + 1)
    _draw_means(panels[0], means)
    for axes, (dataset, rows) in zip(panels[1:], training.items(), strict=True):
        _draw_losses(axes, dataset, rows)
    _save(figure, path)


def _bottom_panels(figure: Figure, count: int) -> np.ndarray:
    """Axes (count,) side by side along the foot of a figure."""
    width, height = figure.get_size_inches()
    places = {
        "left": 0.9 / width,
        "right": 1 - 0.3 / width,
        "top": (PANEL_HEIGHT - 0.45) / height,
        "bottom": 0.55 / height,
        "wspace": 0.18,
    }
    return figure.subplots(1, count, squeeze=False, gridspec_kw=places)[0]


def learning_curves(path: str | Path, training: Mapping[str, Sequence[Mapping[str, str]]]) -> None:
    """Draw, per data set, the losses and what validation means beside doing nothing.

    Parameters
    ----------
    path : path
        PNG to write.
    training : mapping of data set to rows of its metrics table
    """
    count = max(len(training), 1)
    figure = Figure(figsize=(4.6 * count, 6.4), dpi=DPI)
    figure.subplots_adjust(
        left=0.75 / (4.6 * count),
        right=1 - 0.2 / (4.6 * count),
        top=0.94,
        bottom=0.08,
        wspace=0.22,
        hspace=0.2,
    )
    panels = figure.subplots(2, count, squeeze=False)
    if not training:
        for axes in panels[:, 0]:
            _say(axes, "no network was trained")
    for column, (dataset, rows) in enumerate(training.items()):
        _draw_losses(panels[0, column], dataset, rows)
        _draw_validation(panels[1, column], rows)
    _save(figure, path)


def _save(figure: Figure, path: str | Path) -> None:
    with atomic_path(path) as temporary:
        FigureCanvasAgg(figure).print_png(temporary, metadata={"Software": "cryoclarity"})


def _say(axes: Axes, text: str) -> None:
    axes.set_axis_off()
    axes.text(0.5, 0.5, text, ha="center", va="center", transform=axes.transAxes, fontsize=9)


def _draw_entry(figure, grid, line: int, picture: EntryPicture, names: Sequence[str]) -> None:
    window = _window(picture.planes)
    shown = [picture.planes[n] for n in RESOLUTION_PLANES if n in picture.planes]
    limits = _common_limits(shown)
    for column, name in enumerate(names):
        axes = figure.add_subplot(grid[line, column])
        title = (DENSITY_PLANES | RESOLUTION_PLANES)[name]
        axes.set_title(title, fontsize=9)
        if name in picture.planes:
            _draw_plane(axes, picture.planes[name][window], picture.pixel, name, limits)
        else:
            _say(axes, "none")
            axes.set_title(title, fontsize=9)
        if column == 0:
            axes.text(
                -0.04,
                0.5,
                picture.title,
                rotation=90,
                ha="right",
                va="center",
                fontsize=9,
                transform=axes.transAxes,
            )
    _draw_fsc(figure.add_subplot(grid[line, -1]), picture)


def _window(planes: Mapping[str, np.ndarray]) -> tuple[slice, slice]:
    """Rows and columns around the molecule: boxes are often mostly solvent."""
    solid = np.zeros(next(iter(planes.values())).shape, dtype=bool)
    for name, plane in planes.items():
        threshold = 0.0 if name in RESOLUTION_PLANES else 0.25
        with np.errstate(invalid="ignore"):
            solid |= np.nan_to_num(plane.astype(np.float32)) > threshold
    window = []
    for axis in (1, 0):
        filled = np.flatnonzero(solid.any(axis=axis))
        first, last = (filled[0], filled[-1]) if filled.size else (0, solid.shape[1 - axis] - 1)
        window.append(slice(max(int(first) - CROP_MARGIN, 0), int(last) + 1 + CROP_MARGIN))
    return window[0], window[1]


def _common_limits(planes: Sequence[np.ndarray]) -> tuple[float, float] | None:
    values = np.concatenate([p[np.isfinite(p)] for p in planes]) if planes else np.empty(0)
    if not values.size:
        return None
    low, high = np.percentile(values.astype(np.float64), (2, 98))
    return float(low), float(max(high, low + 0.1))


def _draw_plane(
    axes: Axes,
    plane: np.ndarray,
    pixel: tuple[float, float],
    name: str,
    limits: tuple[float, float] | None,
) -> None:
    axes.set_xticks([])
    axes.set_yticks([])
    plane = plane.astype(np.float32)
    arguments = {"origin": "lower", "interpolation": "nearest", "aspect": pixel[1] / pixel[0]}
    if name in RESOLUTION_PLANES:
        axes.set_facecolor("#dddddd")
        low, high = limits or (0.0, 1.0)
        image = axes.imshow(plane, cmap="viridis_r", vmin=low, vmax=high, **arguments)
        if name == "resolution":
            bar = axes.figure.colorbar(image, cax=axes.inset_axes([1.04, 0.0, 0.05, 1.0]))
            bar.ax.set_title("Å", fontsize=8)
            bar.ax.tick_params(labelsize=7)
        return
    axes.imshow(plane, cmap="gray_r", vmin=0.0, vmax=1.0, **arguments)
    if name == "input":
        length = SCALE_BAR / pixel[0]
        low = 0.06 * plane.shape[0]
        left = 0.05 * plane.shape[1]
        axes.plot([left, left + length], [low, low], color="#D55E00", linewidth=3)
        axes.text(left, low * 1.5 + 0.5, f"{SCALE_BAR:.0f} Å", color="#D55E00", fontsize=8)


def _draw_fsc(axes: Axes, picture: EntryPicture) -> None:
    if not picture.curves:
        _say(axes, "no model to compare with")
        return
    for name in MAP_ROWS:
        if name in picture.curves and name != "roundtrip":
            frequency, correlation = picture.curves[name]
            style = {k: v for k, v in ROW_STYLES[name].items() if k != "marker"}
            width = 2.0 if name == "enhanced" else 1.3
            axes.plot(frequency, correlation, label=ROW_LABELS[name], linewidth=width, **style)
    for level in (0.5, 0.143):
        axes.axhline(level, color="#bbbbbb", linewidth=0.7, zorder=0)
        where = axes.get_yaxis_transform()
        axes.text(1.005, level, f"{level:g}", fontsize=7, color="#777777", transform=where)
    if picture.resolution:
        axes.axvline(1 / picture.resolution, color="#CC79A7", linewidth=1.0, zorder=0)
        axes.text(
            1 / picture.resolution,
            1.04,
            f" stated {picture.resolution:g} Å",
            color="#8a4470",
            fontsize=7,
            va="bottom",
            ha="center",
        )
    axes.set_ylim(-0.15, 1.03)
    axes.set_xlim(left=0)
    axes.set_xlabel("spatial frequency (1/Å)", fontsize=8)
    axes.set_ylabel("map-model FSC", fontsize=8)
    axes.tick_params(labelsize=7)
    axes.legend(fontsize=7, loc="lower left", frameon=True, framealpha=0.8, edgecolor="none")


def _draw_means(axes: Axes, means: Mapping[str, Mapping[str, float]]) -> None:
    """One line per metric, one marker per version of the map."""
    rows = [row for row in MAP_ROWS if means.get(row)]
    if not rows:
        _say(axes, "no held-out map was improved")
        return
    keys = [key for key in DOT_METRICS if any(key in means[row] for row in rows)]
    for offset, row in enumerate(rows):
        style = ROW_STYLES[row]
        heights = [i + 0.13 * (offset - (len(rows) - 1) / 2) for i in range(len(keys))]
        values = [means[row].get(key, math.nan) for key in keys]
        axes.plot(
            values,
            heights,
            linestyle="none",
            marker=style["marker"],
            color=style["color"],
            markersize=9 if row == "enhanced" else 6,
            label=ROW_LABELS[row],
        )
    axes.set_yticks(range(len(keys)), [DOT_METRICS[key] for key in keys], fontsize=8)
    axes.set_ylim(len(keys) - 0.5, -0.5)
    axes.grid(axis="x", color="#dddddd")
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=8)
    axes.set_title("means over held-out maps (further right is better)", fontsize=9)
    axes.legend(fontsize=7, loc="best")


def _numbers(rows: Sequence[Mapping[str, str]], key: str) -> np.ndarray:
    return np.array([float(row[key]) if row.get(key) else math.nan for row in rows])


def _draw_losses(axes: Axes, dataset: str, rows: Sequence[Mapping[str, str]]) -> None:
    axes.set_title(f"training: {dataset}", fontsize=9)
    lines = {
        "train_loss": ("training", TRAINING, "--"),
        "val_loss": ("validation", VALIDATION, "-"),
    }
    drawn = _draw_lines(axes, rows, lines)
    axes.set_ylabel("loss", fontsize=8)
    if not drawn:
        _say(axes, f"{dataset}: no metrics")


def _draw_validation(axes: Axes, rows: Sequence[Mapping[str, str]]) -> None:
    resolution = any("val_mae" in row for row in rows)
    if resolution:
        lines = {
            "val_mae": ("network", VALIDATION, "-"),
            "val_constant_mae": ("constant: training median", BASELINE, "--"),
        }
        axes.set_ylabel("validation error, labelled voxels (Å)", fontsize=8)
    else:
        lines = {
            "val_ssim": ("network", VALIDATION, "-"),
            "val_input_ssim": ("unprocessed input", BASELINE, "--"),
        }
        axes.set_ylabel("validation SSIM", fontsize=8)
    if not _draw_lines(axes, rows, lines):
        _say(axes, "no validation boxes")


def _draw_lines(
    axes: Axes, rows: Sequence[Mapping[str, str]], lines: Mapping[str, tuple[str, str, str]]
) -> int:
    drawn = 0
    steps = _numbers(rows, "step")
    for key, (label, colour, style) in lines.items():
        values = _numbers(rows, key)
        if np.isfinite(values).any():
            marker = "." if len(rows) < 40 else None
            axes.plot(steps, values, color=colour, linestyle=style, marker=marker, label=label)
            drawn += 1
    axes.set_xlabel("training step", fontsize=8)
    axes.tick_params(labelsize=7)
    axes.grid(color="#eeeeee")
    if drawn:
        axes.legend(fontsize=7)
    return drawn
