"""CLIP score (Hessel et al., 2021) of images with their prompts, and CLIP-I of two images."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import cosine_similarity


def clip_score(image_features: Tensor, text_features: Tensor) -> Tensor:
    """100 · max(cosine, 0) of each image with its own prompt.

    Args:
        image_features: CLIP embeddings [..., D].
        text_features: CLIP embeddings of the prompts [..., D].

    Returns:
        Scores [...], 0 to 100.

    >>> import torch
    >>> images, texts = torch.eye(2), torch.tensor([[2.0, 0.0], [0.0, -1.0]])
    >>> clip_score(images, texts).tolist()
    [100.0, 0.0]
    """
    return 100 * cosine_similarity(image_features, text_features, dim=-1).clamp(min=0)


def clip_image_score(image_features: Tensor, target_features: Tensor) -> Tensor:
    """100 · cosine of each image with another one: CLIP-I, or CLIP image similarity.

    Args:
        image_features: CLIP embeddings [..., D].
        target_features: CLIP embeddings of the other images [..., D].

    Returns:
        Scores [...], 100 for equal images.
    """
    return 100 * cosine_similarity(image_features, target_features, dim=-1)
