"""Peak signal-to-noise ratio, and the largest one that is ever reported."""

from __future__ import annotations

import numpy as np

MAX_PSNR_DB = 100.0
"""PSNR of equal images would be infinite; 100 dB is far beyond 8-bit rounding (about 59 dB)."""


def psnr_db(mse: float) -> float:
    """PSNR of a mean squared error of values in [0, 1], at most `MAX_PSNR_DB`.

    >>> round(psnr_db(0.01), 3), psnr_db(0.0)
    (20.0, 100.0)
    """
    return float(-10 * np.log10(max(mse, 10 ** (-MAX_PSNR_DB / 10))))


def image_psnr(preds: np.ndarray, target: np.ndarray) -> float:
    """PSNR of images of equal shape in [0, 1], errors pooled over all pixels and channels.

    Args:
        preds, target: images of equal shape in [0, 1].

    Returns:
        PSNR in dB, at most `MAX_PSNR_DB`.
    """
    return psnr_db(float(np.square(preds - target).mean()))
