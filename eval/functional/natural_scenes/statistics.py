"""What BRISQUE and NIQE share: normalized luminance and the distributions fitted to it.

Steps and constants are those of the Matlab code of the original releases (Mittal et al., 2012 and
2013), with one difference: where all pixels of a window are equal, the normalized luminance is 0.
In the releases it is what rounding leaves, ±1e-13, and since values below and above 0 are counted,
the features of images with clipped or empty regions depend on the order of the additions.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from scipy.special import gamma, gammaln

GRAY = (0.2989360212937751, 0.5870430744511212, 0.11402090425510336)
"""Weights of red, green and blue in Matlab's rgb2gray."""

WINDOW = np.exp(-np.square(np.arange(-3, 4)) / (2 * (7 / 6) ** 2))
WINDOW /= WINDOW.sum()
"""Gaussian window of 7 pixels, of which the one in two dimensions is the product."""

ROUNDING = 1e-10
"""Normalized luminance below which a window has equal pixels. Rounding leaves 1e-12; one gray level
in the corner of a window, after the image was halved, 1e-9."""

SHAPES = np.arange(200, 10_001) / 1000
"""Shape parameters of generalized Gaussians among which the best is found."""
RATIOS = gamma(2 / SHAPES) ** 2 / (gamma(1 / SHAPES) * gamma(3 / SHAPES))
"""E|x|² / E x² of generalized Gaussians of these shapes, rising."""

SHIFTS = ((0, 1), (1, 0), (1, 1), (1, -1))
"""Down and to the right, of the neighbors whose products are taken."""


def luminance(image: np.ndarray) -> np.ndarray:
    """Convert RGB to gray levels as Matlab's rgb2gray does in 8 bits.

    Args:
        image: uint8 RGB [H, W, 3].

    Returns:
        Whole numbers in 0 … 255, float64 [H, W].
    """
    return np.floor(image @ np.array(GRAY) + 0.5)


def normalized(gray: np.ndarray, border: int) -> np.ndarray:
    """Subtract the local mean and divide by the local standard deviation plus 1.

    Args:
        gray: gray levels, float64 [H, W].
        border: what lies beyond the edges, as OpenCV names it.

    Returns:
        Normalized luminance (MSCN coefficients) [H, W].
    """
    mean = cv2.sepFilter2D(gray, -1, WINDOW, WINDOW, borderType=border)
    squares = cv2.sepFilter2D(gray * gray, -1, WINDOW, WINDOW, borderType=border)
    found = (gray - mean) / (np.sqrt(np.abs(squares - mean * mean)) + 1)
    found[np.abs(found) < ROUNDING] = 0
    return found


def halved(gray: np.ndarray) -> np.ndarray:
    """Resize to half, as Matlab's imresize does: bicubic, antialiased, edges mirrored.

    Args:
        gray: [H, W].

    Returns:
        [ceil(H / 2), ceil(W / 2)], in floats.
    """
    taps = _bicubic((np.arange(8) - 3.5) / 2)
    taps /= taps.sum()
    whole = cv2.sepFilter2D(gray, -1, taps, taps, anchor=(3, 3), borderType=cv2.BORDER_REFLECT)
    return np.ascontiguousarray(whole[::2, ::2])


def _bicubic(x: np.ndarray) -> np.ndarray:
    """Keys's kernel with a = -0.5."""
    x = np.abs(x)
    near, far = 1.5 * x**3 - 2.5 * x**2 + 1, -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
    return np.where(x <= 1, near, np.where(x <= 2, far, 0))


@dataclass(frozen=True)
class Asymmetric:
    """Asymmetric generalized Gaussians fitted to sets of values, each [B]; NaN where undefined.

    Attributes:
        shape: their shape parameter.
        left, right: standard deviations of the values below and above 0.
    """

    shape: np.ndarray
    left: np.ndarray
    right: np.ndarray

    @property
    def width(self) -> np.ndarray:
        """What turns standard deviations into the distribution's scale parameters."""
        return np.exp((gammaln(1 / self.shape) - gammaln(3 / self.shape)) / 2)

    @property
    def mean(self) -> np.ndarray:
        """Their mean."""
        ratio = np.exp(gammaln(2 / self.shape) - gammaln(1 / self.shape))
        return (self.right - self.left) * self.width * ratio


def fit_asymmetric(values: np.ndarray) -> Asymmetric:
    """Fit an asymmetric generalized Gaussian to each row by moments (Lasmar et al., 2009).

    Args:
        values: [B, N]; a row without values on both sides of 0 has no fit.
    """
    sizes = np.abs(values)
    both, signed = (np.einsum("bn,bn->b", values, other) for other in (values, sizes))
    below, above = (np.count_nonzero(side, axis=1) for side in (values < 0, values > 0))
    with np.errstate(invalid="ignore", divide="ignore"):
        left, right = np.sqrt((both - signed) / 2 / below), np.sqrt((both + signed) / 2 / above)
        ratio, skew = sizes.mean(1) ** 2 / (both / values.shape[1]), left / right
        shape = shapes_of(ratio * (skew**3 + 1) * (skew + 1) / (skew**2 + 1) ** 2)
    return Asymmetric(shape, left, right)


def shapes_of(ratios: np.ndarray) -> np.ndarray:
    """Find the shape of the generalized Gaussian with each ratio E|x|² / E x² [B]; NaN of NaN."""
    above = np.clip(np.searchsorted(RATIOS, ratios), 1, len(RATIOS) - 1)
    nearest = above - (ratios - RATIOS[above - 1] < RATIOS[above] - ratios)
    return np.where(np.isfinite(ratios), SHAPES[nearest], np.nan)


def products(blocks: np.ndarray) -> Iterator[np.ndarray]:
    """Products of each pixel with its neighbor in four directions, around the edges.

    Args:
        blocks: normalized luminance [B, H, W].

    Yields:
        [B, H · W] for each of `SHIFTS`.
    """
    for shift in SHIFTS:
        yield (blocks * np.roll(blocks, shift, (1, 2))).reshape(len(blocks), -1)
