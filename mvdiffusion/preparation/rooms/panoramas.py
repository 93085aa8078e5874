"""Writing whole splits of rooms in Matterport3D's layout, resumably and reproducibly."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mvdiffusion.data.splits import FACES, caption_name, face_names, write_split
from mvdiffusion.images import jpeg_bytes
from mvdiffusion.preparation.rooms.captions import caption_views
from mvdiffusion.preparation.rooms.design import design_room
from mvdiffusion.preparation.rooms.furniture import Dice
from mvdiffusion.preparation.rooms.render import render_faces
from mvdiffusion.preparation.rooms.scenes import Scenes
from mvdiffusion.preparation.settings import RoomSettings
from mvdiffusion.records import atomic_output

SPLITS = ("train", "validation", "test", "extractor")  # the position is part of a room's seed


def _scene_name(split: str, scene: int) -> str:
    """Name of a room, which is also its panorama's id."""
    return f"{split}-{scene:05d}"  # no underscore: the released loader splits names there


def _write_list(root: Path, split: Any, settings: RoomSettings) -> None:
    names = [_scene_name(split, scene) for scene in range(settings.num_scenes[split])]
    write_split(root / f"{split}.npy", zip(names, names, strict=True))


def _render_scene(root: Path, split: str, scene: int, settings: RoomSettings) -> None:
    name = _scene_name(split, scene)
    room = design_room(Dice(settings.seed, SPLITS.index(split), scene))
    faces, shown = render_faces(room, settings.face_size)
    with atomic_output(root / name) as folder:
        (folder / FACES).mkdir(parents=True)
        for file, image in zip(face_names(name), faces, strict=True):
            (folder / FACES / file).write_bytes(jpeg_bytes(image, settings.jpeg_quality))
        for degrees, caption in caption_views(room, shown).items():
            path = folder / caption_name(name, degrees)
            path.parent.mkdir(exist_ok=True)
            path.write_text(caption + "\n")


ROOMS = Scenes("rooms", _scene_name, _render_scene, _write_list)
"""Rooms as panoramas, in Matterport3D's layout."""
