"""Metrics against closed forms, other libraries and the traps seen in the wild."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import scipy.linalg
import torch
import toy
from cleanfid.fid import frechet_distance as cleanfid_distance
from set_metrics import frechet_distance, inception_score
from torchmetrics.image.fid import _compute_fid
from torchmetrics.image.inception import InceptionScore

from mvdiffusion_eval.folders.images import resize_views
from mvdiffusion_eval.functional.cross_view_psnr import cross_view_psnr, neighbor_overlaps
from mvdiffusion_eval.functional.gradient_energy import gradient_energy
from mvdiffusion_eval.functional.inception_score import assign_splits
from mvdiffusion_eval.functional.psnr import MAX_PSNR_DB
from mvdiffusion_eval.statistics import jackknife, mean_and_se, ratio_of_means

YAWS = [45.0 * view for view in range(8)]


@pytest.fixture(scope="module")
def overlaps() -> list:
    return neighbor_overlaps(90, YAWS, toy.SIZE, toy.SIZE)


def as_float(views: np.ndarray) -> np.ndarray:
    return views.astype(np.float32) / 255


def test_psnr_of_constant_shift_is_the_closed_form(overlaps: list) -> None:
    views = np.full((8, toy.SIZE, toy.SIZE, 3), 0.25, np.float32)
    views[3] += 0.05
    expected = np.full(8, MAX_PSNR_DB)
    expected[[2, 3]] = -10 * np.log10(0.05**2)
    np.testing.assert_allclose(cross_view_psnr(views, overlaps), expected, rtol=1e-5)


def test_psnr_pools_errors_of_all_channels_before_the_logarithm(overlaps: list) -> None:
    views = np.full((8, toy.SIZE, toy.SIZE, 3), 0.5, np.float32)
    views[0, ..., 0] += 0.3  # one channel differs much, two not at all
    assert cross_view_psnr(views, overlaps)[0] == pytest.approx(-10 * np.log10(0.09 / 3), rel=1e-5)


def test_psnr_equals_pixelwise_computation_with_an_independent_warp(overlaps: list) -> None:
    views, pair = as_float(toy.views_of(1, 0)), overlaps[7]
    y, x = np.nonzero(pair.mask)
    K = np.array([[16, 0, 15.5], [0, 16, 15.5], [0, 0, 1.0]])
    rays = np.linalg.inv(K) @ np.stack([x, y, np.ones_like(x)])
    turn = np.deg2rad(-45)  # the target of the closing pair stands 45° to the right
    back = np.array([[np.cos(turn), 0, np.sin(turn)], [0, 1, 0], [-np.sin(turn), 0, np.cos(turn)]])
    u, v, w = K @ back @ rays
    warped = scipy_bilinear(views[0], v / w, u / w)
    mse = np.mean((views[7][y, x] - warped) ** 2)
    assert cross_view_psnr(views, overlaps)[7] == pytest.approx(-10 * np.log10(mse), abs=0.5)


def scipy_bilinear(image: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    from scipy.ndimage import map_coordinates

    channels = [map_coordinates(image[..., c], [rows, columns], order=1) for c in range(3)]
    return np.stack(channels, -1)


def test_views_of_one_panorama_agree_and_others_do_not(overlaps: list) -> None:
    real, other = as_float(toy.views_of(1, 0)), as_float(toy.views_of(2, 0))
    mixed = np.where(np.arange(8)[:, None, None, None] % 2, real, other)
    assert cross_view_psnr(real, overlaps).min() > 40
    assert cross_view_psnr(mixed, overlaps).max() < 20
    assert cross_view_psnr(real[::-1].copy(), overlaps).max() < 20  # turning the wrong way round
    assert cross_view_psnr(real, overlaps, other).max() < 20


def test_the_warp_border_is_not_overlap(overlaps: list) -> None:
    """White views: black pixels mixed in at the border of the warp would cost dozens of dB."""
    white = np.ones((8, toy.SIZE, toy.SIZE, 3), np.float32)
    assert (cross_view_psnr(white, overlaps) == MAX_PSNR_DB).all()
    shares = [overlap.mask.mean() for overlap in overlaps]
    # Pixels seen by both of two 90° views 45° apart lie in the half of a view nearest the other.
    assert 0.3 < min(shares) <= max(shares) < 0.5


def test_pixels_behind_the_target_are_not_overlap() -> None:
    """140° views 90° apart: a projective map alone would bring pixels behind it into the image."""
    for overlap in neighbor_overlaps(140, [0, 90, 180, 270], 33, 33):
        y, x = np.nonzero(overlap.mask)
        depth = overlap.H[2] @ np.stack([x, y, np.ones_like(x)])
        assert (depth > 0).all()
        assert (x > 16).all()  # only what lies to the right


def test_channel_order_matters(overlaps: list) -> None:
    """Reading one side as BGR must show: nothing in the metric may hide it."""
    real = as_float(toy.views_of(0, 0))
    mixed = real.copy()
    mixed[0] = mixed[0, ..., ::-1]
    assert cross_view_psnr(mixed, overlaps)[0] < cross_view_psnr(real, overlaps)[0] - 15


def test_no_overlap_is_an_error() -> None:
    with pytest.raises(ValueError, match="to overlap"):
        neighbor_overlaps(60, [0, 90, 180, 270], 32, 32)


def test_resize_keeps_values_and_uses_the_whole_pixel_grid() -> None:
    views = toy.views_of(3, 1)
    np.testing.assert_array_equal(resize_views(views, toy.SIZE, toy.SIZE), as_float(views))
    half = resize_views(views, toy.SIZE // 2, toy.SIZE // 2)
    blocks = as_float(views).reshape(8, toy.SIZE // 2, 2, toy.SIZE // 2, 2, 3).mean((2, 4))
    np.testing.assert_allclose(half, blocks, atol=1e-6)


def test_enlarging_keeps_cameras_aligned() -> None:
    """Twice the size, the same scene: consistency must not fall."""
    views = toy.views_of(4, 2)
    pairs = neighbor_overlaps(90, YAWS, 2 * toy.SIZE, 2 * toy.SIZE)
    assert cross_view_psnr(resize_views(views, 2 * toy.SIZE, 2 * toy.SIZE), pairs).min() > 40


def test_cv2_warps_ones_to_exactly_one_inside() -> None:
    """The overlap mask rests on it; a new OpenCV that breaks it must not pass unseen."""
    shifted = np.array([[1, 0, 0.37], [0, 1, 0.21], [0, 0, 1.0]])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    warped = cv2.warpPerspective(np.ones((9, 9), np.float32), shifted, (9, 9), flags=flags)
    assert (warped[:8, :8] == 1).all()
    assert (warped[8] < 1).all()
    assert (warped[:, 8] < 1).all()


@pytest.mark.parametrize("count", [40, 500])  # fewer images than features, and more
def test_fid_matches_other_libraries(count: int) -> None:
    generator = torch.Generator().manual_seed(0)
    mix = torch.randn(64, 64, generator=generator, dtype=torch.float64)
    preds = torch.randn(count, 64, generator=generator, dtype=torch.float64) @ mix + 0.3
    target = torch.randn(count + 7, 64, generator=generator, dtype=torch.float64)
    ours = frechet_distance(preds, target)
    stats = [(x.mean(0), x.T.cov()) for x in (preds, target)]
    root = scipy.linalg.sqrtm(stats[0][1].numpy() @ stats[1][1].numpy()).real
    (mu_p, cov_p), (mu_t, cov_t) = stats
    closed = (mu_p - mu_t).square().sum() + cov_p.trace() + cov_t.trace() - 2 * np.trace(root)
    assert ours == pytest.approx(float(closed), rel=1e-3)
    assert ours == pytest.approx(float(_compute_fid(mu_p, cov_p, mu_t, cov_t)), rel=1e-3)
    arrays = [value.numpy() for pair in stats for value in pair]
    assert ours == pytest.approx(float(cleanfid_distance(*arrays)), rel=1e-3)


def test_fid_of_known_gaussians() -> None:
    """Points at ±a along an axis: variance 2a², so the distance is known."""
    points = torch.tensor([[1.0, 0.0], [-1.0, 0.0]])
    assert frechet_distance(points, points) == pytest.approx(0, abs=1e-12)
    assert frechet_distance(points, 3 * points) == pytest.approx((3 - 1) ** 2 * 2)
    assert frechet_distance(points + 5, points) == pytest.approx(50)
    with pytest.raises(ValueError, match="at least two"):
        frechet_distance(points[:1], points)


def test_inception_score_matches_torchmetrics() -> None:
    class Logits(torch.nn.Module):
        num_features = 10

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return logits

    logits = torch.randn(60, 10, generator=torch.Generator().manual_seed(1)) * 2
    metric = InceptionScore(feature=Logits(), splits=4)
    metric.update(torch.zeros(60, 3, 8, 8, dtype=torch.uint8))
    torch.manual_seed(5)
    theirs = float(metric.compute()[0])
    assert inception_score(logits, assign_splits(60, 4, seed=5)) == pytest.approx(theirs, rel=1e-5)


def test_gradient_energy_falls_with_blur_and_rises_with_noise() -> None:
    views = as_float(toy.views_of(5, 0))
    blurred = np.stack([cv2.GaussianBlur(view, (0, 0), 2) for view in views])
    noisy = views + np.random.default_rng(0).normal(0, 0.1, views.shape)
    assert gradient_energy(blurred) < 0.9 * gradient_energy(views)
    # Independent noise of variance s² adds 2 s² horizontally and vertically.
    gain = gradient_energy(noisy) - gradient_energy(views)
    assert gain == pytest.approx(4 * 0.1**2, rel=0.05)


def test_jackknife_of_a_mean_is_its_standard_error() -> None:
    values = np.random.default_rng(0).normal(size=30)
    whole, pseudo = jackknife(lambda kept: float(values[kept].mean()), 30, 30)
    assert whole == pytest.approx(values.mean())
    np.testing.assert_allclose(pseudo, values)
    assert mean_and_se(pseudo)[1] == pytest.approx(values.std(ddof=1) / 30**0.5)


def test_standard_error_of_a_ratio_matches_a_simulation() -> None:
    rng, ratios, errors = np.random.default_rng(0), [], []
    for _ in range(400):
        common = rng.normal(20, 2, 40)
        ratio, se = ratio_of_means(common + rng.normal(0, 1, 40), 1.3 * common)
        ratios.append(ratio)
        errors.append(se)
    assert np.mean(errors) == pytest.approx(np.std(ratios), rel=0.15)
