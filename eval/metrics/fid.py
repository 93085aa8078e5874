"""Fréchet distance between two sets of features (Heusel et al., 2017; "FID" on Inception's)."""

from __future__ import annotations

import torch
from torch import Tensor


def frechet_distance(preds: Tensor, target: Tensor) -> float:
    """Distance of the Gaussians fitted to two sets of features.

    |μ_p - μ_t|² + Tr(S_p + S_t - 2 (S_p S_t)^½). The last trace is the nuclear norm of X_p X_tᵀ for
    centred, scaled features X, which needs no matrix root and stays exact for singular
    covariances (fewer images than features).

    Args:
        preds: features of generated images [N, D], N ≥ 2.
        target: features of real images [M, D], M ≥ 2.

    Raises:
        ValueError: fewer than two images, or different feature sizes.

    >>> frechet_distance(torch.tensor([[0.0], [2.0]]), torch.tensor([[3.0], [5.0]]))
    9.0
    """
    if preds.ndim != 2 or target.ndim != 2 or preds.shape[1] != target.shape[1]:
        raise ValueError(
            f"Expected features of shape [N, D] and [M, D], got {tuple(preds.shape)} "
            f"and {tuple(target.shape)}."
        )
    if min(len(preds), len(target)) < 2:
        raise ValueError("Expected at least two images on either side.")
    mean_p, spread_p = _mean_and_spread(preds)
    mean_t, spread_t = _mean_and_spread(target)
    cross = torch.linalg.svdvals(spread_p @ spread_t.T).sum()
    spread = spread_p.square().sum() + spread_t.square().sum() - 2 * cross
    return float((mean_p - mean_t).square().sum() + spread.clamp(min=0))


def _mean_and_spread(features: Tensor) -> tuple[Tensor, Tensor]:
    """Mean [D] and a matrix R [min(N, D), D] with RᵀR = covariance, in double precision."""
    features = features.double()
    mean = features.mean(0)
    centred = (features - mean) / (len(features) - 1) ** 0.5
    return mean, torch.linalg.qr(centred, mode="r").R
