"""Walks of a camera through procedural rooms, in ScanNet's exported layout (see `data.scannet`).

Beside the scenes of a split, `<output>/<split>.json` lists them with the settings.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
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
from mvdiffusion.preparation.rooms.paths import walk_poses
from mvdiffusion.preparation.rooms.render import render_frame
from mvdiffusion.preparation.rooms.scenes import (
    Scenes,
    check_counts,
    check_whole,
    read_settings,
)
from mvdiffusion.preparation.rooms.sensor import drop_depth
from mvdiffusion.records import InputError, atomic_output, write_json

WALK_SPLITS = ("train", "validation", "test")
_FIRST_SEED = 100  # of splits; far from those of the panoramas' rooms, so that no room is in both
_KEY_EVERY = 8.5  # frames, or fewer where the sensor has holes


@dataclass(frozen=True)
class WalkSettings:
    """What decides the bytes of the walks.

    Attributes:
        seed: of the whole collection.
        num_scenes: walks by split ("train", "validation", "test"), each through its own room.
        num_frames: of a walk.
        height: frame height in pixels, a multiple of 16.
        width: frame width in pixels, a multiple of 16.
        fov_deg: horizontal field of view in degrees.
        jpeg_quality: 1 … 95.
        overlap: of consecutive key frames, 0 … 1.
        max_depth: range of the depth sensor in meters.
    """

    seed: int
    num_scenes: Mapping[str, int]
    num_frames: int = 72
    height: int = 96
    width: int = 128
    fov_deg: float = 75.0
    jpeg_quality: int = 92
    overlap: float = 0.65
    max_depth: float = 4.5

    def __post_init__(self) -> None:
        """Check the values."""
        check_counts(self.num_scenes, WALK_SPLITS, "walks")
        sizes = {"num_frames": (2, 9999), "height": (16, 4096), "width": (16, 4096)}
        check_whole(self, {"seed": (0, 2**32), "jpeg_quality": (1, 95), **sizes})
        for key in ("height", "width"):
            if getattr(self, key) % 16:
                found = getattr(self, key)
                raise InputError(f"{key}: found {found}; expected a multiple of 16.")
        for key, low, high in (("fov_deg", 10, 150), ("overlap", 0, 1), ("max_depth", 0, 65)):
            value = getattr(self, key)
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise InputError(f"{key}: found {value!r}; expected a number.")
            if not low < value < high:
                raise InputError(f"{key}: found {value}; expected between {low} and {high}.")

    @classmethod
    def from_mapping(cls, settings: Mapping[str, Any]) -> WalkSettings:
        """Read settings as they stand in a configuration.

        Raises:
            InputError: a key is unknown, missing or of the wrong type.
        """
        return read_settings(cls, settings, "walks")


def _walk_name(split: str, scene: int) -> str:
    """Name of a walk's folder."""
    return f"{split}-walk-{scene:05d}"


def _scene_path(split: str, scene: int) -> str:
    return f"{split}/{_walk_name(split, scene)}"


def _write_list(root: Path, split: str, settings: WalkSettings) -> None:
    names = [_walk_name(split, scene) for scene in range(settings.num_scenes[split])]
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
        (folder / "intrinsic" / "intrinsic_depth.txt").write_text(_matrix_text(camera))
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
    color = jpeg_bytes(image, settings.jpeg_quality)
    (folder / "color" / f"{frame}.jpg").write_bytes(color)
    holed = drop_depth(depth, settings.max_depth, dice)
    save_depth(holed, folder / "depth" / f"{frame}.png")
    (folder / "pose" / f"{frame}.txt").write_text(_matrix_text(pose))
    (folder / "prompt" / f"{frame}.txt").write_text(caption_view(room, shown) + "\n")


def _matrix_text(matrix: NDArray) -> str:
    return "".join(" ".join(f"{value:.9f}" for value in row) + "\n" for row in matrix)


WALKS = Scenes("walks", _scene_path, _render_walk, _write_list)
"""Walks through rooms, in ScanNet's layout."""
