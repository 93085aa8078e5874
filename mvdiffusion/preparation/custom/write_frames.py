"""One frame of a user's recording → ScanNet's layout."""

from __future__ import annotations

import shutil
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from mvdiffusion.geometry.depth import scale_intrinsics
from mvdiffusion.geometry.matrix_files import write_matrix
from mvdiffusion.images import jpeg_bytes, read_rgb, save_depth
from mvdiffusion.preparation.custom.recordings import MILLIMETER, FrameLook, camera_shift

_SAME_CAMERA = 0.5  # pixels in the corners


def write_frame(look: FrameLook, folder: Path, K: Tensor, unit: float, quality: int) -> None:
    """Write color, depth and pose of a frame.

    A scene has one camera: frames of a slightly different one are resampled to it. Files that need
    no change keep their bytes.

    Args:
        K: the scene's intrinsics [3, 3] in pixels of the depth images.
        unit: meters per step of the depth image's values.
        quality: of JPEGs that are encoded again.
    """
    frame, size = look.frame, look.depth_size
    assert look.K is not None  # the check saw to it
    assert frame.pose is not None
    number, moved = frame.number, camera_shift(look.K, K, size) > _SAME_CAMERA
    color, depth = folder / "color" / f"{number}.jpg", folder / "depth" / f"{number}.png"
    if look.color.plain_jpeg and not moved:
        shutil.copyfile(frame.color, color)
    else:
        color.write_bytes(jpeg_bytes(_color(look, K if moved else None), quality))
    if unit == MILLIMETER and frame.depth.suffix.lower() == ".png" and not moved:
        shutil.copyfile(frame.depth, depth)
    else:
        save_depth(_depth(look, K if moved else None, unit), depth)
    write_matrix(folder / "pose" / f"{number}.txt", torch.from_numpy(frame.pose))


def _color(look: FrameLook, K: Tensor | None) -> NDArray[np.uint8]:
    pixels = read_rgb(look.frame.color)
    if K is None:
        return pixels
    size = (look.color.height, look.color.width)
    move = _between(look, K, size)
    moved = cv2.warpAffine(
        pixels, move, size[::-1], flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE
    )
    return np.asarray(moved, np.uint8)


def _depth(look: FrameLook, K: Tensor | None, unit: float) -> NDArray[np.float64]:
    """Depth [H, W] in meters."""
    with Image.open(look.frame.depth) as image:
        values = np.array(image).astype(np.float32)
    if K is not None:
        # Not a mean: between two surfaces there is none.
        move = _between(look, K, look.depth_size)
        values = cv2.warpAffine(values, move, look.depth_size[::-1], flags=cv2.INTER_NEAREST)
    return np.asarray(values, np.float64) * unit


def _between(look: FrameLook, K: Tensor, size: tuple[int, int]) -> NDArray[np.float64]:
    """The affine map [2, 3] from the frame's pixels to those of camera K, for images of a size."""
    assert look.K is not None
    ours, theirs = (scale_intrinsics(camera, look.depth_size, size) for camera in (K, look.K))
    return (ours @ theirs.inverse())[:2].numpy()
