"""The ring of views, unrolled: a picture in which drift and an open loop are seen by eye.

A panorama's views are laid on a cylinder and cut in the middle of their overlaps. Nothing is
blended, so an edge in the picture is where two views disagree. The strip is cut open opposite the
pair that closes the loop, which thereby stands in the middle, beside ordinary pairs: to its right
is view 0, with which an autoregressive method starts, and to its left the view with which it ends.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure

from mvdiffusion.geometry.cameras import intrinsics
from mvdiffusion.geometry.resampling import sample_pixels

from ..claims.claims import AUTOREGRESSIVE
from ..folders.methods import REAL, display_name
from ..folders.samples import PanoramaFolder, SampleFolder
from ..metrics.seams import seen_latitude
from ..scoring.score_files import Score
from .contact_sheets import common_samples, row_label

SHOWN = (REAL.name, *AUTOREGRESSIVE, "independent", "mvdiffusion")
"""What the claims about the loop and the accumulation of errors compare, from top to bottom."""
CLOSING, OTHERS = "cross_view_psnr_closing", "cross_view_psnr_non_closing"
LEAST_COLUMNS = 1600
"""Pixels of a strip's width; those of smaller views are enlarged by a whole factor."""
WIDTH, MARGIN, HEAD, GAP = 11.6, 1.8, 0.75, 0.3
"""Inches: the figure, the labels beside the strips, the lines above them, and between strips."""
MARK, SOFT = "#c0161d", "#666666"


def draw_ring(folders: Mapping[str, SampleFolder], scores: Mapping[str, Score], path: Path) -> None:
    """Draw one room by each compared method; nothing, if none has a ring whose PSNR is scored.

    Args:
        folders: panoramas by method.
        scores: their scores by method.
        path: the picture.
    """
    shown = _shown(folders, scores)
    scored = [set(scores[method].samples) for method in shown]
    rooms = [room for room in common_samples(shown) if all(room in ids for ids in scored)]
    if not rooms:
        return
    judge = next((method for method in shown if method != REAL.name), REAL.name)
    room = median_room(scores[judge], rooms)
    strips = {
        f"{row_label(method)}\n\n{_agreement(scores[method], room)}": unrolled(folder, room)
        for method, folder in shown.items()
    }
    figure = _draw(strips, shown[judge])
    title = (
        f"{room}: among {len(rooms)} rooms the one whose closing pair has the median PSNR by "
        f"{display_name(judge)}"
    )
    figure.axes[0].set_title(title, fontsize=9, loc="left", pad=30, color=SOFT)
    figure.savefig(path, dpi=96, metadata={"Software": None}, bbox_inches="tight", pad_inches=0.12)


def _shown(
    folders: Mapping[str, SampleFolder], scores: Mapping[str, Score]
) -> dict[str, PanoramaFolder]:
    """The compared methods whose views go all the way round, with a score of the closing pair."""
    return {
        method: folder
        for method in SHOWN
        if isinstance(folder := folders.get(method), PanoramaFolder)
        and seen_latitude(folder) > 0
        and method in scores
        and CLOSING in scores[method].metrics
    }


def median_room(score: Score, rooms: Sequence[str]) -> str:
    """Choose the room whose closing pair has the median PSNR, so that nobody picks a telling one.

    Args:
        score: of the method whose PSNR decides; a room without one, whose views are degenerate, is
            only chosen if all are.
        rooms: to choose from; of an even number, the worse one of the middle two is taken.
    """
    psnr = score.values(CLOSING, rooms)
    measured = max(1, np.isfinite(psnr).sum())
    return rooms[np.argsort(psnr, kind="stable")[(measured - 1) // 2]]  # which puts NaN last


def unrolled(folder: PanoramaFolder, sample_id: str) -> np.ndarray:
    """Lay the views of a sample on a cylinder, each column from the view that looks nearest there.

    Args:
        folder: level views that cover the full circle.
        sample_id: the sample.

    Returns:
        The strip uint8 RGB [h, w, 3], one turn with the closing pair in the middle, as high as the
        views see all round.
    """
    K = intrinsics(folder.fov_deg, folder.height, folder.width)
    focal, center = float(K[0, 0]), K[:2, 2].numpy()
    own = 2 * math.pi * focal
    columns = 2 * round(own * math.ceil(LEAST_COLUMNS / own) / 2)
    nearest, angle = _nearest(folder, columns)
    top = math.tan(math.radians(seen_latitude(folder)))
    rows = round(2 * top * columns / (2 * math.pi))
    height = ((np.arange(rows) + 0.5) / rows * 2 - 1) * top  # on a cylinder of radius 1
    x = np.broadcast_to(focal * np.tan(angle) + center[0], (rows, columns))
    y = focal * height[:, None] / np.cos(angle) + center[1]
    xy = torch.from_numpy(np.stack([x, y], -1)).float()
    strip = np.empty((rows, columns, 3), np.uint8)
    for view, pixels in enumerate(folder.views(sample_id)):
        image = torch.from_numpy(pixels).permute(2, 0, 1)[None].float()
        there = nearest == view
        sampled = sample_pixels(image, xy[None, :, there], "bicubic")[0]
        strip[:, there] = sampled.round().clamp(0, 255).byte().permute(1, 2, 0).numpy()
    return strip


def _nearest(folder: PanoramaFolder, columns: int) -> tuple[np.ndarray, np.ndarray]:
    """The view that looks nearest to each column's direction, and the angle [w] off its middle."""
    direction = _cut(folder) + (np.arange(columns) + 0.5) / columns * 360
    off = np.mod(direction - np.array(folder.yaw_deg)[:, None] + 180, 360) - 180  # [V, w]
    nearest = np.abs(off).argmin(0)
    return nearest, np.radians(np.take_along_axis(off, nearest[None], 0)[0])


def _cut(folder: PanoramaFolder) -> float:
    """Direction in degrees of a strip's left edge: opposite the middle of the last and view 0."""
    first, last = folder.yaw_deg[0], folder.yaw_deg[-1]
    return first - (first - last) % 360 / 2 - 180


def _agreement(score: Score, room: str) -> str:
    """Print the PSNR of a room's pairs, if its views are not degenerate."""
    closing, others = (score.values(metric, [room])[0] for metric in (CLOSING, OTHERS))
    if not np.isfinite(closing):
        return "degenerate views"
    return f"closing pair {closing:.1f} dB\nother pairs {others:.1f} dB"


def _draw(strips: Mapping[str, np.ndarray], folder: PanoramaFolder) -> Figure:
    """Draw strips [h, w, 3] beside their labels, with the views' names and marks at the seams."""
    rows, columns = next(iter(strips.values())).shape[:2]
    height = (WIDTH - MARGIN) * rows / columns
    whole = HEAD + len(strips) * (height + GAP)
    figure = Figure(figsize=(WIDTH, whole))
    axes = figure.subplots(len(strips), 1, squeeze=False)[:, 0]
    figure.subplots_adjust(MARGIN / WIDTH, GAP / whole, 1, 1 - HEAD / whole, 0, GAP / height)
    seams = np.flatnonzero(np.diff(_nearest(folder, columns)[0])) + 0.5
    for axis, (name, strip) in zip(axes, strips.items(), strict=True):
        axis.imshow(strip, interpolation="lanczos", aspect="auto")
        axis.set_ylabel(name, rotation=0, ha="right", va="center", fontsize=9)
        axis.set(xticks=seams, xticklabels=[], yticks=[])
        axis.tick_params(top=True, length=6, color=SOFT)
        axis.spines[:].set_visible(False)
        axis.grid(False)
        _write(axis, columns / 2, 1, "▼", "bottom", MARK)  # beside the seam, not on it
    for view, yaw in enumerate(folder.yaw_deg):
        column = (yaw - _cut(folder)) % 360 / 360 * columns
        _write(axes[0], column, 1.02, f"view {view}", "bottom", SOFT)
    last = folder.num_views - 1
    closing = f"▲\nHere the loop closes: view {last}, the last one, beside view 0, the first."
    _write(axes[-1], columns / 2, 0, closing, "top", MARK)
    return figure


def _write(axis: Any, column: float, edge: float, text: str, va: str, color: str) -> None:
    """Write above (edge 1) or below (0) a column of a strip."""
    place = {"transform": axis.get_xaxis_transform(), "ha": "center", "va": va}
    axis.text(column - 0.5, edge, text, color=color, fontsize=9, **place)
