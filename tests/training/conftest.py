"""Tiny rooms and models, so that every stage trains in seconds."""

from tiny_training import base_folder, fresh_start, rooms, vae_folder  # noqa: F401
