"""Discontinuity score: does the right edge of a panorama continue at its left edge?

The reading of the survey of text-driven panoramas (arXiv 2502.14799), c = 0.1 and a first-order
Scharr filter; the score's own paper is said to use a second-order one.
"""

from __future__ import annotations

import cv2
import numpy as np

STABILIZER = 0.1
"""c of the definition, for Scharr responses (3, 10, 3) · difference over two pixels of gray."""
LUMA = np.array([0.299, 0.587, 0.114])
"""Shares of red, green and blue in gray (ITU-R BT.601)."""
EDGE = 3
"""Columns taken from either edge."""


def discontinuity_score(panorama: np.ndarray) -> float:
    """Horizontal gradient across the seam over that beside it; 1 if the seam does not stand out.

    The last three and the first three columns are joined and filtered; of the four columns in the
    middle, a1 to a4, the seam lies between a2 and a3. DS = mean over rows of
    (|a2| / (|a1| + c) + |a3| / (|a4| + c)) / 2; lower is better, about 0 on plain surfaces.

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
