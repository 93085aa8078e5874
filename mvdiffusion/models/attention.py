"""Correspondence-aware attention, CAA (paper, section 4.1, equation 1)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from diffusers.models.attention import FeedForward
from torch import Tensor, nn
from torch.nn import functional as F

from mvdiffusion.geometry.homography import pixel_grid
from mvdiffusion.models.correspondence_geometry import CorrespondenceGeometry, frequency_code
from mvdiffusion.models.kernels.tokens import Norm
from mvdiffusion.models.token_attention import attend_to_tokens, block_bytes

HEAD_CHANNELS = 32
NORM_GROUPS = 32
FF_TENSORS = 20
"""Memory of the feed-forward layers while they run, in multiples of their input's."""


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

    def forward(self, x: Tensor, geometry: CorrespondenceGeometry) -> Tensor:
        """Let the views of every sample look at each other.

        Args:
            x: features [B * V, C, h, w].
            geometry: the cameras of G samples, B a multiple of G.

        Returns:
            Features [B * V, C, h, w].
        """
        channels, h, w = x.shape[1:]
        tokens, bands = geometry.tokens(h, w), geometry.bands(channels)
        views, every = len(tokens.index) // (h * w), slice(0, len(tokens.index))
        released = self.variant == "released"
        own = geometry.query_code(h, w, channels).to(x.dtype)
        # The variants differ in where the position code enters: as released it is added before
        # the norm, in the paper (equation 1) to the normed query and sampled target.
        features = _cells(x, views, every).flatten(1, 2)  # [B / G, G * V * h * w, C]
        features = features if released else self.norm1(features)
        norm = Norm(self.norm1.weight, self.norm1.bias, self.norm1.eps) if released else None
        to_k, to_v = (
            layer.weight.unflatten(0, (self.heads, HEAD_CHANNELS))
            for layer in (self.to_k, self.to_v)
        )  # [heads, 32, C]

        def respond(cells: Tensor, part: slice) -> Tensor:
            of_place = torch.arange(part.start, part.stop, device=x.device) % (h * w)
            code = own[of_place]
            normed = self.norm1(cells + code) if released else features[:, part] + code
            query = self.to_q(normed).unflatten(-1, (self.heads, HEAD_CHANNELS))
            seen = tokens.part(part.start, part.stop)
            read = attend_to_tokens(query, features, seen, bands, norm, to_k, to_v)
            return self._update(cells, read.flatten(2))

        return _in_blocks(respond, x, views)

    def _update(self, cells: Tensor, read: Tensor) -> Tensor:
        """Update cells [..., C] by what their heads have read."""
        # Residuals whose last layers begin at zero: untrained, the views do not see each other.
        cells = cells + self.to_out(read)
        return cells + self.ff(self.norm2(cells))


class CrossViewAttention(CorrespondenceAttention):
    """The same layers without correspondences: each cell attends to all cells of all views.

    What remains if no camera is known. The position code is that of a cell's place on the strip of
    all views side by side, for queries and tokens alike, so that places can be learned. It is
    measured in views: the code's waves are made for displacements of a few cells and would repeat
    many times along a strip of cells.
    """

    def forward(self, x: Tensor, geometry: CorrespondenceGeometry) -> Tensor:
        """Let the views of every sample look at each other; see `CorrespondenceAttention`.

        Args:
            x: features [B * V, C, h, w].
            geometry: tells how many views a sample has.
        """
        channels, h, w = x.shape[1:]
        views = geometry.K.shape[1]
        cells = _cells(x, views, slice(0, views * h * w)).flatten(1, 2)  # [B, V h w, C]
        strip = pixel_grid(h, w).to(x.device)[:2].T.repeat(views, 1, 1)  # [V, h * w, 2], cells
        strip = strip / strip.new_tensor([w, h])
        strip[..., 0] += torch.arange(views, device=x.device)[:, None]
        code = frequency_code(strip.flatten(0, 1), channels, self.variant).to(x.dtype)
        released = self.variant == "released"
        tokens = self.norm1(cells + code) if released else self.norm1(cells) + code
        key, value = self._split(self.to_k(tokens)), self._split(self.to_v(tokens))

        def respond(cells: Tensor, part: slice) -> Tensor:
            query = self._split(self.to_q(tokens[:, part]))
            read = F.scaled_dot_product_attention(query, key, value)
            return self._update(cells, read.transpose(1, 2).flatten(2))

        return _in_blocks(respond, x, views)

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

    def forward(self, x: Tensor, geometry: CorrespondenceGeometry) -> Tensor:
        """Let the views look at each other, then convolve each; see `CorrespondenceAttention`.

        Args:
            x: features [B * V, C, h, w].
            geometry: correspondences of the views.
        """
        x = self.attention(x, geometry)
        return x + self.conv2(F.relu(self.norm2(self.conv1(F.relu(self.norm1(x))))))


def _in_blocks(respond: Callable[[Tensor, slice], Tensor], x: Tensor, views: int) -> Tensor:
    """Update features a block of cells at a time, which bounds the memory.

    With gradients all at once: then memory is what is kept for the backward pass, and
    `gradient_checkpointing` of the UNet spares that.

    Args:
        respond: updates cells [R, M, C], given which of those of a sample they are.
        x: features [R * views, C, h, w].
        views: of the cells of a sample, which come view by view.
    """
    (count, channels), area = x.shape[:2], x.shape[2] * x.shape[3]
    # The layout that came in: convolutions round differently in another.
    last = x.is_contiguous(memory_format=torch.channels_last)
    layout = torch.channels_last if last else torch.contiguous_format
    taken = count // views * FF_TENSORS * channels * x.element_size()  # by a cell
    size, every = max(block_bytes(x.device) // taken, 1), slice(0, views * area)
    if torch.is_grad_enabled() or size >= every.stop:
        cells = _cells(x, views, every)
        cells = respond(cells.flatten(1, 2), every).reshape(count, *x.shape[2:], channels)
        return cells.permute(0, 3, 1, 2).contiguous(memory_format=layout)
    # Some whole views, or a part of one.
    size = size // area * area or -(-area // -(-area // size))
    result = torch.empty_like(x, memory_format=layout)
    for first in range(0, every.stop, max(size, area)):
        last_cell = min(first + max(size, area), every.stop)
        for start in range(first, last_cell, size):
            part = slice(start, min(start + size, last_cell))
            cells = _cells(x, views, part)
            answer = respond(cells.flatten(1, 2), part)
            _cells(result, views, part).copy_(answer.unflatten(1, cells.shape[1:3]))
    return result


def _cells(x: Tensor, views: int, part: slice) -> Tensor:
    """View some cells of every sample, of whole views or within one: [R, v, n, C].

    Args:
        x: features [R * views, C, h, w].
        views: of the cells of a sample, which come view by view.
        part: which of them.
    """
    area = x.shape[2] * x.shape[3]
    whole = slice(part.start // area, -(-part.stop // area))
    within = slice(part.start % area, part.start % area + min(part.stop - part.start, area))
    return x.unflatten(0, (-1, views)).flatten(-2)[:, whole, :, within].transpose(2, 3)
