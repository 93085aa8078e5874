"""Precision and recall of sets of images (Kynkäänniemi et al., 2019), by k nearest neighbors.

An image lies in the manifold of a set if it is no farther from some image of the set than that
one's k-th nearest neighbor in the set is. Precision is the share of generated images in the
manifold of the real ones, recall that of real images in the manifold of the generated ones.
Distances are Euclidean, in double precision.

All is gathered for the whole set and for the set without each group of images at once, exactly:
of every group the k nearest images are kept, so that no group that is left out costs a pass.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

Blocks = Callable[[], Iterable[tuple[Tensor, Tensor]]]
"""Goes through features [n, D] with the group of each image [n], again at every call."""


@dataclass(frozen=True)
class Radii:
    """Distance of each image of a set from its k-th nearest neighbor in that set.

    Attributes:
        whole: [N].
        without: the same without the images of a group [N, G]; of no meaning for its own group.
    """

    whole: Tensor
    without: Tensor


def radii(images: Blocks, num_groups: int, k: int) -> Radii:
    """Measure how far the manifold of a set reaches around each image.

    Args:
        images: features and groups.
        num_groups: G, groups of images.
        k: neighbors; the image itself is none of them.

    Returns:
        Radii, infinite where the set without a group has no k neighbors.
    """
    parts = [
        _radii_of(number, *block, images, num_groups, k) for number, block in _numbered(images)
    ]
    return Radii(*(torch.cat(each) for each in zip(*parts, strict=True)))


def _numbered(images: Blocks) -> Iterable[tuple[int, tuple[Tensor, Tensor]]]:
    return enumerate(images())


def _radii_of(
    number: int, x: Tensor, group_of: Tensor, images: Blocks, num_groups: int, k: int
) -> tuple[Tensor, Tensor]:
    """Radii [n] and [n, G] of one block."""
    nearest = x.new_full((len(x), num_groups, k), torch.inf)
    for other, (y, groups) in _numbered(images):
        distance = distances(x, y)
        if other == number:
            distance.fill_diagonal_(torch.inf)
        for group in groups.unique().tolist():
            own = torch.cat([nearest[:, group], distance[:, groups == group]], 1)
            nearest[:, group] = own.topk(k, largest=False, sorted=False).values
    whole = nearest.flatten(1).kthvalue(k).values
    without = torch.empty(len(x), num_groups, dtype=x.dtype)
    for group in range(num_groups):
        others = torch.cat([nearest[:, :group], nearest[:, group + 1 :]], 1).flatten(1)
        enough = others.shape[1] >= k
        without[:, group] = others.kthvalue(k).values if enough else torch.inf
    return whole, without


@dataclass(frozen=True)
class Covered:
    """Which images lie in the manifold of another set.

    Attributes:
        whole: [N], bool.
        without: of the manifold without the images of a group [N, G], bool.
        group_of: group of each image [N].
    """

    whole: Tensor
    without: Tensor
    group_of: Tensor

    def share(self, left_out: int | None) -> float:
        """Share of the images that lie in it; of both sets without a group, if one is left out."""
        if left_out is None:
            return float(self.whole.double().mean())
        return float(self.without[self.group_of != left_out, left_out].double().mean())


def covered(images: Blocks, manifold: Blocks, reach: Radii) -> Covered:
    """Find the images that lie in the manifold of another set.

    Args:
        images: features and groups of the images.
        manifold: features and groups of the set.
        reach: its radii.
    """
    found = [(*_covered_of(x, manifold, reach), group_of) for x, group_of in images()]
    return Covered(*(torch.cat(each) for each in zip(*found, strict=True)))


def _covered_of(x: Tensor, manifold: Blocks, reach: Radii) -> tuple[Tensor, Tensor]:
    num_groups = reach.without.shape[1]
    whole = torch.zeros(len(x), dtype=torch.bool)
    without = torch.zeros(len(x), num_groups, dtype=torch.bool)
    start = 0
    for y, groups in manifold():
        rows = slice(start, start + len(y))
        distance, start = distances(x, y), start + len(y)
        whole |= (distance <= reach.whole[rows]).any(1)
        for group in range(num_groups):
            radius = reach.without[rows, group].masked_fill(groups == group, -1)
            without[:, group] |= (distance <= radius).any(1)
    return whole, without


def distances(x: Tensor, y: Tensor) -> Tensor:
    """Euclidean distances [n, m] of features [n, D] and [m, D], float64."""
    return torch.cdist(x.double(), y.double())
