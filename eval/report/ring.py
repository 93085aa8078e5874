"""The ring of views, unrolled: a picture in which drift and an open loop are seen by eye.

A panorama's views are laid on a cylinder and cut in the middle of their overlaps. Nothing is
blended, so an edge in the picture is where two views disagree. The strip is cut open opposite the
pair that closes the loop, which thereby stands in the middle, beside ordinary pairs: to its right
is view 0, with which an autoregressive method starts, and to its left the view with which it ends.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure

from mvdiffusion.geometry.cameras import intrinsics
from mvdiffusion.geometry.resampling import sample_pixels

from ..claims.claims import AUTOREGRESSIVE
from ..folders.methods import REAL, display_name, rank, shown_as
from ..folders.samples import PanoramaFolder, SampleFolder
from ..metrics.panoramas.seams import seen_latitude
from ..scoring.score_files import Score
from .contact_sheets import row_label, shared_samples
from .viewers import not_shown

SHOWN = (REAL.name, *AUTOREGRESSIVE, "independent", "mvdiffusion")
"""What the claims about the loop and the accumulation of errors compare, from top to bottom; below
them are the methods that this project does not make."""
CLOSING, OTHERS = "cross_view_psnr_closing", "cross_view_psnr_non_closing"
LEAST_COLUMNS = 1600
"""Pixels of a strip's width; those of smaller views are enlarged by a whole factor."""
WIDTH, MARGIN, HEAD, GAP = 11.6, 1.8, 0.75, 0.3
"""Inches: the figure, the labels beside the strips, the lines above them, and between strips."""
MARK, SOFT = "#c0161d", "#666666"


@dataclass(frozen=True)
class _Strip:
    """A row of the picture: its label, its pixels [h, w, 3], and the views they are cut from."""

    label: str
    pixels: np.ndarray
    folder: PanoramaFolder

    @property
    def height(self) -> float:
        """Inches."""
        rows, columns = self.pixels.shape[:2]
        return (WIDTH - MARGIN) * rows / columns


def draw_ring(folders: Mapping[str, SampleFolder], scores: Mapping[str, Score], path: Path) -> None:
    """Draw one room by each compared method; nothing, if none has a ring whose PSNR is scored.

    The title names those that are left out: their views look in other directions than those of the
    first row, or they do not have the room.

    Args:
        folders: panoramas by method.
        scores: their scores by method.
        path: the picture.
    """
    rings = _rings(folders, scores)
    first = next(iter(rings.values()), None)
    aligned = [method for method in rings if first and rings[method].yaw_deg == first.yaw_deg]
    samples = {m: {*rings[m].sample_ids} & {*scores[m].samples} for m in aligned}
    shared = shared_samples(samples)
    if not shared:
        return
    judge = _judge(method for method in aligned if samples[method].intersection(shared))
    rooms = [room for room in shared if room in samples[judge]]
    room = median_room(scores[judge], rooms)
    shown = [method for method in aligned if room in samples[method]]
    strips = [
        _Strip(
            f"{row_label(method)}\n\n{_agreement(scores[method], room)}",
            unrolled(rings[method], room),
            rings[method],
        )
        for method in shown
    ]
    figure = _draw(strips)
    title = (
        f"{room}: among {len(rooms)} rooms the one whose closing pair has the median PSNR by "
        f"{display_name(judge)}{not_shown(rings, shown)}"
    )
    figure.axes[0].set_title(title, fontsize=9, loc="left", pad=30, color=SOFT)
    figure.savefig(path, dpi=96, metadata={"Software": None}, bbox_inches="tight", pad_inches=0.12)


def _rings(
    folders: Mapping[str, SampleFolder], scores: Mapping[str, Score]
) -> dict[str, PanoramaFolder]:
    """The compared methods whose views go all the way round, with a score of the closing pair."""
    others = [
        method
        for method in sorted(folders, key=rank)
        if method not in SHOWN
        and shown_as(method).role == "method"
        and not shown_as(method).of_project
    ]
    return {
        method: folder
        for method in (*SHOWN, *others)
        if isinstance(folder := folders.get(method), PanoramaFolder)
        and seen_latitude(folder) > 0
        and method in scores
        and CLOSING in scores[method].metrics
    }


def _judge(methods: Iterable[str]) -> str:
    """The first method whose views are made; real ones decide only if there are no others."""
    return min(methods, key=lambda method: method == REAL.name)


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
    nearest, angle = nearest_views(folder, columns)
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


def nearest_views(folder: PanoramaFolder, columns: int) -> tuple[np.ndarray, np.ndarray]:
    """Find the view that looks nearest to each column's direction in an unrolled strip.

    Args:
        folder: level views.
        columns: w, the width of the strip.

    Returns:
        The views [w], and the angles [w] in radians between each column and its view's middle.
    """
    direction = _cut(folder) + (np.arange(columns) + 0.5) / columns * 360
    off = np.mod(direction - np.array(folder.yaw_deg)[:, None] + 180, 360) - 180  # [V, w]
    nearest = np.abs(off).argmin(0)
    return nearest, np.radians(np.take_along_axis(off, nearest[None], 0)[0])


def _cut(folder: PanoramaFolder) -> float:
    """Direction in degrees of a strip's left edge: opposite the middle of the last and view 0."""
    first, last = folder.yaw_deg[0], folder.yaw_deg[-1]
    return first - (first - last) % 360 / 2 - 180


def _agreement(score: Score, room: str) -> str:
    """Print the PSNR of a room's pairs, as far as scored, if its views are not degenerate."""
    names = {CLOSING: "closing pair", OTHERS: "other pairs"}
    psnr = {m: score.values(m, [room])[0] for m in names if m in score.metrics}
    if not np.isfinite(psnr[CLOSING]):
        return "degenerate views"
    return "\n".join(f"{names[metric]} {value:.1f} dB" for metric, value in psnr.items())


def _draw(strips: Sequence[_Strip]) -> Figure:
    """Draw strips of equal directions beside their labels, with the views' names and the seams.

    All strips have one axis, of degrees from their left edge, whatever the size of their views.
    """
    heights = [strip.height for strip in strips]
    whole = HEAD + sum(heights) + len(strips) * GAP
    figure = Figure(figsize=(WIDTH, whole))
    ratios = {"height_ratios": heights}
    axes = figure.subplots(len(strips), 1, squeeze=False, gridspec_kw=ratios)[:, 0]
    between = GAP / float(np.mean(heights))
    figure.subplots_adjust(MARGIN / WIDTH, GAP / whole, 1, 1 - HEAD / whole, 0, between)
    for axis, strip in zip(axes, strips, strict=True):
        columns = strip.pixels.shape[1]
        nearest, _ = nearest_views(strip.folder, columns)
        seams = (np.flatnonzero(np.diff(nearest)) + 1) / columns * 360
        axis.imshow(strip.pixels, interpolation="lanczos", aspect="auto", extent=(0, 360, 0, 1))
        axis.set_ylabel(strip.label, rotation=0, ha="right", va="center", fontsize=9)
        axis.set(xticks=seams, xticklabels=[], yticks=[])
        axis.tick_params(top=True, length=6, color=SOFT)
        axis.spines[:].set_visible(False)
        axis.grid(False)
        _write(axis, 180, 1, "▼", "bottom", MARK)  # beside the seam, not on it
    folder = strips[0].folder
    for view, yaw in enumerate(folder.yaw_deg):
        _write(axes[0], (yaw - _cut(folder)) % 360, 1.02, f"view {view}", "bottom", SOFT)
    last = folder.num_views - 1
    closing = f"▲\nHere the loop closes: view {last}, the last one, beside view 0, the first."
    _write(axes[-1], 180, 0, closing, "top", MARK)
    return figure


def _write(axis: Any, angle: float, edge: float, text: str, va: str, color: str) -> None:
    """Write above (edge 1) or below (0) a strip, at an angle from its left edge in degrees."""
    place = {"transform": axis.get_xaxis_transform(), "ha": "center", "va": va}
    axis.text(angle, edge, text, color=color, fontsize=9, **place)
