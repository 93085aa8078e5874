"""Gradient energy: the control that a gain in consistency is not blur."""

from __future__ import annotations

import numpy as np


def gradient_energy(views: np.ndarray) -> float:
    """Mean squared difference of neighboring pixels, horizontal plus vertical.

    Args:
        views: images [..., H, W, C] in [0, 1].

    >>> ramp = np.linspace(0, 1, 11)[None, :, None] * np.ones((11, 1, 3))
    >>> round(gradient_energy(ramp), 4)
    0.01
    """
    horizontal = np.diff(views, axis=-2)
    vertical = np.diff(views, axis=-3)
    return float(np.square(horizontal).mean() + np.square(vertical).mean())
