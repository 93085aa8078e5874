"""Pinhole cameras: making them, and telling good ones from bad (paper, section 3, appendix A)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from mvdiffusion.records import InputError

RIGID_TOLERANCE = 1e-2
"""How far R Rᵀ of a pose may be from the identity: recorded poses are rounded and drift a little.

Whoever reads, samples or scores asks `is_rigid`, so that all of them accept the same poses.
"""


def intrinsics(fov_deg: float, height: int, width: int) -> Tensor:
    """Make `K` of a pinhole camera with square pixels.

    Args:
        fov_deg: horizontal field of view in degrees, between 0 and 180.
        height, width: of an image in pixels.

    Returns:
        `K` [3, 3] in pixels; the principal point is the image center ((W-1)/2, (H-1)/2).

    Raises:
        InputError: the field of view is not inside (0, 180).
    """
    if not 0 < fov_deg < 180:
        raise InputError(f"Expected `fov_deg` between 0 and 180, got {fov_deg}.")
    focal = 0.5 * width / math.tan(0.5 * math.radians(fov_deg))
    return torch.tensor(
        [[focal, 0, (width - 1) / 2], [0, focal, (height - 1) / 2], [0, 0, 1]], dtype=torch.float32
    )


def rotation(yaw_deg: float, pitch_deg: float = 0.0) -> Tensor:
    """Make the camera-to-world `R` [3, 3] of a level camera.

    Args:
        yaw_deg: turn to the right about the vertical (+y) axis, in degrees.
        pitch_deg: then turn up about the yawed x axis, in degrees.
    """
    yaw, pitch = math.radians(yaw_deg), math.radians(pitch_deg)
    cos_yaw, sin_yaw = math.cos(yaw), math.sin(yaw)
    cos_pitch, sin_pitch = math.cos(pitch), math.sin(pitch)
    turn = torch.tensor(
        [[cos_yaw, 0, sin_yaw], [0, 1, 0], [-sin_yaw, 0, cos_yaw]], dtype=torch.float64
    )
    lift = torch.tensor(
        [[1, 0, 0], [0, cos_pitch, -sin_pitch], [0, sin_pitch, cos_pitch]], dtype=torch.float64
    )
    return (turn @ lift).float()


def panorama_cameras(
    height: int, width: int, num_views: int = 8, fov_deg: float = 90.0, yaw_deg: float = 0.0
) -> tuple[Tensor, Tensor]:
    """Make the cameras of a panorama: evenly spaced about the vertical.

    Args:
        height, width: of a view in pixels.
        num_views: number V of views.
        fov_deg: horizontal field of view of a view in degrees.
        yaw_deg: direction of the first view, in degrees to the right.

    Returns:
        `K` [V, 3, 3] in pixels and camera-to-world `R` [V, 3, 3].

    Raises:
        InputError: no views, or an impossible field of view.
    """
    K = intrinsics(fov_deg, height, width)
    return K.repeat(num_views, 1, 1), level_rotations(even_yaws(num_views, yaw_deg))


def even_yaws(num_views: int, yaw_deg: float = 0.0) -> tuple[float, ...]:
    """Spread views evenly about the vertical.

    Args:
        num_views: number V of views.
        yaw_deg: direction of the first view, in degrees to the right.

    Returns:
        V directions in degrees to the right.

    Raises:
        InputError: no views.
    """
    if num_views < 1:
        raise InputError(f"Expected `num_views` of at least 1, got {num_views}.")
    step = 360.0 / num_views
    return tuple(yaw_deg + step * view for view in range(num_views))


def level_rotations(yaw_deg: Sequence[float]) -> Tensor:
    """Make the camera-to-world `R` [V, 3, 3] of level cameras that look in V directions."""
    return torch.stack([rotation(yaw) for yaw in yaw_deg])


def is_pinhole(K: Tensor) -> Tensor:
    """Tell which matrices [..., 3, 3] are finite intrinsics of a pinhole camera; a mask [...]."""
    focal_lengths = K.diagonal(dim1=-2, dim2=-1)[..., :2]
    last_row = (K[..., 2, :] == K.new_tensor([0, 0, 1])).all(-1)
    return K.isfinite().all(-1).all(-1) & (focal_lengths > 0).all(-1) & last_row


def is_rigid(pose: Tensor) -> Tensor:
    """Tell which poses [..., 4, 4] are finite rigid motions, neither scaled nor mirrored: [...]."""
    last_row = ((pose[..., 3, :] - pose.new_tensor([0, 0, 0, 1])).abs() <= 1e-4).all(-1)
    is_rotation = rotation_error(pose[..., :3, :3]) <= RIGID_TOLERANCE
    return pose.isfinite().all(-1).all(-1) & is_rotation & last_row


def rotation_error(R: Tensor) -> Tensor:
    """Measure how far matrices are from rotations.

    Args:
        R: matrices [..., 3, 3].

    Returns:
        The largest entry of |R Rᵀ − I| [...] (float64), infinite where R is not finite or mirrors.
    """
    R = R.double()
    error = (R @ R.mT - torch.eye(3).to(R)).abs().amax((-2, -1))
    is_proper = R.isfinite().all(-1).all(-1) & (torch.linalg.det(R.nan_to_num()) > 0)
    return torch.where(is_proper, error, torch.inf)
