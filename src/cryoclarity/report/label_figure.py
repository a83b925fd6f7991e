"""Picture of a local-resolution map, and a ChimeraX script that shows it on the density."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib import colormaps
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from cryoclarity.io.files import atomic_path, write_text

DPI = 110
COLOURS = "viridis_r"
EXTREMES = (2.0, 98.0)  # percentiles of the labels at the ends of the colour scale
CONTRAST = (1.0, 99.8)
STOPS = 5
BINS = 40
LABELLED, CENSORED = 1, 2
SMALLEST_RANGE = 0.1  # angstrom


def colour_range(resolution: np.ndarray, codes: np.ndarray) -> tuple[float, float]:
    """Ends of the colour scale in angstrom, from the true labels."""
    labels = resolution[codes == LABELLED]
    low, high = np.percentile(labels, EXTREMES) if labels.size else (1.0, 10.0)
    return float(low), float(max(high, low + SMALLEST_RANGE))


def save_label_figure(
    path: str | Path, density: np.ndarray, resolution: np.ndarray, codes: np.ndarray, title: str
) -> None:
    """Draw three slices coloured by resolution, a histogram and the share of every code.

    Parameters
    ----------
    path : path
        Ends in .png; the same bytes on every run.
    density, resolution, codes : (z, y, x)
        Slices go through the middle of the labelled region.
    title : str
    """
    low, high = colour_range(resolution, codes)
    figure = Figure(figsize=(12.0, 6.6), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title, fontsize=10)
    axes = figure.subplots(2, 3)
    labelled = np.argwhere(codes == LABELLED)
    middle = labelled.mean(axis=0).astype(int) if len(labelled) else np.array(codes.shape) // 2
    black, white = np.percentile(density, CONTRAST)
    for axis, panel in enumerate(axes[0]):
        plane = [np.take(v, middle[axis], axis=axis) for v in (density, resolution, codes)]
        panel.imshow(plane[0], cmap="gray", vmin=black, vmax=max(white, black + 1e-30),
                     origin="lower")  # fmt: skip
        shown = np.where(plane[2] == LABELLED, plane[1], np.nan)
        image = panel.imshow(shown, cmap=COLOURS, vmin=low, vmax=high, alpha=0.75, origin="lower")
        panel.set_title(f"{'zyx'[axis]} = {middle[axis]}", fontsize=9)
        panel.set_axis_off()
    figure.colorbar(image, ax=list(axes[0]), label="resolution (Å)", shrink=0.8)
    _histogram(axes[1, 0], resolution[codes == LABELLED])
    _cumulative(axes[1, 1], resolution[codes == LABELLED], int(np.count_nonzero(codes)))
    _shares(axes[1, 2], codes)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=DPI, format="png", metadata={"Software": None})


def _histogram(panel, labels: np.ndarray) -> None:
    """Voxels per resolution: bars at the levels where they are few, else bins."""
    values, counts = np.unique(np.round(labels, 3), return_counts=True)
    if 0 < len(values) <= BINS:
        width = float(np.diff(values).min()) * 0.8 if len(values) > 1 else 0.4
        panel.bar(values, counts, width=width, color="#0072B2")
    elif len(values):
        panel.hist(labels, bins=BINS, color="#0072B2")
    panel.set_xlabel("resolution (Å)")
    panel.set_ylabel("voxels")


def _cumulative(panel, labels: np.ndarray, tested: int) -> None:
    """Share of the mask that is at least as good as a level."""
    values, counts = np.unique(labels, return_counts=True)
    panel.step(values, np.cumsum(counts) / max(tested, 1), where="post", color="#D55E00")
    panel.set_ylim(0, 1.02)
    panel.set_xlabel("level (Å)")
    panel.set_ylabel("share of the mask")


def _shares(panel, codes: np.ndarray) -> None:
    """Share of the mask by code."""
    names = {1: "labelled", 2: "worse than every level", 3: "mixture"}
    counts = [np.count_nonzero(codes == code) for code in names]
    panel.barh(list(names.values()), np.array(counts) / max(1, sum(counts)), color="#009E73")
    panel.set_xlim(0, 1)
    panel.set_xlabel("share of the mask")


def write_chimerax_script(
    path: str | Path, map_name: str, labels_name: str, resolution: np.ndarray, codes: np.ndarray
) -> None:
    """Write a ChimeraX script that opens both maps and colours the density by resolution.

    Voxels without a value are drawn in grey: the palette ends where labels end.
    """
    low, high = colour_range(resolution, codes)
    table = colormaps[COLOURS]
    stops = []
    for share in np.linspace(0, 1, STOPS):
        red, green, blue = (round(255 * part) for part in table(share)[:3])
        stops.append(f"{low + share * (high - low):.2f},#{red:02x}{green:02x}{blue:02x}")
    keys = [stop.split(",") for stop in stops]
    # Values at and beyond the ends stand for "no answer" (0 and 100).
    palette = ":".join([f"{0.99 * low:.2f},#b0b0b0", *stops, f"{1.01 * high:.2f},#b0b0b0"])
    write_text(
        path,
        "\n".join(
            [
                "# Density coloured by local resolution in angstrom; grey: no value.",
                f'open "{map_name}" id #1',
                f'open "{labels_name}" id #2',
                "hide #2 models",
                f"color sample #1 map #2 palette {palette}",
                "key " + " ".join(f"{colour}:{value}" for value, colour in keys),
                "",
            ]
        ),
    )
