"""Fréchet distance between two sets of features (Heusel et al., 2017; "FID" on Inception's)."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

Slopes = Callable[[Tensor], Tensor]
"""Derivatives [n] of a distance by the weights of images, given their features [n, D]."""


@dataclass(frozen=True)
class Moments:
    """Mean and covariance of features, of any number of images in the same memory.

    The covariance is held as a root: it needs no subtraction of large sums and stays exact when it
    is singular (fewer images than features).

    Attributes:
        count: N, or the sum of the weights of N images.
        mean: [D], float64.
        root: [at most D or the size of the first block, D], float64; rootᵀ · root is the sum of
            the outer products of the centered features.
    """

    count: float
    mean: Tensor
    root: Tensor

    @classmethod
    def of(cls, blocks: Iterable[Tensor], weights: Iterable[Tensor] | None = None) -> Moments:
        """Gather blocks of features [n, D].

        Args:
            blocks: of features [n, D].
            weights: of the images of each block [n], above 0; 1 each if there are none.

        Raises:
            ValueError: no features, or of another shape.
        """
        found: Moments | None = None
        alike: Iterable[Tensor | None] = itertools.repeat(None)
        for block, own in zip(blocks, weights or alike, strict=False):
            if block.ndim != 2 or not len(block):
                raise ValueError(f"Expected features of shape [n, D], got {tuple(block.shape)}.")
            part = cls._of_block(block.double(), own)
            found = part if found is None else found.with_(part)
        if found is None:
            raise ValueError("Expected at least one block of features.")
        return found

    @classmethod
    def _of_block(cls, rows: Tensor, weights: Tensor | None) -> Moments:
        if weights is None:
            mean = rows.mean(0)
            return cls(len(rows), mean, rows - mean)
        mean = weights @ rows / weights.sum()
        return cls(float(weights.sum()), mean, (rows - mean) * weights.sqrt()[:, None])

    def with_(self, other: Moments) -> Moments:
        """Moments of both sets together."""
        count = self.count + other.count
        apart = (other.mean - self.mean)[None]
        # Both sets are centered at means of their own. About the common mean the scatter is the sum
        # of both and n m / (n + m) · d dᵀ, d between the means: one more row under the roots.
        between = apart * (self.count * other.count / count) ** 0.5
        root = torch.cat([self.root, other.root, between])
        mean = self.mean + apart[0] * (other.count / count)
        return Moments(count, mean, _shorter(root))


def frechet_distance(preds: Moments, target: Moments) -> float:
    """|μ_p - μ_t|² + Tr(S_p + S_t - 2 (S_p S_t)^½) of two sets of at least two images.

    The last trace is the nuclear norm of R_p R_tᵀ for roots RᵀR = S, which needs no matrix root.

    Raises:
        ValueError: fewer than two images.
    """
    if min(preds.count, target.count) < 2:
        raise ValueError("Expected at least two images on either side.")
    roots = [_shorter(m.root) for m in (preds, target)]
    scales = [(m.count - 1) ** -0.5 for m in (preds, target)]
    cross = torch.linalg.svdvals(roots[0] @ roots[1].T).sum() * (scales[0] * scales[1])
    traces = [(r.norm() * scale).square() for r, scale in zip(roots, scales, strict=True)]
    spread = traces[0] + traces[1] - 2 * cross
    return float((preds.mean - target.mean).square().sum() + spread.clamp(min=0))


def frechet_slopes(preds: Moments, target: Moments) -> tuple[Slopes, Slopes]:
    """Derivatives of the Fréchet distance by the weights of images of either set.

    The trace of the root of S_p S_t is least over all maps between normal distributions, so that
    its derivative by S_p is half the optimal map M from one to the other: that of an image x is
    2 (μ_p - μ_t)·y / n + (yᵀ(1 - M) y - Tr(S_p) + Tr((S_p S_t)^½)) / (n - 1) with y = x - μ_p.

    Returns:
        For either set, what maps features [n, D] of some of its images to their derivatives [n].
    """
    (axes_p, scale_p), (axes_t, scale_t) = (_principal(m.root) for m in (preds, target))
    left, singular, right = torch.linalg.svd(
        scale_p[:, None] * (axes_p.T @ axes_t) * scale_t, full_matrices=False
    )
    ratio = ((preds.count - 1) / (target.count - 1)) ** 0.5
    return (
        _slopes(preds, target, axes_p / scale_p @ left * singular.sqrt(), ratio),
        _slopes(target, preds, axes_t / scale_t @ right.T * singular.sqrt(), 1 / ratio),
    )


def _slopes(own: Moments, other: Moments, root_of_map: Tensor, factor: float) -> Slopes:
    """Derivatives by the weights of images of one set.

    Args:
        own, other: moments of that set and of the other.
        root_of_map: [D, R]; its square times `factor` is the optimal map to the other set.
        factor: see `root_of_map`.
    """
    apart = own.mean - other.mean
    # The map's trace with S_p, Σ (x - μ)ᵀ M (x - μ) / (n - 1), is the trace of the root itself.
    rest = (own.root.square().sum() - factor * (own.root @ root_of_map).square().sum()) / (
        own.count - 1
    )

    def slopes(rows: Tensor) -> Tensor:
        centered = rows.double() - own.mean
        spread = centered.square().sum(1) - factor * (centered @ root_of_map).square().sum(1)
        return 2 * centered @ apart / own.count + (spread - rest) / (own.count - 1)

    return slopes


def _principal(root: Tensor) -> tuple[Tensor, Tensor]:
    """Principal axes [D, R] of a root's matrix and their scales [R], without those of no extent."""
    short = len(root) < root.shape[1]
    values, vectors = torch.linalg.eigh(root @ root.T if short else root.T @ root)
    kept = values > values[-1] * len(values) * torch.finfo(values.dtype).eps
    scale, axes = values[kept].sqrt(), vectors[:, kept]
    return (root.T @ axes / scale if short else axes), scale


def _shorter(root: Tensor) -> Tensor:
    """A root [min(N, D), D] of the same matrix."""
    if len(root) <= root.shape[1]:
        return root
    return torch.linalg.qr(root, mode="r").R
