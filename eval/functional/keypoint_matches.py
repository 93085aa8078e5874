"""Keypoint matches of two views, held against where the cameras say that each point lies.

SIFT (Lowe, 2004) finds the same points of a scene in two views without knowing the cameras. The
cameras, which are known here, say where each point of one view must lie in the other: by the
homography of two views around one point, by depth where the camera moves. A match is correct if
both agree. A change of exposure moves no match, a change of geometry moves them all, and what blur
or an empty picture takes away is missing in their number.

Symmetric epipolar distances (TSED, arXiv 2304.10700) ask for less, that a match lie on a line, and
have no such line where the camera only turns; hence points instead of lines.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

KEYPOINTS = 2000
"""Most keypoints of a view, those of the highest contrast: bounds time and memory of the matching.
"""
RATIO = 0.8
"""Most distance of a match's descriptors over that of the next best one (Lowe, 2004, section 7.1).
"""
FEW_MATCHES = 10
"""Fewer matches of a pair count as that many, so that a lucky one alone is no share of 1."""
FAR = 10.0
"""Tolerances by which a match is wrong at most, and by which a pair without any is."""


@dataclass(frozen=True)
class Keypoints:
    """Keypoints of a view.

    Attributes:
        xy: where they lie [N, 2], in pixels, centers at integers.
        descriptors: SIFT's [N, 128], whole numbers from 0 to 255, float32.
    """

    xy: np.ndarray
    descriptors: np.ndarray


@dataclass(frozen=True)
class Agreement:
    """How far the matches of a pair of views agree with the cameras.

    Attributes:
        correct: matches that lie at most the tolerance away from where they belong.
        share: those among all matches of the pair, or among `FEW_MATCHES` if there are fewer.
        error: median distance in pixels from where a match belongs, at most `FAR` tolerances;
            that many without any match.
    """

    correct: int
    share: float
    error: float


def find_keypoints(view: np.ndarray) -> Keypoints:
    """Find SIFT's keypoints in the gray values of a view, at OpenCV's thresholds.

    Args:
        view: uint8 RGB [H, W, 3].
    """
    # Without the precise upscaling OpenCV's keypoints lie a quarter of a pixel off.
    sift = cv2.SIFT.create(KEYPOINTS, enable_precise_upscale=True)
    found, descriptors = sift.detectAndCompute(cv2.cvtColor(view, cv2.COLOR_RGB2GRAY), None)
    xy = np.array([point.pt for point in found], np.float64).reshape(-1, 2)
    return Keypoints(xy, np.zeros((0, 128), np.float32) if descriptors is None else descriptors)


def match(query: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Match descriptors: pairs of rows [M, 2] that are each other's nearest and pass Lowe's test.

    As each keypoint is in one match at most, repeated structures cannot be counted over and over.

    Args:
        query: descriptors of the keypoints that are looked for [N, D].
        target: those among which they are looked for [K, D], at least two to find any.
    """
    if not len(query) or len(target) < 2:
        return np.zeros((0, 2), int)
    # SIFT's whole numbers make every sum exact in float32: no order of adding changes a bit.
    squares = (np.square(each).sum(1) for each in (query, target))
    distance = np.add.outer(*squares) - 2 * query @ target.T
    rows, nearest = np.arange(len(query)), distance.argmin(1)
    best, mutual = distance[rows, nearest], distance.argmin(0)[nearest] == rows
    distance[rows, nearest] = np.inf
    chosen = mutual & (best < RATIO**2 * distance.min(1))
    return np.stack([rows[chosen], nearest[chosen]], 1)


def match_errors(query: Keypoints, target: Keypoints, expected: np.ndarray) -> np.ndarray:
    """Distances in pixels [M] of matches from where they belong; see `held_matches`."""
    return held_matches(query, target, expected)[1]


def held_matches(
    query: Keypoints, target: Keypoints, expected: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Match the keypoints of two views, and hold the matches against where they belong.

    A keypoint that the target does not see is not looked for. The others are looked for in the
    whole target: what repeats the query's pixels elsewhere is found there, far off.

    Args:
        query, target: keypoints of two views.
        expected: where the target sees each keypoint of the query [N, 2]; NaN if it does not.

    Returns:
        The matches, numbers of a keypoint of the query and of one of the target [M, 2], and their
        distances in pixels from where they belong [M].
    """
    seen = np.flatnonzero(np.isfinite(expected).all(1))
    pairs = match(query.descriptors[seen], target.descriptors)
    pairs = np.stack([seen[pairs[:, 0]], pairs[:, 1]], 1)
    return pairs, np.linalg.norm(expected[pairs[:, 0]] - target.xy[pairs[:, 1]], axis=1)


def agreement(errors: np.ndarray, tolerance: float) -> Agreement:
    """Sum up the errors of a pair's matches [M] in pixels.

    >>> agreement(np.array([0.5] * 15 + [300.0] * 5), tolerance=2.0)
    Agreement(correct=15, share=0.75, error=0.5)
    >>> agreement(np.array([0.5]), tolerance=2.0)
    Agreement(correct=1, share=0.1, error=0.5)
    >>> agreement(np.array([]), tolerance=2.0)
    Agreement(correct=0, share=0.0, error=20.0)
    """
    correct = int((errors <= tolerance).sum())
    median = float(np.median(np.minimum(errors, FAR * tolerance))) if len(errors) else np.inf
    share = correct / max(len(errors), FEW_MATCHES)
    return Agreement(correct, share, min(median, FAR * tolerance))
