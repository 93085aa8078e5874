"""Images and depth images on disk."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from mvdiffusion.records import InputError

_ZLIB_RLE = 3  # a strategy that leaves no choice to the compressor: equal bytes everywhere


def read_image(path: Path) -> Tensor:
    """Read an image file as [3, H, W] in −1 … 1.

    Raises:
        InputError: it is missing, or not a whole image.
    """
    with _decoded(path) as image:
        pixels = np.array(image.convert("RGB"))
    return torch.from_numpy(pixels).permute(2, 0, 1).float() / 127.5 - 1


def save_png(image: Tensor, path: Path) -> None:
    """Write [3, H, W] in −1 … 1 as PNG."""
    pixels = ((image + 1) * 127.5).round().clamp(0, 255).byte().permute(1, 2, 0).numpy()
    with open(path, "wb") as file:
        Image.fromarray(pixels).save(file, "PNG")


def read_depth(path: Path) -> Tensor:
    """Read a 16-bit PNG of millimeters as meters [H, W], 0 where there is no depth.

    Raises:
        InputError: it is missing, not a whole image, or not of 16 bits.
    """
    with _decoded(path) as image:
        if not image.mode.startswith("I"):
            raise InputError(
                f"{path}: an image of mode {image.mode}; expected a 16-bit PNG with depth in "
                "millimeters. Export the depth again without converting it."
            )
        pixels = np.array(image).astype(np.float32)
    return torch.from_numpy(pixels) / 1000


def save_depth(depth: Tensor | NDArray, path: Path) -> None:
    """Write meters [H, W] as a 16-bit PNG of millimeters; the same bytes on every machine."""
    pixels = np.floor(np.asarray(depth, np.float64) * 1000 + 0.5).clip(0, 65535).astype(np.uint16)
    with open(path, "wb") as file:
        Image.fromarray(pixels).save(file, "PNG", compress_type=_ZLIB_RLE)


def _decoded(path: Path) -> Image.Image:
    """Open an image and decode it wholly."""
    try:
        image = Image.open(path)
        image.load()
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; expected an image there.") from None
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise InputError(f"{path}: not a whole image ({error}); expected PNG or JPEG.") from None
    return image
