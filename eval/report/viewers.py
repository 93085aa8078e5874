"""Interactive viewers of the page: panoramas to turn, sequences to play."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup
from PIL import Image, UnidentifiedImageError

from mvdiffusion.images import open_image
from mvdiffusion.records import InputError

from ..folders.images import jpeg_uri
from ..folders.methods import display_name, rank, shown_as
from ..folders.samples import SampleFolder, SequenceFolder
from .contact_sheets import colored_depth, spread

SHOWN_SAMPLES = {"panorama": 3, "outpaint": 2, "depth": 2}
"""Samples per task in the viewers; the page must stay small enough to be mailed."""
PANORAMA_SIZE = (2048, 1024)
FRAME_WIDTH = 160
"""Widest panorama and frame on the page, pixels."""


def viewers(task: str, folders: Mapping[str, SampleFolder]) -> list[dict[str, Any]]:
    """Pictures of the same few samples of every method, in the order of the methods.

    Returns:
        One entry per sample and method: `sample`, `method`, `uri`, and for sequences what the
        player needs: `columns`, `frames`, `width`, `height`, `keys`.

    Raises:
        InputError: a panorama is unreadable.
    """
    shown = {name: folders[name] for name in sorted(folders, key=rank)}
    if task == "depth":
        return _sequences(shown)
    found = {
        name: {path.parent.name for path in folder.root.glob("*/panorama.png")}
        for name, folder in shown.items()
    }
    methods = [name for name in shown if found[name]]
    common = sorted(set.intersection(*(found[name] for name in methods))) if methods else []
    return [
        {"method": display_name(name), "sample": sample_id, "uri": Markup(_panorama_uri(path))}
        for sample_id in spread(common, SHOWN_SAMPLES[task])
        for name in methods
        for path in [shown[name].root / sample_id / "panorama.png"]
    ]


def _panorama_uri(path: Path) -> str:
    try:
        with open_image(path) as image:
            image.thumbnail(PANORAMA_SIZE)
            return jpeg_uri(image)
    except (OSError, UnidentifiedImageError) as error:
        raise InputError(f"{path}: not a readable panorama ({error}).") from None


def _sequences(folders: Mapping[str, SampleFolder]) -> list[dict[str, Any]]:
    shown = {
        name: folder
        for name, folder in folders.items()
        if not shown_as(name).is_control and isinstance(folder, SequenceFolder)
    }
    common = sorted(set.intersection(*(set(folder.sample_ids) for folder in shown.values())))
    first = next(iter(shown.values()))
    return [
        {
            "method": name,
            "sample": sample_id,
            "keys": first.evaluated_views(sample_id),
            **sprite_of(frames),
        }
        for sample_id in spread(common, SHOWN_SAMPLES["depth"])
        for name, frames in [
            ("Depth, given", colored_depth(first.depth(sample_id))),
            *((display_name(name), folder.views(sample_id)) for name, folder in shown.items()),
        ]
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
