"""What a viewer must know of a panorama: its pixels, and which part of the sphere they show."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from mvdiffusion.images import jpeg_bytes

WIDEST = 2048
"""Most columns of a panorama in a viewer; more are seen by nobody and load slowly on phones."""
QUALITY = 90
"""Quality of the JPEG, whose colors are not thinned out: edges between views must stay edges."""


@dataclass(frozen=True)
class Panorama:
    """An equirectangular image in the terms of Pannellum's configuration.

    Attributes:
        jpeg: the image.
        haov: horizontal angle of view in degrees, symmetric about yaw 0. A whole circle has a
            little more than 360: the image repeats a column at either end, so that the viewer
            interpolates across ±180° as everywhere else.
        vaov: vertical angle of view in degrees.
        v_offset: pitch of the image's middle row in degrees, upward.
    """

    jpeg: bytes
    haov: float
    vaov: float
    v_offset: float

    def described(self) -> dict[str, Any]:
        """The panorama as the page's script takes it."""
        pixels = base64.b64encode(self.jpeg).decode()
        angles = {"haov": self.haov, "vaov": self.vaov, "vOffset": self.v_offset}
        return {"jpeg": pixels, **angles}


def panorama_of(pixels: NDArray[np.uint8], covered: Tensor | None = None) -> Panorama:
    """Keep the part of an equirectangular image that shows something, and say which part it is.

    Args:
        pixels: RGB of the whole sphere [H, 2 H, 3]; its middle is yaw 0.
        covered: mask [H, 2 H] of what the views show; None if that is everything.

    Returns:
        If the views together look to one side, the columns about yaw 0 that hold them, else all;
        of these, the rows that are covered everywhere (with gaps: anywhere).
    """
    height, width = pixels.shape[:2]
    top, rows, half = 0, height, width // 2
    if covered is not None:
        half = _half_width(covered)
        top, rows = covered_rows(covered[:, width // 2 - half : width // 2 + half])
    part = pixels[top : top + rows, width // 2 - half : width // 2 + half]
    if part.shape[1] > WIDEST:
        size = WIDEST, max(1, round(rows * WIDEST / part.shape[1]))
        part = np.asarray(Image.fromarray(part).resize(size, Image.Resampling.LANCZOS))
    haov = 360.0 * 2 * half / width
    if 2 * half == width:
        haov *= 1 + 2 / part.shape[1]
        part = np.concatenate([part[:, -1:], part, part[:, :1]], axis=1)
    middle = top + rows / 2
    return Panorama(
        jpeg_bytes(np.ascontiguousarray(part), QUALITY),
        haov=haov,
        vaov=180.0 * rows / height,
        v_offset=90.0 - 180.0 * middle / height,
    )


def covered_rows(covered: Tensor) -> tuple[int, int]:
    """First row and number of rows that the views cover all around (else: anywhere at all).

    Args:
        covered: mask [H, W] of the panorama.
    """
    rows = covered.all(1) if covered.all(1).any() else covered.any(1)
    inside = rows.nonzero().flatten()
    return int(inside[0]), int(inside[-1] - inside[0]) + 1


def _half_width(covered: Tensor) -> int:
    """Columns from the middle of a panorama to the farther end of what is covered in one piece."""
    columns, middle = covered.any(0).nonzero().flatten(), covered.shape[1] // 2
    first, end = int(columns[0]), int(columns[-1]) + 1
    return max(middle - first, end - middle) if len(columns) == end - first else middle
