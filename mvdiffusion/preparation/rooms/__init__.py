"""Procedural rooms: a small stand-in for Matterport3D and ScanNet that anybody may have."""

from mvdiffusion.preparation.rooms.panoramas import ROOMS, RoomSettings
from mvdiffusion.preparation.rooms.walks import WALKS, WalkSettings

__all__ = ["ROOMS", "WALKS", "RoomSettings", "WalkSettings"]
