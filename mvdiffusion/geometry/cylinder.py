"""Level strips: panoramas on a cylinder about the vertical ⇄ perspective views.

Column centers run from longitude −180° (left) to +180°, as in equirectangular images; rows are
evenly spaced in height on a cylinder of radius 1, not in latitude. In the middle of a level view a
strip is as a perspective image; to the sides, lines above and below the horizon are bent.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from mvdiffusion.geometry.resampling import sample_pixels, view_rays


def strip_columns(width: int, fov_deg: float, step: int) -> int:
    """Columns that go once around at the scale of the middle of a view.

    Args:
        width: of a view, in pixels or latent cells.
        fov_deg: horizontal field of view of a view in degrees.
        step: the columns are a multiple of it, the nearest one; so is the error of their scale.
    """
    focal = width / 2 / math.tan(math.radians(fov_deg) / 2)
    return max(1, round(2 * math.pi * focal / step)) * step


def strip_to_views(
    strip: Tensor, top: float, K: Tensor, R: Tensor, height: int, width: int
) -> Tensor:
    """Cut level perspective views out of a strip.

    A view's pixel (x, y), in focal lengths from its middle, is at the longitude atan x and the
    height y / √(1 + x²): a strip as high as the view's middle column covers the view whole, and
    nothing is ever sampled more coarsely than it was drawn. Beside the middle a view is finer than
    the strip, at the edges of a field of 90° twice across and 1.4 times up and down.

    Args:
        strip: [C, H, W], any range, which bicubic samples may leave a little.
        top: height of its upper edge on a cylinder of radius 1; its lower edge is at −top.
        K: intrinsics [V, 3, 3] of the views, in pixels.
        R: camera-to-world rotations [V, 3, 3]; yaw 0 is the strip's middle.
        height, width: of a view in pixels.

    Returns:
        Views [V, C, height, width]; what lies above or below the strip repeats its border.
    """
    pad = 2  # a wrapped border, so that interpolation crosses the seam
    rows, columns = strip.shape[-2:]
    wrapped = F.pad(strip[None], (pad, pad, 0, 0), mode="circular").expand(len(K), -1, -1, -1)
    x, y, z = view_rays(K.to(strip), R.to(strip), height, width).unbind(-1)
    column = (torch.atan2(x, z) / (2 * math.pi) + 0.5) * columns - 0.5 + pad
    row = (y / torch.hypot(x, z) / top + 1) / 2 * rows - 0.5
    return sample_pixels(wrapped, torch.stack([column, row], -1), "bicubic")
