"""Closing a panorama: convolutions that look across its left and right edges."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from diffusers.models.downsampling import Downsample2D
from torch import Tensor, nn
from torch.nn import functional as F


@contextmanager
def closed_convolutions(module: nn.Module, closed: bool = True) -> Iterator[None]:
    """Within it, a module's convolutions pad left and right with what is at the other edge.

    That holds in the encoder of Stable Diffusion's VAE as well. The convolutions there that halve
    an image pad nothing themselves: `Downsample2D` puts a column of zeros on their input's right.

    Args:
        module: a network of images that go once around; its weights are untouched.
        closed: False leaves it as it is.
    """
    found = [conv for conv in module.modules() if isinstance(conv, nn.Conv2d) and closed]
    paddings: list[Any] = [conv.padding for conv in found]
    halving = [each for each in module.modules() if isinstance(each, Downsample2D) and closed]
    hooks = []
    try:
        for each in halving:
            if each.use_conv and each.padding == 0:
                hooks.append(each.conv.register_forward_pre_hook(_fill_last_column))
        for conv, (rows, columns) in zip(found, paddings, strict=True):
            hooks.append(conv.register_forward_pre_hook(partial(_wrap, columns)))
            conv.padding = (rows, 0)
        yield
    finally:
        for hook in hooks:
            hook.remove()
        for conv, padding in zip(found, paddings, strict=True):
            conv.padding = padding


def _wrap(columns: int, _: nn.Module, inputs: tuple[Tensor]) -> tuple[Tensor]:
    return (F.pad(inputs[0], (columns, columns, 0, 0), mode="circular"),)


def _fill_last_column(_: nn.Module, inputs: tuple[Tensor]) -> tuple[Tensor]:
    """Put the first column in the place of the zeros that `Downsample2D` adds on the right."""
    return (torch.cat([inputs[0][..., :-1], inputs[0][..., :1]], -1),)
