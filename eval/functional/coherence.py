"""Coherence within one panorama: how alike parts of it are that share no pixel.

Zero means that all parts are the same picture, so less is not better below what real panoramas
have: two walls of one room differ.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

EPSILON = 1e-6
"""What PyTorch's pairwise distance, which KNN-GIQA uses, adds to every difference."""


def gram_features(layers: Sequence[Tensor]) -> Tensor:
    """Bring the style of images (Gatys et al., 2016) to vectors whose squared distances compare it.

    The Gram matrix of a layer is divided by channels × pixels. The squared distance of two images'
    vectors is the mean squared difference of their Gram matrices, summed over layers.

    Args:
        layers: outputs of L layers, each [N, C, H, W] with C and size of its own.

    Returns:
        [N, D] with D the sum of C (C + 1) / 2 over layers: upper triangles, each value outside the
        diagonal times √2 because it stands for two.

    >>> gram_features([torch.ones(1, 2, 1, 1)]).tolist()  # G = 1/2 everywhere, divided by C = 2
    [[0.25, 0.3535533845424652, 0.25]]
    """
    parts = []
    for layer in layers:
        count, channels, height, width = layer.shape
        flat = layer.reshape(count, channels, height * width)
        gram = flat @ flat.transpose(1, 2) / (channels * height * width)
        row, column = torch.triu_indices(channels, channels)
        counted = torch.where(row == column, 1, 2).to(layer).sqrt()
        parts.append(gram[:, row, column] * counted / channels)
    return torch.cat(parts, 1)


def squared_distances(features: Tensor) -> Tensor:
    """Squared Euclidean distance of every unordered pair [n (n - 1) / 2].

    Args:
        features: of the n windows of a panorama [n, D].
    """
    return torch.pdist(features).square()


def cosine_distances(features: Tensor) -> Tensor:
    """1 - cosine of every unordered pair [n (n - 1) / 2]: half the squared distance of directions.

    Args:
        features: of the n windows of a panorama [n, D].
    """
    return squared_distances(torch.nn.functional.normalize(features)) / 2


def knn_giqa(preds: Tensor, target: Tensor, neighbors: int, skipped: int = 0) -> Tensor:
    """KNN-GIQA of every image [N] (Gu et al., 2020), as its authors' code computes it.

    The sum of 1 / distance to the nearest real images, where the distance is that of L1, not
    squared, and nothing is divided by their number. Higher is better; a copy of a real image gets
    1 / (D · 1e-6) from that image.

    Args:
        preds: features of the images [N, D].
        target: features of real images [M, D], M at least `skipped` + `neighbors`.
        neighbors: nearest real images that count.
        skipped: nearest real images before them that do not: 1 where the images are real ones
            themselves.
    """
    distances = torch.cdist(preds + EPSILON, target, p=1)
    nearest = distances.topk(skipped + neighbors, largest=False).values  # rising
    return (1 / nearest[:, skipped:]).sum(1)
