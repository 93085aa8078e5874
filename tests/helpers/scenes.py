"""A scene in ScanNet's layout whose surfaces are known: a wall and a floor."""

from pathlib import Path

import numpy as np
from PIL import Image

HEIGHT, WIDTH, FOCAL = 48, 64, 50.0
WALL, FLOOR = 2.0, 0.6  # z of the wall, y of the floor (y points down), meters


def pose(frame: int) -> np.ndarray:
    """Camera-to-world: steps to the right, turning a little."""
    angle = np.radians(2.0 * frame)
    made = np.eye(4)
    made[:3, :3] = [
        [np.cos(angle), 0, np.sin(angle)],
        [0, 1, 0],
        [-np.sin(angle), 0, np.cos(angle)],
    ]
    made[0, 3] = 0.05 * frame
    return made


def intrinsics() -> np.ndarray:
    return np.array([[FOCAL, 0, (WIDTH - 1) / 2], [0, FOCAL, (HEIGHT - 1) / 2], [0, 0, 1]])


def render(frame: int) -> tuple[np.ndarray, np.ndarray]:
    """Color [H, W, 3] uint8 and depth [H, W] meters: where the rays meet wall or floor."""
    camera = pose(frame)
    columns, rows = np.meshgrid(np.arange(WIDTH), np.arange(HEIGHT))
    rays = np.stack([columns, rows, np.ones_like(rows)], -1) @ np.linalg.inv(intrinsics()).T
    world = rays @ camera[:3, :3].T
    origin = camera[:3, 3]
    to_wall = (WALL - origin[2]) / world[..., 2]
    to_floor = np.where(
        world[..., 1] > 0, (FLOOR - origin[1]) / np.maximum(world[..., 1], 1e-9), 99
    )
    color = np.where((to_wall < to_floor)[..., None], [200, 60, 40], [40, 60, 200])
    return color.astype(np.uint8), np.minimum(to_wall, to_floor)


def write_scene(folder: Path, frames: int, keys: list[int] | None) -> Path:
    """Write the scene; `keys` None leaves key frames and valid frames out."""
    for name in ("color", "depth", "pose", "intrinsic", "prompt"):
        (folder / name).mkdir(parents=True)
    for frame in range(frames):
        color, depth = render(frame)
        Image.fromarray(color).save(folder / "color" / f"{frame}.jpg", quality=95)
        Image.fromarray((depth * 1000).round().astype(np.uint16)).save(
            folder / "depth" / f"{frame}.png"
        )
        np.savetxt(folder / "pose" / f"{frame}.txt", pose(frame))
        (folder / "prompt" / f"{frame}.txt").write_text(f"a red wall, no. {frame}\n")
    np.savetxt(folder / "intrinsic" / "intrinsic_depth.txt", intrinsics())
    if keys is not None:
        (folder / "key_frame_0.6.txt").write_text("".join(f"{key}\n" for key in keys))
        np.save(folder / "valid_frames.npy", np.arange(frames))
    return folder
