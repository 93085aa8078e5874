"""Bilinear reading of features at known places: a sparse matrix times the features."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F


@dataclass(frozen=True)
class BilinearReading:
    """M places, each between four of the cells; calling it reads features there.

    The places are the same in every layer and step, so which cells they lie between is computed
    once. `grid_sample` would compute it every time, reads channel by channel from features of
    another layout, and adds up its gradients on a GPU in any order.

    Attributes:
        index: the four cells around every place, [M, 4].
        weight: what each contributes, [M, 4]; zero for cells outside the image.
        num_cells: how many cells there are.
    """

    index: Tensor
    weight: Tensor
    num_cells: int

    @classmethod
    def at(
        cls, places: Tensor, images: Tensor, size: tuple[int, int], count: int
    ) -> BilinearReading:
        """Find the cells around places.

        Args:
            places: x and y in cells, integers at the cells' centers, [..., 2].
            images: which of the images each is in, [...].
            size: height and width of the images in cells.
            count: number of images; their cells are numbered image by image, row by row.
        """
        height, width = size
        corner = places.floor()
        right, below = (places - corner).flatten(0, -2).unbind(-1)
        left, top = corner.flatten(0, -2).unbind(-1)
        index, weight = [], []
        for y, share_y in ((top, 1 - below), (top + 1, below)):
            for x, share_x in ((left, 1 - right), (left + 1, right)):
                within = (x >= 0) & (x < width) & (y >= 0) & (y < height)
                cell = y.clamp(0, height - 1) * width + x.clamp(0, width - 1)
                index.append(images.flatten() * height * width + cell.long())
                weight.append(torch.where(within, share_x * share_y, 0.0))
        return cls(torch.stack(index, -1), torch.stack(weight, -1), count * height * width)

    def __call__(self, cells: Tensor) -> Tensor:
        """Read features of R samples, [R, num_cells, C], at every place, as [R, M, C]."""
        return _Read.apply(cells, self)

    @cached_property
    def transposed(self) -> tuple[Tensor, Tensor, Tensor]:
        """The same matrix by columns: for every cell the places that read it.

        Returns:
            The places in the order of their cells [E], their weights [E], and where the places of
            each cell begin [num_cells].
        """
        kept = self.weight.flatten() != 0
        cell = self.index.flatten()[kept]
        order = cell.argsort(stable=True)
        place = kept.nonzero()[:, 0][order] // self.index.shape[1]
        begin = torch.bincount(cell, minlength=self.num_cells).cumsum(0).roll(1)
        begin[0] = 0
        return place, self.weight.flatten()[kept][order], begin


class _Read(torch.autograd.Function):
    """The product and its gradient, each a weighted sum of rows."""

    @staticmethod
    def forward(ctx: Any, cells: Tensor, reading: BilinearReading) -> Tensor:
        ctx.reading = reading
        repeats, count, channels = cells.shape
        index = _repeated(reading.index, repeats, count)
        weight = reading.weight.to(cells.dtype).repeat(repeats, 1)
        read = F.embedding_bag(
            index, cells.reshape(-1, channels), per_sample_weights=weight, mode="sum"
        )
        return read.unflatten(0, (repeats, -1))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        reading = ctx.reading
        repeats, places, channels = gradient.shape
        place, weight, begin = reading.transposed
        summed = F.embedding_bag(
            _repeated(place, repeats, places),
            gradient.reshape(-1, channels),
            _repeated(begin, repeats, len(place)),
            per_sample_weights=weight.to(gradient.dtype).repeat(repeats),
            mode="sum",
        )
        return summed.unflatten(0, (repeats, -1)), None


def _repeated(index: Tensor, repeats: int, count: int) -> Tensor:
    """Number the rows of every sample behind those of the samples before it."""
    shift = count * torch.arange(repeats, device=index.device)
    return (index + shift.reshape(-1, *(1,) * index.ndim)).flatten(0, 1)
