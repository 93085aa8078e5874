"""Correspondences between views of one camera center (paper, section 4.1)."""

from __future__ import annotations

import torch
from torch import Tensor


def homography(K_query: Tensor, R_query: Tensor, K_target: Tensor, R_target: Tensor) -> Tensor:
    """Map query pixels to target pixels: x_target ~ K_t R_t⁻¹ R_q K_q⁻¹ x_query.

    Args:
        K_query, K_target: intrinsics [..., 3, 3] in pixels.
        R_query, R_target: camera-to-world rotations [..., 3, 3].

    Returns:
        Homographies [..., 3, 3].
    """
    # The order of operations is the released one: the top frequencies of the position code
    # amplify its rounding, so imported checkpoints need the same bits.
    return K_target @ inverse(R_target) @ R_query @ inverse(K_query)


def inverse(matrix: Tensor) -> Tensor:
    """Invert matrices [..., 3, 3] with the same bits on every processor, unlike `torch.inverse`.

    LU decomposition with partial pivoting, as LAPACK does it where it does not fuse multiplications
    with additions: each pivot's reciprocal is a factor.
    """
    rows = torch.cat([matrix, torch.eye(3).to(matrix).expand(matrix.shape)], -1)  # [..., 3, 6]
    for k in range(3):
        pivot = rows[..., k:, k].abs().argmax(-1, keepdim=True) + k
        order = torch.arange(3, device=matrix.device).expand(*pivot.shape[:-1], 3).clone()
        order.scatter_(-1, pivot, k)
        order[..., k : k + 1] = pivot
        rows = rows.gather(-2, order[..., None].expand(rows.shape))
        for i in range(k + 1, 3):
            factor = rows[..., i, k : k + 1] * (1 / rows[..., k, k : k + 1])
            rows[..., i, :] -= factor * rows[..., k, :]
    for k in (2, 1, 0):
        rows[..., k, 3:] *= 1 / rows[..., k, k : k + 1]
        for i in range(k):
            rows[..., i, 3:] -= rows[..., i, k : k + 1] * rows[..., k, 3:]
    return rows[..., 3:]


def pixel_grid(height: int, width: int, stride: int = 1, offset: int = 0) -> Tensor:
    """List the pixels `offset`, `offset + stride`, … of an image as homogeneous columns [3, N].

    Args:
        height, width: of the image.
        stride: between the pixels listed.
        offset: of the first one.
    """
    y, x = torch.meshgrid(
        torch.arange(offset, height, stride), torch.arange(offset, width, stride), indexing="ij"
    )
    return torch.stack([x, y, torch.ones_like(x)]).reshape(3, -1).float()


def project(H: Tensor, pixels: Tensor) -> tuple[Tensor, Tensor]:
    """Apply homographies to homogeneous pixels.

    Args:
        H: homographies [..., 3, 3].
        pixels: homogeneous pixels [..., 3, N].

    Returns:
        xy [..., N, 2] in pixels, and the mask [..., N] of points in front of the target camera;
        xy of the others means nothing.
    """
    points = H @ pixels
    xy = (points[..., :2, :] / points[..., 2:, :]).transpose(-1, -2)
    return xy, points[..., 2, :] > 0


def inside(xy: Tensor, height: int, width: int) -> Tensor:
    """Tell which pixels [..., 2] lie strictly inside an image; returns a mask [...].

    Args:
        xy: pixels [..., 2], centers at integers.
        height, width: of the image.
    """
    x, y = xy.unbind(-1)
    return (x > 0) & (x < width) & (y > 0) & (y < height)
