"""Kernel distance (Bińkowski et al., 2018; "KID" on Inception's features).

The unbiased squared MMD with the kernel (x·y / D + 1)³, averaged over random subsets that are drawn
as torch-fidelity draws them.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from .kernel_sums import Grouped, KernelSums, sums_by_group


def _kernel(x: Tensor, y: Tensor) -> Tensor:
    """Kernel matrix [N, M] of features [N, D] and [M, D]."""
    return (x @ y.T / x.shape[1] + 1) ** 3


def polynomial_sums(preds: Grouped, target: Grouped, num_groups: int) -> KernelSums:
    """Sums of the kernel by group of the images.

    Args:
        preds, target: features [N, D] and [M, D] with the group of each image.
        num_groups: G, groups of images.
    """
    (x, x_groups), (y, y_groups) = ((each[0].double(), each[1]) for each in (preds, target))
    within_x, within_y, cross = (_kernel(*pair) for pair in ((x, x), (y, y), (x, y)))
    nothing = torch.zeros(num_groups, dtype=torch.float64)
    return KernelSums(
        sums_by_group(within_x, x_groups, x_groups, num_groups),
        sums_by_group(within_y, y_groups, y_groups, num_groups),
        sums_by_group(cross, x_groups, y_groups, num_groups),
        nothing.index_add(0, x_groups, within_x.diagonal()),
        nothing.index_add(0, y_groups, within_y.diagonal()),
        x_groups.bincount(minlength=num_groups).double(),
        y_groups.bincount(minlength=num_groups).double(),
    )


def subsets_of(num_preds: int, num_target: int, size: int, num_subsets: int) -> tuple[int, int]:
    """Size and number of the subsets that can be drawn.

    Args:
        num_preds, num_target: images on either side.
        size: images wanted per subset and side.
        num_subsets: subsets wanted.

    >>> subsets_of(5000, 5000, 1000, 100), subsets_of(8, 8, 1000, 100), subsets_of(8, 9, 1000, 100)
    ((1000, 100), (8, 1), (8, 100))
    """
    size = min(size, num_preds, num_target)
    return size, 1 if size == num_preds == num_target else num_subsets


def draw_subsets(
    num_preds: int, num_target: int, size: int, num_subsets: int, seed: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Numbers of the images of each subset; where a subset is all there is, it is drawn once.

    Args:
        size: images per subset and side; fewer where there are fewer.
    """
    size, num_subsets = subsets_of(num_preds, num_target, size, num_subsets)
    random = np.random.RandomState(seed)
    for _ in range(num_subsets):
        yield (
            random.choice(num_preds, size, replace=False),
            random.choice(num_target, size, replace=False),
        )
