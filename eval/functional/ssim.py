"""Structural similarity (Wang et al., 2004) of the pixels that two images share."""

from __future__ import annotations

import cv2
import numpy as np

SIGMA, RADIUS = 1.5, 5
"""Gaussian window, pixels: 11 × 11 as in the paper and in torchmetrics."""
C1, C2 = 0.01**2, 0.03**2
"""Stabilizers for values in [0, 1]."""


def masked_ssim(preds: np.ndarray, target: np.ndarray, mask: np.ndarray) -> float:
    """Mean SSIM over the pixels of a mask, and over channels.

    Means, variances and covariance under the window are taken from pixels of the mask alone, with
    the weights brought to sum 1; where the whole window lies in the mask this is plain SSIM.

    Args:
        preds, target: images [H, W, C] in [0, 1].
        mask: pixels to compare [H, W].

    Returns:
        SSIM, at most 1; NaN if the mask is empty.

    >>> image = np.random.default_rng(0).random((16, 16, 3))
    >>> round(masked_ssim(image, image, np.ones((16, 16), bool)), 9)
    1.0
    """
    if not mask.any():
        return float("nan")
    rows, columns = (np.flatnonzero(mask.any(axis)) for axis in (1, 0))
    box = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    mask, x, y = mask[box], *(image[box].astype(np.float64) for image in (preds, target))
    inside = mask.astype(np.float64)[..., None]
    weight = np.maximum(_blur(inside), 1e-12)  # 0 only where nothing is compared

    def local(values: np.ndarray) -> np.ndarray:
        return _blur(values * inside) / weight

    mean_x, mean_y = local(x), local(y)
    variance = local(x * x) - mean_x**2 + local(y * y) - mean_y**2
    covariance = local(x * y) - mean_x * mean_y
    similarity = (2 * mean_x * mean_y + C1) * (2 * covariance + C2)
    similarity /= (mean_x**2 + mean_y**2 + C1) * (variance + C2)
    return float(similarity[mask].mean())


def _blur(values: np.ndarray) -> np.ndarray:
    """Weighted sum under the window [H, W, C]; there is nothing beyond the border."""
    kernel = cv2.getGaussianKernel(2 * RADIUS + 1, SIGMA)
    summed = cv2.sepFilter2D(values, -1, kernel, kernel, borderType=cv2.BORDER_CONSTANT)
    return summed.reshape(values.shape)  # OpenCV drops a single channel's axis
