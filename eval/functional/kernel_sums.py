"""Maximum mean discrepancy (Gretton et al., 2012) from sums of a kernel over pairs of images.

The sums are kept by group of images, so that other weights of the groups need no kernel again.
"""

from __future__ import annotations

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
        n, m = ((weights * count).sum() for count in (self.preds_count, self.target_count))
        within_p, within_t, cross = (
            (weights[:, None] * sums * weights).sum()
            for sums in (self.preds, self.target, self.cross)
        )
        # An image and itself are no pair of the set: k(x, x) would draw the mean up.
        if unbiased:
            own_p, own_t, same_p, same_t = (
                (weights.square() * own).sum()
                for own in (self.preds_own, self.target_own, self.preds_count, self.target_count)
            )
            within_p, within_t = (
                (within_p - own_p) / (n**2 - same_p),
                (within_t - own_t) / (m**2 - same_t),
            )
        else:
            within_p, within_t = within_p / n**2, within_t / m**2
        return within_p + within_t - 2 * cross / (n * m)


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
