"""Procedural rooms: a small stand-in for Matterport3D and ScanNet that anybody may have."""

from mvdiffusion.preparation.rooms.panoramas import SPLITS, RoomSettings, render_splits, scene_name
from mvdiffusion.preparation.rooms.walks import WALK_SPLITS, WalkSettings, render_walks, walk_name

__all__ = [
    "SPLITS",
    "WALK_SPLITS",
    "RoomSettings",
    "WalkSettings",
    "render_splits",
    "render_walks",
    "scene_name",
    "walk_name",
]
