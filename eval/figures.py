"""Figures: contact sheet, PSNR per pair of views, training curves. Equal inputs, equal bytes."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from PIL import Image

from eval.folders import SampleFolder
from eval.scores import METHODS, Score, display_name
from mvdiffusion.records import InputError, atomic_output

COLOURS = {
    "real": "#4d4d4d",
    "codec": "#9a9a9a",
    "mvdiffusion": "#0b6e99",
    "autoregressive": "#d1702a",
    "independent": "#8a5fb0",
    "wrong_correspondence": "#b0413e",
}
SHEET_METHODS = ("real", "independent", "autoregressive", "mvdiffusion")
SHEET_WIDTH, SHEET_MARGIN, SHEET_TITLE = 11.6, 0.14, 0.34
"""Contact sheet: width in inches, share of it for labels, inches for each sample's prompt."""
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
    folders: Mapping[str, SampleFolder],
    scores: Mapping[str, Score],
    curves: Mapping[str, Path],
    num_samples: int,
    directory: str | Path,
) -> None:
    """Write every figure that the inputs allow, with the numbers behind it as CSV; all or none.

    Args:
        folders: sample folders by method, for the contact sheet.
        scores: scores by method, for the PSNR of each pair.
        curves: `metrics.jsonl` logs by name of the training run.
        num_samples: rows of pictures in the contact sheet.

    Raises:
        InputError: a log is unreadable, or folders have no sample in common.
    """
    with atomic_output(directory) as temporary, matplotlib.rc_context(STYLE):
        temporary.mkdir(parents=True)
        if folders:
            contact_sheet(folders, num_samples, temporary / "contact_sheet.png")
        if scores:
            _write_psnr_per_pair(scores, temporary)
        if curves:
            _write_training_curves(curves, temporary)


def contact_sheet(folders: Mapping[str, SampleFolder], num_samples: int, path: Path) -> None:
    """Draw a few samples: one row per method, the views of a panorama next to one another."""
    methods = [method for method in SHEET_METHODS if method in folders] or list(folders)
    common = set.intersection(*(set(folders[method].sample_ids) for method in methods))
    if not common:
        raise InputError(f"{', '.join(methods)}: these folders have no sample in common.")
    ids = _spread(sorted(common), num_samples)
    first = folders[methods[0]]
    heights = SHEET_WIDTH * (1 - SHEET_MARGIN) / first.num_views * first.height / first.width
    block_height = len(methods) * (heights + 0.04) + SHEET_TITLE
    figure = Figure(figsize=(SHEET_WIDTH, len(ids) * block_height))
    blocks = figure.subfigures(len(ids), 1, squeeze=False)[:, 0]
    for block, sample_id in zip(blocks, ids, strict=True):
        _draw_sample(block, folders, methods, sample_id, 1 - SHEET_TITLE / block_height)
    figure.text(SHEET_MARGIN, 1.0, _view_labels(first), va="bottom", fontsize=8, color="#666666")
    figure.savefig(path, dpi=64, metadata={"Software": None}, bbox_inches="tight", pad_inches=0.12)


def _spread(ids: Sequence[str], count: int) -> list[str]:
    """Evenly spaced samples, so that nobody can pick the prettiest."""
    positions = np.linspace(0, len(ids) - 1, min(count, len(ids))).round().astype(int)
    return [ids[position] for position in positions]


def _view_labels(folder: SampleFolder) -> str:
    yaws = ", ".join(f"{yaw:g}°" for yaw in folder.yaw_deg)
    return f"views at {yaws}; each shows {folder.fov_deg:g}°, so neighbours overlap"


def _draw_sample(
    block: Any,
    folders: Mapping[str, SampleFolder],
    methods: Sequence[str],
    sample_id: str,
    top: float,
) -> None:
    axes = block.subplots(len(methods), 1, squeeze=False)[:, 0]
    block.subplots_adjust(left=SHEET_MARGIN, right=1, top=top, bottom=0, hspace=0.03)
    prompt = _prompt(folders[methods[0]], sample_id)
    axes[0].set_title(f"{sample_id} · view 0: {prompt}", fontsize=8, loc="left", pad=3)
    for axis, method in zip(axes, methods, strict=True):
        axis.imshow(_strip(folders[method].views(sample_id)), interpolation="lanczos")
        axis.set_ylabel(_wrapped(method), rotation=0, ha="right", va="center", fontsize=9)
        axis.set(xticks=[], yticks=[])
        axis.spines[:].set_visible(False)
        axis.grid(False)


def _prompt(folder: SampleFolder, sample_id: str) -> str:
    try:
        text = folder.prompts(sample_id)[0]
    except InputError:
        return "no prompt"
    return text if len(text) <= 130 else text[:129] + "…"


def _wrapped(method: str) -> str:
    return display_name(method).replace(" ", "\n", 1)


def _strip(views: np.ndarray) -> np.ndarray:
    """Put views [V, H, W, 3] side by side with a thin white gap."""
    gap = np.full((views.shape[1], max(1, views.shape[2] // 32), 3), 255, np.uint8)
    parts = [part for view in views for part in (view, gap)]
    return np.concatenate(parts[:-1], axis=1)


def _write_psnr_per_pair(scores: Mapping[str, Score], directory: Path) -> None:
    rows = [
        {"method": method, **row}
        for method, score in scores.items()
        for row in score.content["pairs"]
    ]
    table = pd.DataFrame(rows, columns=["method", "pair", "psnr_db", "se"])
    table.to_csv(directory / "psnr_per_pair.csv", index=False, lineterminator="\n")
    figure = Figure(figsize=(8, 4.2))
    axis = figure.subplots()
    for method, group in table.groupby("method", sort=False):
        errors = group["se"].astype(float).fillna(0.0)
        style: Any = {
            "color": COLOURS.get(str(method)),
            "marker": "o",
            "capsize": 3,
            "markersize": 4,
        }
        axis.errorbar(
            group["pair"], group["psnr_db"], errors, label=display_name(str(method)), **style
        )
    axis.set(xlabel="pair of neighbouring views (the last one closes the loop)")
    axis.set(ylabel="cross-view PSNR (dB)", ylim=(0, None))
    _legend_beside(axis)
    _save(figure, directory / "psnr_per_pair")


def _write_training_curves(curves: Mapping[str, Path], directory: Path) -> None:
    tables = [read_curve(name, path) for name, path in curves.items()]
    everything = pd.concat(tables, ignore_index=True)
    everything.to_csv(directory / "training_curves.csv", index=False, lineterminator="\n")
    figure = Figure(figsize=(3.4 * len(tables), 3.1), layout="constrained")
    axes = figure.subplots(1, len(tables), squeeze=False)[0]
    for axis, table in zip(axes, tables, strict=True):
        smooth = table["loss"].ewm(span=max(1, len(table) // 20)).mean()
        axis.plot(table["step"], table["loss"], color="#0b6e99", alpha=0.25, linewidth=0.8)
        axis.plot(table["step"], smooth, color="#0b6e99", linewidth=1.6)
        axis.set(title=table["run"].iloc[0], xlabel="step", yscale="log")
    axes[0].set_ylabel("training loss (smoothed)")
    _save(figure, directory / "training_curves")


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
        raise InputError(f"{path}: holds no line with 'step' and 'loss'.")
    return pd.DataFrame(rows).drop_duplicates("step", keep="last").sort_values("step")


def _legend_beside(axis: Any) -> None:
    handles, labels = axis.get_legend_handles_labels()
    rank = {display_name(method): i for i, method in enumerate(METHODS)}
    order = sorted(range(len(labels)), key=lambda i: rank.get(labels[i], len(rank)))
    chosen = [handles[i] for i in order], [labels[i] for i in order]
    axis.legend(*chosen, loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False)


def _save(figure: Figure, stem: Path) -> None:
    """Write PNG and SVG without dates."""
    figure.savefig(
        stem.with_suffix(".png"), dpi=130, bbox_inches="tight", metadata={"Software": None}
    )
    figure.savefig(stem.with_suffix(".svg"), bbox_inches="tight", metadata={"Date": None})


def data_uri(path: Path) -> str:
    """Encode an image file for inlining in a page."""
    kind = {".png": "png", ".jpg": "jpeg", ".svg": "svg+xml"}[path.suffix]
    return f"data:image/{kind};base64,{base64.b64encode(path.read_bytes()).decode()}"


def jpeg_uri(image: Image.Image, quality: int = 88) -> str:
    """Encode a picture as a small JPEG for inlining in a page."""
    buffer = io.BytesIO()
    image.convert("RGB").save(buffer, "JPEG", quality=quality)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"
