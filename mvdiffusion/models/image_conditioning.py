"""Images as a condition of interpolation: known views enter every block (paper, section 4.2)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

GROUPS, EPS = 32, 1e-6


class ConditionEncoder(nn.Module):
    """Bring the condition to the size and channels of one block; zero when untrained."""

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        """Make an encoder whose last convolution starts at zero.

        Args:
            in_channels: channels of the encoded condition.
            out_channels: channels of the block that it is added to.
            stride: cells of the condition per cell of the block.
        """
        super().__init__()
        self.norm1 = nn.GroupNorm(GROUPS, in_channels, EPS)
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride, 1)
        self.norm2 = nn.GroupNorm(GROUPS, out_channels, EPS)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 1)
        self.activation = nn.SiLU()
        for value in self.conv2.parameters():
            nn.init.zeros_(value)

    def forward(self, x: Tensor) -> Tensor:
        """Encode [N, C, h, w] as [N, C', h / stride, w / stride]."""
        x = self.conv1(self.activation(self.norm1(x)))
        out: Tensor = self.conv2(self.activation(self.norm2(x)))
        return out


class ImageConditioning(nn.Module):
    """What is added to the input of every down block, of the middle block and of every up block.

    The middle block takes what the last down block takes, as in the released code; where the two
    differ in channels it has an encoder of its own.
    """

    def __init__(self, in_channels: int, block_channels: Sequence[int]) -> None:
        """Make the encoders.

        Args:
            in_channels: channels of the condition: those of the latents, and the mask.
            block_channels: channels of the UNet's down blocks.
        """
        super().__init__()
        first, count = block_channels[0], len(block_channels)
        into_down = [first, *block_channels[:-1]]
        into_up = [block_channels[-1], *reversed(block_channels[1:])]
        strides = [2**level for level in range(count)]
        self.conv_in = nn.Conv2d(in_channels, first, 3, padding=1)
        self.down = nn.ModuleList(
            ConditionEncoder(first, channels, stride)
            for channels, stride in zip(into_down, strides, strict=True)
        )
        shared = into_down[-1] == block_channels[-1]
        own = None if shared else ConditionEncoder(first, block_channels[-1], strides[-1])
        self.mid = own
        self.up = nn.ModuleList(
            ConditionEncoder(first, channels, stride)
            for channels, stride in zip(into_up, reversed(strides), strict=True)
        )

    def forward(self, condition: Tensor) -> tuple[list[Tensor], Tensor, list[Tensor]]:
        """Encode the condition for all blocks.

        Args:
            condition: latents of known views or zeros, and the mask (1 = known), [N, C + 1, h, w].

        Returns:
            What to add for the down blocks, the middle and the up blocks.
        """
        x = self.conv_in(condition)
        down = [encoder(x) for encoder in self.down]
        mid = down[-1] if self.mid is None else self.mid(x)
        return down, mid, [encoder(x) for encoder in self.up]


def image_condition(latents: Tensor, known: Tensor) -> Tensor:
    """Assemble the condition [B, V, C + 1, h, w].

    Args:
        latents: scaled latents [B, V, C, h, w]; those of unknown views are ignored.
        known: which views are known, [B, V] of 0 and 1.
    """
    mask = known.to(latents)[:, :, None, None, None]
    return torch.cat([latents * mask, mask.expand_as(latents[:, :, :1])], 2)
