"""Picture of a selection: how many entries each filter let through, and on which side they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.transforms import blended_transform_factory

from cryoclarity.io.files import atomic_path

DPI = 110
ROW_INCHES = 0.34
KEPT, DROPPED, OFF = "#2c6e91", "#d1793c", "#b8b8b8"
SPLIT_COLOURS = ("#2c6e91", "#69a2bd", "#d1793c", "#7a7a7a", "#a3b86c", "#8c6bb1")


def save_funnel_figure(
    path: str | Path,
    rows: Sequence[Mapping[str, object]],
    lost: Mapping[str, int],
    splits: Mapping[str, int],
    title: str,
) -> None:
    """Draw one bar per filter, from all entries down to the manifest.

    Parameters
    ----------
    path : path
        Ends in .png; the same bytes on every run.
    rows : sequence of mapping
        Rows of the funnel table: ``filter code enabled in out dropped warned``.
    lost : mapping
        Entries of which nothing could be read, by reason code.
    splits : mapping
        Entries of the manifest by split.
    title : str
    """
    height = 2.2 + ROW_INCHES * (len(rows) + len(lost) + 1)
    figure = Figure(figsize=(11.0, height), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title, fontsize=11)
    upper, lower = figure.subplots(2, 1, height_ratios=[len(rows) + len(lost) + 1, 1.6])
    _draw_filters(upper, rows, lost)
    _draw_splits(lower, splits)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=DPI, metadata={"Software": None})


class _Bar(NamedTuple):
    """One line of the upper panel."""

    label: str
    kept: int
    dropped: int
    note: str
    active: bool = True


def _bars(rows: Sequence[Mapping[str, object]], lost: Mapping[str, int]) -> list[_Bar]:
    remaining = sum(lost.values()) + (int(rows[0]["in"]) if rows else 0)
    bars = [_Bar("asked for", remaining, 0, "")]
    for code, count in sorted(lost.items()):
        remaining -= count
        bars.append(_Bar("no data", remaining, count, f"−{count:,}  {code}"))
    for row in rows:
        dropped, warned = int(row["dropped"]), int(row["warned"])
        notes = [f"−{dropped:,}  {row['code']}"] if dropped else []
        notes += [f"{warned:,} warned"] if warned else []
        label = str(row["filter"]).replace("_", " ")
        active = row["enabled"] == "yes"
        bars.append(_Bar(label, int(row["out"]), dropped, ", ".join(notes), active))
    return bars


def _draw_filters(axes, rows: Sequence[Mapping[str, object]], lost: Mapping[str, int]) -> None:
    bars = _bars(rows, lost)
    widest = max(bars[0].kept, 1)
    text_at = blended_transform_factory(axes.transAxes, axes.transData)
    for place, bar in enumerate(bars):
        axes.barh(place, bar.kept, color=KEPT if bar.active else OFF, height=0.72)
        axes.barh(place, bar.dropped, left=bar.kept, color=DROPPED, height=0.72)
        inside = bar.kept > 0.12 * widest
        axes.text(
            bar.kept - 0.01 * widest if inside else bar.kept + bar.dropped + 0.01 * widest,
            place,
            f"{bar.kept:,}" if bar.active else f"{bar.kept:,} (off)",
            ha="right" if inside else "left",
            va="center",
            color="white" if inside and bar.active else "black",
            fontsize=8,
        )
        axes.text(1.01, place, bar.note, transform=text_at, va="center", fontsize=8)
    axes.set_yticks(range(len(bars)), [bar.label for bar in bars], fontsize=8)
    axes.set_ylim(len(bars) - 0.5, -0.5)
    axes.set_xlim(0, widest)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    axes.set_xlabel("entries left (blue), dropped by this filter (orange)", fontsize=9)
    axes.tick_params(axis="x", labelsize=8)
    axes.spines[["top", "right"]].set_visible(False)


def _draw_splits(axes, splits: Mapping[str, int]) -> None:
    total, start = max(sum(splits.values()), 1), 0
    for place, (name, count) in enumerate(splits.items()):
        colour = SPLIT_COLOURS[place % len(SPLIT_COLOURS)]
        label = f"{name or 'no split'}: {count:,} ({100 * count / total:.1f} %)"
        axes.barh(0, count, left=start, color=colour, height=0.6, label=label)
        start += count
    axes.set_xlim(0, total)
    axes.set_yticks([])
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    axes.set_xlabel("entries of the manifest by split", fontsize=9)
    axes.tick_params(axis="x", labelsize=8)
    axes.spines[["top", "right", "left"]].set_visible(False)
    if splits:
        axes.legend(
            ncols=len(splits), fontsize=8, frameon=False, loc="lower left", bbox_to_anchor=(0, 0.9)
        )
