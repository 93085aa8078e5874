"""Keypoint matches against closed forms, OpenCV's matcher and textures made here."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import walks
from scipy.ndimage import map_coordinates
from textures import disks

from mvdiffusion_eval.functional import cross_view_psnr, depth_psnr
from mvdiffusion_eval.functional.cross_view_psnr import overlap_of
from mvdiffusion_eval.functional.depth_psnr import Camera
from mvdiffusion_eval.functional.keypoint_matches import (
    FAR,
    FEW_MATCHES,
    RATIO,
    Keypoints,
    agreement,
    find_keypoints,
    match,
    match_errors,
)

SIZE, YAWS = 256, (0.0, 45.0)


def rotated_pair() -> tuple[np.ndarray, np.ndarray]:
    """A view and what a camera turned by 45 degrees sees, by the rays of its pixels."""
    view, f, c = disks(SIZE, SIZE), SIZE / 2, (SIZE - 1) / 2
    y, x = np.mgrid[:SIZE, :SIZE]
    yaw = np.radians(45)
    rays = np.stack([(x - c) / f, (y - c) / f, np.ones((SIZE, SIZE))], -1)
    turn = np.array([[np.cos(yaw), 0, np.sin(yaw)], [0, 1, 0], [-np.sin(yaw), 0, np.cos(yaw)]])
    seen = rays @ turn.T  # in the first camera
    front = seen[..., 2] > 0
    at = seen[..., :2] / np.where(front, seen[..., 2], 1)[..., None] * f + c
    target = np.stack(
        [map_coordinates(view[..., k].astype(float), at[..., ::-1].T, order=3, mode="nearest").T
         for k in range(3)], -1)  # fmt: skip
    return view, np.where(front[..., None], target, 128).clip(0, 255).astype(np.uint8)


def errors_of(query: np.ndarray, target: np.ndarray) -> np.ndarray:
    overlap = overlap_of(0, 1, 90, YAWS, SIZE, SIZE)
    found = [find_keypoints(view) for view in (query, target)]
    xy, seen = cross_view_psnr.seen_points(found[0].xy, overlap)
    return match_errors(*found, np.where(seen[:, None], xy, np.nan))


def test_a_known_rotation_is_met_within_a_fraction_of_a_pixel() -> None:
    errors = errors_of(*rotated_pair())
    assert len(errors) > 40
    assert np.median(errors) < 0.5
    assert agreement(errors, 1.0).share > 0.75


@pytest.mark.parametrize("shift", [2, 5])
def test_a_shift_is_the_median_error(shift: int) -> None:
    query, target = rotated_pair()
    errors = errors_of(query, np.roll(target, shift, axis=1))
    assert np.median(errors) == pytest.approx(shift, abs=0.3)
    assert agreement(errors, 1.0).share < 0.15


def test_exposure_moves_nothing_and_the_same_view_again_is_not_in_place() -> None:
    query, target = rotated_pair()
    plain = agreement(errors_of(query, target), 1.0)
    darker = agreement(errors_of(query, (target * 0.85).astype(np.uint8)), 1.0)
    assert darker.share == pytest.approx(plain.share, abs=0.05)
    assert darker.correct == pytest.approx(plain.correct, rel=0.15)
    again = errors_of(query, query)
    assert len(again) > 40  # found again, each where it was
    assert agreement(again, 1.0).correct == 0


def test_matches_are_those_of_opencv() -> None:
    query, target = (find_keypoints(view).descriptors for view in rotated_pair())
    pairs = cv2.BFMatcher(cv2.NORM_L2).knnMatch(query, target, k=2)
    back = cv2.BFMatcher(cv2.NORM_L2).match(target, query)
    nearest = {m.queryIdx: m.trainIdx for m in back}
    expected = [
        (one.queryIdx, one.trainIdx)
        for one, other in pairs
        if one.distance < RATIO * other.distance and nearest[one.trainIdx] == one.queryIdx
    ]
    assert len(expected) > 40
    assert [tuple(pair) for pair in match(query, target)] == expected


def test_keypoints_do_not_depend_on_threads() -> None:
    view, threads = disks(SIZE, SIZE), cv2.getNumThreads()
    found = []
    for count in (1, 4):
        cv2.setNumThreads(count)
        found.append(find_keypoints(view))
    cv2.setNumThreads(threads)
    np.testing.assert_array_equal(found[0].xy, found[1].xy)
    np.testing.assert_array_equal(found[0].descriptors, found[1].descriptors)


def test_an_empty_view_has_no_keypoint_and_a_pair_with_one_no_match() -> None:
    empty = find_keypoints(np.full((64, 64, 3), 128, np.uint8))
    assert empty.xy.shape == (0, 2)
    full = find_keypoints(disks(64, 64))
    for query, target in ((empty, full), (full, empty), (full, Keypoints(*one_of(full)))):
        assert match_errors(query, target, query.xy).shape == (0,)
    nowhere = np.full_like(full.xy, np.nan)
    assert match_errors(full, full, nowhere).shape == (0,)


def one_of(keypoints: Keypoints) -> tuple[np.ndarray, np.ndarray]:
    return keypoints.xy[:1], keypoints.descriptors[:1]


def test_few_matches_never_make_a_large_share() -> None:
    assert agreement(np.zeros(1), 2.0).share == 1 / FEW_MATCHES
    assert agreement(np.zeros(FEW_MATCHES), 2.0).share == 1
    assert agreement(np.zeros(0), 2.0).error == 2 * FAR
    assert agreement(np.full(30, 900.0), 2.0).error == 2 * FAR
    assert agreement(np.array([1.0, 2.0, 2.1]), 2.0).correct == 2


def test_points_of_a_turned_view_lie_where_their_rays_fall() -> None:
    """A point straight ahead of the second camera lies at tan(45 degrees) f in the first."""
    overlap = overlap_of(0, 1, 100, YAWS, SIZE, SIZE)
    f, c = SIZE / 2 / np.tan(np.radians(50)), (SIZE - 1) / 2
    xy, seen = cross_view_psnr.seen_points(np.array([[c + f, c], [c, c], [c - 1, c]]), overlap)
    np.testing.assert_allclose(xy[0], [c, c], atol=1e-6)
    np.testing.assert_allclose(xy[1], [c - f, c], atol=1e-6)
    assert seen.tolist() == [True, True, True]
    assert not cross_view_psnr.seen_points(np.array([[0, c]]), overlap)[1].any()


def test_points_of_a_walk_are_carried_by_their_depth() -> None:
    """0.3 m to the right at 2 m with f = 20 px: 3 px to the left, unless something hides them."""
    query, target = (
        Camera(walks.wall_points(pose)[1], walks.K, pose)
        for pose in (walks.pose(0.0), walks.pose(0.3))
    )
    points = np.array([[10.3, 7.8], [2.4, 7.0], [20.0, 5.0]])
    xy, seen = depth_psnr.seen_points(points, query, target, 0.5)
    np.testing.assert_allclose(xy, points - [3, 0], atol=1e-9)
    assert seen.tolist() == [True, False, True]
    nearer = target.depth.copy()
    nearer[5, 17] = 1.0  # before the third point
    hidden = Camera(nearer, walks.K, target.pose)
    assert depth_psnr.seen_points(points, query, hidden, 0.5)[1].tolist() == [True, False, False]
    query.depth[8, 10] = 0  # unknown, at the pixel nearest to the first
    assert not depth_psnr.seen_points(points, query, target, 0.5)[1][0]
