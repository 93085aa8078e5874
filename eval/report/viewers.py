"""Interactive viewers of the page: panoramas to turn, sequences to play."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping
from typing import Any

import numpy as np
import torch
from markupsafe import Markup
from PIL import Image

from mvdiffusion.geometry.cameras import intrinsics, level_rotations
from mvdiffusion.geometry.panoramas import stitch
from mvdiffusion.images import read_rgb

from ..folders.equirectangular import EquirectangularFolder
from ..folders.images import jpeg_uri
from ..folders.methods import display_name, rank, shown_as
from ..folders.samples import PanoramaFolder, SampleFolder, SequenceFolder
from .contact_sheets import colored_depth, shared_samples, spread

SHOWN_SAMPLES = {"panorama": 3, "outpaint": 2, "depth": 2}
"""Samples per task in the viewers; the page must stay small enough to be mailed."""
PANORAMA_SIZE = (2048, 1024)
FRAME_WIDTH = 160
"""Widest panorama and frame on the page, pixels."""


def viewers(task: str, folders: Mapping[str, SampleFolder]) -> list[dict[str, Any]]:
    """Pictures of the same few samples of every method that has them, in the order of the methods.

    Returns:
        One entry per sample and method: `sample`, `method`, `uri`, and for sequences what the
        player needs: `columns`, `frames`, `width`, `height`, `keys`.

    Raises:
        InputError: a panorama is unreadable.
    """
    shown = {name: folders[name] for name in shown_in_viewers(task, folders)}
    return _sequences(shown) if task == "depth" else _panoramas(task, shown)


def shown_in_viewers(task: str, folders: Mapping[str, SampleFolder]) -> list[str]:
    """Names of the methods that have a viewer; controls of sequences have none."""
    found = [n for n in folders if task != "depth" or shown_as(n).role != "control"]
    chosen = set(_viewed_samples(task, {name: folders[name] for name in found}))
    return [name for name in sorted(found, key=rank) if chosen & set(folders[name].sample_ids)]


def _viewed_samples(task: str, folders: Mapping[str, SampleFolder]) -> list[str]:
    shared = shared_samples({name: folder.sample_ids for name, folder in folders.items()})
    return spread(shared, SHOWN_SAMPLES[task])


def not_shown(given: Iterable[str], shown: Collection[str]) -> str:
    """Name the methods that have no viewer, for the sentence above them; empty if all have one.

    Args:
        given: the methods there are.
        shown: those with a viewer.
    """
    others = [display_name(method) for method in sorted(given, key=rank) if method not in shown]
    return f"; not shown: {'; '.join(others)}" if others else ""


def _panoramas(task: str, folders: Mapping[str, SampleFolder]) -> list[dict[str, Any]]:
    return [
        {"method": display_name(name), "sample": sample_id, "uri": Markup(_uri(folder, sample_id))}
        for sample_id in _viewed_samples(task, folders)
        for name, folder in folders.items()
        if sample_id in folder.sample_ids
    ]


def _uri(folder: SampleFolder, sample_id: str) -> str:
    """A sample's panorama as it lies there, or else stitched of its views."""
    path = folder.root / sample_id / "panorama.png"
    if isinstance(folder, EquirectangularFolder):
        image = Image.fromarray(folder.panorama(sample_id))
    elif path.is_file():
        image = Image.fromarray(read_rgb(path))
    else:
        return jpeg_uri(_stitched(folder, sample_id))
    image.thumbnail(PANORAMA_SIZE)
    return jpeg_uri(image)


def _stitched(folder: SampleFolder, sample_id: str) -> Image.Image:
    assert isinstance(folder, PanoramaFolder)
    views = torch.from_numpy(folder.views(sample_id)).permute(0, 3, 1, 2).float()
    own = round(math.pi * float(intrinsics(folder.fov_deg, folder.height, folder.width)[0, 0]))
    height = min(own, PANORAMA_SIZE[1])
    panorama, _ = stitch(views, folder.fov_deg, height, level_rotations(folder.yaw_deg))
    pixels = panorama.round().clamp(0, 255).byte().permute(1, 2, 0).numpy()
    return Image.fromarray(pixels)


def _sequences(folders: Mapping[str, SampleFolder]) -> list[dict[str, Any]]:
    shown = {name: f for name, f in folders.items() if isinstance(f, SequenceFolder)}
    return [
        player
        for sample_id in _viewed_samples("depth", shown)
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
