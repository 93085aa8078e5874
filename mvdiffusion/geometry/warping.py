"""Warping one view into another: by a homography, or by depth with a test of occlusion."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from mvdiffusion.geometry.depth import reproject, scale_intrinsics
from mvdiffusion.geometry.homography import pixel_grid, project
from mvdiffusion.geometry.resampling import sample_pixels

DEPTH_TOLERANCE = 0.05
"""Share of its depth by which a point may miss the surface that the other view sees there: more,
and it is hidden. A share, since the noise of depth sensors grows with the distance."""


@dataclass(frozen=True)
class DepthViews:
    """One view of each of B samples with its depth and camera.

    Attributes:
        depth: [B, H, W] along the optical axis in meters, 0 where there is none.
        K: intrinsics [B, 3, 3] in pixels of `depth`.
        pose: camera-to-world transforms [B, 4, 4] in meters.
    """

    depth: Tensor
    K: Tensor
    pose: Tensor

    def resized(self, height: int, width: int) -> DepthViews:
        """Return the same views at another size, each pixel with the depth nearest to its center.

        Args:
            height, width: such as the latents'.
        """
        size = (height, width)
        depth = F.interpolate(self.depth[:, None], size, mode="nearest-exact")[:, 0]
        K = scale_intrinsics(self.K, (self.depth.shape[-2], self.depth.shape[-1]), size)
        return DepthViews(depth, K, self.pose)


def depth_views(depth: Tensor, K: Tensor, pose: Tensor) -> list[DepthViews]:
    """Part V posed views of B samples by view.

    Args:
        depth: [B, V, H, W] in meters, 0 where there is none.
        K: intrinsics [B, V, 3, 3] in pixels.
        pose: camera-to-world transforms [B, V, 4, 4] in meters.
    """
    parts = (values.float().unbind(1) for values in (depth, K, pose))
    return [DepthViews(*view) for view in zip(*parts, strict=True)]


def warp_by_homography(image: Tensor, H: Tensor) -> tuple[Tensor, Tensor]:
    """Warp an earlier view into the camera of the next, which turned about the same center.

    Args:
        image: the earlier view [B, C, H, W].
        H: homography [3, 3] from pixels of the next view to pixels of `image`.

    Returns:
        The warped image [B, C, H, W], its border repeated where nothing is known, and the mask
        [H, W] of known pixels.
    """
    height, width = image.shape[-2:]
    xy, in_front = project(H, pixel_grid(height, width).to(H))
    # Behind the camera a projection means nothing; pull it to the nearest border column.
    xy = torch.where(in_front[:, None], xy, torch.zeros_like(xy)).unflatten(0, (height, width))
    known = _on_image(xy, height, width) & in_front.unflatten(0, (height, width))
    return sample_pixels(image, xy.expand(len(image), -1, -1, -1)), known


def warp_by_depth(
    image: Tensor,
    source: DepthViews,
    target: DepthViews,
    mode: Literal["bilinear", "nearest"] = "bilinear",
) -> tuple[Tensor, Tensor]:
    """Warp views into the cameras of others: each target pixel looks up the point that it shows.

    A point is known if the source sees it: if it lies on the source's image, in front of its
    camera, and at the depth that the source has there. Otherwise something hides it, or there is
    no depth to tell.

    Args:
        image: pictures or latents of the source views, [B, C, H, W].
        source: the views that `image` shows, of the same H x W.
        target: the views wanted, of the same H x W.
        mode: how `image` is sampled; "nearest" keeps the statistics of latents.

    Returns:
        The warped image [B, C, H, W] and the mask [B, H, W] of known pixels; the others mean
        nothing.
    """
    height, width = image.shape[-2:]
    pixels = pixel_grid(height, width)[:2].T.to(target.depth)
    depth = target.depth.flatten(1)
    xy, z = reproject(pixels, depth, target.K, target.pose, source.K, source.pose)
    xy = torch.where((z > 0)[..., None], xy, torch.zeros_like(xy)).unflatten(1, (height, width))
    z = z.unflatten(1, (height, width))
    seen = sample_pixels(source.depth[:, None], xy, "nearest")[:, 0]
    measured = (target.depth > 0) & (seen > 0) & (z > 0)
    visible = (seen - z).abs() <= DEPTH_TOLERANCE * z
    known = measured & visible & _on_image(xy, height, width)
    return sample_pixels(image, xy, mode), known


def erode(known: Tensor, pixels: int) -> Tensor:
    """Take from a mask of known pixels what lies near unknown ones: dilate what is to be made.

    Args:
        known: bool [..., H, W]; nothing lies beyond its border.
        pixels: how near, in rows and in columns.

    Returns:
        The mask without pixels that have an unknown one at most so many rows and columns away.
    """
    unknown = (~known).float().reshape(-1, 1, *known.shape[-2:])
    dilated = F.max_pool2d(unknown, 2 * pixels + 1, stride=1, padding=pixels)
    return (dilated == 0).reshape(known.shape)


def _on_image(xy: Tensor, height: int, width: int) -> Tensor:
    """Tell which points (x, y) [..., 2] lie on the area of an image's pixels; a mask [...]."""
    x, y = xy.unbind(-1)
    return (x >= -0.5) & (x <= width - 0.5) & (y >= -0.5) & (y <= height - 0.5)
