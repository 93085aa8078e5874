"""Overview of methods and metrics: a row per method, a small panel per metric.

Controls and ablations stay out, as of the main tables.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from textwrap import fill
from typing import Any

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import MaxNLocator

from ..folders.methods import display_name, rank, shown_as
from ..scoring.score_files import Score, compared_scores
from ..tables.columns import CONSISTENCY, MAIN, SCALE, measured_columns

CEILINGS = {"real": "-", "vae_reconstruction": (0, (4, 3))}
"""Upper bounds, which are drawn as lines of this style."""
COLUMNS = [
    *("metric", "title", "method", "value", "se", "low", "high", "higher_is_better"),
    *("protocol", "version", "extractor"),
]
ACROSS = 4
"""Number of panels per row."""
WIDTH, MARGIN = 10.5, 1.9
"""Inches of the figure, and of the methods' names."""
LINE = 36
"""Number of letters of a title that fit over a panel."""
LEAST_SPAN = 0.01
"""Of an axis, as a share of what it shows."""
SOFT = "#666c75"


def overview_table(task: str, scores: Mapping[str, Score]) -> pd.DataFrame:
    """One row per metric and method with its 95 % interval: what the main table and that of
    consistency show, in their order."""
    compared = compared_scores(scores.values())
    detail = {metric: t for metric, t in CONSISTENCY[task].items() if metric not in MAIN[task]}
    rows = [
        score.row(metric) | {"title": title.rstrip(" ↑↓") + _incomplete(metric, compared)}
        for metric, title in measured_columns(MAIN[task] | detail, compared).items()
        for score in compared
        if metric in score.metrics
    ]
    return pd.DataFrame(rows, columns=COLUMNS)


def _incomplete(metric: str, scores: Sequence[Score]) -> str:
    """Name the methods that leave samples out, which a mean alone would not show."""
    names = [display_name(score.method) for score in scores if score.left_out(metric)]
    return f" ({', '.join(names)}: incomplete)" if names else ""


def draw_overview(table: pd.DataFrame) -> Figure:
    """Draw the rows of `overview_table`.

    Args:
        table: at least one row. Methods without a color get matplotlib's own in turn.
    """
    methods = sorted(dict.fromkeys(table["method"]), key=rank)
    palette = {m: shown_as(m).color or f"C{number}" for number, m in enumerate(methods)}
    metrics = list(dict.fromkeys(table["metric"]))
    across = min(ACROSS, len(metrics))
    down = -(-len(metrics) // across)
    height = 0.75 + 0.21 * len(methods)
    width = MARGIN + (WIDTH - MARGIN) * across / ACROSS
    figure = Figure(figsize=(width, down * height), layout=ConstrainedLayoutEngine(w_pad=0.08))
    axes = figure.subplots(down, across, squeeze=False)
    for number, axis in enumerate(axes.flat):
        if number >= len(metrics):
            axis.set_axis_off()
            continue
        _panel(axis, table[table["metric"] == metrics[number]], methods, palette)
        _name_rows(axis, methods, palette, named=number % across == 0)
    return figure


def _panel(
    axis: Any, rows: pd.DataFrame, methods: Sequence[str], palette: Mapping[str, str]
) -> None:
    """Dots with intervals from top to bottom; what real images reach goes through as a line."""
    scale = SCALE.get(rows["metric"].iloc[0], 1.0)
    for row in rows.to_dict("records"):
        method, value = row["method"], row["value"] * scale
        if method in CEILINGS:
            line: Any = {"linestyle": CEILINGS[method], "linewidth": 0.9, "alpha": 0.6}
            axis.axvline(value, color=palette[method], zorder=1, **line)
        at = methods.index(method)
        if pd.notna(row["low"]):
            ends = [row["low"] * scale, row["high"] * scale]
            axis.plot(ends, [at, at], color=palette[method], linewidth=2, solid_capstyle="butt")
        axis.plot(value, at, "o", color=palette[method], markersize=5.5, zorder=3)
    axis.set_title(fill(rows["title"].iloc[0], LINE), fontsize=9, loc="left")
    axis.xaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 2.5, 5, 10]))
    axis.tick_params(axis="x", labelsize=8)
    axis.xaxis.set_major_formatter("{x:g}")
    axis.margins(x=0.08)
    # Negligible differences shall not fill the panel, nor lengthen its tick labels.
    low, high = axis.get_xlim()
    missing = LEAST_SPAN * max(abs(low), abs(high)) - (high - low)
    if missing > 0:
        axis.set_xlim(low - missing / 2, high + missing / 2)
    better = rows["higher_is_better"].iloc[0]
    if better is not None:
        text, side = ("better →", "right") if better else ("← better", "left")
        axis.set_xlabel(text, fontsize=8, color=SOFT, labelpad=1, loc=side)


def _name_rows(axis: Any, methods: Sequence[str], palette: Mapping[str, str], named: bool) -> None:
    """Rows from top to bottom, with names beside the first panel of a line."""
    axis.set_ylim(len(methods) - 0.4, -0.6)
    axis.set_yticks(range(len(methods)), [display_name(m) if named else "" for m in methods])
    axis.tick_params(axis="y", length=0, labelsize=9)
    axis.grid(axis="y", visible=False)
    axis.spines["left"].set_visible(False)
    for label, method in zip(axis.get_yticklabels(), methods, strict=True):
        label.set_color(palette[method])
