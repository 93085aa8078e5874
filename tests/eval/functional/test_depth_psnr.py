"""Depth consistency against closed forms and other libraries."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import walks
from scipy.ndimage import map_coordinates

from mvdiffusion_eval.functional.depth_psnr import Camera, depth_psnr, shared_pixels
from mvdiffusion_eval.functional.psnr import MAX_PSNR_DB, image_psnr

LIMIT = 0.5


def wall_camera(pose: np.ndarray) -> Camera:
    return Camera(walks.wall_points(pose)[1], walks.K, pose)


def picture(pose: np.ndarray, seed: int = 0) -> np.ndarray:
    return walks.frame(pose, seed) / 255


def test_a_frame_agrees_with_itself_everywhere() -> None:
    camera = wall_camera(walks.pose(0.3, 20))
    shared = shared_pixels(camera, camera, LIMIT)
    assert shared.mask.mean() == 1
    assert depth_psnr(picture(camera.pose), picture(camera.pose), shared) == MAX_PSNR_DB


def test_sideways_motion_past_a_wall_is_a_shift_by_focal_length_over_depth() -> None:
    """0.3 m at 2 m with f = 20 px: 3 px. The pictures need not agree to check the places."""
    query, target = wall_camera(walks.pose(0.0)), wall_camera(walks.pose(0.3))
    shared = shared_pixels(query, target, LIMIT)
    row, column = np.nonzero(shared.mask)
    assert set(column) == set(range(3, walks.WIDTH))  # the first three have left the picture
    np.testing.assert_allclose(shared.xy, np.stack([column - 3, row], -1), atol=1e-9)
    noise = np.random.default_rng(0).random((walks.HEIGHT, walks.WIDTH, 3))
    moved = np.roll(noise, -3, axis=1)
    assert depth_psnr(noise, moved, shared) == MAX_PSNR_DB
    shifted = np.clip(moved + 0.1, 0, 2)
    assert depth_psnr(noise, shifted, shared) == pytest.approx(20)


def test_the_error_is_pooled_over_pixels_and_channels() -> None:
    camera = wall_camera(walks.pose(0.0))
    gray = np.full((walks.HEIGHT, walks.WIDTH, 3), 0.5)
    other = gray.copy()
    other[: walks.HEIGHT // 2, :, 0] += 0.3  # half of the pixels, one channel of three
    expected = -10 * np.log10(0.09 / 6)
    shared = shared_pixels(camera, camera, LIMIT)
    assert depth_psnr(gray, other, shared) == pytest.approx(expected)


@pytest.mark.parametrize("turn", [-12.0, 0.0, 9.0])
def test_places_are_those_of_the_points_seen(turn: float) -> None:
    """Project the wall's points, known in closed form, into the target by hand."""
    query, target = wall_camera(walks.pose(0.1, 3)), wall_camera(walks.pose(0.25, turn, 0.2))
    shared = shared_pixels(query, target, LIMIT)
    points = walks.wall_points(query.pose)[0][shared.mask]
    local = (points - target.pose[:3, 3]) @ target.pose[:3, :3]
    projected = local @ walks.K.T
    np.testing.assert_allclose(shared.xy, projected[:, :2] / projected[:, 2:], atol=1e-9)
    assert 0.5 < shared.mask.mean() < 1


@pytest.mark.parametrize("library", ["opencv", "scipy"])
def test_psnr_equals_that_of_other_libraries_resampling(library: str) -> None:
    query, target = wall_camera(walks.pose(0.0)), wall_camera(walks.pose(0.21, 5))
    one, two = picture(query.pose, 1), picture(target.pose, 2)
    shared = shared_pixels(query, target, LIMIT)
    x, y = shared.xy.T
    if library == "opencv":
        maps = (axis.astype(np.float32)[None] for axis in (x, y))
        sampled = cv2.remap(two.astype(np.float32), *maps, cv2.INTER_LINEAR)[0]
        tolerance = 0.05  # it rounds places to 1/32 px
    else:
        sampled = np.stack([map_coordinates(two[..., c], [y, x], order=1) for c in range(3)], -1)
        tolerance = 1e-6
    expected = -10 * np.log10(np.square(one[shared.mask] - sampled).mean())
    assert depth_psnr(one, two, shared) == pytest.approx(expected, abs=tolerance)


def test_frames_of_one_wall_agree_and_wrong_cameras_or_walls_do_not() -> None:
    first, second = walks.pose(0.0), walks.pose(0.25, 4)
    shared = shared_pixels(wall_camera(first), wall_camera(second), LIMIT)
    assert depth_psnr(picture(first), picture(second), shared) > 40
    assert depth_psnr(picture(first), picture(second, seed=1), shared) < 20
    mistaken = Camera(wall_camera(second).depth, walks.K, walks.pose(-0.25, 4))
    wrong = shared_pixels(wall_camera(first), mistaken, LIMIT)
    assert depth_psnr(picture(first), picture(second), wrong) < 30


def test_pixels_without_depth_at_either_side_are_dropped() -> None:
    query, target = wall_camera(walks.pose(0.0)), wall_camera(walks.pose(0.3))
    query.depth[5] = 0
    target.depth[:, 10] = 0
    mask = shared_pixels(query, target, LIMIT).mask
    assert not mask[5].any()
    assert not mask[:, 13].any()  # the shift is 3 px
    assert mask.sum() == (walks.HEIGHT - 1) * (walks.WIDTH - 3 - 1)


@pytest.mark.parametrize(("nearer", "kept"), [(0.49, True), (0.51, False)])
def test_half_a_meter_decides_what_is_hidden(nearer: float, kept: bool) -> None:
    query, target = wall_camera(walks.pose(0.0)), wall_camera(walks.pose(0.3))
    target.depth[8:12, 8:12] -= nearer  # something stands before the wall
    mask = shared_pixels(query, target, LIMIT).mask
    assert mask[8:12, 11:15].all() == kept
    assert mask[8:12, 11:15].any() == kept
    assert mask[0, 11:15].all()


def test_the_warp_border_is_not_compared() -> None:
    """White frames: any black mixed in beyond the border would cost dozens of dB."""
    query, target = wall_camera(walks.pose(0.0)), wall_camera(walks.pose(0.17, 7, 0.1))
    shared = shared_pixels(query, target, LIMIT)
    assert (shared.xy >= 0).all()
    assert (shared.xy <= [walks.WIDTH - 1, walks.HEIGHT - 1]).all()
    white = np.ones((walks.HEIGHT, walks.WIDTH, 3))
    assert depth_psnr(white, white, shared) == MAX_PSNR_DB


def test_what_lies_behind_the_target_is_not_compared() -> None:
    query, target = wall_camera(walks.pose(0.0)), wall_camera(walks.pose(0.0))
    behind = Camera(target.depth, walks.K, walks.pose(0.0, 180))
    shared = shared_pixels(query, behind, 100.0)
    assert shared.mask.mean() == 0
    assert np.isnan(depth_psnr(picture(query.pose), picture(query.pose), shared))


def test_image_psnr_is_the_closed_form() -> None:
    gray = np.full((4, 4, 3), 0.5)
    assert image_psnr(gray, gray + 0.01) == pytest.approx(40)
    assert image_psnr(gray, gray) == MAX_PSNR_DB
