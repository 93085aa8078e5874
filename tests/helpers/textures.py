"""Pictures with enough detail for keypoints, made of disks, and what cameras see of them."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import Image

from mvdiffusion.geometry.cameras import intrinsics, panorama_cameras
from mvdiffusion.geometry.equirectangular import equirectangular_to_views
from mvdiffusion.manifest import Trajectory, write_geometry

WALL = 2.0
"""Meters from the first camera of a walk to the wall that it sees."""
STEP = 0.25
"""Meters to the right from frame to frame."""


def disks(height: int, width: int, seed: int = 0, closed: bool = False) -> np.ndarray:
    """Disks of many sizes and colors uint8 RGB [H, W, 3]; closed: the left edge meets the right."""
    rng, image = np.random.default_rng(seed), np.full((height, width, 3), 128, np.uint8)
    for _ in range(1500 * width // height):
        x, y = int(rng.integers(width)), int(rng.integers(height))
        radius, color = int(height * rng.uniform(0.006, 0.04)), rng.integers(0, 256, 3).tolist()
        for shift in (-width, 0, width) if closed else (0,):
            cv2.circle(image, (x + shift, y), radius, color, -1)
    return cv2.GaussianBlur(image, (0, 0), 1)


def panorama_views(seed: int, size: int) -> np.ndarray:
    """Eight views uint8 [8, size, size, 3] of a panorama of disks."""
    pixels = disks(2 * size, 4 * size, seed, closed=True)
    K, R = panorama_cameras(size, size)
    image = torch.from_numpy(pixels).permute(2, 0, 1) / 255
    views = equirectangular_to_views(image, K, R, size, size)
    return (views.clamp(0, 1) * 255).round().byte().permute(0, 2, 3, 1).numpy()


def walk_views(seed: int, height: int, count: int = 3) -> np.ndarray:
    """Frames uint8 [count, H, 4/3 H, 3] of a walk along a wall of disks."""
    width = height * 4 // 3
    step = STEP * float(intrinsics(60, height, width)[0, 0]) / WALL
    wall = disks(height, 2 * width, seed)
    return np.stack([_moved(wall, view * step, width) for view in range(count)])


def _moved(wall: np.ndarray, by: float, width: int) -> np.ndarray:
    matrix = np.array([[1, 0, by], [0, 1, 0]], np.float64)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return np.asarray(cv2.warpAffine(wall, matrix, (width, len(wall)), flags=flags))


def write_views(root: Path, samples: dict[str, np.ndarray]) -> Path:
    """Write views without a manifest."""
    for sample_id, views in samples.items():
        (root / sample_id).mkdir(parents=True)
        for view, image in enumerate(views):
            Image.fromarray(image).save(root / sample_id / f"{view}.png")
    return root


def write_walks(root: Path, samples: dict[str, np.ndarray]) -> Path:
    """Write frames of walks with depth and cameras, all of them key frames."""
    write_views(root, samples)
    for sample_id, views in samples.items():
        count, height, width = views.shape[:3]
        K = intrinsics(60, height, width).double().numpy()
        pose = np.stack([np.eye(4)] * count)
        pose[:, 0, 3] = STEP * np.arange(count)
        cameras = Trajectory(tuple(range(count)), tuple(range(count)), np.stack([K] * count), pose)
        depth = torch.full((count, height, width), WALL)
        write_geometry(root / sample_id, cameras, depth)
    return root
