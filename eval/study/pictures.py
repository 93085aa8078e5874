"""The picture of a sample that raters see: a panorama, an unrolled ring of views, or key frames."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image

from mvdiffusion.images import jpeg_bytes
from mvdiffusion.records import InputError

from ..folders.equirectangular import EquirectangularFolder
from ..folders.samples import PanoramaFolder, SampleFolder, SequenceFolder
from ..metrics.panoramas.seams import seen_latitude
from ..report.contact_sheets import KEY_FRAMES_SHOWN, spread, strip
from ..report.ring import nearest_views, unrolled

MAX_WIDTH = 1600
"""Widest picture on the page, pixels."""

JPEG_QUALITY = 90
MARK = np.array([192, 22, 29], np.uint8)
"""Color of the frame around a given view."""

NOISE_ROWS = 24
"""Rows of squares in the picture of noise that catch trials show."""


def draw_pictures(
    folders: Mapping[str, SampleFolder], samples: Sequence[str]
) -> dict[tuple[str, str], np.ndarray]:
    """Draw the picture of every method and sample, all pictures of a sample in one size.

    What the methods' files differ in for other reasons than their content is made equal: the size
    is that of the smallest, at most `MAX_WIDTH` pixels wide, and the kind of picture is one that
    all folders allow.

    Args:
        folders: the methods, of one task and one arrangement of views.
        samples: ids.

    Returns:
        uint8 RGB [h, w, 3] by method and sample.

    Raises:
        InputError: an image cannot be read.
    """
    pictures = {}
    whole = all(isinstance(folder, EquirectangularFolder) for folder in folders.values())
    for sample in samples:
        drawn = {name: _picture(folder, sample, whole) for name, folder in folders.items()}
        height, width = min(picture.shape[:2] for picture in drawn.values())
        if width > MAX_WIDTH:
            height, width = round(height * MAX_WIDTH / width), MAX_WIDTH
        for name, picture in drawn.items():
            pictures[name, sample] = _resized(picture, height, width)
    return pictures


def _picture(folder: SampleFolder, sample: str, whole: bool) -> np.ndarray:
    """Draw a sample in full size; `whole` shows equirectangular panoramas as they are."""
    if isinstance(folder, SequenceFolder):
        return strip(folder.views(sample, spread(folder.evaluated_views(sample), KEY_FRAMES_SHOWN)))
    assert isinstance(folder, PanoramaFolder)
    if whole and isinstance(folder, EquirectangularFolder):
        return folder.panorama(sample)
    if seen_latitude(folder) > 0:
        ring = unrolled(folder, sample)
        shown = nearest_views(folder, ring.shape[1])[0]
        for view in folder.given_views:
            _frame(ring, shown == view)
        return ring
    views = folder.views(sample)
    for view in folder.given_views:
        _frame(views[view], np.ones(folder.width, bool))
    return strip(views)


def _frame(picture: np.ndarray, columns: np.ndarray) -> None:
    """Draw a frame around the columns [w] of a picture [h, w, 3] that are marked, in place."""
    thickness = max(2, picture.shape[0] // 100)
    edges = columns & ~np.logical_and.reduce(
        [np.roll(columns, shift) for shift in range(-thickness, thickness + 1)]
    )
    picture[:, edges] = MARK
    for rows in (slice(thickness), slice(-thickness, None)):
        picture[rows, columns] = MARK


def _resized(picture: np.ndarray, height: int, width: int) -> np.ndarray:
    if picture.shape[:2] == (height, width):
        return picture
    size = (width, height)
    return np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.LANCZOS))


def noise_like(picture: np.ndarray, seed: int) -> np.ndarray:
    """Draw squares of random colors in the size of a picture [h, w, 3].

    Args:
        picture: uint8 RGB.
        seed: of the colors.
    """
    height, width = picture.shape[:2]
    side = -(-height // NOISE_ROWS)
    shape = (-(-height // side), -(-width // side), 3)
    squares = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
    return squares.repeat(side, 0).repeat(side, 1)[:height, :width]


def encoded(picture: np.ndarray) -> bytes:
    """Encode a picture as JPEG, with nothing in the file but its pixels."""
    return jpeg_bytes(np.ascontiguousarray(picture), JPEG_QUALITY)


def check_alike(folders: Mapping[str, SampleFolder], samples: Sequence[str]) -> None:
    """Refuse folders whose pictures would differ in more than the methods' images.

    Args:
        folders: the methods.
        samples: ids that they share.

    Raises:
        InputError: the tasks, the arrangements of views or the key frames differ.
    """
    first = next(iter(folders.values()))
    expected = _arrangement(first, samples)
    for folder in folders.values():
        for key, found in _arrangement(folder, samples).items():
            if found != expected.get(key):
                raise InputError(
                    f"{folder.root}: {key} is {found}, but {expected.get(key)} in {first.root}; "
                    "raters would see which is which. Give folders of the same views."
                )


def _arrangement(folder: SampleFolder, samples: Sequence[str]) -> dict[str, Any]:
    if isinstance(folder, SequenceFolder):
        cameras = {sample: folder.trajectories[sample] for sample in samples}
        numbers = {s: [c.frames[key] for key in c.key_frames] for s, c in cameras.items()}
        return {"task": folder.task, **{f"key frames of {s}": n for s, n in numbers.items()}}
    keys = ("task", "fov_deg", "yaw_deg", "given_views")
    return {key: getattr(folder, key) for key in keys}
