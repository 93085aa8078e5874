"""Correspondence-aware attention, CAA (paper, section 4.1, equation 1)."""

from __future__ import annotations

import torch
from diffusers.models.attention import FeedForward
from torch import Tensor, nn
from torch.nn import functional as F

from mvdiffusion.geometry.homography import pixel_grid
from mvdiffusion.models.correspondence_geometry import (
    CorrespondenceGeometry,
    LevelGeometry,
    frequency_code,
)
from mvdiffusion.models.token_attention import attend_to_tokens

HEAD_CHANNELS = 32
NORM_GROUPS = 32


class CorrespondenceAttention(nn.Module):
    """One transformer block in which each cell of a view attends to its places in other views.

    Two variants share the weights' names and shapes. `released` is the arithmetic of the published
    checkpoints (docs/released.md lists the exceptions): the position code is added before the layer
    norm. `paper` is the formula of the paper: it is added to the normalized features. Which tokens
    there are, and which of them count, is the geometry's.

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

    def forward(
        self, x: Tensor, geometry: CorrespondenceGeometry, view_chunk: int | None = None
    ) -> Tensor:
        """Let the views of every sample look at each other.

        Args:
            x: features [B * V, C, h, w].
            geometry: the cameras of G samples, B a multiple of G.
            view_chunk: how many views ask at once, to bound the memory; None means all.

        Returns:
            Features [B * V, C, h, w].
        """
        channels, h, w = x.shape[1:]
        code = geometry.position_code(h, w, channels, x.dtype)
        query_code = geometry.query_code(h, w, channels, x.dtype)
        cells = x.permute(0, 2, 3, 1).flatten(1, 2)
        views = cells.unflatten(0, (-1, *code.shape[:2]))  # [B / G, G, V, h * w, C]
        count = views.shape[2]
        parts = []
        for start in range(0, count, view_chunk or count):
            part = range(start, min(start + (view_chunk or count), count))
            asking = slice(part.start, part.stop)
            level, own = geometry.level(h, w, part), code[:, asking]
            parts.append(self._respond((views[:, :, asking], query_code), views, level, own))
        return _as_features(torch.cat(parts, 2).flatten(0, 2), x)

    def _respond(
        self, asking: tuple[Tensor, Tensor], views: Tensor, level: LevelGeometry, code: Tensor
    ) -> Tensor:
        """Update the asking cells [B / G, G, v, h * w, C] (with their own code) from all views."""
        cells, query_code = asking
        # The variants differ in where the position code enters: as released it is added before
        # the norm, in the paper (equation 1) to the normed query and sampled target.
        prepare = self._tokens_released if self.variant == "released" else self._tokens_paper
        # Residuals whose last layers begin at zero: untrained, the views do not see each other.
        query, tokens = prepare(views, cells, query_code, level, code)
        cells = cells + self.to_out(self._attend(query, tokens, level.counted))
        return cells + self.ff(self.norm2(cells))

    def _tokens_released(
        self, views: Tensor, cells: Tensor, query_code: Tensor, level: LevelGeometry, code: Tensor
    ) -> tuple[Tensor, Tensor]:
        # What is not valid stays a token, zero before the norm: the released code masks nothing.
        tokens = self.norm1(_sample_targets(views, level) + code)
        return self.norm1(cells + query_code), tokens

    def _tokens_paper(
        self, views: Tensor, cells: Tensor, query_code: Tensor, level: LevelGeometry, code: Tensor
    ) -> tuple[Tensor, Tensor]:
        tokens = _sample_targets(self.norm1(views), level) + code
        return self.norm1(cells) + query_code, tokens

    def _attend(self, cells: Tensor, tokens: Tensor, mask: Tensor | None) -> Tensor:
        """Attend from cells [..., C] to N tokens each [..., N, C].

        A cell has tokens of its own, so projecting these to keys and values would be most of the
        work. Being linear, the projections are applied on the side of the cells instead, once a
        head: q · (K t) = (Kᵀ q) · t, and Σ a V t = V Σ a t.

        Args:
            cells: one query each.
            tokens: what they attend to.
            mask: which tokens count, [G, v, h * w or 1, N]; None if all do.

        Returns:
            What the heads read [..., C]; zero where no token counts.
        """
        channels, count = cells.shape[-1], tokens.shape[-2]
        to_k, to_v = (
            layer.weight.unflatten(0, (self.heads, HEAD_CHANNELS))
            for layer in (self.to_k, self.to_v)
        )  # [heads, 32, C]
        query = self.to_q(cells).reshape(-1, self.heads, HEAD_CHANNELS).transpose(0, 1)
        reading = (query @ to_k).transpose(0, 1)  # [M, heads, C] for M cells
        allowed = None
        if mask is not None:
            # Softmax over no token at all is NaN: such a query is given all, and its result zeroed.
            any_valid = mask.any(-1, keepdim=True)  # [G, v, h * w or 1, 1]
            allowed = (mask | ~any_valid).expand(*cells.shape[:-1], -1).reshape(-1, 1, count)
        tokens = tokens.reshape(-1, count, channels)
        read = attend_to_tokens(reading, tokens, allowed, HEAD_CHANNELS**-0.5)
        out = (read.transpose(0, 1) @ to_v.mT).transpose(0, 1).reshape(cells.shape)
        return out if mask is None else out * any_valid.to(out.dtype)


class CrossViewAttention(CorrespondenceAttention):
    """The same layers without correspondences: each cell attends to all cells of all views.

    What remains if no camera is known. The position code is that of a cell's place on the strip of
    all views side by side, for queries and tokens alike, so that places can be learned. It is
    measured in views: the code's waves are made for displacements of a few cells and would repeat
    many times along a strip of cells.
    """

    def forward(
        self, x: Tensor, geometry: CorrespondenceGeometry, view_chunk: int | None = None
    ) -> Tensor:
        """Let the views of every sample look at each other; see `CorrespondenceAttention`.

        Args:
            x: features [B * V, C, h, w].
            geometry: tells how many views a sample has.
            view_chunk: how many views ask at once, to bound the memory; None means all.
        """
        channels, h, w = x.shape[1:]
        views = geometry.K.shape[1]
        cells = x.unflatten(0, (-1, views)).permute(0, 1, 3, 4, 2).flatten(1, 3)  # [B, V h w, C]
        strip = pixel_grid(h, w).to(x.device)[:2].T.repeat(views, 1, 1)  # [V, h * w, 2], cells
        strip = strip / strip.new_tensor([w, h])
        strip[..., 0] += torch.arange(views, device=x.device)[:, None]
        code = frequency_code(strip.flatten(0, 1), channels, self.variant).to(x.dtype)
        released = self.variant == "released"
        tokens = self.norm1(cells + code) if released else self.norm1(cells) + code
        key, value = self._split(self.to_k(tokens)), self._split(self.to_v(tokens))
        parts = []
        for start in range(0, views * h * w, (view_chunk or views) * h * w):
            part = slice(start, start + (view_chunk or views) * h * w)
            query = self._split(self.to_q(tokens[:, part]))
            read = F.scaled_dot_product_attention(query, key, value)
            asking = cells[:, part] + self.to_out(read.transpose(1, 2).flatten(2))
            parts.append(asking + self.ff(self.norm2(asking)))
        return _as_features(torch.cat(parts, 1).reshape(len(x), h * w, channels), x)

    def _split(self, cells: Tensor) -> Tensor:
        """Divide [B, M, C] between the heads, [B, heads, M, 32]."""
        return cells.unflatten(-1, (self.heads, HEAD_CHANNELS)).transpose(1, 2)


class CorrespondenceBlock(nn.Module):
    """CAA followed by residual convolutions, as after the blocks of the depth-conditioned UNet.

    Untrained it is exactly the identity, too.
    """

    def __init__(self, channels: int, variant: str = "released") -> None:
        """Make a block for features of `channels` channels, a multiple of 32."""
        super().__init__()
        self.attention = CorrespondenceAttention(channels, variant)
        self.norm1 = nn.GroupNorm(NORM_GROUPS, channels)
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm2 = nn.GroupNorm(NORM_GROUPS, channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        nn.init.zeros_(self.conv2.weight)

    def forward(
        self, x: Tensor, geometry: CorrespondenceGeometry, view_chunk: int | None = None
    ) -> Tensor:
        """Let the views look at each other, then convolve each; see `CorrespondenceAttention`.

        Args:
            x: features [B * V, C, h, w].
            geometry: correspondences of the views.
            view_chunk: views at a time, for less memory; None means all.
        """
        x = self.attention(x, geometry, view_chunk)
        parts = x.split(view_chunk or len(x))
        halfway = (self.conv1(F.relu(self.norm1(part))) for part in parts)
        added = [self.conv2(F.relu(self.norm2(part))) for part in halfway]
        return x + torch.cat(added)


def _as_features(cells: Tensor, x: Tensor) -> Tensor:
    """Bring cells [B * V, h * w, C] into the shape and memory layout of the features `x`."""
    # The layout that came in: convolutions round differently in another.
    last = x.is_contiguous(memory_format=torch.channels_last)
    layout = torch.channels_last if last else torch.contiguous_format
    return cells.mT.unflatten(-1, x.shape[-2:]).contiguous(memory_format=layout)


def _sample_targets(views: Tensor, level: LevelGeometry) -> Tensor:
    """Read the targets' features at the tokens' places.

    Args:
        views: features [B / G, G, V, h * w, C].
        level: correspondences of v views at h x w cells.

    Returns:
        Tokens [B / G, G, v, h * w, N, C], zero outside the target and where they are not valid.
    """
    read = level.reading(views.flatten(1, 3))
    return read.unflatten(1, level.valid.shape)
