"""Contact sheets: the same few samples by every method, under one another."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import fill, shorten
from typing import Any, TypeVar

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from mvdiffusion.records import InputError

from ..folders.methods import display_name, rank, shown_as
from ..folders.samples import PanoramaFolder, SampleFolder, SequenceFolder

T = TypeVar("T")
WIDTH, MARGIN, TITLE, ROW_GAP = 11.6, 0.14, 0.34, 0.04
"""Width in inches, share of it for labels, inches for each sample's prompt and between rows."""
LABEL_LINE = 20
"""Number of letters of a label that fit beside the pictures."""
KEY_FRAMES_SHOWN, BETWEEN_SHOWN = 6, 3


@dataclass(frozen=True)
class _Block:
    """What is shown of a sample: a title, and labeled strips of pictures [h, w, 3].

    A strip is None where a folder does not have the sample.
    """

    title: str
    rows: list[tuple[str, np.ndarray | None]]

    @property
    def height(self) -> float:
        """Inches."""
        shape = next(pictures.shape for _, pictures in self.rows if pictures is not None)
        row = WIDTH * (1 - MARGIN) * shape[0] / shape[1]
        return len(self.rows) * (row + ROW_GAP) + TITLE


def contact_sheet(folders: Mapping[str, SampleFolder], num_samples: int, path: Path) -> None:
    """Draw a few samples: one row per method, the views of a sample next to one another.

    Every folder has a row, in the order of the tables; controls and the like say what they are.
    The row is empty where the folder does not have the sample.
    """
    shown = {method: folders[method] for method in sorted(folders, key=rank)}
    shared = shared_samples({method: folder.sample_ids for method, folder in shown.items()})
    blocks = [_block(shown, sample_id) for sample_id in spread(shared, num_samples)]
    heights = [block.height for block in blocks]
    figure = Figure(figsize=(WIDTH, sum(heights)))
    parts = figure.subfigures(len(blocks), 1, squeeze=False, height_ratios=heights)[:, 0]
    for part, block in zip(parts, blocks, strict=True):
        _draw(part, block)
    note = _note(next(iter(shown.values())))
    figure.text(MARGIN, 1.0, note, va="bottom", fontsize=8, color="#666666")
    figure.savefig(path, dpi=64, metadata={"Software": None}, bbox_inches="tight", pad_inches=0.12)


def shared_samples(sample_ids: Mapping[str, Iterable[str]]) -> list[str]:
    """List the samples that the most methods have, sorted: all of them, unless one is odd.

    Controls and ablations have no say if there are other methods: they may cover fewer samples.

    Args:
        sample_ids: of each method.
    """
    asked = [m for m in sample_ids if shown_as(m).role in ("method", "upper bound")]
    counts = Counter(one for method in asked or sample_ids for one in set(sample_ids[method]))
    most = max(counts.values(), default=0)
    return sorted(one for one, count in counts.items() if count == most)


def spread(things: Sequence[T], count: int) -> list[T]:
    """Pick evenly spaced samples or frames, so that nobody picks the best ones.

    Args:
        things: samples or frames, in order.
        count: how many; all if there are fewer.
    """
    positions = np.linspace(0, len(things) - 1, min(count, len(things))).round().astype(int)
    return [things[position] for position in positions]


def colored_depth(depth: np.ndarray) -> np.ndarray:
    """Paint depth [V, H, W] as uint8 RGB [V, H, W, 3]: near is bright, nothing is white."""
    known = depth > 0
    far = depth[known].max() if known.any() else 1.0
    colors = matplotlib.colormaps["viridis_r"](depth / far)[..., :3]
    return np.where(known[..., None], 255 * colors, 255).round().astype(np.uint8)


def _note(folder: SampleFolder) -> str:
    if not isinstance(folder, PanoramaFolder):
        return (
            "left: consecutive key frames; right: the first two key frames and the frames between "
            "them"
        )
    yaws = ", ".join(f"{yaw:g}°" for yaw in folder.yaw_deg)
    given = "".join(f"; view {view} is given" for view in folder.given_views)
    return f"views at {yaws}; each shows {folder.fov_deg:g}°, so neighbors overlap{given}"


def _block(folders: Mapping[str, SampleFolder], sample_id: str) -> _Block:
    there = {name: folder for name, folder in folders.items() if sample_id in folder.sample_ids}
    first = next(iter(there.values()))
    try:
        prompt = shorten(first.prompts(sample_id)[0], 130, placeholder=" …")
    except InputError:
        prompt = "no prompt"
    title = f"{sample_id} · view 0: {prompt}"
    if isinstance(first, SequenceFolder):
        keys, interval = _chosen_frames(first, sample_id)
        strips = {m: _strips(f.views(sample_id), keys, interval) for m, f in there.items()}
        depth = colored_depth(first.depth(sample_id))
        given = [("Depth", _strips(depth, keys, interval))]
    else:
        strips, given = {m: strip(f.views(sample_id)) for m, f in there.items()}, []
    return _Block(title, [*given, *((row_label(m), strips.get(m)) for m in folders)])


def _chosen_frames(folder: SequenceFolder, sample_id: str) -> tuple[list[int], list[int]]:
    """Positions of the first key frames, and of the first two with a few frames between them."""
    keys = list(folder.trajectories[sample_id].key_frames)
    if len(keys) < 2:
        return keys, []
    between = spread(range(keys[0] + 1, keys[1]), BETWEEN_SHOWN)
    return keys[:KEY_FRAMES_SHOWN], [keys[0], *between, keys[1]]


def _strips(views: np.ndarray, keys: Sequence[int], interval: Sequence[int]) -> np.ndarray:
    if not interval:
        return strip(views[list(keys)])
    gap = np.full((views.shape[1], views.shape[2] // 3, 3), 255, np.uint8)
    return np.concatenate([strip(views[list(keys)]), gap, strip(views[list(interval)])], axis=1)


def strip(views: np.ndarray) -> np.ndarray:
    """Put views [V, H, W, 3] side by side with a thin white gap."""
    gap = np.full((views.shape[1], max(1, views.shape[2] // 32), 3), 255, np.uint8)
    parts = [part for view in views for part in (view, gap)]
    return np.concatenate(parts[:-1], axis=1)


def row_label(method: str) -> str:
    """Name a row: the method in short lines, and its role if it is no method like the others."""
    role = shown_as(method).role
    name = fill(display_name(method), LABEL_LINE, break_on_hyphens=False)
    return name if role == "method" else f"{name}\n({role})"


def _draw(part: Any, block: _Block) -> None:
    axes = part.subplots(len(block.rows), 1, squeeze=False)[:, 0]
    part.subplots_adjust(left=MARGIN, right=1, top=1 - TITLE / block.height, bottom=0, hspace=0.03)
    axes[0].set_title(block.title, fontsize=8, loc="left", pad=3)
    for axis, (label, pictures) in zip(axes, block.rows, strict=True):
        if pictures is None:
            axis.text(0, 0.5, "– (not among its samples)", va="center", fontsize=8, color="#666666")
        else:
            axis.imshow(pictures, interpolation="lanczos")
        axis.set_ylabel(label, rotation=0, ha="right", va="center", fontsize=9)
        axis.set(xticks=[], yticks=[])
        axis.spines[:].set_visible(False)
        axis.grid(False)
