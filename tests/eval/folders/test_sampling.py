"""Sampling of crops: as other people's code does it, by its formulas or its package."""

from __future__ import annotations

import cv2
import numpy as np
import py360convert
import pytest
import torch
from torchvision.transforms import Resize

from mvdiffusion.geometry.cameras import rotation
from mvdiffusion_eval.folders.crops import cube_6, level_8, sphere_20
from mvdiffusion_eval.folders.sampling import SAMPLINGS, enlarged, panfusion

HEIGHT, SIZE = 256, 149


@pytest.fixture(scope="module")
def panorama() -> np.ndarray:
    """A closed panorama uint8 [256, 512, 3] with edges and grain, and flat patches."""
    rng = np.random.default_rng(0)
    patches = rng.uniform(0, 255, (8, 16, 3))
    coarse = cv2.resize(patches, (2 * HEIGHT, HEIGHT), interpolation=cv2.INTER_NEAREST)
    pixels = cv2.GaussianBlur(coarse, (0, 0), 2) + rng.normal(0, 6, coarse.shape)
    return pixels.clip(0, 255).astype(np.uint8)


def rotations(looks: tuple[tuple[float, float], ...]) -> torch.Tensor:
    return torch.stack([rotation(yaw, pitch) for yaw, pitch in looks])


def panfusions(panorama: np.ndarray, yaw_deg: float, pitch_deg: float, size: int) -> np.ndarray:
    """A crop by PanFusion's formulas: x ahead, y right, z up; values are cut off to 8 bits.

    On the seam, where both the first and the last column lie, it is rounding errors that choose:
    these pixels are -1.
    """
    height, width = panorama.shape[:2]
    edge = np.tan(np.radians(90) / 2)
    across = np.linspace(-edge, edge, size)
    ray = np.stack(np.broadcast_arrays(1.0, across, -across[:, None]), -1)
    ray /= np.linalg.norm(ray, axis=-1, keepdims=True)
    turn = cv2.Rodrigues(np.array([0, 0, np.radians(yaw_deg)]))[0]
    lift = cv2.Rodrigues(turn @ [0, np.radians(-pitch_deg), 0])[0]
    x, y, z = np.moveaxis(ray @ (lift @ turn).T, -1, 0)
    column = np.arctan2(y, x) / np.pi * (width - 1) / 2 + (width - 1) / 2
    row = -np.arcsin(z.clip(-1, 1)) / (np.pi / 2) * (height - 1) / 2 + (height - 1) / 2
    left, top = (np.floor(place).astype(int) for place in (column, row))
    dx, dy = (column - left)[..., None], (row - top)[..., None]
    right, bottom = np.minimum(left + 1, width - 1), np.minimum(top + 1, height - 1)
    colors = panorama / 255.0
    above = (1 - dx) * colors[top, left] + dx * colors[top, right]
    below = (1 - dx) * colors[bottom, left] + dx * colors[bottom, right]
    crop = (255 * ((1 - dy) * above + dy * below)).astype(np.uint8).astype(int)
    crop[(column < 1e-4) | (column > width - 1 - 1e-4)] = -1
    return crop


@pytest.mark.parametrize("directions", [level_8, sphere_20])
def test_panfusions_crops_are_its_formula(panorama: np.ndarray, directions) -> None:
    looks = directions("room0")[:8]
    found = panfusion(panorama, 90.0, rotations(looks), SIZE).astype(int)
    expected = np.stack([panfusions(panorama, *look, SIZE) for look in looks])
    assert (expected < 0).mean() < 3.5 / SIZE / len(looks)  # three columns of the level crops
    difference = np.abs(found - expected)[expected >= 0]
    assert difference.max() <= 1
    assert (difference > 0).mean() < 2e-3
    assert difference.mean() / 255 < 1e-5


def test_panfusions_crops_are_opencvs_remap(panorama: np.ndarray) -> None:
    """Away from the seam its other branch samples at the same places, to 1/32 pixel, rounding."""
    across = np.linspace(-1, 1, SIZE)
    column = np.arctan(np.tile(across, (SIZE, 1))) / np.pi * 511 / 2 + 511 / 2
    latitude = np.arctan2(across[:, None], np.hypot(1, across))
    row = latitude / np.pi * 255 + 255 / 2
    maps = (place.astype(np.float32) for place in (column, row))
    expected = cv2.remap(panorama.astype(np.float32), *maps, cv2.INTER_LINEAR)
    found = panfusion(panorama, 90.0, rotations(((0.0, 0.0),)), SIZE)[0]
    assert np.abs(found + 0.5 - expected).mean() < 0.5
    assert np.abs(found + 0.5 - expected).max() < 3


def test_each_way_to_sample_is_another(panorama: np.ndarray) -> None:
    looks = rotations(level_8("a")[:2])
    crops = [sample(panorama, 90.0, looks, SIZE).astype(float) for sample in SAMPLINGS.values()]
    assert {crop.shape for crop in crops} == {(2, SIZE, SIZE, 3)}
    for first, second in ((0, 1), (0, 2), (1, 2)):
        assert np.abs(crops[first] - crops[second]).mean() > 0.5


@pytest.mark.parametrize(("size", "height"), [(64, 256), (256, 256), (256, 128)])
def test_cube_faces_are_py360converts(panorama: np.ndarray, size: int, height: int) -> None:
    """It samples at 1/32 of a pixel where OpenCV is installed, without it at any place."""
    source = cv2.resize(panorama, (2 * height, height), interpolation=cv2.INTER_AREA)
    faces = py360convert.e2c(source, size, "bilinear", "dict")
    expected = np.stack([faces[name] for name in "ULFRBD"]).astype(float)
    found = SAMPLINGS["py360convert"](source, 90.0, rotations(cube_6("a")), size).astype(float)
    difference = np.abs(found - expected)
    assert difference.mean((1, 2, 3)).max() < 0.4
    assert difference.max() < 8
    turned = np.abs(np.rot90(found[0]) - expected[0])
    assert turned.mean() > 10


def test_faces_are_enlarged_as_torchvision_does(panorama: np.ndarray) -> None:
    views = SAMPLINGS["py360convert"](panorama, 90.0, rotations(cube_6("a")), 256)
    expected = Resize((299, 299))(torch.from_numpy(views).permute(0, 3, 1, 2))
    found = enlarged(views, 299)
    difference = np.abs(found.astype(int) - expected.permute(0, 2, 3, 1).numpy())
    assert found.shape == (6, 299, 299, 3)
    assert difference.max() <= 1
    assert difference.mean() < 0.02
