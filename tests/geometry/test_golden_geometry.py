"""Golden geometry of the released code, and independent oracles for panorama mappings."""

from pathlib import Path

import cv2
import numpy as np
import py360convert
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file

from mvdiffusion.geometry.cameras import intrinsics, panorama_cameras, rotation
from mvdiffusion.geometry.cubemap import cube_to_views
from mvdiffusion.geometry.equirectangular import (
    equirectangular_to_views,
    views_to_equirectangular,
)
from mvdiffusion.geometry.homography import homography, inside, inverse, pixel_grid, project

GOLDEN = Path(__file__).parent.parent / "golden"
SKYBOX_YAWS = [0, 45, 90, 135, 180, 225, 270, 315, 17, 203]


def smooth_panorama(height: int = 256) -> np.ndarray:
    """A panorama [H, 2 H, 3] without fine detail, continuous across its left and right edge."""
    generator = np.random.default_rng(0)
    coarse = generator.uniform(0, 255, (8, 16, 3)).astype(np.float32)
    wide = np.concatenate([coarse, coarse, coarse], 1)
    wide = cv2.resize(wide, (6 * height, height), interpolation=cv2.INTER_CUBIC)
    return wide[:, 2 * height : 4 * height]


def test_correspondences_of_the_released_code() -> None:
    golden = load_file(GOLDEN / "pano_geometry.safetensors")
    K, R = panorama_cameras(512, 512)
    torch.testing.assert_close(K, golden["K"])
    torch.testing.assert_close(R, golden["R"], atol=1e-6, rtol=0)
    H = homography(K[:, None], R[:, None], K[None], R[None])
    xy, in_front = project(H, pixel_grid(512, 512, 32))
    expected = golden["xy"].flatten(2, 3)[in_front]
    error = (xy[in_front] - expected).abs()
    assert (error <= 1e-4 * expected.abs().clamp(min=512)).all()


def test_views_of_the_released_skybox_loader() -> None:
    golden = load_file(GOLDEN / "skybox_views.safetensors")
    faces = golden["faces"].permute(0, 3, 1, 2).float()
    R = torch.stack([rotation(yaw) for yaw in SKYBOX_YAWS])
    K = intrinsics(90, 128, 128).expand(len(R), 3, 3)
    views = cube_to_views(faces, K, R, 128, 128).permute(0, 2, 3, 1)
    assert (views - golden["views"].float()).abs().mean() <= 1


def test_stitching_of_the_released_tool() -> None:
    """The released tool spans longitudes edge to edge and puts pixel 0 at a view's very edge.

    Ours has pixel centers at integers everywhere; the golden panorama is resampled to that.
    """
    golden = load_file(GOLDEN / "stitch_equirect.safetensors")
    K, R = panorama_cameras(128, 128)
    K[:, :2, 2] += 0.5
    views = golden["views"].permute(0, 3, 1, 2).float()
    found, covered = views_to_equirectangular(views, K, R, 256, 512)
    rows, columns = np.mgrid[0:256, 0:512].astype(np.float32)
    expected = cv2.remap(
        golden["equirect"].numpy().astype(np.float32),
        (columns + 0.5) / 512 * 511,
        (rows + 0.5) / 256 * 255,
        cv2.INTER_LINEAR,
    )
    # Away from the borders of any view, where the released tool blends in a border of its own.
    latitude = np.abs(90 - (rows[:, 0] + 0.5) / 256 * 180)
    to_seam = np.abs((columns[0] + 0.5) / 512 * 360 % 45 - 22.5)
    inner = (latitude[:, None] < 34) & (to_seam[None] < 18) & covered.numpy()
    error = np.abs(found.permute(1, 2, 0).numpy() - expected)[inner]
    assert inner.mean() > 0.25
    assert error.mean() <= 1


@pytest.mark.parametrize(("yaw", "pitch"), [(0, 0), (45, 0), (170, 20), (-100, -35)])
def test_cutting_views_against_py360convert(yaw: float, pitch: float) -> None:
    panorama = smooth_panorama()
    K, R = intrinsics(90, 64, 64)[None], rotation(yaw, pitch)[None]
    tensor = torch.from_numpy(panorama).permute(2, 0, 1)
    found = equirectangular_to_views(tensor, K, R, 64, 64)[0].permute(1, 2, 0).numpy()
    expected = py360convert.e2p(panorama, 90, yaw, pitch, (64, 64), mode="bilinear")
    # py360convert puts the outer pixels' centers on the border of the field of view.
    assert np.abs(found - expected)[4:-4, 4:-4].mean() < 3
    K_border = K.clone()
    K_border[:, 0, 0] = K_border[:, 1, 1] = 63 / 2
    found = equirectangular_to_views(tensor, K_border, R, 64, 64)[0].permute(1, 2, 0).numpy()
    assert np.abs(found - expected).mean() < 0.5


def test_cutting_and_stitching_return_the_panorama() -> None:
    panorama = torch.from_numpy(smooth_panorama()).permute(2, 0, 1)
    K, R = panorama_cameras(256, 256)
    views = equirectangular_to_views(panorama, K, R, 256, 256)
    stitched, covered = views_to_equirectangular(views, K, R, 256, 512)
    rows = slice(int(256 * 50 / 180), int(256 * 130 / 180))  # ±40° of latitude
    assert covered[rows].all()
    assert (stitched - panorama)[:, rows].abs().mean() < 0.2
    assert not covered[0].any()
    assert stitched[:, 0].abs().max() == 0


def test_cube_faces_against_py360convert() -> None:
    """Faces cut by py360convert, put in Matterport3D's order, give back the panorama's views."""
    panorama = smooth_panorama()
    cube = py360convert.e2c(panorama, 128, mode="bilinear", cube_format="dict")
    level = [torch.from_numpy(np.ascontiguousarray(cube[key])) for key in "LFRB"]
    empty = torch.zeros(128, 128, 3)
    faces = torch.stack([empty, *level, empty]).permute(0, 3, 1, 2)
    K, R = panorama_cameras(64, 64, yaw_deg=20, fov_deg=60)
    found = cube_to_views(faces, K, R, 64, 64)
    tensor = torch.from_numpy(panorama).permute(2, 0, 1)
    expected = equirectangular_to_views(tensor, K, R, 64, 64)
    assert (found - expected).abs().mean() < 3


@settings(max_examples=50, deadline=None)
@given(
    yaws=st.tuples(st.floats(-180, 180), st.floats(-180, 180)),
    fov=st.floats(30, 120),
    size=st.tuples(st.integers(8, 90), st.integers(8, 90)),
)
def test_homographies_invert_each_other(
    yaws: tuple[float, float], fov: float, size: tuple[int, int]
) -> None:
    height, width = size
    K = intrinsics(fov, height, width)
    first, second = rotation(yaws[0]), rotation(yaws[1], 5)
    there, back = homography(K, first, K, second), homography(K, second, K, first)
    pixels = pixel_grid(height, width)
    xy, in_front = project(there, pixels)
    kept = in_front & inside(xy, height, width)
    columns = torch.cat([xy[kept], torch.ones(int(kept.sum()), 1)], 1).T
    returned, _ = project(back, columns)
    torch.testing.assert_close(returned, pixels[:2, kept].T, atol=2e-2, rtol=1e-3)


def test_a_view_sees_the_world_where_its_camera_points() -> None:
    """Yaw turns right, pitch turns up: the pixel in the middle looks along the optical axis."""
    right, up = rotation(90)[:, 2], rotation(0, 90)[:, 2]
    torch.testing.assert_close(right, torch.tensor([1.0, 0.0, 0.0]), atol=1e-6, rtol=0)
    torch.testing.assert_close(up, torch.tensor([0.0, -1.0, 0.0]), atol=1e-6, rtol=0)


def test_wrong_inputs_are_named() -> None:
    with pytest.raises(ValueError, match="fov_deg"):
        intrinsics(180, 8, 8)
    with pytest.raises(ValueError, match="num_views"):
        panorama_cameras(8, 8, 0)
    K, R = panorama_cameras(8, 8)
    with pytest.raises(ValueError, match="W = 2 H"):
        equirectangular_to_views(torch.zeros(3, 8, 17), K, R, 8, 8)
    with pytest.raises(ValueError, match="faces"):
        cube_to_views(torch.zeros(5, 3, 8, 8), K, R, 8, 8)


def test_inverse_against_double_precision():
    """Rotations, intrinsics and what needs its rows exchanged, in any batch."""
    random = torch.Generator().manual_seed(0)
    matrices = torch.randn(5, 40, 3, 3, generator=random)
    matrices[0] = torch.stack([rotation(9.0 * i, 4.0 * i - 80) for i in range(40)])
    matrices[1, :, 1:, 0] = 0  # upper triangular
    matrices[1, :, 2, 1] = 0
    matrices[2, :, 0, 0] = 0  # the first pivot lies below
    expected = torch.linalg.inv(matrices.double())
    found = inverse(matrices)
    largest = expected.abs().amax((-2, -1), keepdim=True)
    condition = torch.linalg.cond(matrices.double())[..., None, None]
    assert ((found - expected).abs() <= 1e-6 * condition * largest).all()
    assert torch.equal(inverse(matrices[3, 7]), found[3, 7])
