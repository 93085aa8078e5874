"""Panoramas of the page to look around in, one method against another."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import cache

import numpy as np
import torch
from markupsafe import Markup
from torch import Tensor

from mvdiffusion.geometry.cameras import intrinsics, level_rotations
from mvdiffusion.geometry.panoramas import stitch
from mvdiffusion.images import read_rgb
from mvdiffusion.viewer.pages import Sample, look_around, registration
from mvdiffusion.viewer.panoramas import WIDEST, Panorama, panorama_of

from ..folders.equirectangular import EquirectangularFolder
from ..folders.methods import display_name, shown_as
from ..folders.samples import PanoramaFolder
from .assets import Assets

FIRST_SHOWN = ("independent", "mvdiffusion")
"""Methods that are shown first, if they are there, left and right: the comparison of the paper."""


def panorama_viewer(
    task: str, folders: Mapping[str, PanoramaFolder], samples: Sequence[str], assets: Assets
) -> Markup:
    """Write the panoramas of some samples as files, and return the element that shows them.

    Args:
        task: the task.
        folders: by method, in the order in which they are offered.
        samples: names of the samples; a folder may lack some of them.
        assets: the files of the page.

    Raises:
        InputError: a panorama or a view is unreadable.
    """
    offered = []
    for name in samples:
        there = {method: f for method, f in folders.items() if name in f.sample_ids}
        key = f"{task}/{name}"
        made = {method: panorama_of_sample(folder, name) for method, folder in there.items()}
        source = assets.add(task, ".js", registration(key, made).encode())
        offered.append(Sample(name, key, list(there), source))
    titles = {method: display_name(method) for method in folders}
    left, right = first_shown(list(folders))
    return Markup(look_around(offered, titles, left, right, "Room"))


def first_shown(methods: Sequence[str]) -> tuple[str, str]:
    """Choose the methods that a viewer shows before anybody chooses: one twice if it is alone.

    Of methods that the paper does not compare, the first two; real views only where one is missing.

    Args:
        methods: those that there are, at least one.
    """
    preferred = [method for method in FIRST_SHOWN if method in methods]
    others = [method for method in methods if method not in preferred]
    others.sort(key=lambda method: method == "real" or shown_as(method).role != "method")
    left, right = [*others[: 2 - len(preferred)], *preferred, *preferred, *others][:2]
    return left, right


def panorama_of_sample(folder: PanoramaFolder, sample_id: str) -> Panorama:
    """A sample's panorama as it lies there, or else stitched of its views.

    Where views do not look, a stitched panorama has one color and nothing is shown.

    Args:
        folder: samples of a method.
        sample_id: the sample.

    Raises:
        InputError: the panorama or a view is unreadable.
    """
    if isinstance(folder, EquirectangularFolder):
        return panorama_of(folder.panorama(sample_id))
    path = folder.root / sample_id / "panorama.png"
    pixels = read_rgb(path) if path.is_file() else None
    if pixels is None or pixels.shape[1] != 2 * pixels.shape[0]:  # or perhaps a part of a sphere
        pixels = _stitched(folder, sample_id)
    cameras = (folder.fov_deg, folder.yaw_deg, folder.height, folder.width)
    covered = _coverage(*cameras, pixels.shape[0])
    beyond = pixels[~covered.numpy()]
    has_more = len(beyond) > 0 and bool(np.ptp(beyond, axis=0).any())
    return panorama_of(pixels, None if has_more else covered)


def _stitched(folder: PanoramaFolder, sample_id: str) -> np.ndarray:
    """Stitch a sample's views to RGB [H, 2 H, 3] in their resolution."""
    views = torch.from_numpy(folder.views(sample_id)).permute(0, 3, 1, 2).float()
    own = round(math.pi * float(intrinsics(folder.fov_deg, folder.height, folder.width)[0, 0]))
    height = min(own, WIDEST // 2)
    panorama, _ = stitch(views, folder.fov_deg, height, level_rotations(folder.yaw_deg))
    return panorama.round().clamp(0, 255).byte().permute(1, 2, 0).numpy()


@cache
def _coverage(
    fov_deg: float, yaw_deg: tuple[float, ...], height: int, width: int, rows: int
) -> Tensor:
    """Mask [rows, 2 rows] of what views of a size, field of view and directions show."""
    views = torch.ones(len(yaw_deg), 1, height, width)
    _, covered = stitch(views, fov_deg, rows, level_rotations(yaw_deg))
    return covered
