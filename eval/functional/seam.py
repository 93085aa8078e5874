"""Seams: columns at which a panorama changes more than elsewhere, and edges between cube faces."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from .ssim import C1, C2

STABILIZER = 0.1
"""c of the definition, for Scharr responses (3, 10, 3) · difference over two pixels of gray."""
LUMA = np.array([0.299, 0.587, 0.114])
"""Shares of red, green and blue in gray (ITU-R BT.601)."""
EDGE = 3
"""Columns taken from either edge."""
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


def discontinuity_score(panorama: np.ndarray) -> float:
    """Horizontal gradient across the seam over that beside it; 1 if the seam does not stand out.

    The last three and the first three columns are joined and filtered; of the four columns in the
    middle, a1 to a4, the seam lies between a2 and a3. DS = mean over rows of
    (|a2| / (|a1| + c) + |a3| / (|a4| + c)) / 2; lower is better, about 0 on plain surfaces.
    This is the reading of the survey of text-driven panoramas (arXiv 2502.14799), c = 0.1 and a
    first-order Scharr filter; the score's own paper is said to use a second-order one.

    Args:
        panorama: [H, W, 3] in [0, 1], RGB, W ≥ 6, its left and right edges neighbors.

    >>> discontinuity_score(np.full((4, 8, 3), 0.5))
    0.0
    """
    joined = np.concatenate([panorama[:, -EDGE:], panorama[:, :EDGE]], axis=1)
    gray = joined.astype(np.float64) @ LUMA
    response = cv2.Scharr(gray, cv2.CV_64F, 1, 0, borderType=cv2.BORDER_REPLICATE)
    a1, a2, a3, a4 = np.abs(response[:, 1:-1]).T
    return float((a2 / (a1 + STABILIZER) + a3 / (a4 + STABILIZER)).mean() / 2)


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


@dataclass(frozen=True)
class CubeEdge:
    """An edge of a cube: the same line as a side of two faces.

    Attributes:
        faces: numbers of the two faces.
        turns: quarter turns to the left (`numpy.rot90`) that bring the side of each to its left.
        flipped: whether the two sides then run in opposite directions.
    """

    faces: tuple[int, int]
    turns: tuple[int, int]
    flipped: bool

    def strips(self, faces: np.ndarray, width: int) -> tuple[np.ndarray, np.ndarray]:
        """Cut the two strips along the edge, each [S, width, C], column 0 at the edge.

        Args:
            faces: of the cube [6, S, S, C].
            width: in pixels.
        """
        sides = zip(self.faces, self.turns, strict=True)
        first, second = (np.rot90(faces[face], turns)[:, :width] for face, turns in sides)
        return first, second[::-1] if self.flipped else second


def cube_edges(R: np.ndarray) -> list[CubeEdge]:
    """Find the twelve edges of a cube: two sides are one where their ends are the same points.

    Args:
        R: camera-to-world rotations of the faces [6, 3, 3]; x right, y down, z forward.

    Raises:
        ValueError: these are not the faces of a cube.
    """
    corners = np.array([[[-1, -1, 1], [1, -1, 1]], [[-1, 1, 1], [1, 1, 1]]])  # rows, columns
    sides = {}
    for face, turns in itertools.product(range(len(R)), range(4)):
        seen = np.rint(np.rot90(corners, turns) @ np.asarray(R[face]).T).astype(int)
        sides[face, turns] = tuple(seen[0, 0].tolist()), tuple(seen[1, 0].tolist())
    found = [
        CubeEdge((a[0], b[0]), (a[1], b[1]), sides[a] != sides[b])
        for a, b in itertools.combinations(sides, 2)
        if a[0] != b[0] and set(sides[a]) == set(sides[b])
    ]
    if len(found) != 12:
        raise ValueError(f"Expected the six faces of a cube, got {len(found)} shared edges.")
    return found


def strip_ssim(first: np.ndarray, second: np.ndarray) -> float:
    """SSIM of two strips, each mirrored in the other: means over square windows as wide as they.

    Windows weigh all pixels alike, variances are those of the pixels themselves (divided by their
    number), and a window lies wholly within the strip.

    Args:
        first, second: strips [S, width, C] in [0, 1], column 0 at the edge.
    """
    width = first.shape[1]

    def mean(values: np.ndarray) -> np.ndarray:
        rows = np.pad(values.mean(1), ((1, 0), (0, 0))).cumsum(0)
        return (rows[width:] - rows[:-width]) / width  # [windows, C]

    mean_x, mean_y = mean(first), mean(second)
    variances = mean(first**2) - mean_x**2 + mean(second**2) - mean_y**2
    covariance = mean(first * second) - mean_x * mean_y
    similarity = (2 * mean_x * mean_y + C1) * (2 * covariance + C2)
    return float((similarity / ((mean_x**2 + mean_y**2 + C1) * (variances + C2))).mean())


def strip_sobel(first: np.ndarray, second: np.ndarray) -> float:
    """Sobel response across the edge at the outermost column of either face, in gray levels.

    Each face is filtered by itself, its border repeated: a jump from one face to the other does not
    count, only what either has beside the edge.

    Args:
        first, second: strips [S, width, C] in [0, 1], column 0 at the edge.
    """
    return float(np.mean([np.abs(_smoothed(s[:, 1] - s[:, 0])).mean() for s in (first, second)]))


def _smoothed(steps: np.ndarray) -> np.ndarray:
    """Sum of 1, 2, 1 times the gray levels [S] along the edge, the ends repeated."""
    gray = np.pad(255 * steps @ LUMA, 1, mode="edge")
    return gray[:-2] + 2 * gray[1:-1] + gray[2:]


def edge_steps(strips: Sequence[tuple[np.ndarray, np.ndarray]]) -> float:
    """Step across the edges over the mean step beside them; about 1 without a seam.

    It sees a constant offset between faces, and neither blur nor contrast of the whole changes it
    much. Of a smooth scene it is 0.95: toward corners, rows run into an edge obliquely.

    Args:
        strips: of every edge, two strips [S, width, C] in [0, 1], column 0 at the edge.
    """
    across = [np.abs(first[:, 0] - second[:, 0]).mean() for first, second in strips]
    beside = [np.abs(np.diff(strip, axis=1)).mean() for pair in strips for strip in pair]
    return float((np.mean(across) + ROUNDING) / (np.mean(beside) + ROUNDING))
