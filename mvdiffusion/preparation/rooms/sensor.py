"""What a depth sensor does not see: far surfaces, edges, grazing surfaces and random patches."""

from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from mvdiffusion.preparation.rooms.furniture import Dice
from mvdiffusion.preparation.rooms.paint import Array


def drop_depth(depth: Array, max_depth: float, dice: Dice) -> Array:
    """Make holes in a depth image.

    Args:
        depth: [H, W] in meters.
        max_depth: range of the sensor in meters.
        dice: what decides where.

    Returns:
        Depth [H, W], 0 in the holes: beyond the range, often where depth changes fast from pixel to
        pixel (edges, grazing incidence), and in one to five ragged patches.
    """
    around = sliding_window_view(np.pad(depth, 1, "edge"), (3, 3))
    low, high = around.min((2, 3)), around.max((2, 3))
    chance = np.clip(((high - low) / low - np.float32(0.04)) * np.float32(10), 0, np.float32(0.85))
    holes = (dice.table(*depth.shape) < chance) | (depth > max_depth)
    ragged = dice.table(*depth.shape)
    for _ in range(1 + dice.index(5)):
        holes |= _patch(depth.shape, dice) + np.float32(0.5) * ragged < 1
    return np.where(holes, np.float32(0), depth)


def _patch(shape: tuple[int, ...], dice: Dice) -> Array:
    """Squared distance [H, W] from a random place, in units of a random ellipse."""
    height, width = shape
    x, y = width * dice.between(0, 1), height * dice.between(0, 1)
    across, along = (width * dice.between(0.03, 0.09) for _ in range(2))
    dx = ((np.arange(width) - x) / across).astype(np.float32)
    dy = ((np.arange(height) - y) / along).astype(np.float32)[:, None]
    return dx * dx + dy * dy
