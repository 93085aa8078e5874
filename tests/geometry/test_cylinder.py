"""Strips against closed forms."""

import math

import pytest
import torch

from mvdiffusion.geometry.cameras import panorama_cameras
from mvdiffusion.geometry.cylinder import strip_columns, strip_to_views


def painted(rows: int, columns: int, top: float) -> torch.Tensor:
    """A strip [3, H, W] of cos and sin of the longitude and of the height on the cylinder."""
    longitude = ((torch.arange(columns) + 0.5) / columns - 0.5) * 2 * math.pi
    height = ((torch.arange(rows) + 0.5) / rows * 2 - 1) * top  # downwards
    around = torch.stack([longitude.cos(), longitude.sin()])[:, None].expand(-1, rows, -1)
    return torch.cat([around, height[:, None].expand(-1, columns)[None]])


@pytest.mark.parametrize("fov_deg", [90.0, 60.0])
def test_views_show_the_longitudes_and_heights_of_their_pixels(fov_deg):
    size, top = 32, math.tan(math.radians(fov_deg) / 2)
    K, R = panorama_cameras(size, size, 8, fov_deg)
    views = strip_to_views(painted(size, 400, top), top, K, R, size, size)
    axis = (torch.arange(size) + 0.5) / size * 2 - 1
    y, x = torch.meshgrid(axis * top, axis * top, indexing="ij")  # in focal lengths
    for view in range(8):
        longitude = torch.atan(x) + math.radians(45 * view)
        assert (views[view, 0] - longitude.cos()).abs().max() < 1e-3
        assert (views[view, 1] - longitude.sin()).abs().max() < 1e-3
        # The upper- and lowermost half pixel of the middle column repeats the border's.
        height = y / (1 + x**2).sqrt()
        assert (views[view, 2] - height).abs().max() < 0.3 * top / size
        assert height.abs().max() < top, "the strip covers the whole view"


def test_columns_follow_from_the_scale_in_the_middle_of_a_view():
    assert strip_columns(64, 90.0, 1) == 201  # π · 64
    assert strip_columns(64, 90.0, 16) == 208
    assert strip_columns(8, 90.0, 2) == 26
    assert strip_columns(10, 2 * math.degrees(math.atan(0.5)), 1) == round(2 * math.pi * 10)
