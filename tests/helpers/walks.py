"""A tiny world of walks along a painted wall, whose depth and correspondences have closed forms."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image

HEIGHT, WIDTH = 24, 32
K = np.array([[20.0, 0, 15.5], [0, 20.0, 11.5], [0, 0, 1]])
WALL = 2.0
"""Distance of the wall, the plane z = WALL, in meters."""
FRAMES = (10, 20, 30, 40, 50, 60, 70)
KEY_FRAMES = (0, 3, 6)


def pose(x: float, yaw_deg: float = 0.0, z: float = 0.0) -> np.ndarray:
    """Camera-to-world [4, 4]: moved to the right, turned to the right, moved forwards."""
    c, s = np.cos(np.deg2rad(yaw_deg)), np.sin(np.deg2rad(yaw_deg))
    return np.array([[c, 0, s, x], [0, 1, 0, 0], [-s, 0, c, z], [0, 0, 0, 1.0]])


def poses() -> np.ndarray:
    """Cameras of a walk [7, 4, 4]."""
    return np.stack([pose(0.15 * i, 2.0 * i, 0.05 * i) for i in range(len(FRAMES))])


def wall_points(camera: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Points of the wall that a camera's pixels see [H, W, 3], and their depth [H, W]."""
    x, y = np.meshgrid(np.arange(WIDTH), np.arange(HEIGHT))
    rays = np.stack([x, y, np.ones_like(x)], -1) @ np.linalg.inv(K).T @ camera[:3, :3].T
    depth = (WALL - camera[2, 3]) / rays[..., 2]
    return camera[:3, 3] + rays * depth[..., None], depth


def painting(points: np.ndarray, seed: int) -> np.ndarray:
    """Smooth random colors in [0, 1] of points [..., 3] of the wall."""
    rng = np.random.default_rng(seed)
    waves = rng.normal(0, 2.5, (6, 2))
    phase, weight = rng.uniform(0, 2 * np.pi, (6, 1)), rng.normal(0, 1, (6, 3))
    wave = np.sin(points[..., :2] @ waves.T + phase[:, 0])
    return 1 / (1 + np.exp(-1.2 * wave @ weight))


def frame(camera: np.ndarray, seed: int) -> np.ndarray:
    """Picture uint8 [H, W, 3] of the wall painted with a seed."""
    return np.round(255 * painting(wall_points(camera)[0], seed)).astype(np.uint8)


def real_samples(count: int) -> dict[str, np.ndarray]:
    """Walks whose frames agree."""
    return {f"walk{i:03d}": np.stack([frame(p, i) for p in poses()]) for i in range(count)}


def independent_samples(count: int) -> dict[str, np.ndarray]:
    """Walks each of whose frames shows another painting."""
    return {
        f"walk{i:03d}": np.stack([frame(p, 100 * i + 7 + n) for n, p in enumerate(poses())])
        for i in range(count)
    }


def write_folder(
    root: Path,
    method: str,
    samples: dict[str, np.ndarray],
    settings_sha256: str = "d" * 64,
    manifest: bool = True,
) -> Path:
    """Write a sample folder of the depth task as generators do."""
    depth = np.stack([wall_points(camera)[1] for camera in poses()])
    for sample_id, views in samples.items():
        folder = root / sample_id
        (folder / "depth").mkdir(parents=True)
        for view, image in enumerate(views):
            Image.fromarray(image).save(folder / f"{view}.png")
            millimeters = np.round(1000 * depth[view]).astype(np.uint16)
            Image.fromarray(millimeters).save(folder / "depth" / f"{view}.png")
        lines = [f"This is one view of a scene. A kitchen, frame {view}." for view in FRAMES]
        (folder / "prompt.txt").write_text("\n".join(lines) + "\n")
        cameras = {
            "frames": FRAMES,
            "key_frames": KEY_FRAMES,
            "K": [K.tolist()] * len(FRAMES),
            "pose": poses().tolist(),
        }
        (folder / "cameras.json").write_text(json.dumps(cameras))
    if manifest:
        content = {
            "format": 1,
            "task": "depth",
            "method": method,
            "height": HEIGHT,
            "width": WIDTH,
            "samples": sorted(samples),
            "settings": {},
            "settings_sha256": settings_sha256,
        }
        (root / "manifest.json").write_text(json.dumps(content))
    return root
