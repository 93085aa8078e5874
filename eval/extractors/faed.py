"""The autoencoder of whole panoramas whose features serve FAED, the Fréchet auto-encoder distance.

FAED (Oh et al., 2022, of color and depth; of color alone in PanFusion's evaluation) is the
Fréchet distance of what an encoder trained to reconstruct panoramas makes of them. The weights
that PanFusion used are not available, so that values of another training compare methods with each
other but not with published numbers.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

CHUNK = 4
"""Panoramas encoded at a time, for memory."""


class PanoramaAutoencoder(nn.Module):
    """Reconstructs panoramas [N, 3, H, 2 H] in [-1, 1]; their left and right edges are neighbors.

    Args:
        widths: channels of each stage; every stage halves the resolution. The last is
            4 · 2^stages, which makes the features 4 H numbers.
    """

    def __init__(self, widths: Sequence[int]) -> None:
        super().__init__()
        code = widths[-1]
        encoder: list[nn.Module] = []
        for before, width in zip([3, *widths], widths, strict=False):
            encoder += [_activated(before, width, 4, 2), _Residual(width)]
        self.encoder = nn.Sequential(*encoder, PanoramaConv(code, code, 3))
        decoder: list[nn.Module] = []
        for before, width in zip(
            reversed(widths), [*reversed(widths[:-1]), widths[0]], strict=True
        ):
            # By repetition: interpolation would not know that the edges meet.
            decoder += [nn.Upsample(scale_factor=2), _activated(before, width, 3, 1)]
        self.decoder = nn.Sequential(*decoder, PanoramaConv(widths[0], 3, 3), nn.Tanh())

    def forward(self, panoramas: Tensor) -> Tensor:
        """Reconstruct panoramas [N, 3, H, 2 H]; H is a multiple of 2^stages."""
        return self.decoder(self.encoder(panoramas))


class PanoramaConv(nn.Module):
    """Convolution over a panorama: its width is a circle; above and below there are zeros."""

    def __init__(self, before: int, width: int, kernel: int, stride: int = 1) -> None:
        super().__init__()
        self.margin = (kernel - 1) // 2
        self.convolution = nn.Conv2d(before, width, kernel, stride, padding=(self.margin, 0))

    def forward(self, values: Tensor) -> Tensor:
        """Convolve [N, C, H, W] to [N, width, H / stride, W / stride]."""
        left, right = values[..., -self.margin :], values[..., : self.margin]
        return self.convolution(torch.cat([left, values, right], -1))


class _Residual(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.change = nn.Sequential(
            _activated(width, width, 3, 1), PanoramaConv(width, width, 3), nn.BatchNorm2d(width)
        )

    def forward(self, values: Tensor) -> Tensor:
        return values + self.change(values)


def _activated(before: int, width: int, kernel: int, stride: int) -> nn.Sequential:
    convolution = PanoramaConv(before, width, kernel, stride)
    return nn.Sequential(convolution, nn.BatchNorm2d(width), nn.ReLU(inplace=True))


def faed_features(code: Tensor) -> Tensor:
    """Features of panoramas from the output of their encoder.

    Mean over the columns, which forgets where ahead is, and a weight for each row: the cosine of
    the latitude of its center, as wide as the row is on the sphere. (PanFusion's code spreads
    latitudes from pole to pole, so that its first and last row weigh nothing.)

    Args:
        code: encoder output [N, C, h, w], the first row above.

    Returns:
        Features [N, C h].
    """
    rows = code.shape[-2]
    polar_angle = (torch.arange(rows, device=code.device) + 0.5) / rows * torch.pi
    return (code.mean(-1) * polar_angle.sin().to(code)).flatten(1)


def prepare_panoramas(images: Tensor, height: int) -> Tensor:
    """Bring panoramas uint8 [N, 3, h, 2 h] to [N, 3, height, 2 height] in [-1, 1].

    Raises:
        ValueError: they are not twice as wide as high.
    """
    rows, columns = images.shape[-2:]
    if columns != 2 * rows:
        raise ValueError(f"Expected whole panoramas with W = 2 H, got {columns} x {rows} pixels.")
    scaled = images.float() / 127.5 - 1
    if rows == height:
        return scaled
    # With half a turn more on each side, for what a filter sees beyond the edges.
    wide = torch.cat([scaled[..., rows:], scaled, scaled[..., :rows]], -1)
    resized = F.interpolate(wide, (height, 4 * height), mode="bilinear", antialias=True)
    return resized[..., height : 3 * height]


def encode(network: PanoramaAutoencoder, images: Tensor, height: int) -> Tensor:
    """FAED features [N, 4 height] of panoramas uint8 [N, 3, h, 2 h].

    Args:
        network: the trained autoencoder.
        images: panoramas uint8 [N, 3, h, 2 h].
        height: of the panoramas that it was trained on, in pixels.
    """
    parts = images.split(CHUNK)
    return torch.cat([faed_features(network.encoder(prepare_panoramas(p, height))) for p in parts])
