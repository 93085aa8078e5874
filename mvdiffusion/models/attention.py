"""Correspondence-aware attention, CAA (paper, section 4.1, equation 1)."""

from __future__ import annotations

import torch
from diffusers.models.attention import FeedForward
from torch import Tensor, nn
from torch.nn import functional as F

from mvdiffusion.models.correspondence_geometry import (
    LevelGeometry,
    MultiViewGeometry,
    frequency_code,
)

HEAD_CHANNELS = 32


class CorrespondenceAttention(nn.Module):
    """One transformer block in which each cell of a view attends to its places in other views.

    Two variants share the weights' names and shapes. `released` is the arithmetic of the
    published checkpoints: position code added before the layer norm, tokens outside their target
    image set to zero yet kept in the softmax. `paper` is the formula of the paper: code added to
    the normalised features, tokens outside masked out. There projections commute with sampling,
    so they are applied to h * w cells and not to 18 tokens of each.

    An untrained block is exactly the identity: both last layers start at zero.
    """

    def __init__(self, channels: int, variant: str = "released") -> None:
        """Make a block for features of `channels` channels, a multiple of 32.

        Raises:
            ValueError: unknown variant or number of channels.
        """
        super().__init__()
        if variant not in ("released", "paper"):
            raise ValueError(f"Expected `variant` 'released' or 'paper', got {variant!r}.")
        if channels % HEAD_CHANNELS:
            raise ValueError(f"Expected `channels` divisible by {HEAD_CHANNELS}, got {channels}.")
        self.variant = variant
        self.heads = channels // HEAD_CHANNELS
        self.norm1 = nn.LayerNorm(channels)
        self.norm2 = nn.LayerNorm(channels)
        self.to_q = nn.Linear(channels, channels, bias=False)
        self.to_k = nn.Linear(channels, channels, bias=False)
        self.to_v = nn.Linear(channels, channels, bias=False)
        self.to_out = nn.Linear(channels, channels)
        self.ff = FeedForward(channels, mult=4, activation_fn="geglu")
        for last in (self.to_out, self.ff.net[-1]):
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)

    def forward(self, x: Tensor, geometry: MultiViewGeometry) -> Tensor:
        """Let the views of every sample look at each other.

        Args:
            x: features [B * V, C, h, w].
            geometry: the cameras of G samples, B a multiple of G.

        Returns:
            Features [B * V, C, h, w].
        """
        channels, h, w = x.shape[1:]
        level = geometry.level(h, w)
        code = geometry.position_code(h, w, channels, x.dtype)
        views = x.unflatten(0, (-1, *level.grid.shape[:2]))  # [B / G, G, V, C, h, w]
        cells = views.permute(0, 1, 2, 4, 5, 3).flatten(3, 4)  # [B / G, G, V, h * w, C]
        project = self._tokens_released if self.variant == "released" else self._tokens_paper
        query, key, value, mask = project(views, cells, level, code)
        cells = cells + self.to_out(self._attend(query, key, value, mask))
        cells = cells + self.ff(self.norm2(cells))
        return cells.unflatten(3, (h, w)).permute(0, 1, 2, 5, 3, 4).flatten(0, 2)

    def _tokens_released(
        self, views: Tensor, cells: Tensor, level: LevelGeometry, code: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
        sampled = _sample_targets(views, level)  # [B / G, G, V, h * w, N, C]
        tokens = self.norm1((sampled + code) * level.valid[..., None].to(code.dtype))
        query = self.norm1(cells + self._code_of_zero(cells))
        return self.to_q(query), self.to_k(tokens), self.to_v(tokens), None

    def _tokens_paper(
        self, views: Tensor, cells: Tensor, level: LevelGeometry, code: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
        normed = self.norm1(cells)
        query = self.to_q(normed + self._code_of_zero(cells))
        weight = torch.cat([self.to_k.weight, self.to_v.weight])
        projected = F.linear(normed, weight).unflatten(3, views.shape[-2:])
        sampled = _sample_targets(projected.permute(0, 1, 2, 5, 3, 4), level)
        key, value = (sampled + F.linear(code, weight)).chunk(2, -1)
        return query, key, value, level.valid

    def _code_of_zero(self, cells: Tensor) -> Tensor:
        """The query's own code γ(0), [C]."""
        zero = torch.zeros(2, device=cells.device)
        return frequency_code(zero, cells.shape[-1], self.variant).to(cells.dtype)

    def _attend(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> Tensor:
        """Attend from [..., C] to [..., N, C]; where no token is valid the result is zero."""
        shape = query.shape
        query = query.reshape(-1, self.heads, 1, HEAD_CHANNELS)
        key, value = (
            tokens.reshape(-1, tokens.shape[-2], self.heads, HEAD_CHANNELS).transpose(1, 2)
            for tokens in (key, value)
        )
        if mask is None:
            return F.scaled_dot_product_attention(query, key, value).reshape(shape)
        any_valid = mask.any(-1, keepdim=True)  # [G, V, h * w, 1]
        allowed = (mask | ~any_valid).expand(*shape[:-1], -1)
        allowed = allowed.reshape(-1, 1, 1, mask.shape[-1])
        out = F.scaled_dot_product_attention(query, key, value, attn_mask=allowed)
        return out.reshape(shape) * any_valid.to(out.dtype)


def _sample_targets(views: Tensor, level: LevelGeometry) -> Tensor:
    """Read the targets' features at the tokens' places.

    Args:
        views: features [B / G, G, V, C, h, w].
        level: correspondences at h x w cells.

    Returns:
        Tokens [B / G, G, V, h * w, N, C], zero outside the target.
    """
    repeats, count = views.shape[0], level.targets.shape[1]
    height = views.shape[-2]
    targets = views[:, :, level.targets].flatten(0, 3)  # [B * V * T, C, h, w]
    grid = level.grid.expand(repeats, *level.grid.shape).flatten(4, 5).flatten(0, 3)
    # Float32: half precision cannot hold a position to a fraction of a cell.
    sampled = F.grid_sample(targets.float(), grid, align_corners=False).to(views.dtype)
    sampled = sampled.unflatten(0, (*views.shape[:3], count)).unflatten(5, (9, height))
    return sampled.permute(0, 1, 2, 6, 7, 3, 5, 4).flatten(5, 6).flatten(3, 4)
