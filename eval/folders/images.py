"""Images of the folders to score: checking their headers, resizing and inlining them."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from mvdiffusion.images import UNREADABLE, holds_depth, open_image
from mvdiffusion.records import InputError

MIN_SIZE = 8
"""Least height and width of an image in pixels; a smaller one shows nothing that is measured."""


def check_view(path: Path, height: int, width: int) -> None:
    """Check presence, size and mode of a view by its header.

    Raises:
        InputError: the file is missing or unreadable, has another size or is tiny, or is not RGB.
    """
    mode = _check_size(path, height, width)
    if min(height, width) < MIN_SIZE:
        raise InputError(
            f"{path}: is {width}×{height} pixels; expected at least {MIN_SIZE}×{MIN_SIZE}; give "
            "images of the size in which the method makes them."
        )
    if mode == "RGB" and _is_16_bit(path):
        mode = "RGB;16"
    if mode != "RGB":
        raise InputError(f"{path}: is a '{mode}' image; expected RGB; convert it to 8-bit RGB.")


def check_depth(path: Path, height: int, width: int) -> None:
    """Check presence, size and mode of a depth map by its header.

    Raises:
        InputError: the file is missing or unreadable, has another size, or is not 16-bit.
    """
    mode = _check_size(path, height, width)
    if not holds_depth(mode):
        raise InputError(
            f"{path}: is a '{mode}' image; expected a 16-bit gray image, with depth in millimeters "
            "and 0 for missing depth."
        )


def image_header(path: Path) -> tuple[tuple[int, int], str]:
    """Read the size (width, height) and mode of an image.

    Raises:
        InputError: the file is missing or unreadable.
    """
    try:
        with open_image(path) as image:
            return image.size, image.mode
    except FileNotFoundError:
        found = "is a broken link" if path.is_symlink() else "no such view"
        raise InputError(f"{path}: {found}; expected every view of every sample.") from None
    except UNREADABLE as error:
        raise InputError(f"{path}: not a readable image ({error}); write it again.") from None


def is_lossy(path: Path) -> bool:
    """Tell whether an image file is JPEG or lossy WebP, by its content."""
    with open_image(path) as image:
        kind = image.format
    return kind in ("JPEG", "MPO") or (kind == "WEBP" and b"VP8 " in _webp_chunks(path))


def _webp_chunks(path: Path) -> set[bytes]:
    """Names of a WebP's chunks: `VP8 ` holds an image with losses, `VP8L` one without."""
    names = set()
    with open(path, "rb") as file:
        file.seek(12)
        while len(head := file.read(8)) == 8:
            names.add(head[:4])
            size = int.from_bytes(head[4:], "little")
            file.seek(size + size % 2, 1)
    return names


def _is_16_bit(path: Path) -> bool:
    """Whether a PNG holds 16 bits per channel, which Pillow would cut to 8 without a word."""
    with open(path, "rb") as file:
        start = file.read(25)
    return start.startswith(b"\x89PNG") and start[24] == 16


def _check_size(path: Path, height: int, width: int) -> str:
    size, mode = image_header(path)
    if size != (width, height):
        raise InputError(
            f"{path}: is {size[0]}×{size[1]} pixels; expected {width}×{height}, as stated in "
            "manifest.json or, without a manifest, as the other images have."
        )
    return mode


def data_uri(path: Path) -> str:
    """Encode an image file for inlining in a page."""
    kind = {".png": "png", ".jpg": "jpeg", ".svg": "svg+xml"}[path.suffix]
    return f"data:image/{kind};base64,{base64.b64encode(path.read_bytes()).decode()}"


def jpeg_uri(image: Image.Image, quality: int = 88) -> str:
    """Encode a picture as a small JPEG for inlining in a page."""
    buffer = io.BytesIO()
    image.convert("RGB").save(buffer, "JPEG", quality=quality)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def resize_views(views: np.ndarray, height: int, width: int) -> np.ndarray:
    """Bring uint8 views [V, H, W, 3] to a size, as float32 in [0, 1].

    Bilinear when enlarging, area-averaging when shrinking, untouched at equal size.

    Args:
        views: uint8 [V, H, W, 3].
        height, width: wanted, in pixels.
    """
    images = views.astype(np.float32) / 255
    if images.shape[1:3] == (height, width):
        return images
    filter_ = cv2.INTER_LINEAR if height > images.shape[1] else cv2.INTER_AREA
    return np.stack([cv2.resize(image, (width, height), interpolation=filter_) for image in images])
