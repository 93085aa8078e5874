"""BRISQUE and NIQE against piq, against formulas written out, and against closed forms."""

from __future__ import annotations

import sys

import cv2
import numpy as np
import piq
import pytest
import torch
from numpy.lib.stride_tricks import sliding_window_view
from PIL import Image
from scipy.special import gamma

from mvdiffusion_eval.functional.natural_scenes.brisque import Regression, brisque
from mvdiffusion_eval.functional.natural_scenes.niqe import Pristine, niqe
from mvdiffusion_eval.functional.natural_scenes.statistics import (
    fit_asymmetric,
    halved,
    luminance,
    normalized,
)


def scene(height: int = 288, width: int = 192, seed: int = 0, slope: float = 1.0) -> np.ndarray:
    """Noise with the spectrum of photographs, in color."""
    rng = np.random.default_rng(seed)
    rows, columns = np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width)
    amplitude = (rows**2 + columns**2 + 1e-5) ** (-slope / 2)
    waves = np.fft.fft2(rng.normal(size=(3, height, width))) * amplitude
    noise = np.real(np.fft.ifft2(waves))
    mixed = 0.8 * noise[:1] + 0.2 * noise
    scaled = 128 + 28 * mixed / mixed.std()
    return np.clip(scaled, 0, 255).round().astype(np.uint8).transpose(1, 2, 0)


def windowed(gray: np.ndarray, mode: str) -> np.ndarray:
    """Normalized luminance by sums over whole windows."""
    offsets = np.arange(-3, 4)
    window = np.exp(-(offsets[:, None] ** 2 + offsets**2) / (2 * (7 / 6) ** 2))
    window /= window.sum()
    seen = sliding_window_view(np.pad(gray, 3, mode=mode), (7, 7))
    mean = np.einsum("hwij,ij->hw", seen, window)
    variance = np.einsum("hwij,ij->hw", (seen - mean[..., None, None]) ** 2, window)
    return (gray - mean) / (np.sqrt(variance) + 1)


def moments(values: np.ndarray) -> tuple[float, float, float]:
    """Shape and standard deviations of an asymmetric generalized Gaussian, by a full search."""
    values = values.ravel()
    left = np.sqrt((values[values < 0] ** 2).mean())
    right = np.sqrt((values[values > 0] ** 2).mean())
    skew = left / right
    ratio = np.abs(values).mean() ** 2 / (values**2).mean()
    ratio *= (skew**3 + 1) * (skew + 1) / (skew**2 + 1) ** 2
    shapes = np.linspace(0.2, 10, 9801)
    known = gamma(2 / shapes) ** 2 / (gamma(1 / shapes) * gamma(3 / shapes))
    return shapes[np.argmin((known - ratio) ** 2)], left, right


def block_features(block: np.ndarray) -> list[float]:
    """Mittal et al., 2013, equations 4 to 9."""
    shape, left, right = moments(block)
    scale = np.sqrt(gamma(1 / shape) / gamma(3 / shape))
    found = [shape, scale * (left + right) / 2]
    for down, across in ((0, 1), (1, 0), (1, 1), (1, -1)):
        shape, left, right = moments(block * np.roll(block, (down, across), (0, 1)))
        scale = np.sqrt(gamma(1 / shape) / gamma(3 / shape))
        mean = scale * (right - left) * gamma(2 / shape) / gamma(1 / shape)
        found += [shape, mean, scale * left, scale * right]
    return found


def test_niqe_is_the_distance_that_its_paper_defines() -> None:
    image, pristine = scene(300, 200), Pristine.released()
    gray = luminance(image[:288, :192])
    features = []
    for across in range(2):
        for down in range(3):
            both = []
            for scale, source in ((1, gray), (2, halved(gray))):
                side = 96 // scale
                whole = windowed(source, "edge")
                rows, columns = (slice(n * side, (n + 1) * side) for n in (down, across))
                both += block_features(whole[rows, columns])
            features.append(both)
    found = np.array(features)
    difference = found.mean(0) - pristine.mean
    inverse = np.linalg.pinv((pristine.covariance + np.cov(found.T)) / 2)
    assert niqe(image, pristine) == pytest.approx(
        np.sqrt(difference @ inverse @ difference), rel=1e-9
    )


def test_brisque_is_that_of_piq(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its weights, which it would download, are those of the same release.

    Its weights of red, green and blue have three digits, Matlab's more: hence gray images.
    """
    regression = Regression.released()
    weights = [regression.weights[:, None], regression.support]
    made = [torch.from_numpy(each) for each in weights]
    module = sys.modules[piq.brisque.__module__]
    monkeypatch.setattr(module, "load_url", lambda *a, **k: [one.clone() for one in made])
    for seed, slope in ((0, 1.0), (1, 1.3), (2, 0.6)):
        image = scene(seed=seed, slope=slope)[..., [0, 0, 0]]
        pixels = torch.tensor(image).permute(2, 0, 1)[None].double()
        expected = piq.brisque(pixels, data_range=255).item()
        assert brisque(image, regression) == pytest.approx(expected, abs=1e-6)


def test_luminance_is_matlabs() -> None:
    colors = np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255]]], np.uint8)
    assert luminance(colors).tolist() == [[76, 150, 29, 255]]


def test_halving_is_bicubic_and_antialiased() -> None:
    """Inside, as Pillow's; at the edges, which Pillow cuts off, of a mirrored image."""
    gray = luminance(scene(64, 48))
    expected = Image.fromarray(gray.astype(np.float32)).resize((24, 32), Image.Resampling.BICUBIC)
    assert halved(gray)[2:-2, 2:-2] == pytest.approx(np.asarray(expected)[2:-2, 2:-2], abs=1e-3)
    mirrored = halved(np.pad(gray, 8, mode="symmetric"))
    assert halved(gray) == pytest.approx(mirrored[4:-4, 4:-4], abs=1e-9)
    assert halved(gray[:63, :47]).shape == (32, 24)


def test_distributions_of_known_shape_are_found() -> None:
    rng = np.random.default_rng(0)
    rows = np.stack([rng.normal(0, 3, 400_000), rng.laplace(0, 1, 400_000)])
    fit = fit_asymmetric(rows)
    assert fit.shape == pytest.approx([2, 1], rel=0.02)
    assert fit.left == pytest.approx([3, 2**0.5], rel=0.01)
    assert fit.mean == pytest.approx([0, 0], abs=0.02)
    skewed = np.abs(rows[:1]) * np.where(rng.random(400_000) < 1 / 3, -1, 2)
    fit = fit_asymmetric(skewed)
    assert fit.right / fit.left == pytest.approx([2], rel=0.01)
    assert fit.mean == pytest.approx(skewed.mean(1), rel=0.02)


def test_equal_pixels_are_exactly_zero() -> None:
    """And not what rounding leaves, which would be counted as values below and above 0."""
    image = scene()
    image[:, :96] = 131
    for gray in (luminance(image), halved(luminance(image))):
        coefficients = normalized(gray, cv2.BORDER_REPLICATE)
        flat = coefficients[:, : gray.shape[1] // 2 - 8]
        assert not flat.any()
        assert np.count_nonzero(coefficients) > 0.4 * coefficients.size


def test_images_without_content_have_no_quality() -> None:
    pristine, regression = Pristine.released(), Regression.released()
    constant = np.full((288, 288, 3), 90, np.uint8)
    assert np.isnan(niqe(constant, pristine))
    assert np.isnan(brisque(constant, regression))
    assert np.isnan(niqe(scene(191, 288), pristine))  # three blocks
    mostly = np.zeros((288, 288, 3), np.uint8)
    mostly[:96, :96] = scene(96, 96)
    assert np.isnan(niqe(mostly, pristine))
    assert np.isfinite(niqe(scene(192, 192), pristine))


def test_blur_and_noise_are_told_from_a_scene() -> None:
    """NIQE by both; BRISQUE, which weak noise improves, by blur."""
    image, pristine, regression = scene(), Pristine.released(), Regression.released()
    blurred = cv2.GaussianBlur(image, (0, 0), 3)
    noise = np.random.default_rng(0).normal(0, 40, image.shape)
    noisy = np.clip(image + noise, 0, 255).round().astype(np.uint8)
    assert niqe(blurred, pristine) > niqe(image, pristine) + 2
    assert niqe(noisy, pristine) > niqe(image, pristine) + 2
    assert brisque(blurred, regression) > brisque(image, regression) + 10
