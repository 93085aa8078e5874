"""NIQE: distance of an image's statistics from those of pristine photographs.

Mittal, Soundararajan and Bovik: Making a "completely blind" image quality analyzer, 2013.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from safetensors.numpy import load_file

from .statistics import fit_asymmetric, halved, luminance, normalized, products

PARAMETERS = Path(__file__).with_name("niqe.safetensors")
BLOCK = 96
"""Height and width in pixels of the blocks, as in the release."""
SMALLEST = 2 * BLOCK
"""Height and width in pixels of the smallest image with four blocks."""
LEAST_BLOCKS = 4


@dataclass(frozen=True)
class Pristine:
    """The model of pristine photographs: mean [36] and covariance [36, 36] of block features."""

    mean: np.ndarray
    covariance: np.ndarray

    @classmethod
    def released(cls) -> Pristine:
        """Load the one of the original release, made of 125 photographs."""
        return cls(**load_file(PARAMETERS))


def niqe(image: np.ndarray, pristine: Pristine) -> float:
    """Compute NIQE of an image; lower is better.

    Args:
        image: uint8 RGB [H, W, 3]. What lies beyond whole blocks of 96 pixels, at the right and at
            the bottom, is cut off.
        pristine: what it is compared with.

    Returns:
        The distance; NaN if fewer than four blocks have content.
    """
    height, width = (BLOCK * (side // BLOCK) for side in image.shape[:2])
    if height * width < LEAST_BLOCKS * BLOCK**2:
        return float("nan")
    fine = luminance(image[:height, :width])
    features = np.hstack([_features(fine, BLOCK), _features(halved(fine), BLOCK // 2)])
    whole = features[np.isfinite(features).all(1)]
    if len(whole) < LEAST_BLOCKS:
        return float("nan")
    difference = np.nanmean(features, axis=0) - pristine.mean
    covariance = (pristine.covariance + np.cov(whole, rowvar=False)) / 2
    return float(np.sqrt(difference @ np.linalg.pinv(covariance) @ difference))


def _features(gray: np.ndarray, size: int) -> np.ndarray:
    """Features [B, 18] of the blocks of a scale, column by column."""
    across, down = gray.shape[1] // size, gray.shape[0] // size
    coefficients = normalized(gray, cv2.BORDER_REPLICATE)
    grid = coefficients.reshape(down, size, across, size)
    blocks = grid.transpose(2, 0, 1, 3).reshape(-1, size, size)
    own = fit_asymmetric(blocks.reshape(len(blocks), -1))
    features = [own.shape, own.width * (own.left + own.right) / 2]
    for values in products(blocks):
        fit = fit_asymmetric(values)
        features += [fit.shape, fit.mean, fit.width * fit.left, fit.width * fit.right]
    return np.stack(features, axis=1)
