"""Seams of a panorama: columns at which it changes more than elsewhere."""

from __future__ import annotations

import numpy as np

ROUNDING = 1e-6
"""Far below one step of 8 bits; makes the ratio of a uniform panorama 1 instead of 0 / 0."""


def column_steps(panorama: np.ndarray) -> np.ndarray:
    """Mean absolute difference of every column from the one to its left [W], all round.

    Args:
        panorama: [H, W, C], its left and right edges neighbors; step 0 crosses them.

    >>> column_steps(np.array([[[0.0], [0.0], [1.0]]])).tolist()
    [1.0, 0.0, 1.0]
    """
    return np.abs(panorama - np.roll(panorama, 1, axis=1)).mean((0, 2))


def edge_step(panorama: np.ndarray) -> float:
    """Step across the left and right edges over the mean step; 1 without a seam there.

    Args:
        panorama: [H, W, C] in [0, 1].
    """
    steps = column_steps(panorama)
    return float((steps[0] + ROUNDING) / (steps.mean() + ROUNDING))


def worst_step(panorama: np.ndarray) -> float:
    """Largest step over the median step: finds a seam at any column.

    Vertical edges of the scene count too, so compare it with that of real panoramas.

    Args:
        panorama: [H, W, C] in [0, 1].
    """
    steps = column_steps(panorama)
    return float((steps.max() + ROUNDING) / (np.median(steps) + ROUNDING))
