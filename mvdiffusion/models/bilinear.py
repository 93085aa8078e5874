"""Bilinear reading of features at known places: a sparse matrix times the features."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True)
class BilinearReading:
    """Places, each between four of the cells; calling it reads features there.

    The places are the same in every layer and step, so which cells they lie between is computed
    once. `grid_sample` would compute it every time, reads channel by channel from features of
    another layout, and adds up its gradients on a GPU in any order.

    Attributes:
        index: the four cells around every place, [..., 4].
        weight: what each contributes, [..., 4]; zero for cells outside the image.
    """

    index: Tensor
    weight: Tensor

    @classmethod
    def at(cls, places: Tensor, images: Tensor, size: tuple[int, int]) -> BilinearReading:
        """Find the cells around places.

        Args:
            places: x and y in cells, integers at the cells' centers, [..., 2].
            images: which of the images each is in, [...].
            size: height and width of the images in cells; their cells are numbered image by image,
                row by row.
        """
        height, width = size
        corner = places.floor()
        right, below = (places - corner).unbind(-1)
        left, top = corner.unbind(-1)
        index, weight = [], []
        for y, share_y in ((top, 1 - below), (top + 1, below)):
            for x, share_x in ((left, 1 - right), (left + 1, right)):
                within = (x >= 0) & (x < width) & (y >= 0) & (y < height)
                cell = y.clamp(0, height - 1) * width + x.clamp(0, width - 1)
                index.append((images * height * width + cell.long()).int())
                weight.append(torch.where(within, share_x * share_y, 0.0))
        return cls(torch.stack(index, -1), torch.stack(weight, -1))

    def __call__(self, cells: Tensor) -> Tensor:
        """Read features of R samples, [R, L, C], at every place, as [R, ..., C]."""
        repeats, count, channels = cells.shape
        places = self.index.shape[:-1]
        shift = count * torch.arange(repeats, device=cells.device, dtype=torch.int32)
        index = self.index.reshape(-1, 4) + shift[:, None, None]
        weight = self.weight.to(cells.dtype).reshape(-1, 4).repeat(repeats, 1)
        read = F.embedding_bag(
            index.flatten(0, 1),
            cells.reshape(-1, channels),
            per_sample_weights=weight,
            mode="sum",
        )
        return read.unflatten(0, (repeats, *places))

    def add_transposed(self, values: Tensor, summed: Tensor) -> None:
        """Add to every cell what is at the places that read it, times its weight there.

        It is what the gradient needs, and in the order of the places, so it has the same bits every
        time, on a GPU too.

        Args:
            values: at the places, [R, M, C].
            summed: of the cells, [R, L, C], changed in place.
        """
        kept = self.weight.flatten() != 0
        cell = self.index.flatten()[kept]
        order = cell.argsort(stable=True)
        place = kept.nonzero()[:, 0][order] // 4
        weight = self.weight.flatten()[kept][order].to(values.dtype)
        cells, counts = cell[order].unique_consecutive(return_counts=True)
        begin = counts.cumsum(0) - counts
        for total, value in zip(summed, values, strict=True):
            total[cells.long()] += F.embedding_bag(
                place, value, begin, per_sample_weights=weight, mode="sum"
            ).to(total.dtype)
