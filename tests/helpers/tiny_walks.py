"""A camera that walks along a wavy wall: depth and poses that fit each other."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from mvdiffusion.geometry.cameras import intrinsics, rotation

HEIGHT, WIDTH = 12, 16


def walk(
    frames: int, step: float = 0.1, height: int = HEIGHT, width: int = WIDTH
) -> dict[str, Tensor]:
    """Depth [V, H, W], poses [V, 4, 4] and intrinsics [V, 3, 3] of frames turning to the right."""
    pose = torch.eye(4).repeat(frames, 1, 1)
    for frame in range(frames):
        pose[frame, :3, :3] = rotation(3.0 * frame)
        pose[frame, 0, 3] = step * frame
    columns = torch.arange(width) + torch.arange(frames)[:, None]
    depth = 2 + 0.5 * torch.sin(columns / 5)[:, None].repeat(1, height, 1)
    depth[:, 0, :3] = 0  # nothing measured there
    K = intrinsics(60.0, height, width).repeat(frames, 1, 1)
    return {"depth": depth, "pose": pose, "K": K}


def write_scene(folder: Path, keys: list[int], frames: int, seed: int) -> None:
    """Write a walk with pictures of noise in ScanNet's exported layout."""
    for name in ("color", "depth", "pose", "intrinsic", "prompt"):
        (folder / name).mkdir(parents=True)
    random, cameras = np.random.default_rng(seed), walk(frames)
    for frame in range(frames):
        small = Image.fromarray(random.integers(0, 256, (3, 4, 3), dtype=np.uint8))
        picture = small.resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC)
        picture.save(folder / "color" / f"{frame}.jpg", quality=95)
        millimeters = (1000 * cameras["depth"][frame]).round().numpy().astype(np.uint16)
        Image.fromarray(millimeters).save(folder / "depth" / f"{frame}.png")
        np.savetxt(folder / "pose" / f"{frame}.txt", cameras["pose"][frame].numpy())
        (folder / "prompt" / f"{frame}.txt").write_text(f"a room, no. {frame}\n")
    np.savetxt(folder / "intrinsic" / "intrinsic_depth.txt", cameras["K"][0].numpy())
    (folder / "key_frame_0.6.txt").write_text("".join(f"{key}\n" for key in keys))
    np.save(folder / "valid_frames.npy", np.arange(frames))
