"""Cameras and the mappings between panoramas, views and cube faces.

Pixel centers lie at integers; x right, y down, z forward; rotations are camera-to-world.
"""
