"""Procedural rooms: a small stand-in for Matterport3D that anybody may have."""

from mvdiffusion.data.rooms.split import SPLITS, RoomSettings, render_splits, scene_name

__all__ = ["SPLITS", "RoomSettings", "render_splits", "scene_name"]
