"""Interactive viewers of the page: which samples they show, and sequences to play."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping
from typing import Any

import numpy as np
from markupsafe import Markup
from PIL import Image

from ..folders.images import jpeg_uri
from ..folders.methods import display_name, rank, shown_as
from ..folders.samples import PanoramaFolder, SampleFolder, SequenceFolder
from .assets import Assets
from .contact_sheets import colored_depth, shared_samples, spread
from .panoramas import panorama_viewer

SHOWN_WALKS = 2
"""Sequences in the players, whose frames lie inside the page."""
FRAME_WIDTH = 160
"""Widest frame on the page, pixels."""


def look_around(
    task: str, folders: Mapping[str, SampleFolder], count: int, assets: Assets
) -> Markup:
    """Show panoramas of the same few samples, method against method; nothing if there are none.

    Args:
        task: the task.
        folders: by method.
        count: number of samples that can be chosen.
        assets: the files of the page.

    Raises:
        InputError: a panorama is unreadable.
    """
    shown = {
        name: folder
        for name in shown_in_viewers(task, folders, count)
        if isinstance(folder := folders[name], PanoramaFolder)
    }
    if not shown:
        return Markup()
    return panorama_viewer(task, shown, _viewed_samples(folders, count), assets)


def players(folders: Mapping[str, SampleFolder]) -> list[dict[str, Any]]:
    """Frames of the same few sequences of every method that has them, in the order of the methods.

    Returns:
        One entry per sample and method, with what the player needs: `sample`, `method`, `uri`,
        `columns`, `frames`, `width`, `height`, `keys`.
    """
    shown = shown_in_viewers("depth", folders, SHOWN_WALKS)
    return _sequences({name: folders[name] for name in shown})


def shown_in_viewers(
    task: str, folders: Mapping[str, SampleFolder], count: int = SHOWN_WALKS
) -> list[str]:
    """Names of the methods that have a viewer; controls of sequences have none.

    Args:
        task: the task.
        folders: by method.
        count: number of samples in the viewers.
    """
    found = [n for n in folders if task != "depth" or shown_as(n).role != "control"]
    chosen = set(_viewed_samples({name: folders[name] for name in found}, count))
    return [name for name in sorted(found, key=rank) if chosen & set(folders[name].sample_ids)]


def _viewed_samples(folders: Mapping[str, SampleFolder], count: int = SHOWN_WALKS) -> list[str]:
    shared = shared_samples({name: folder.sample_ids for name, folder in folders.items()})
    return spread(shared, count)


def not_shown(given: Iterable[str], shown: Collection[str]) -> str:
    """Name the methods that have no viewer, for the sentence above them; empty if all have one.

    Args:
        given: the methods there are.
        shown: those with a viewer.
    """
    others = [display_name(method) for method in sorted(given, key=rank) if method not in shown]
    return f"; not shown: {'; '.join(others)}" if others else ""


def _sequences(folders: Mapping[str, SampleFolder]) -> list[dict[str, Any]]:
    shown = {name: f for name, f in folders.items() if isinstance(f, SequenceFolder)}
    return [
        player
        for sample_id in _viewed_samples(shown)
        for player in _players(
            sample_id, {name: f for name, f in shown.items() if sample_id in f.sample_ids}
        )
    ]


def _players(sample_id: str, folders: Mapping[str, SequenceFolder]) -> list[dict[str, Any]]:
    first = next(iter(folders.values()))
    shown = [
        ("Depth, given", colored_depth(first.depth(sample_id))),
        *((display_name(name), folder.views(sample_id)) for name, folder in folders.items()),
    ]
    keys = first.evaluated_views(sample_id)
    return [
        {"method": name, "sample": sample_id, "keys": keys, **sprite_of(frames)}
        for name, frames in shown
    ]


def sprite_of(frames: np.ndarray) -> dict[str, Any]:
    """Put frames uint8 [V, H, W, 3] into one picture, row by row, and describe its layout."""
    count, height, width = frames.shape[:3]
    if width > FRAME_WIDTH:
        size = FRAME_WIDTH, round(FRAME_WIDTH * height / width)
        frames = np.stack([np.asarray(Image.fromarray(frame).resize(size)) for frame in frames])
        width, height = size
    columns = math.ceil(math.sqrt(count))
    rows = math.ceil(count / columns)
    cells = np.zeros((rows * columns, height, width, 3), np.uint8)
    cells[:count] = frames
    grid = cells.reshape(rows, columns, height, width, 3).swapaxes(1, 2)
    picture = Image.fromarray(grid.reshape(rows * height, columns * width, 3))
    uri = Markup(jpeg_uri(picture))
    return {"uri": uri, "columns": columns, "frames": count, "width": width, "height": height}
