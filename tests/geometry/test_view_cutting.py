"""Views cut by OpenCV against the exact geometry, and against pictures known in every direction."""

import cv2
import numpy as np
import pytest
import torch
from torch.nn import functional as F

from mvdiffusion.geometry.cameras import panorama_cameras, rotation
from mvdiffusion.geometry.cubemap import cube_to_views, face_rotations
from mvdiffusion.geometry.resampling import view_rays
from mvdiffusion.geometry.view_cutting import _paint, fast_cube_to_views, pad_faces

YAWS = (0, 13, 45, 100, 337)


def waves(rays: torch.Tensor) -> torch.Tensor:
    """Colors [..., 3] in 8 … 247 of directions, smooth all around."""
    rays = F.normalize(rays.double(), dim=-1)
    axes = torch.tensor([[3.0, 5, -4], [-6, 2, 3], [2, -4, 6]], dtype=torch.float64)
    return 127.5 + 119 * torch.sin(rays @ axes.T + torch.tensor([0.3, 1.1, 2.0]))


def wavy_faces(size: int) -> np.ndarray:
    K = torch.tensor([[size / 2, 0, (size - 1) / 2], [0, size / 2, (size - 1) / 2], [0, 0, 1]])
    rays = view_rays(K.expand(6, 3, 3), face_rotations(), size, size)
    return waves(rays).round().byte().numpy()


def noisy_faces(size: int) -> np.ndarray:
    return np.random.default_rng(3).integers(0, 256, (6, size, size, 3), dtype=np.uint8)


def cut(faces: np.ndarray, yaw: float, size: int, factor: int, fov: float = 90.0) -> np.ndarray:
    """Our views [V, 3, size, size] in 0 … 255."""
    K, R = panorama_cameras(size, size, 8, fov, yaw)
    return fast_cube_to_views(pad_faces(faces), K, R, size, factor).numpy() * 127.5 + 127.5


def exact(faces: np.ndarray, yaw: float, size: int, factor: int, fov: float = 90.0) -> np.ndarray:
    """Means of factor² exact samples per pixel."""
    K, R = panorama_cameras(size * factor, size * factor, 8, fov, yaw)
    pixels = torch.from_numpy(faces).permute(0, 3, 1, 2).float()
    fine = cube_to_views(pixels, K, R, size * factor, size * factor)
    return F.avg_pool2d(fine, factor).numpy()


@pytest.mark.parametrize("yaw", YAWS)
@pytest.mark.parametrize(
    ("face_size", "size", "factor", "fov"),
    [
        (128, 64, 2, 90.0),
        (128, 64, 1, 60.0),
        (128, 48, 3, 100.0),
        (128, 128, 1, 90.0),
        (64, 100, 1, 140.0),
        (512, 64, 4, 90.0),
    ],
)
def test_views_are_means_of_exact_samples(yaw, face_size, size, factor, fov):
    # A sample and a mean are rounded to bytes. Near the corners of the cube, within a sixth of a
    # face's pixel, another face may be taken: only noise shows it.
    for faces, share, limit in (
        (noisy_faces(face_size), 0.999, 20),
        (wavy_faces(face_size), 1, 1),
    ):
        found = cut(faces, yaw, size, factor, fov)
        difference = np.abs(found - exact(faces, yaw, size, factor, fov))
        assert difference.mean() < 0.3
        assert np.quantile(difference, share) < 1.01
        assert difference.max() < limit * 1.01


@pytest.mark.parametrize("yaw", YAWS)
def test_views_show_what_stands_in_their_directions(yaw):
    K, R = panorama_cameras(128, 128, 8, 90.0, yaw)
    expected = waves(view_rays(K, R, 128, 128)).permute(0, 3, 1, 2).numpy()
    assert np.abs(cut(wavy_faces(256), yaw, 128, 2) - expected).max() < 2


def test_two_samples_per_axis_are_nearly_as_good_as_many():
    faces = np.stack([cv2.GaussianBlur(face, (0, 0), 1.5) for face in noisy_faces(128)])
    best = exact(faces, 13, 64, 16)
    error, exact_error = (
        np.abs(found - best).mean() for found in (cut(faces, 13, 64, 2), exact(faces, 13, 64, 2))
    )
    assert error < exact_error + 0.3


def test_the_size_of_the_paper():
    faces = wavy_faces(1024)
    K, R = panorama_cameras(512, 512, 8, 90.0, 13)
    found = fast_cube_to_views(pad_faces(faces), K[[0, 3]], R[[0, 3]], 512, 2) * 127.5 + 127.5
    expected = waves(view_rays(K[[0, 3]], R[[0, 3]], 512, 512)).permute(0, 3, 1, 2)
    assert (found - expected).abs().max() < 1.5


@pytest.mark.parametrize("fov", [30.0, 60.0, 80.0, 90.0, 100.0, 150.0])
def test_every_pixel_is_written(fov):
    faces = pad_faces(np.full((6, 40, 40, 3), 255, np.uint8))
    yaws = [*np.arange(0, 360, 7.3), 1e-5, 0.02, 44.99999, 45, 45.00001, 12.4, 359.999, 90]
    for yaw in yaws:
        K, R = panorama_cameras(97, 97, 8, fov, float(yaw))
        for rays in R.double().numpy() @ np.linalg.inv(K.double().numpy()):
            view = np.zeros((97, 97, 4), np.uint8)
            _paint(view, faces, rays)
            assert view[..., :3].min() == 255


def test_views_do_not_depend_on_the_others_nor_on_threads():
    faces = pad_faces(noisy_faces(64))
    K, R = panorama_cameras(48, 48, 8, 90.0, 29)
    whole = fast_cube_to_views(faces, K, R, 48, 2)
    chosen = [6, 1]
    threads = cv2.getNumThreads()
    try:
        for number in (1, 3):
            cv2.setNumThreads(number)
            assert torch.equal(fast_cube_to_views(faces, K, R, 48, 2), whole)
            assert torch.equal(
                fast_cube_to_views(faces, K[chosen], R[chosen], 48, 2), whole[chosen]
            )
    finally:
        cv2.setNumThreads(threads)


def test_range_is_that_of_images():
    for value, expected in ((0, -1), (255, 1)):
        faces = pad_faces(np.full((6, 8, 8, 3), value, np.uint8))
        K, R = panorama_cameras(8, 8, 8, 90.0)
        views = fast_cube_to_views(faces, K, R, 8, 1)
        assert views.dtype == torch.float32
        assert views.shape == (8, 3, 8, 8)
        assert (views == expected).all()


def test_wrong_faces_and_cameras_are_refused():
    with pytest.raises(ValueError, match="Expected six faces"):
        pad_faces(np.zeros((5, 8, 8, 3), np.uint8))
    with pytest.raises(ValueError, match="Expected six faces"):
        pad_faces(np.zeros((6, 8, 9, 3), np.uint8))
    K, _ = panorama_cameras(8, 8, 1, 150.0)
    faces, R = pad_faces(noisy_faces(8)), rotation(10, 1)[None]
    with pytest.raises(ValueError, match="Expected level cameras"):
        fast_cube_to_views(faces, K, R, 8, 1)
