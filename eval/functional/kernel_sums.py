"""Maximum mean discrepancy (Gretton et al., 2012) from sums of a kernel over pairs of images.

The sums are kept by group of images, so that other weights of the groups need no kernel again.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from torch import Tensor
from torch.nn.functional import one_hot

Grouped = tuple[Tensor, Tensor]
"""Features [n, D] and the group of each image [n]."""


@dataclass(frozen=True)
class KernelSums:
    """Sums of k(x, y) by group of x and group of y.

    Attributes:
        preds, target: within either set [G, G]; their diagonals' own pairs k(x, x) included.
        cross: x from `preds`, y from `target` [G, G].
        preds_own, target_own: sums of k(x, x) [G].
        preds_count, target_count: images by group [G].
    """

    preds: Tensor
    target: Tensor
    cross: Tensor
    preds_own: Tensor
    target_own: Tensor
    preds_count: Tensor
    target_count: Tensor

    def mmd2(self, weights: Tensor, unbiased: bool) -> Tensor:
        """Squared discrepancy [], differentiable by the weights.

        Args:
            weights: of the groups [G]: 1 for one to count as it is, 0 to leave it out.
            unbiased: leave k(x, x) out of the means within a set.
        """
        # Pairs within a group come and go once with it, not twice as a square would have it.
        once = weights - weights.square()
        p, t = self.preds_count, self.target_count
        n, m = (weights * p).sum(), (weights * t).sum()
        within_p, within_t, cross = (
            (weights[:, None] * sums * weights).sum() + (once * sums.diagonal()).sum()
            for sums in (self.preds, self.target, self.cross)
        )
        pairs_p, pairs_t, pairs = (
            one * other + (once * own).sum()
            for one, other, own in ((n, n, p * p), (m, m, t * t), (n, m, p * t))
        )
        # An image and itself are no pair of the set: k(x, x) would draw the mean up.
        if unbiased:
            within_p, pairs_p = within_p - (weights * self.preds_own).sum(), pairs_p - n
            within_t, pairs_t = within_t - (weights * self.target_own).sum(), pairs_t - m
        return within_p / pairs_p + within_t / pairs_t - 2 * cross / pairs


def gathered(sums: Iterable[KernelSums], count: int) -> list[KernelSums]:
    """Keep the sums of `count` subsets in a few tensors.

    Small tensors that are made among large ones keep the memory of these from being used again,
    once they are gone: 100 subsets of 1,000 images of 1,280 features took 1.6 GB more.
    """
    kept: dict[str, Tensor] = {}
    for number, one in enumerate(sums):
        for name, part in vars(one).items():
            kept.setdefault(name, part.new_empty(count, *part.shape))[number] = part
    return [KernelSums(**{name: kept[name][i] for name in kept}) for i in range(count)]


def sums_by_group(kernel: Tensor, rows: Tensor, columns: Tensor, num_groups: int) -> Tensor:
    """Add up a kernel matrix [n, m] by group of its rows [n] and of its columns [m]: [G, G].

    Args:
        kernel: [n, m].
        rows: group of each row [n].
        columns: group of each column [m].
        num_groups: G.

    Returns:
        Sums [G, G], float64.
    """
    # With a one-hot row per image, [G, n] · [n, m] · [m, G] adds up the blocks of the matrix.
    left, right = (one_hot(groups, num_groups).double() for groups in (rows, columns))
    return left.T @ kernel @ right
