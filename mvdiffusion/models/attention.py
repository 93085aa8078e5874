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
from mvdiffusion.models.token_attention import BLOCK_BYTES, attend_to_tokens

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
        cells = x.permute(0, 2, 3, 1).reshape(-1, len(tokens.index), channels)  # [B / G, M, C]
        released = self.variant == "released"
        # The variants differ in where the position code enters: as released it is added before
        # the norm, in the paper (equation 1) to the normed query and sampled target.
        features = cells if released else self.norm1(cells)
        norm = Norm(self.norm1.weight, self.norm1.bias, self.norm1.eps) if released else None
        own = geometry.query_code(h, w, channels).to(x.dtype).repeat(cells.shape[1] // (h * w), 1)
        to_k, to_v = (
            layer.weight.unflatten(0, (self.heads, HEAD_CHANNELS))
            for layer in (self.to_k, self.to_v)
        )  # [heads, 32, C]

        def respond(part: slice) -> Tensor:
            asking = cells[:, part]
            normed = self.norm1(asking + own[part]) if released else features[:, part] + own[part]
            query = self.to_q(normed).unflatten(-1, (self.heads, HEAD_CHANNELS))
            seen = tokens.part(part.start, part.stop)
            read = attend_to_tokens(query, features, seen, bands, norm, to_k, to_v)
            return self._update(asking, read.flatten(2))

        return _as_features(self._in_blocks(respond, cells), x)

    def _update(self, cells: Tensor, read: Tensor) -> Tensor:
        """Update cells [..., C] by what their heads have read."""
        # Residuals whose last layers begin at zero: untrained, the views do not see each other.
        cells = cells + self.to_out(read)
        return cells + self.ff(self.norm2(cells))

    def _in_blocks(self, respond: Callable[[slice], Tensor], cells: Tensor) -> Tensor:
        """Update all cells [R, M, C], a block at a time to bound the memory.

        With gradients all at once: their memory is that of what is kept for the backward pass,
        which `gradient_checkpointing` of the UNet spares.
        """
        repeats, count, channels = cells.shape
        hidden = 4 * channels
        taken = repeats * cells.element_size() * 5 * hidden  # by the feed-forward layers
        size = count if torch.is_grad_enabled() else max(BLOCK_BYTES // taken, 1)
        if size >= count:
            return respond(slice(0, count))
        result = torch.empty_like(cells)
        for start in range(0, count, size):
            part = slice(start, min(start + size, count))
            result[:, part] = respond(part)
        return result


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
        cells = x.unflatten(0, (-1, views)).permute(0, 1, 3, 4, 2).flatten(1, 3)  # [B, V h w, C]
        strip = pixel_grid(h, w).to(x.device)[:2].T.repeat(views, 1, 1)  # [V, h * w, 2], cells
        strip = strip / strip.new_tensor([w, h])
        strip[..., 0] += torch.arange(views, device=x.device)[:, None]
        code = frequency_code(strip.flatten(0, 1), channels, self.variant).to(x.dtype)
        released = self.variant == "released"
        tokens = self.norm1(cells + code) if released else self.norm1(cells) + code
        key, value = self._split(self.to_k(tokens)), self._split(self.to_v(tokens))

        def respond(part: slice) -> Tensor:
            query = self._split(self.to_q(tokens[:, part]))
            read = F.scaled_dot_product_attention(query, key, value)
            return self._update(cells[:, part], read.transpose(1, 2).flatten(2))

        return _as_features(self._in_blocks(respond, cells), x)

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


def _as_features(cells: Tensor, x: Tensor) -> Tensor:
    """Bring cells [..., C] into the shape and memory layout of the features `x`."""
    # The layout that came in: convolutions round differently in another.
    last = x.is_contiguous(memory_format=torch.channels_last)
    layout = torch.channels_last if last else torch.contiguous_format
    cells = cells.reshape(len(x), *x.shape[2:], x.shape[1])
    return cells.permute(0, 3, 1, 2).contiguous(memory_format=layout)
