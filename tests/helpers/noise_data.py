"""Small rooms and walks whose images are smooth noise, in the layouts of the two datasets.

The walk is along a wavy wall: its depth and poses fit each other.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from mvdiffusion.geometry.cameras import intrinsics, rotation

COLORS = ("red", "green", "blue", "white")
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


def write_rooms(root: Path, split: str, names: Sequence[str], seed: int) -> None:
    """Write rooms in Matterport3D's layout and the split's list; captions name a color."""
    random, entries = np.random.default_rng(seed), []
    for index, name in enumerate(names):
        faces, captions = root / name / "matterport_skybox_images", root / name / "blip3"
        faces.mkdir(parents=True)
        captions.mkdir()
        for face in range(6):
            small = random.integers(0, 256, (4, 4, 3), dtype=np.uint8)
            path = faces / f"{name}_skybox{face}_sami.jpg"
            Image.fromarray(small).resize((32, 32), Image.Resampling.BICUBIC).save(path)
        for degrees in range(0, 360, 45):
            text = f"a {COLORS[(index + degrees) % 4]} room, no. {index}\nsecond line\n"
            (captions / f"{name}_{degrees}.txt").write_text(text)
        entries.append(
            [f"{name}/matterport_skybox_images/{name}_skybox{face}_sami.jpg" for face in range(6)]
        )
    np.save(root / f"{split}.npy", np.array(entries))
