"""Cross-view ("overlapping") PSNR: do neighboring views show the same scene? (paper, section 5.3)

A view's neighbor is warped into it by the homography of their cameras; PSNR is taken over the
pixels that both see.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from mvdiffusion.geometry.cameras import intrinsics, rotation
from mvdiffusion.geometry.homography import homography

from .psnr import psnr_db


@dataclass(frozen=True)
class Overlap:
    """What two neighboring views share.

    Attributes:
        query: view whose pixels are compared.
        target: view that is warped into it.
        H: homography [3, 3], target pixel ~ H · query pixel.
        mask: query pixels [H, W] that the target sees, the warp's interpolated border excluded.
    """

    query: int
    target: int
    H: np.ndarray
    mask: np.ndarray


def neighbor_overlaps(
    fov_deg: float, yaw_deg: Sequence[float], height: int, width: int
) -> list[Overlap]:
    """Pair each view with the next one; the last pair closes the loop.

    Args:
        fov_deg: horizontal field of view.
        yaw_deg: direction of each view [V], to the right.
        height, width: size in pixels at which views are compared.

    Raises:
        ValueError: neighboring views do not overlap.
    """
    num_views = len(yaw_deg)
    pairs = [(view, (view + 1) % num_views) for view in range(num_views)]
    return [overlap_of(i, j, fov_deg, yaw_deg, height, width) for i, j in pairs]


def overlap_of(
    query: int, target: int, fov_deg: float, yaw_deg: Sequence[float], height: int, width: int
) -> Overlap:
    """Find what two views share; see `neighbor_overlaps`.

    Raises:
        ValueError: they do not overlap.
    """
    K = intrinsics(fov_deg, height, width).double()
    R_query, R_target = (rotation(yaw_deg[view]).double() for view in (query, target))
    H = homography(K, R_query, K, R_target).numpy()
    y, x = np.mgrid[:height, :width]
    in_front = H[2, 0] * x + H[2, 1] * y + H[2, 2] > 0
    # Ones warped along: below 1 wherever interpolation mixed in what lies outside the target.
    mask = (_warp(np.ones((height, width), np.float32), H) == 1) & in_front
    if not mask.any():
        raise ValueError(
            f"Expected views {query} and {target} to overlap; at {fov_deg}° field of view and "
            f"yaws {yaw_deg[query]}° and {yaw_deg[target]}° they do not."
        )
    return Overlap(query, target, H, mask)


def seen_points(points: np.ndarray, overlap: Overlap) -> tuple[np.ndarray, np.ndarray]:
    """Find where points of the query lie in the target, and which of them it sees.

    Args:
        points: pixels (x, y) of the query [N, 2], whole or not.
        overlap: pair of views, of one size.

    Returns:
        Pixels (x, y) of the target [N, 2], and whether it sees the point there [N]: in front, and
        not beyond its outer pixel centers.
    """
    height, width = overlap.mask.shape
    x, y, z = overlap.H @ np.stack([*points.T, np.ones(len(points))])
    xy = np.stack([x, y], 1) / np.where(z > 0, z, 1)[:, None]
    return xy, (z > 0) & ((xy >= 0) & (xy <= [width - 1, height - 1])).all(1)


def cross_view_psnr(
    views: np.ndarray, overlaps: Sequence[Overlap], other_views: np.ndarray | None = None
) -> np.ndarray:
    """PSNR of each pair, its error pooled over all shared pixels and channels.

    Args:
        views: images of one sample [V, H, W, 3], RGB in [0, 1], at the size of `overlaps`.
        overlaps: the pairs, from `neighbor_overlaps`.
        other_views: take the warped neighbor from this sample instead; the control that a gain
            is not merely a palette shared by all scenes.

    Returns:
        PSNR in dB [pairs], at most `MAX_PSNR_DB`.

    >>> pairs = neighbor_overlaps(90, [0, 45, 90, 135, 180, 225, 270, 315], 32, 32)
    >>> gray = np.full((8, 32, 32, 3), 0.5, np.float32)
    >>> gray[0] += 0.1  # view 0 takes part in the first and in the closing pair
    >>> cross_view_psnr(gray, pairs).round(2).tolist()
    [20.0, 100.0, 100.0, 100.0, 100.0, 100.0, 100.0, 20.0]
    """
    targets = views if other_views is None else other_views
    return np.array([_psnr(views[o.query], targets[o.target], o) for o in overlaps])


def _psnr(query_view: np.ndarray, target_view: np.ndarray, overlap: Overlap) -> float:
    warped = warp(target_view, overlap)
    distance = cv2.norm(query_view, warped, cv2.NORM_L2, overlap.mask.view(np.uint8))
    mse = distance**2 / (overlap.mask.sum() * query_view.shape[-1])
    return psnr_db(mse)


def warp(target_view: np.ndarray, overlap: Overlap) -> np.ndarray:
    """Warp a target view [H, W, C] into the query; only pixels of the mask are to be used.

    Args:
        target_view: [H, W, C], any range.
        overlap: pair of views, at this size.
    """
    return _warp(target_view, overlap.H)


def _warp(image: np.ndarray, H: np.ndarray) -> np.ndarray:
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return cv2.warpPerspective(image, H, (image.shape[1], image.shape[0]), flags=flags)
