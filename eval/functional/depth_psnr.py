"""Depth consistency: do two posed frames with depth show the same surface? (paper, section 5.3)

A pixel of one frame is carried by its depth and the two cameras into the other. PSNR is taken over
the pixels that both frames see.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from mvdiffusion.geometry.depth import reproject
from mvdiffusion.geometry.resampling import sample_pixels

from .psnr import psnr_db

ROUNDING = 1e-6
"""Pixels; a frame compared with itself must keep its border."""


@dataclass(frozen=True)
class Camera:
    """What a frame needs beside its image to be compared.

    Attributes:
        depth: [H, W] along the optical axis in meters, 0 where there is none.
        K: intrinsics [3, 3] in pixels.
        pose: camera-to-world [4, 4], meters.
    """

    depth: np.ndarray
    K: np.ndarray
    pose: np.ndarray


@dataclass(frozen=True)
class SharedPixels:
    """Pixels of a query frame that a target frame sees too.

    Attributes:
        mask: those pixels of the query [H, W].
        xy: where they lie in the target [N, 2], in the order of the mask's rows.
    """

    mask: np.ndarray
    xy: np.ndarray


def shared_pixels(query: Camera, target: Camera, max_difference: float) -> SharedPixels:
    """Find the pixels of `query` that `target` sees.

    Dropped are pixels without depth in either frame, pixels that fall outside the target's outer
    pixel centers (there interpolation would need what is not in the image) and pixels that
    something else hides: those whose depth, seen from the target, differs from the target's own
    depth at the nearest pixel by more than `max_difference` meters.

    Args:
        query: the frame whose pixels are looked for.
        target: the frame that may see them.
        max_difference: of the two depths of one point, in meters (paper, section 5.3: 0.5).
    """
    height, width = query.depth.shape
    grid = np.stack(np.meshgrid(np.arange(width), np.arange(height)), -1).reshape(-1, 2)
    xy, seen = seen_points(grid, query, target, max_difference)
    return SharedPixels(seen.reshape(height, width), xy[seen])


def seen_points(
    points: np.ndarray, query: Camera, target: Camera, max_difference: float
) -> tuple[np.ndarray, np.ndarray]:
    """Find where points of `query` lie in `target`, and which of them it sees.

    Args:
        points: pixels (x, y) of the query [N, 2], whole or not; the nearest pixel has their depth.
        query, target, max_difference: see `shared_pixels`.

    Returns:
        Pixels (x, y) of the target [N, 2], and whether it sees the point there [N]; a pixel of a
        point that it does not see means nothing.
    """
    column, row = np.rint(points).astype(int).T
    known = query.depth[row, column]
    cameras = [_double(m) for m in (query.K, query.pose, target.K, target.pose)]
    xy, z = (found.numpy() for found in reproject(_double(points), _double(known), *cameras))
    last = np.array([target.depth.shape[1] - 1, target.depth.shape[0] - 1])
    inside = ((xy >= -ROUNDING) & (xy <= last + ROUNDING)).all(-1)
    seen = (known > 0) & (z > 0) & inside
    column, row = np.rint(np.where(seen[:, None], xy, 0)).astype(int).T
    there = target.depth[row, column]
    seen &= (there > 0) & (np.abs(z - there) <= max_difference)
    return xy, seen


def depth_psnr(query: np.ndarray, target: np.ndarray, shared: SharedPixels) -> float:
    """PSNR of the shared pixels, the error pooled over pixels and channels.

    Args:
        query: the frame compared [H, W, 3], RGB in [0, 1].
        target: the frame sampled bilinearly at the shared pixels [H, W, 3].
        shared: from `shared_pixels`.

    Returns:
        PSNR in dB, at most `MAX_PSNR_DB`; NaN if the frames share no pixel.
    """
    if not len(shared.xy):
        return float("nan")
    sampled = sample_shared(target, shared)
    return psnr_db(float(np.square(query[shared.mask] - sampled).mean()))


def sample_shared(target: np.ndarray, shared: SharedPixels) -> np.ndarray:
    """Sample a frame [H, W, C] bilinearly at the shared pixels: [N, C], float64.

    Args:
        target: [H, W, C], any range.
        shared: N pixels of another frame, from `shared_pixels`.
    """
    image = _double(target).permute(2, 0, 1)[None]
    return sample_pixels(image, _double(shared.xy)[None, None])[0, :, 0].T.numpy()


def _double(array: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array)).double()
