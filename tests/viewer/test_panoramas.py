"""Which part of the sphere a panorama shows, against angles in closed form."""

from io import BytesIO

import numpy as np
import pytest
import torch
from PIL import Image

from mvdiffusion.geometry.cameras import level_rotations
from mvdiffusion.geometry.panoramas import stitch
from mvdiffusion.viewer.panoramas import WIDEST, covered_rows, panorama_of


def decoded(jpeg: bytes) -> np.ndarray:
    return np.asarray(Image.open(BytesIO(jpeg)).convert("RGB")).astype(int)


def numbered(height: int) -> np.ndarray:
    """Every pixel tells its row (red) and its column (green)."""
    pixels = np.zeros((height, 2 * height, 3), np.uint8)
    pixels[..., 0] = np.linspace(0, 255, height)[:, None]
    pixels[..., 1] = np.linspace(0, 255, 2 * height)
    return pixels


def coverage(yaws: list[float], fov_deg: float, size: int, height: int) -> torch.Tensor:
    views = torch.ones(len(yaws), 1, size, size)
    return stitch(views, fov_deg, height, level_rotations(yaws))[1]


def test_a_whole_sphere_stays_whole_and_closes() -> None:
    shown = panorama_of(numbered(64))
    assert (shown.vaov, shown.v_offset) == (180.0, 0.0)
    pixels = decoded(shown.jpeg)
    assert pixels.shape == (64, 130, 3)
    assert shown.haov == pytest.approx(360 * 130 / 128)  # a column is as wide as before
    assert abs(pixels[:, 0, 1] - 255).max() < 20, "left of the first column is the last"
    assert pixels[:, -1, 1].max() < 20


def test_the_ring_of_eight_views_has_no_poles() -> None:
    """Between two views, 22.5° from both, 90° of height are 2 atan(cos 22.5°)."""
    covered = coverage([45.0 * view for view in range(8)], 90.0, 128, 402)
    shown = panorama_of(numbered(402), covered)
    row = 180 / 402
    assert shown.vaov == pytest.approx(2 * np.degrees(np.arctan(np.cos(np.pi / 8))), abs=2 * row)
    assert shown.v_offset == 0
    pixels = decoded(shown.jpeg)
    assert shown.vaov / pixels.shape[0] == pytest.approx(row)
    top, _ = covered_rows(covered)
    assert abs(pixels[0, :, 0].mean() - 255 * top / 401) < 1, "the rows are the sphere's own"


def test_what_lies_above_the_horizon_is_not_drawn_about_it() -> None:
    covered = torch.zeros(90, 180, dtype=torch.bool)
    covered[10:40] = True  # pitch +70° to +10°
    shown = panorama_of(numbered(90), covered)
    assert (shown.vaov, shown.v_offset) == (60.0, 40.0)


def test_views_to_one_side_do_not_fill_the_circle() -> None:
    """Views at −30°, 0° and 60° of 60° each: from −60° to 90°, so 180° about the middle."""
    covered = coverage([-30.0, 0.0, 60.0], 60.0, 96, 180)
    shown = panorama_of(numbered(180), covered)
    assert shown.haov == pytest.approx(180, abs=2)
    pixels = decoded(shown.jpeg)
    assert shown.haov / pixels.shape[1] == pytest.approx(1.0)
    left = 127.5 * (1 - shown.haov / 360)
    assert abs(pixels[0, 0, 1] - left) < 6


def test_views_ahead_keep_the_rows_that_all_of_them_show() -> None:
    """Three views of 70°, 60° apart: at their outer edges, 35° from their middles."""
    shown = panorama_of(numbered(360), coverage([-60.0, 0.0, 60.0], 70.0, 128, 360))
    assert shown.haov == pytest.approx(190, abs=2)
    edge = np.degrees(np.arctan(np.tan(np.radians(35)) * np.cos(np.radians(35))))
    assert shown.vaov == pytest.approx(2 * edge, abs=1.5)


def test_large_panoramas_shrink_and_keep_their_angles() -> None:
    covered = torch.zeros(1500, 3000, dtype=torch.bool)
    covered[375:1125] = True
    shown = panorama_of(numbered(1500), covered)
    height, width, _ = decoded(shown.jpeg).shape
    assert (width, height) == (WIDEST + 2, round(750 * WIDEST / 3000))
    assert (shown.vaov, shown.v_offset) == (90.0, 0.0)


def test_gaps_between_views_stay_in_the_panorama() -> None:
    covered = torch.zeros(90, 180, dtype=torch.bool)
    covered[30:60, :50] = covered[20:60, 120:] = True
    shown = panorama_of(numbered(90), covered)
    assert (shown.vaov, shown.v_offset) == (80.0, 10.0)
    assert shown.haov > 360
