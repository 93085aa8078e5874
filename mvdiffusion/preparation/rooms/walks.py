"""Walks of a camera through procedural rooms, in ScanNet's exported layout (see `data.scannet`).

Beside the scenes of a split, `<output>/<split>.json` lists them with the settings.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mvdiffusion.geometry.cameras import intrinsics
from mvdiffusion.images import jpeg_bytes, save_depth
from mvdiffusion.preparation.key_frames import write_key_frames
from mvdiffusion.preparation.rooms.captions import caption_view
from mvdiffusion.preparation.rooms.design import Room, design_room
from mvdiffusion.preparation.rooms.furniture import Dice
from mvdiffusion.preparation.rooms.paint import Array
from mvdiffusion.preparation.rooms.paths import walk_poses
from mvdiffusion.preparation.rooms.render import render_frame
from mvdiffusion.preparation.rooms.scenes import Scenes
from mvdiffusion.preparation.settings import WalkSettings
from mvdiffusion.records import atomic_output, write_json

WALK_SPLITS = ("train", "validation", "test")
_FIRST_SEED = 100  # of splits; far from those of the panoramas' rooms, so that no room is in both
_KEY_EVERY = 8.5  # frames, or fewer where the sensor has holes


def _scene_path(split: str, scene: int) -> str:
    return f"{split}/{split}-walk-{scene:05d}"


def _write_list(root: Path, split: Any, settings: WalkSettings) -> None:
    names = [Path(_scene_path(split, scene)).name for scene in range(settings.num_scenes[split])]
    write_json(root / f"{split}.json", {"scenes": names, "settings": asdict(settings)})


def _render_walk(root: Path, split: str, scene: int, settings: WalkSettings) -> None:
    seed = (settings.seed, _FIRST_SEED + WALK_SPLITS.index(split), scene)
    dice = Dice(*seed)
    room = design_room(dice)
    loss = (1 - settings.overlap) / _KEY_EVERY
    poses = walk_poses(room, settings.num_frames, loss, dice)
    K = intrinsics(settings.fov_deg, settings.height, settings.width).double().numpy()
    with atomic_output(root / _scene_path(split, scene)) as folder:
        for part in ("color", "depth", "pose", "prompt", "intrinsic"):
            (folder / part).mkdir(parents=True)
        camera = np.eye(4)
        camera[:3, :3] = K
        np.savetxt(folder / "intrinsic" / "intrinsic_depth.txt", camera, "%.9f")
        for frame, pose in enumerate(poses):
            _write_frame(folder, frame, room, K, pose, settings, Dice(*seed, frame))
        write_key_frames(folder, settings.overlap, counted="all")  # as recorded results had it


def _write_frame(
    folder: Path,
    frame: int,
    room: Room,
    K: NDArray,
    pose: NDArray,
    settings: WalkSettings,
    dice: Dice,
) -> None:
    image, depth, shown = render_frame(room, K, pose, settings.height, settings.width)
    (folder / "color" / f"{frame}.jpg").write_bytes(jpeg_bytes(image, settings.jpeg_quality))
    save_depth(drop_depth(depth, settings.max_depth, dice), folder / "depth" / f"{frame}.png")
    np.savetxt(folder / "pose" / f"{frame}.txt", pose, "%.9f")
    (folder / "prompt" / f"{frame}.txt").write_text(caption_view(room, shown) + "\n")


def drop_depth(depth: Array, max_depth: float, dice: Dice) -> Array:
    """Make holes in a depth image.

    Args:
        depth: [H, W] in meters.
        max_depth: range of the sensor in meters.
        dice: what decides where.

    Returns:
        Depth [H, W], 0 in the holes: beyond the range, often where depth changes fast from pixel to
        pixel (edges, grazing incidence), and in one to five ragged patches.
    """
    low, high = _around(np.minimum, depth), _around(np.maximum, depth)
    chance = np.clip(((high - low) / low - np.float32(0.04)) * np.float32(10), 0, np.float32(0.85))
    holes = (dice.table(*depth.shape) < chance) | (depth > max_depth)
    ragged = dice.table(*depth.shape)
    for _ in range(1 + dice.index(5)):
        holes |= _patch(depth.shape, dice) + np.float32(0.5) * ragged < 1
    return np.where(holes, np.float32(0), depth)


def _around(choose: np.ufunc, depth: Array) -> Array:
    """The least or greatest of each pixel's 3 x 3 neighbors [H, W]."""
    padded = np.pad(depth, 1, "edge")
    rows = choose(choose(padded[:-2], padded[1:-1]), padded[2:])
    return choose(choose(rows[:, :-2], rows[:, 1:-1]), rows[:, 2:])


def _patch(shape: tuple[int, ...], dice: Dice) -> Array:
    """Squared distance [H, W] from a random place, in units of a random ellipse."""
    height, width = shape
    x, y = width * dice.between(0, 1), height * dice.between(0, 1)
    across, along = (width * dice.between(0.03, 0.09) for _ in range(2))
    dx = ((np.arange(width) - x) / across).astype(np.float32)
    dy = ((np.arange(height) - y) / along).astype(np.float32)[:, None]
    return dx * dx + dy * dy


WALKS = Scenes("walks", _scene_path, _render_walk, _write_list)
"""Walks through rooms, in ScanNet's layout."""
