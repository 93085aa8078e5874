"""Warps against closed forms: turns of a camera, and two walls of which one hides the other."""

import math

import numpy as np
import pytest
import torch
from scipy.ndimage import binary_dilation
from torch import Tensor

from mvdiffusion.geometry.cameras import intrinsics, panorama_cameras, rotation
from mvdiffusion.geometry.homography import homography
from mvdiffusion.geometry.warping import DepthViews, erode, warp_by_depth, warp_by_homography

SIZE = 64


def columns(height: int, width: int) -> tuple[Tensor, Tensor]:
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    return x.double(), y.double()


def test_a_turn_of_the_camera_moves_columns_by_its_angle() -> None:
    """A column at angle a of the next view lies at angle a + 45 degrees of the view before it."""
    K, R = panorama_cameras(SIZE, SIZE)
    x, y = columns(SIZE, SIZE)
    picture = torch.stack([x, y])[None].float()  # its values are its own pixels
    warped, known = warp_by_homography(picture, homography(K[1], R[1], K[0], R[0]))
    focal, center = SIZE / 2, (SIZE - 1) / 2
    angle = torch.atan((x - center) / focal)
    expected_x = center + focal * torch.tan(angle + math.radians(45))
    # A row keeps its slope: y over the distance along the ray to the image plane.
    expected_y = center + (y - center) * torch.cos(angle) / torch.cos(angle + math.radians(45))
    inside = (angle < 0) & (expected_y >= -0.5) & (expected_y <= SIZE - 0.5)
    inside &= expected_x <= SIZE - 0.5
    assert torch.equal(known, inside)
    clear = inside & (expected_x <= SIZE - 1) & (expected_y >= 0) & (expected_y <= SIZE - 1)
    error = warped[0] - torch.stack([expected_x, expected_y])
    assert error[:, clear].abs().max() < 1e-3


def test_nothing_is_known_behind_the_camera() -> None:
    K, R = panorama_cameras(SIZE, SIZE)
    _, known = warp_by_homography(torch.ones(1, 1, SIZE, SIZE), homography(K[4], R[4], K[0], R[0]))
    assert not known.any()


FAR, NEAR = 4.0, 2.0
FOCAL, STEP = SIZE / 2, 0.5
"""Of a field of view of 90 degrees, and of a camera that steps to the right, in meters."""


def two_walls(camera_x: float) -> tuple[Tensor, Tensor]:
    """Depth and place (world x) of what a camera's pixels see.

    A near wall, which ends at x = 0, hides the left of a far one.
    """
    x, _ = columns(SIZE, SIZE)
    ray = (x - (SIZE - 1) / 2) / FOCAL
    is_near = camera_x + ray * NEAR <= 0
    depth = torch.where(is_near, NEAR, FAR)
    return depth.float(), (camera_x + ray * depth).float()


def walls_seen_from(camera_x: float) -> DepthViews:
    pose = torch.eye(4)[None].clone()
    pose[0, 0, 3] = camera_x
    return DepthViews(two_walls(camera_x)[0][None], intrinsics(90, SIZE, SIZE)[None], pose)


@pytest.mark.parametrize("step", [-STEP, STEP])
def test_what_a_wall_hid_in_the_view_before_is_unknown(step: float) -> None:
    """From x = step the far wall is hidden up to x = -step, where a ray past the edge meets it.

    Its place on the view before is covered by the near wall, whose picture it must not get.
    """
    picture = two_walls(step)[1][None, None]  # every pixel is painted with the place that it shows
    warped, known = warp_by_depth(picture, walls_seen_from(step), walls_seen_from(0.0))
    depth, place = two_walls(0.0)
    borders = (place, place + step, (place - step) / depth - 1, (place - step) / depth + 1)
    clear = torch.stack([border.abs() > 0.1 for border in borders]).all(0)  # of a pixel's width
    in_view = (place - step).abs() <= depth  # 90 degrees
    visible = (depth == NEAR) | (place > -step)
    assert torch.equal(known[0][clear], (in_view & visible)[clear])
    assert ((in_view & ~visible & clear).sum() > SIZE) == (step < 0), "only then a strip is hidden"
    assert (warped[0, 0] - place)[known[0] & clear].abs().max() < 1e-3


def test_pixels_without_depth_are_unknown_and_an_identity_keeps_everything_else() -> None:
    view = walls_seen_from(0.0)
    picture = torch.rand(1, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    view.depth[0, :3, :5] = 0
    warped, known = warp_by_depth(picture, view, view, "nearest")
    assert not known[0, :3, :5].any()
    assert known.sum() == SIZE * SIZE - 15
    assert torch.equal(warped[0][:, known[0]], picture[0][:, known[0]])


def test_a_turn_with_depth_is_a_homography() -> None:
    """Without a step, depth does not matter."""
    K, turned = intrinsics(90, SIZE, SIZE), rotation(30)
    picture = torch.rand(1, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    poses = torch.eye(4).repeat(2, 1, 1)
    poses[1, :3, :3] = turned
    rays = torch.stack([*columns(SIZE, SIZE), torch.ones(SIZE, SIZE).double()], -1).float()
    rays = rays @ torch.inverse(K).T @ turned.T
    sphere = 3.0 / rays.norm(dim=-1)  # depth of a sphere about the camera, in both views
    plain = 3.0 / (rays @ turned).norm(dim=-1)
    views = [
        DepthViews(d[None], K[None], pose[None])
        for d, pose in zip((plain, sphere), poses, strict=True)
    ]
    warped, known = warp_by_depth(picture, *views)
    expected, inside = warp_by_homography(picture, homography(K, turned, K, torch.eye(3)))
    assert (known[0] == inside).float().mean() > 0.99
    both = known[0] & inside
    assert (warped - expected)[..., both].abs().max() < 1e-3


def test_smaller_views_have_the_same_rays() -> None:
    view = walls_seen_from(0.0)
    small = view.resized(8, 8)
    assert small.depth.shape == (1, 8, 8)
    corner, smaller = torch.tensor([-0.5, -0.5, 1.0]), torch.tensor([-0.5, -0.5, 1.0])
    rays = torch.inverse(view.K[0]) @ corner, torch.inverse(small.K[0]) @ smaller
    torch.testing.assert_close(*rays)
    assert set(small.depth.unique().tolist()) == {NEAR, FAR}


def test_dilation_is_a_square_about_every_unknown_pixel() -> None:
    known = torch.rand(2, 3, 20, 30, generator=torch.Generator().manual_seed(0)) > 0.02
    for pixels in (0, 1, 3):
        found = erode(known, pixels)
        square = np.ones((2 * pixels + 1,) * 2, bool)
        for sample in range(2):
            for view in range(3):
                unknown = ~known[sample, view].numpy()
                expected = binary_dilation(unknown, square)
                assert np.array_equal(~found[sample, view].numpy(), expected)
    assert erode(torch.ones(4, 4, dtype=torch.bool), 2).all(), "nothing comes in from the border"
