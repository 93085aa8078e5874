"""Tiny trainings of the base model."""

from tiny_release import origin
from tiny_training import base_folder, fresh_start, rooms, vae_folder

__all__ = ["base_folder", "fresh_start", "origin", "rooms", "vae_folder"]
