"""Image files: the one place where pictures and depth maps are read and written.

Depth maps are 16-bit PNGs of millimeters; 0 and 65535 mean that there is no depth.
"""

from __future__ import annotations

import io
import warnings
from pathlib import Path
from typing import IO

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from mvdiffusion.records import InputError

# Photographed panoramas have more pixels than Pillow warns of; twice that many are refused.
warnings.simplefilter("ignore", Image.DecompressionBombWarning)

UNREADABLE = (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError)
"""What Pillow raises over a bad file: it is no image, it ends early, it unpacks to too much."""

FORMATS = ("PNG", "JPEG", "WEBP", "TIFF", "BMP", "PPM", "GIF")
"""Formats that are read, whatever a file is named. Pillow hands others to external programs, as EPS
to Ghostscript."""

NO_DEPTH = 65535
"""The count of a 16-bit depth image that, like 0, means no depth: it is what saturated values
become, and 7-Scenes documents it."""

_ZLIB_RLE = 3  # a strategy that leaves no choice to the compressor: equal bytes everywhere


def open_image(source: Path | IO[bytes]) -> Image.Image:
    """Open an image file without decoding it.

    Raises:
        OSError: it is missing, or of none of `FORMATS`; see `UNREADABLE` for what else.
    """
    return Image.open(source, formats=FORMATS)


def read_rgb(path: Path) -> NDArray[np.uint8]:
    """Read an image file as RGB [H, W, 3].

    Raises:
        InputError: it is missing, not a whole image, or has more than 8 bits per channel.
    """
    image = _decoded(path)
    if holds_depth(image.mode) or image.mode == "F":  # what Pillow converts would be all white
        raise InputError(
            f"{path}: one channel of more than 8 bits (mode {image.mode}), as depth has; expected "
            "a picture with 8 bits per channel."
        )
    return np.array(image.convert("RGB"))


def read_image(path: Path) -> Tensor:
    """Read an image file as [3, H, W] in −1 … 1.

    Raises:
        InputError: it is missing, or not a whole image.
    """
    return torch.from_numpy(read_rgb(path)).permute(2, 0, 1).float() / 127.5 - 1


def read_face(path: Path) -> NDArray[np.uint8]:
    """Read a cube face as RGB [S, S, 3].

    Raises:
        InputError: it is missing, not a whole image, or not square.
    """
    face = read_rgb(path)
    if face.shape[0] != face.shape[1]:
        raise InputError(
            f"{path}: {face.shape[1]} x {face.shape[0]} pixels; expected a square cube face."
        )
    return face


def read_depth(path: Path) -> NDArray[np.float64]:
    """Read a 16-bit PNG of millimeters as meters [H, W], 0 where there is no depth.

    Raises:
        InputError: it is missing, not a whole image, or not of 16 bits.
    """
    image = _decoded(path)
    if not holds_depth(image.mode):
        raise InputError(
            f"{path}: an image of mode {image.mode}; expected a 16-bit PNG with depth in "
            "millimeters. Export the depth again without converting it."
        )
    return known_counts(np.asarray(image)).astype(np.float64) / 1000


def known_counts(counts: NDArray) -> NDArray:
    """Set counts of a 16-bit depth image that mean no depth to 0."""
    return np.where(counts == NO_DEPTH, 0, counts).astype(counts.dtype)


def depth_counts(millimeters: NDArray) -> NDArray[np.uint16]:
    """Round millimeters to what a 16-bit depth image holds; what it can't hold becomes 0, none."""
    rounded = np.floor(np.asarray(millimeters, np.float64) + 0.5)
    return np.where((rounded > 0) & (rounded < NO_DEPTH), rounded, 0).astype(np.uint16)


def holds_depth(mode: str) -> bool:
    """Tell whether an image of this Pillow mode has 16 bits or more of one channel."""
    return mode.startswith("I")


def is_whole_png(path: Path) -> bool:
    """Tell whether a file is a PNG whose checksums are right; it is not decoded."""
    try:
        with Image.open(path, formats=("PNG",)) as image:
            image.verify()
    except UNREADABLE:
        return False
    return True


def _decoded(path: Path) -> Image.Image:
    """Open an image and decode it wholly."""
    try:
        with open_image(path) as image:
            image.load()
            return image
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; expected an image there.") from None
    except UNREADABLE as error:
        raise InputError(
            f"{path}: not a readable image ({error}); expected a whole PNG or JPEG. Write it again."
        ) from None


def to_pixels(image: Tensor) -> NDArray[np.uint8]:
    """Turn an image [3, H, W] in −1 … 1 into RGB pixels [H, W, 3]."""
    pixels = ((image.detach().float().cpu() + 1) * 127.5).round().clamp(0, 255)
    return np.ascontiguousarray(pixels.byte().permute(1, 2, 0).numpy())


def save_png(image: Tensor, path: Path) -> None:
    """Write [3, H, W] in −1 … 1 as PNG."""
    with open(path, "wb") as file:
        Image.fromarray(to_pixels(image)).save(file, "PNG")


def save_depth(depth: Tensor | NDArray, path: Path) -> None:
    """Write meters [H, W] as a 16-bit PNG of millimeters; the same bytes on every machine."""
    pixels = depth_counts(np.asarray(depth, np.float64) * 1000)
    with open(path, "wb") as file:
        Image.fromarray(pixels).save(file, "PNG", compress_type=_ZLIB_RLE)


def jpeg_bytes(image: NDArray[np.uint8], quality: int) -> bytes:
    """Encode RGB [H, W, 3] as JPEG without thinning the colors out.

    Args:
        image: the pixels.
        quality: 1 … 95.
    """
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=quality, subsampling=0)
    return buffer.getvalue()
