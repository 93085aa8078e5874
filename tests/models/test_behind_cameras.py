"""Points behind a camera, which the released code projects into it (docs/released.md)."""

import numpy as np
import pytest

from mvdiffusion.geometry.cameras import panorama_cameras
from mvdiffusion.models.correspondence_geometry import MultiViewGeometry

SIZE, CELLS = 32, 8


def projected(views: int, fov_deg: float) -> tuple[np.ndarray, np.ndarray]:
    """By the projection alone: which tokens land inside a neighbor, and which in front of it.

    Both [views * 2, 9, cells]: left and right neighbor, 3 x 3 cells about each query.
    """
    focal, center, scale = SIZE / 2 / np.tan(np.radians(fov_deg / 2)), (SIZE - 1) / 2, SIZE // CELLS
    K = np.array([[focal, 0, center], [0, focal, center], [0, 0, 1]])
    rows, columns = np.mgrid[scale // 2 : SIZE : scale, scale // 2 : SIZE : scale]
    query = np.stack([columns, rows, np.ones_like(rows)], -1).reshape(-1, 3).T
    offsets = np.array([[x, y] for x in (-1, 0, 1) for y in (-1, 0, 1)]) * scale
    inside, front = [], []
    for view in range(views):
        for target in (view - 1, view + 1):
            turn = 2 * np.pi / views * (view - target)
            cos, sin = np.cos(turn), np.sin(turn)
            R = np.array([[cos, 0, sin], [0, 1, 0], [-sin, 0, cos]])
            x, y, z = K @ R @ np.linalg.inv(K) @ query
            pixels = np.stack([x, y]) / z + offsets[:, :, None]
            inside.append(((pixels > 0) & (pixels < SIZE)).all(1))
            front.append(np.broadcast_to(z > 0, inside[-1].shape))
    return np.array(inside), np.array(front)


@pytest.mark.parametrize(
    ("views", "fov_deg", "mirrored"),
    [(8, 90, 0), (8, 120, 0), (6, 80, 0), (4, 90, 0.035), (4, 120, 0.298), (2, 90, 0.840)],
)
def test_what_lies_behind_a_camera_does_not_correspond(
    views: int, fov_deg: float, mirrored: float
) -> None:
    """With the paper's cameras nothing does, so there the released arithmetic is the same."""
    inside, front = projected(views, fov_deg)
    K, R = panorama_cameras(SIZE, SIZE, views, fov_deg)
    valid = MultiViewGeometry(K[None], R[None], SIZE, SIZE).level(CELLS, CELLS).valid[0]
    found = valid.unflatten(-1, (2, 9)).permute(0, 2, 3, 1).flatten(0, 1).numpy()
    np.testing.assert_array_equal(found, inside & front)
    assert (inside & ~front).mean() == pytest.approx(mirrored, abs=1e-3)
