"""Correspondences between posed views with depth (paper, section 4.2)."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from mvdiffusion.geometry.homography import inside, pixel_grid

MAX_DEPTH_DIFFERENCE = 0.5
"""Meters by which depths of one point may differ between two views (paper, section 5.3)."""

Counted = Literal["known", "all"]
"""Of which pixels overlap is the share: those with depth, or all. With "all", holes of the sensor
count as lost overlap, so that key frames lie closer together than they need to."""


def scale_intrinsics(K: Tensor, old_size: tuple[int, int], new_size: tuple[int, int]) -> Tensor:
    """Carry intrinsics over to a resized image.

    Args:
        K: intrinsics [..., 3, 3] in pixels, pixel centers at integers.
        old_size: (height, width) that `K` is for.
        new_size: (height, width) after resizing.

    Returns:
        Intrinsics [..., 3, 3] of the resized image.
    """
    y, x = (new / old for new, old in zip(new_size, old_size, strict=True))
    # A pixel center moves from p to (p + 0.5) s - 0.5.
    resize = torch.tensor([[x, 0, (x - 1) / 2], [0, y, (y - 1) / 2], [0, 0, 1]]).to(K)
    return resize @ K


def reproject(
    pixels: Tensor,  # [..., N, 2]
    depth: Tensor,  # [..., N]
    K_query: Tensor,  # [..., 3, 3]
    pose_query: Tensor,  # [..., 4, 4]
    K_target: Tensor,  # [..., 3, 3]
    pose_target: Tensor,  # [..., 4, 4]
) -> tuple[Tensor, Tensor]:
    """Carry pixels with depth from one view into another: X_t = pose_t⁻¹ pose_q X_q.

    Args:
        pixels: query pixels (x, y) [..., N, 2].
        depth: their depth along the optical axis in meters [..., N].
        K_query, K_target: intrinsics [..., 3, 3] in pixels.
        pose_query, pose_target: camera-to-world transforms [..., 4, 4] in meters.

    Returns:
        Target pixels [..., N, 2] and depth there in meters [..., N]; a depth of zero or less means
        that the point is not in front of the target camera, and its pixel means nothing.
    """
    rays = F.pad(pixels, (0, 1), value=1.0) @ torch.inverse(K_query).transpose(-1, -2)
    motion = torch.inverse(pose_target) @ pose_query
    points = (rays * depth[..., None]) @ motion[..., :3, :3].transpose(-1, -2)
    points = points + motion[..., None, :3, 3]
    projected = points @ K_target.transpose(-1, -2)
    z = points[..., 2]
    return projected[..., :2] / z.clamp(min=1e-6)[..., None], z


def depth_correspondences(depth: Tensor, K: Tensor, pose: Tensor) -> tuple[Tensor, Tensor]:
    """Find where every pixel of every view lies in every other view.

    Args:
        depth: [B, V, H, W] in meters, 0 where there is none.
        K: intrinsics [B, V, 3, 3] in pixels.
        pose: camera-to-world transforms [B, V, 4, 4].

    Returns:
        Pixels [B, V, V, H * W, 2] of view i in view j and their depth there [B, V, V, H * W],
        which is 0 where the pixel has no depth itself.
    """
    height, width = depth.shape[-2:]
    pixels = pixel_grid(height, width)[:2].T.to(depth)
    known = depth.flatten(2)[:, :, None]  # [B, V, 1, H * W]
    xy, z = reproject(pixels, known, K[:, :, None], pose[:, :, None], K[:, None], pose[:, None])
    return xy, torch.where(known > 0, z, 0.0)


def overlaps(depth: Tensor, K: Tensor, pose: Tensor, counted: Counted = "all") -> Tensor:
    """Measure how much any two views see of each other; occlusion is left out, as in the paper.

    Args:
        depth: [B, V, H, W] in meters, 0 where there is none.
        K: intrinsics [B, V, 3, 3] in pixels.
        pose: camera-to-world transforms [B, V, 4, 4].
        counted: the pixels of a view of which the share is taken.

    Returns:
        [B, V, V]: the share of the pixels of i that fall inside j, or of j inside i if that is
        less.
    """
    xy, z = depth_correspondences(depth, K, pose)
    seen = (inside(xy, *depth.shape[-2:]) & (z > 0)).sum(-1)
    pixels = ((depth > 0) | (counted == "all")).sum((-2, -1))
    # A small view may have lost its few pixels with depth; then it overlaps with nothing.
    share = seen / pixels.clamp(min=1)[:, :, None]
    return torch.minimum(share, share.transpose(1, 2))


def normalized_inverse_depth(depth: Tensor, height: int, width: int) -> Tensor:
    """Make the depth channel of the UNet: inverse depth, scaled per image to −1 … 1.

    Args:
        depth: [B, V, H, W] in meters, 0 where there is none.
        height, width: of the latents.

    Returns:
        [B, V, 1, height, width], −2 where there is no depth.
    """
    known = depth > 0
    inverse = torch.where(known, 1 / depth.clamp(min=1e-6), 0.0)
    far = torch.where(known, inverse, torch.inf).amin((-2, -1), keepdim=True)
    near = inverse.amax((-2, -1), keepdim=True)
    scaled = 2 * (inverse - far) / (near - far).clamp(min=1e-12) - 1
    scaled = torch.where(known, scaled, -2.0)
    return F.interpolate(scaled, (height, width), mode="nearest")[:, :, None]
