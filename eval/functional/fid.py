"""Fréchet distance between two sets of features (Heusel et al., 2017; "FID" on Inception's)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Moments:
    """Mean and covariance of features, of any number of images in the same memory.

    The covariance is held as a root: it needs no subtraction of large sums and stays exact when it
    is singular (fewer images than features).

    Attributes:
        count: N.
        mean: [D], float64.
        root: [at most D or the size of the first block, D], float64; rootᵀ · root is the sum of
            the outer products of the centered features.
    """

    count: int
    mean: Tensor
    root: Tensor

    @classmethod
    def of(cls, blocks: Iterable[Tensor]) -> Moments:
        """Gather blocks of features [n, D].

        Raises:
            ValueError: no features, or of another shape.
        """
        found: Moments | None = None
        for block in blocks:
            if block.ndim != 2 or not len(block):
                raise ValueError(f"Expected features of shape [n, D], got {tuple(block.shape)}.")
            rows = block.double()
            mean = rows.mean(0)
            part = cls(len(rows), mean, rows - mean)
            found = part if found is None else found.with_(part)
        if found is None:
            raise ValueError("Expected at least one block of features.")
        return found

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

    def without(self, part: Moments) -> Moments:
        """Moments of the rest, for a part that is in the set; about 1e-12 less exact.

        Precise where the rest holds many more images than features.
        """
        count = self.count - part.count
        mean = (self.count * self.mean - part.count * part.mean) / count
        apart = part.mean - mean
        # `with_` turned round: the scatter of the rest is that of the whole, less that of the part,
        # less (n - m) m / n · d dᵀ, d between the part's mean and the rest's. A difference has no
        # root to be read off, so the matrix itself is formed and its root taken by eigenvectors.
        # In place, for memory: D × D numbers are 32 MiB for Inception's features.
        scatter = self.root.T @ self.root
        scatter.addmm_(part.root.T, part.root, alpha=-1)
        scatter.addr_(apart, apart, alpha=-count * part.count / self.count)
        values, vectors = torch.linalg.eigh(scatter)
        del scatter
        noise = values[-1] * len(values) * torch.finfo(values.dtype).eps
        values = values.where(values > noise, 0)  # roots of rounding errors would count
        return Moments(count, mean, vectors.mul_(values.sqrt()).T)


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


def _shorter(root: Tensor) -> Tensor:
    """A root [min(N, D), D] of the same matrix."""
    if len(root) <= root.shape[1]:
        return root
    return torch.linalg.qr(root, mode="r").R
