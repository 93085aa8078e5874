"""Edges of a cube: which sides are neighbors, and closed forms of what is measured across them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import cv2
import numpy as np
import pytest
import torch
from torchmetrics.functional.image import structural_similarity_index_measure

from mvdiffusion.geometry.cameras import rotation
from mvdiffusion_eval.folders.crops import cube_6
from mvdiffusion_eval.functional.seam import cube_edges, edge_steps, strip_sobel, strip_ssim
from mvdiffusion_eval.functional.ssim import C1
from mvdiffusion_eval.metrics.panoramas.seams import cube_seams

SIZE, WIDTH = 64, 5
UP, LEFT, FRONT, RIGHT, BACK, DOWN = range(6)
R = np.stack([rotation(*look).double().numpy() for look in cube_6("")])
EDGES = cube_edges(R)


def faces_of(color: Callable[[np.ndarray], np.ndarray], size: int = SIZE) -> np.ndarray:
    """Faces [6, size, size, 3] in [0, 1] of a scene: a color [..., 3] for each direction."""
    places = (np.arange(size) + 0.5) / size * 2 - 1
    x, y = np.meshgrid(places, places)
    rays = np.stack([x, y, np.ones_like(x)], -1)
    rays /= np.linalg.norm(rays, axis=-1, keepdims=True)
    return np.stack([color(rays @ face.T) for face in R])


def position(directions: np.ndarray) -> np.ndarray:
    """A color that is the direction itself: equal colors are equal directions."""
    return (directions + 1) / 2


def waves(directions: np.ndarray) -> np.ndarray:
    x, y, z = np.moveaxis(directions, -1, 0)
    return np.stack([np.sin(9 * x + 4 * y), np.cos(7 * y - 5 * z), np.sin(8 * z)], -1) / 4 + 0.5


def plain(*grays: float) -> np.ndarray:
    return np.broadcast_to(np.array(grays)[:, None, None, None], (6, SIZE, SIZE, 3))


def test_every_face_has_four_neighbors_and_none_is_opposite() -> None:
    pairs = Counter(frozenset(edge.faces) for edge in EDGES)
    assert len(EDGES) == len(pairs) == 12
    assert {frozenset(p) for p in ((UP, DOWN), (LEFT, RIGHT), (FRONT, BACK))}.isdisjoint(pairs)
    assert set(Counter(face for edge in EDGES for face in edge.faces).values()) == {4}


def test_the_pixels_beside_an_edge_see_neighboring_directions() -> None:
    """A pixel is 2 / SIZE wide at the edge: as far apart are the rays on either side of it."""
    faces = faces_of(position)
    for edge in EDGES:
        first, second = (2 * strip - 1 for strip in edge.strips(faces, WIDTH))
        apart = np.linalg.norm(first[:, 0] - second[:, 0], axis=-1)
        assert apart.max() < 2.01 / SIZE
        assert np.linalg.norm(first[:, 1] - second[:, 1], axis=-1).min() > apart.max()


def test_other_cameras_are_no_cube() -> None:
    with pytest.raises(ValueError, match="six faces of a cube, got"):
        cube_edges(np.stack([R[FRONT]] * 6))


def test_a_continuous_scene_has_no_seam_and_a_wrong_neighbor_is_one() -> None:
    faces = (255 * faces_of(waves, 512)).round().astype(np.uint8)
    whole = cube_seams(faces, WIDTH)
    # At y along the side, rows run into the edge obliquely: a step beside it is longer by this.
    oblique = np.sqrt(2 * (1 + (y := np.linspace(0, 1, 512)) ** 2) / (2 + y**2)).mean()
    assert whole["seam_step"] == pytest.approx(1 / oblique, abs=0.02)
    for wrong in (
        faces[[0, 2, 1, 3, 4, 5]],
        np.concatenate([faces[:5], np.rot90(faces[5:], 1, (1, 2))]),
    ):
        broken = cube_seams(wrong, WIDTH)
        assert broken["seam_step"] > 2
        assert broken["seam_ssim"] < whole["seam_ssim"] - 0.02


@pytest.mark.parametrize("offset", [1, 8, 40])
def test_a_constant_offset_of_one_face_is_seen_by_the_step_alone(offset: int) -> None:
    """Of the twelve edges the face has four: the step across grows."""
    faces = np.broadcast_to(np.arange(100, 100 + SIZE)[:, None], (6, SIZE, SIZE, 3)).copy()
    before = cube_seams(faces.astype(np.uint8), WIDTH)
    faces[FRONT] += offset
    after = cube_seams(faces.astype(np.uint8), WIDTH)
    assert after["seam_sobel"] == pytest.approx(before["seam_sobel"])
    assert after["seam_step"] > before["seam_step"]
    flat = cube_seams(np.rint(plain(*[100] * 6)).astype(np.uint8), WIDTH)
    assert flat["seam_step"] == 1
    assert flat["seam_sobel"] == 0
    assert flat["seam_ssim"] == pytest.approx(1)


def test_the_step_of_flat_faces_with_a_slope_is_its_closed_form() -> None:
    """Slope s within, offset c across: (s + c) / s; of twelve edges, four have the offset."""
    ramp = np.tile(0.01 * np.arange(WIDTH)[None, :, None], (SIZE, 1, 3))
    pairs = [(0.5 + 0.01 + ramp + (0.04 if edge < 4 else 0), 0.5 - ramp) for edge in range(12)]
    expected = (0.01 + 0.04 * 4 / 12) / 0.01
    assert edge_steps(pairs) == pytest.approx(expected, rel=1e-3)


def test_ssim_of_plain_strips_is_its_closed_form() -> None:
    first, second = np.full((SIZE, WIDTH, 3), 0.2), np.full((SIZE, WIDTH, 3), 0.6)
    expected = (2 * 0.2 * 0.6 + C1) / (0.2**2 + 0.6**2 + C1)
    assert strip_ssim(first, second) == pytest.approx(expected)


def test_ssim_of_strips_is_torchmetrics_with_uniform_windows() -> None:
    rng = np.random.default_rng(0)
    first, noise = rng.random((2, SIZE, WIDTH, 3))
    second = 0.7 * first + 0.3 * noise

    def batch(strip: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(strip).permute(2, 0, 1)[None]

    _, image = structural_similarity_index_measure(
        batch(first), batch(second), gaussian_kernel=False, kernel_size=WIDTH, data_range=1.0,
        return_full_image=True,
    )  # fmt: skip
    inside = image[0, :, WIDTH // 2 : -(WIDTH // 2), WIDTH // 2]
    assert strip_ssim(first, second) == pytest.approx(float(inside.mean()), rel=1e-9)


def test_sobel_is_that_of_opencv_on_each_face_by_itself() -> None:
    rng = np.random.default_rng(0)
    faces = rng.integers(0, 256, (2, SIZE, SIZE, 3)).astype(np.float32)
    gray = [cv2.cvtColor(face, cv2.COLOR_RGB2GRAY) for face in faces]
    responses = [cv2.Sobel(g, cv2.CV_64F, 1, 0, borderType=cv2.BORDER_REPLICATE) for g in gray]
    expected = np.mean([np.abs(response[:, 0]).mean() for response in responses])
    first, second = faces[:, :, :WIDTH].astype(np.float64) / 255
    assert strip_sobel(first, second) == pytest.approx(expected, rel=1e-5)
