"""BRISQUE: a regression of people's scores of distorted photographs, 0 (best) to about 100.

Mittal, Moorthy and Bovik: No-reference image quality assessment in the spatial domain, 2012.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from safetensors.numpy import load_file

from .statistics import fit_asymmetric, halved, luminance, normalized, products, shapes_of

PARAMETERS = Path(__file__).with_name("brisque.safetensors")
GAMMA = 0.05
RHO = -153.591
"""Width of the kernel and offset of the released support vector regression."""


@dataclass(frozen=True)
class Regression:
    """A support vector regression with a Gaussian kernel.

    Attributes:
        lowest, highest: of each feature [36] in training; they become -1 and 1.
        support: support vectors, so scaled [N, 36].
        weights: of the support vectors [N].
    """

    lowest: np.ndarray
    highest: np.ndarray
    support: np.ndarray
    weights: np.ndarray

    @classmethod
    def released(cls) -> Regression:
        """Load the one of the original release, trained on the LIVE database."""
        found = load_file(PARAMETERS)
        return cls(**{name: values.astype(np.float64) for name, values in found.items()})

    def __call__(self, features: np.ndarray) -> float:
        """Predict the score of features [36]."""
        scaled = 2 * (features - self.lowest) / (self.highest - self.lowest) - 1
        kernel = np.exp(-GAMMA * np.square(self.support - scaled).sum(1))
        return float(kernel @ self.weights - RHO)


def brisque(image: np.ndarray, regression: Regression) -> float:
    """Compute BRISQUE of an image; lower is better, and best images are a little below 0.

    Args:
        image: uint8 RGB [H, W, 3].
        regression: of people's scores.

    Returns:
        The score; NaN of an image without content.
    """
    fine = luminance(image)
    return regression(np.concatenate([_features(fine), _features(halved(fine))]))


def _features(gray: np.ndarray) -> np.ndarray:
    """Features [18] of a scale."""
    coefficients = normalized(gray, cv2.BORDER_CONSTANT)
    variance, size = np.square(coefficients).mean(), np.abs(coefficients).mean()
    if not variance:
        return np.full(18, np.nan)
    features = [shapes_of(np.array([size**2 / variance])), np.array([variance])]
    for values in products(coefficients[None]):
        fit = fit_asymmetric(values)
        features += [fit.shape, fit.mean, np.square(fit.left), np.square(fit.right)]
    return np.concatenate(features)
