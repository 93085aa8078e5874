"""Writes toy samples as other people's code lays them out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import toy
import walks
from PIL import Image


def released_panoramas(
    root: Path, made: dict[str, np.ndarray], real: dict[str, np.ndarray]
) -> Path:
    """The released MVDiffusion's test output: generated and real views side by side.

    Its data loader keeps the newline that ends a caption file's line, and its test step writes
    another behind each prompt: every second line of prompt.txt is empty.
    """
    for sample_id, views in made.items():
        folder = root / sample_id
        folder.mkdir(parents=True)
        for view, image in enumerate(views):
            Image.fromarray(image).save(folder / f"{view}.png")
            Image.fromarray(real[sample_id][view]).save(folder / f"{view}_natural.png")
        with open(folder / "prompt.txt", "w") as file:
            for view in range(8):
                caption = f"A room, side {view}.\n"  # the first line of a caption file
                file.write(f"This is one view of a scene. {caption}" + "\n")
    (root / "0_3_pred.png").write_bytes(b"")  # validation leaves such files beside the folders
    return root


def released_sequences(
    root: Path, made: dict[str, np.ndarray], real: dict[str, np.ndarray]
) -> Path:
    """The released MVDiffusion's depth output; frames by number, cameras as text."""
    K = np.eye(4, dtype=np.float32)
    K[:3, :3] = walks.K
    for sample_id, views in made.items():
        folder = root / sample_id
        folder.mkdir(parents=True)
        np.savetxt(folder / "K.txt", K)
        for number, pose, ours, theirs in zip(
            walks.FRAMES, walks.poses(), views, real[sample_id], strict=True
        ):
            Image.fromarray(ours).save(folder / f"{number}_pred.png")
            Image.fromarray(theirs).save(folder / f"{number}_gt.png")
            millimeters = np.round(1000 * walks.wall_points(pose)[1]).astype(np.uint16)
            Image.fromarray(millimeters).save(folder / f"{number}_depth.png")
            Image.fromarray(ours).save(folder / f"{number}_depth_inv.png")  # a picture of it
            np.savetxt(folder / f"{number}_poses.txt", pose.astype(np.float32))
    return root


def panorama(seed: int) -> np.ndarray:
    """Panorama uint8 [128, 256, 3]; `toy.views_of(seed, seed % 3)` are views of it."""
    pixels = (toy.panorama(seed, seed % 3) * 255).round().byte()
    return np.ascontiguousarray(pixels.permute(1, 2, 0).numpy())


def panfusion(root: Path, count: int, suffix: str = "png") -> Path:
    """PanFusion's output: one panorama and one prompt per sample."""
    for number in range(count):
        folder = root / f"room{number:03d}"
        folder.mkdir(parents=True)
        Image.fromarray(panorama(number)).save(folder / f"pano.{suffix}")
        (folder / "prompt.txt").write_text("A whole room\n")
    return root


def panoramas(root: Path, count: int) -> Path:
    """Equirectangular images in one folder, with one prompt each."""
    root.mkdir(parents=True)
    for number in range(count):
        Image.fromarray(panorama(number)).save(root / f"room{number:03d}.png")
        (root / f"room{number:03d}.txt").write_text("A whole room\n")
    return root


def directions(height: int) -> torch.Tensor:
    """Direction [H, 2 H, 3] (right, down, ahead) that each pixel of a panorama shows."""
    latitude = (0.5 - (torch.arange(height) + 0.5) / height)[:, None] * torch.pi
    longitude = ((torch.arange(2 * height) + 0.5) / height - 1)[None] * torch.pi
    x, z = latitude.cos() * longitude.sin(), latitude.cos() * longitude.cos()
    return torch.stack([x, -latitude.sin().expand_as(x), z], -1)
