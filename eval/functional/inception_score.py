"""Inception score (Salimans et al., 2016): exp of the mean KL(p(class|image) || p(class))."""

from __future__ import annotations

import torch
from torch import Tensor


class SplitSums:
    """Sums from which the score of any number of images follows, by group and split.

    Args:
        num_groups: groups that `score` may leave out.
        num_splits: splits of the score.
    """

    def __init__(self, num_groups: int, num_splits: int) -> None:
        self.shape = num_groups, num_splits
        self.count = torch.zeros(num_groups * num_splits, dtype=torch.float64)
        self.entropy = torch.zeros(num_groups * num_splits, dtype=torch.float64)
        self.p: Tensor | None = None

    def add(self, logits: Tensor, group_of: Tensor, split_of: Tensor) -> None:
        """Add images: class scores [n, classes], before the softmax; group and split [n].

        Args:
            logits: class scores [n, classes], before the softmax.
            group_of: group of each image [n].
            split_of: split of each image [n].
        """
        log_p = logits.double().log_softmax(-1)
        p = log_p.exp()
        cell = group_of * self.shape[1] + split_of
        if self.p is None:
            self.p = torch.zeros(len(self.count), logits.shape[1], dtype=torch.float64)
        self.p.index_add_(0, cell, p)
        self.entropy.index_add_(0, cell, (p * log_p).sum(-1))
        self.count.index_add_(0, cell, torch.ones(len(cell), dtype=torch.float64))

    def score(self, groups: Tensor) -> float:
        """Mean over splits of exp(mean KL divergence to the split's mean class distribution)."""
        assert self.p is not None
        count, entropy, p = (
            sums.view(*self.shape, *sums.shape[1:])[groups].sum(0)
            for sums in (self.count, self.entropy, self.p)
        )
        used = count > 0
        mean_p = p[used] / count[used, None]
        cross = (mean_p * mean_p.clamp(min=1e-300).log()).sum(-1)
        return float((entropy[used] / count[used] - cross).exp().mean())


def splits_of(num_images: int, num_splits: int) -> tuple[int, int]:
    """Images in the largest split, and number of splits that have any.

    A score cannot be above the first: that many images at most can be of different classes.

    Args:
        num_images: N.
        num_splits: wanted.

    >>> splits_of(8736, 10), splits_of(16, 10), splits_of(8, 10)
    ((874, 10), (2, 8), (1, 8))
    """
    largest = -(-num_images // num_splits)
    return largest, -(-num_images // largest)


def assign_splits(num_images: int, num_splits: int, seed: int) -> Tensor:
    """Deal shuffled images [N] into equal consecutive splits, as torchmetrics does.

    Args:
        num_images: N.
        num_splits: of the score.
        seed: of the shuffle.

    Returns:
        Number of each image's split [N].
    """
    order = torch.randperm(num_images, generator=torch.Generator().manual_seed(seed))
    split_of = torch.empty(num_images, dtype=torch.long)
    for split, members in enumerate(order.chunk(num_splits)):
        split_of[members] = split
    return split_of
