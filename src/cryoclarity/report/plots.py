"""Plots and tables of the page that answer to the mouse, drawn by Bokeh in the browser.

Each is returned as the JSON item that Bokeh's own script places into an element of the page.
Colours are those of the printed figures and stay apart for colour-blind readers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from bokeh.embed import json_item
from bokeh.layouts import column
from bokeh.model import Model
from bokeh.models import (
    ColumnDataSource,
    CustomJS,
    DataTable,
    HoverTool,
    NumberFormatter,
    Span,
    TableColumn,
)
from bokeh.plotting import figure
from bokeh.resources import Resources

from cryoclarity.report.overview import COMPARED
from cryoclarity.report.table import ROW_LABELS

COMPONENTS = ["bokeh", "bokeh-widgets", "bokeh-tables"]
BEFORE, AFTER, LINE = "#E69F00", "#0072B2", "#777777"
DATASET_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7")
ROW_HEIGHT, MOST_ROWS_SHOWN = 28, 16
FAINT, STRONG = 0.25, 1.0
# Selecting rows of the table brings out their curves and holds the others back.
HIGHLIGHT = """
const chosen = new Set(table.selected.indices.map(i => table.data.emdb_id[i]));
const names = curves.data.emdb_id;
curves.data.alpha = names.map(name => chosen.size == 0 ? base : (chosen.has(name) ? 1.0 : 0.04));
curves.data.width = names.map(name => chosen.has(name) ? 3 : 1.5);
curves.change.emit();
"""


def script() -> str:
    """Return the script and style elements of Bokeh, whole, so that nothing is loaded."""
    return Resources(mode="inline", components=COMPONENTS, log_level="error").render()


def item(model: Model, element: str) -> dict:
    """Return a plot as the JSON item for an element of the page."""
    return json_item(model, element)


def map_table(rows: Sequence[Mapping[str, object]]) -> DataTable:
    """Return the table of improved maps; a click on a heading sorts, a row shows its curve.

    Parameters
    ----------
    rows : rows of :func:`cryoclarity.report.overview.overview_rows`
    """
    numbers = NumberFormatter(format="0.000", nan_format="-", text_align="right")
    changes = NumberFormatter(format="+0.000", nan_format="-", text_align="right")
    columns = [
        TableColumn(field="emdb_id", title="map", width=95),
        TableColumn(field="split", title="split", width=50),
        TableColumn(field="resolution", title="stated (Å)", formatter=numbers, width=85),
    ]
    for metric, (title, _) in COMPARED.items():
        for part, formatter in (("before", numbers), ("after", numbers), ("change", changes)):
            heading = f"{title} {part}" if part == "before" else part
            field = f"{metric}_{part}"
            width = max(62, 7 * len(heading) + 16)
            columns.append(
                TableColumn(field=field, title=heading, formatter=formatter, width=width)
            )
    columns += [
        TableColumn(
            field="beyond_references",
            title="CC beyond clip and filter",
            formatter=changes,
            width=190,
        ),
        TableColumn(
            field="shift",
            title="shift (voxels)",
            formatter=NumberFormatter(format="0.0000", nan_format="-", text_align="right"),
            width=110,
        ),
        TableColumn(field="flags", title="beware", width=260),
    ]
    data = {column.field: [_number(row[column.field]) for row in rows] for column in columns}
    return DataTable(
        source=ColumnDataSource(data, name="maps"),
        columns=columns,
        index_position=None,
        width=sum(column.width for column in columns) + 20,
        height=ROW_HEIGHT * (min(len(rows), MOST_ROWS_SHOWN) + 1) + 20,
        autosize_mode="none",
        name="map_table",
    )


def stacked(*models: Model) -> Model:
    """Return plots below each other, as one that may share data and selections."""
    return column(*models, sizing_mode="stretch_width")


def _number(value: object) -> object:
    return np.nan if value is None else value


def fsc_plot(
    curves: Mapping[str, Mapping[str, tuple[Sequence[float], Sequence[float]]]],
    table: DataTable | None = None,
) -> Model:
    """Return the masked map-model FSC of all maps, named under the pointer.

    Parameters
    ----------
    curves : entry to version of the map to (frequency in 1/angstrom, correlation)
    table : DataTable, optional
        Selecting its rows brings out their curves.
    """
    plot = _plot("spatial frequency (1/Å)", "masked map-model FSC", height=360)
    base = STRONG if len(curves) <= 5 else FAINT
    for version, colour, dash in (("input", BEFORE, "dashed"), ("enhanced", AFTER, "solid")):
        chosen = {entry: rows[version] for entry, rows in curves.items() if version in rows}
        source = ColumnDataSource(
            {
                "x": [np.round(x, 4).tolist() for x, _ in chosen.values()],
                "y": [np.round(y, 3).tolist() for _, y in chosen.values()],
                "emdb_id": list(chosen),
                "version": [ROW_LABELS[version]] * len(chosen),
                "alpha": [base] * len(chosen),
                "width": [1.5] * len(chosen),
            }
        )
        lines = plot.multi_line(
            "x",
            "y",
            source=source,
            color=colour,
            line_dash=dash,
            alpha="alpha",
            line_width="width",
            legend_label=ROW_LABELS[version],
            hover_line_width=4,
            hover_line_alpha=1.0,
            hover_line_color=colour,
        )
        tips = [("map", "@emdb_id"), ("", "@version"), ("1/Å", "$x{0.000}"), ("FSC", "$y{0.00}")]
        plot.add_tools(HoverTool(renderers=[lines], tooltips=tips, line_policy="nearest"))
        if table is not None:
            arguments = {"table": table.source, "curves": source, "base": base}
            table.source.selected.js_on_change("indices", CustomJS(args=arguments, code=HIGHLIGHT))
    for level in (0.5, 0.143):
        plot.add_layout(
            Span(location=level, dimension="width", line_color=LINE, line_dash="dotted")
        )
    plot.legend.click_policy = "hide"
    return plot


def change_plot(rows: Sequence[Mapping[str, object]], metric: str = "CC_mask") -> Model:
    """Return each map's metric after improvement over the one before; above the line is better."""
    title, _ = COMPARED[metric]
    shown = [row for row in rows if row[f"{metric}_change"] is not None]
    plot = _plot(f"{title}, before", f"{title}, after", height=360)
    plot.line([0, 1], [0, 1], color=LINE, line_dash="dotted")
    source = ColumnDataSource(
        {
            "before": [row[f"{metric}_before"] for row in shown],
            "after": [row[f"{metric}_after"] for row in shown],
            "emdb_id": [row["emdb_id"] for row in shown],
            "split": [row["split"] for row in shown],
        }
    )
    dots = plot.scatter("before", "after", source=source, size=9, color=AFTER, alpha=0.7)
    tips = [("map", "@emdb_id"), ("split", "@split"), ("before", "@before"), ("after", "@after")]
    plot.add_tools(HoverTool(renderers=[dots], tooltips=tips))
    values = [*source.data["before"], *source.data["after"]]
    if values:
        low, high = min(values) - 0.05, max(values) + 0.05
        plot.x_range.start, plot.x_range.end = low, high
        plot.y_range.start, plot.y_range.end = low, high
    return plot


def learning_plot(training: Mapping[str, Sequence[Mapping[str, str]]]) -> Model:
    """Return validation loss (solid) and training loss (dashed) of all networks by step."""
    plot = _plot("training step", "loss", height=320, y_axis_type="log")
    for colour, (dataset, rows) in zip(DATASET_COLOURS, training.items(), strict=False):
        for key, dash in (("train_loss", "dashed"), ("val_loss", "solid")):
            points = [
                (float(row["step"]), float(row[key]))
                for row in rows
                if row.get(key) and float(row[key]) > 0
            ]
            if not points:
                continue
            steps, losses = map(list, zip(*points, strict=True))
            label = f"{dataset}, {'training' if key == 'train_loss' else 'validation'}"
            line = plot.line(steps, losses, color=colour, line_dash=dash, legend_label=label)
            tips = [("network", label), ("step", "$x{0}"), ("loss", "$y{0.0000}")]
            plot.add_tools(HoverTool(renderers=[line], tooltips=tips))
    if plot.legend:
        plot.legend.click_policy = "hide"
    return plot


def _plot(x_label: str, y_label: str, height: int, **options) -> figure:
    plot = figure(
        height=height,
        sizing_mode="stretch_width",
        x_axis_label=x_label,
        y_axis_label=y_label,
        tools="pan,box_zoom,reset",
        **options,
    )
    plot.toolbar.logo = None
    return plot
