"""Inception score (Salimans et al., 2016): exp of the mean KL(p(class|image) || p(class))."""

from __future__ import annotations

import torch
from torch import Tensor


def inception_score(logits: Tensor, split_of: Tensor) -> float:
    """Mean over splits of exp(mean KL divergence to the split's mean class distribution).

    Args:
        logits: class scores [N, classes], before the softmax.
        split_of: the split each image belongs to [N]; see `assign_splits`.

    >>> logits = torch.tensor([[50.0, 0.0], [0.0, 50.0]])
    >>> round(inception_score(logits, torch.zeros(2)), 4)
    2.0
    """
    log_p = logits.double().log_softmax(-1)
    return sum(_score(log_p[split_of == split]) for split in split_of.unique()) / len(
        split_of.unique()
    )


def assign_splits(num_images: int, num_splits: int, seed: int) -> Tensor:
    """Deal shuffled images [N] into equal consecutive splits, as torchmetrics does."""
    order = torch.randperm(num_images, generator=torch.Generator().manual_seed(seed))
    split_of = torch.empty(num_images, dtype=torch.long)
    for split, members in enumerate(order.chunk(num_splits)):
        split_of[members] = split
    return split_of


def _score(log_p: Tensor) -> float:
    p = log_p.exp()
    divergence = (p * (log_p - p.mean(0).clamp(min=1e-300).log())).sum(-1)
    return float(divergence.mean().exp())
