"""Figures: contact sheets, a ring of views, overview, PSNR per pair, error per step, losses.

Equal inputs give equal bytes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MultipleLocator

from mvdiffusion.outputs import remade_output
from mvdiffusion.records import InputError

from ..folders.methods import display_name, methods, shown_as
from ..folders.samples import SampleFolder
from ..scoring.score_files import Score
from ..tables.table import write_csv
from .contact_sheets import contact_sheet
from .overview import draw_overview, overview_table
from .ring import draw_ring

PAIR_AXIS = {
    "panorama": "pair of neighboring views (the last one closes the loop)",
    "outpaint": "pair of neighboring views (the last one closes the loop; view 0 is given)",
    "depth": "pair of consecutive key frames",
}
STEP_PANELS = {
    "psnr_db": "PSNR with the next view (dB)",
    "gradient_energy": "gradient energy",
    "fid": "FID against the same real views",
    "clip_score": "CLIP score",
}
"""What is drawn against the steps from view 0; further extractors get panels of their own."""
STEP_COLUMNS = ["method", "metric", "step", "angle_deg", "value", "se", "closes_the_loop"]
STYLE: Any = {
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.3,
    "svg.hashsalt": "mvdiffusion",
    "svg.fonttype": "none",
}


def write_figures(
    folders: Mapping[str, Mapping[str, SampleFolder]],
    scores: Mapping[str, Mapping[str, Score]],
    curves: Mapping[str, Path],
    num_samples: int,
    directory: str | Path,
) -> None:
    """Write every figure that the inputs allow, with its numbers as CSV, atomically.

    Args:
        folders: sample folders by task and method, for the contact sheets and the ring of views.
        scores: scores by task and method, for the overview, the PSNR of each pair, the room whose
            ring is shown, and what changes with the steps from view 0.
        curves: `metrics.jsonl` logs by name of the training run.
        num_samples: samples in each contact sheet.
        directory: folder to write; figures that are there are replaced, and files of yours stay.

    Raises:
        InputError: a log is unreadable, or the folder holds no figures but other files.
    """
    with remade_output(Path(directory)) as temporary, matplotlib.rc_context(STYLE):
        for task, shown in folders.items():
            contact_sheet(shown, num_samples, temporary / f"contact_sheet_{task}.png")
        draw_ring(
            folders.get("panorama", {}), scores.get("panorama", {}), temporary / "ring_panorama.png"
        )
        for task, compared in scores.items():
            overview = overview_table(task, compared)
            if len(overview):
                _save(draw_overview(overview), overview, temporary / f"overview_{task}")
            _write_psnr_per_pair(compared, PAIR_AXIS[task], temporary / f"psnr_per_pair_{task}")
            _write_error_accumulation(compared, temporary / f"error_accumulation_{task}")
        if curves:
            _write_training_curves(curves, temporary)


def _write_psnr_per_pair(scores: Mapping[str, Score], label: str, stem: Path) -> None:
    rows = [
        {"method": method, **row}
        for method, score in scores.items()
        for row in score.content["pairs"]
    ]
    table = pd.DataFrame(rows, columns=["method", "pair", "psnr_db", "se"])
    figure = Figure(figsize=(8, 4.2))
    axis = figure.subplots()
    for method, group in table.groupby("method", sort=False):
        _draw(axis, str(method), group["pair"], group["psnr_db"], group["se"])
    axis.set(xlabel=label, ylabel="PSNR of the overlap (dB)", ylim=(0, None))
    _legend_beside(axis)
    _save(figure, table, stem)


def _write_error_accumulation(scores: Mapping[str, Score], stem: Path) -> None:
    """One panel per metric; nothing where no method was scored step by step.

    Controls stay out: they may cover fewer samples, which would shift their FID.
    """
    rows = [
        {"method": method, **row}
        for method, score in scores.items()
        if not (score.is_control or score.is_ablation)
        for row in score.content.get("steps", ())
    ]
    if not rows:
        return
    table = pd.DataFrame(rows, columns=STEP_COLUMNS)
    panels = {row["metric"]: _panel(row["metric"], row.get("repeats")) for row in rows}
    metrics = sorted(panels, key=lambda metric: panels[metric])
    across = min(len(metrics), 2 if len(metrics) <= 4 else 3)  # readable at a page's width
    figure, axes = _panels(len(metrics), across, 3.9)
    for axis, metric in zip(axes.flat, metrics, strict=False):
        for method, group in table[table["metric"] == metric].groupby("method", sort=False):
            _draw_steps(axis, str(method), group)
        axis.set_title(panels[metric][1], fontsize=10)
        axis.set_xlabel("degrees from view 0")
        axis.xaxis.set_major_locator(MultipleLocator(90))
    _legend_beside(axes[0, 0], axes[0, -1])
    _save(figure, table, stem)


def _panels(count: int, across: int, width: float) -> tuple[Figure, Any]:
    """Make a figure of panels, `width` inches wide each; places that are left over stay empty."""
    down = -(-count // across)
    figure = Figure(figsize=(width * across, 3.1 * down), layout="constrained")
    axes = figure.subplots(down, across, squeeze=False)
    for axis in axes.flat[count:]:
        axis.set_axis_off()
    return figure, axes


def _panel(metric: str, repeats: str | None) -> tuple[int, str]:
    """Place and title of a metric's panel; a further extractor is named behind the title."""
    known = repeats or metric
    further = f", {metric.removeprefix(f'{known}_')}" if repeats else ""
    return [*STEP_PANELS, known].index(known), STEP_PANELS.get(known, known) + further


def _draw_steps(axis: Any, method: str, rows: pd.DataFrame) -> None:
    """A line over the steps; the pair that closes the loop stands apart from it, hollow."""
    closing = rows["closes_the_loop"].astype(bool)
    parts = [
        (part["angle_deg"], part["value"], part["se"]) for part in (rows[~closing], rows[closing])
    ]
    drawn = _draw(axis, method, *parts[0]).get_color()
    _draw(axis, "", *parts[1], color=drawn, linestyle="none", markerfacecolor="white")


def _draw(axis: Any, method: str, x: pd.Series, y: pd.Series, se: pd.Series, **style: Any) -> Any:
    """Draw a method's line with error bars."""
    own = {"color": shown_as(method).color, "label": display_name(method), **style}
    errors = se.astype(float).fillna(0.0)
    return axis.errorbar(x, y, errors, marker="o", capsize=3, markersize=4, **own).lines[0]


def _write_training_curves(curves: Mapping[str, Path], directory: Path) -> None:
    tables = [read_curve(name, path) for name, path in curves.items()]
    everything = pd.concat(tables, ignore_index=True)
    figure, axes = _panels(len(tables), min(len(tables), 8), 3.4)
    for axis, table in zip(axes.flat, tables, strict=False):
        smooth = table["loss"].ewm(span=max(1, len(table) // 20)).mean()
        axis.plot(table["step"], table["loss"], color="#0b6e99", alpha=0.25, linewidth=0.8)
        axis.plot(table["step"], smooth, color="#0b6e99", linewidth=1.6)
        axis.set(title=table["run"].iloc[0], xlabel="step", yscale="log")
    for axis in axes[:, 0]:
        axis.set_ylabel("training loss (smoothed)")
    _save(figure, everything, directory / "training_curves")


def read_curve(name: str, path: Path) -> pd.DataFrame:
    """Read a training log of JSON lines: columns run, step, loss.

    Raises:
        InputError: the file is missing, or a line is not JSON with `step` and `loss`.
    """
    rows = []
    try:
        for line in Path(path).read_text().splitlines():
            entry = json.loads(line)
            if "loss" in entry:
                rows.append({"run": name, "step": entry["step"], "loss": entry["loss"]})
    except (OSError, KeyError, json.JSONDecodeError) as error:
        raise InputError(f"{path}: not a training log ({error!r}); expected JSON lines.") from None
    if not rows:
        raise InputError(f"{path}: contains no line with 'step' and 'loss'.")
    return pd.DataFrame(rows).drop_duplicates("step", keep="last").sort_values("step")


def _legend_beside(axis: Any, place: Any = None) -> None:
    """Put the legend of an axis to its right, or to the right of another one."""
    handles, labels = axis.get_legend_handles_labels()
    known = [display_name(method) for method in methods()]
    order = sorted(range(len(labels)), key=lambda i: (*known, labels[i]).index(labels[i]))
    chosen = [handles[i] for i in order], [labels[i] for i in order]
    (place or axis).legend(*chosen, loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False)


def _save(figure: Figure, table: pd.DataFrame, stem: Path) -> None:
    """Write PNG and SVG without dates, and their numbers as CSV."""
    write_csv(table, stem.with_suffix(".csv"))
    figure.savefig(
        stem.with_suffix(".png"), dpi=130, bbox_inches="tight", metadata={"Software": None}
    )
    figure.savefig(stem.with_suffix(".svg"), bbox_inches="tight", metadata={"Date": None})
