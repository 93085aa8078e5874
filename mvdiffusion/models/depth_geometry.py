"""Correspondences of posed views with depth, for correspondence-aware attention (section 4.2)."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property

import torch
from torch import Tensor
from torch.nn import functional as F

from mvdiffusion.geometry.depth import MAX_DEPTH_DIFFERENCE, overlaps, reproject
from mvdiffusion.models.correspondence_geometry import (
    CorrespondenceGeometry,
    LevelGeometry,
    counted_tokens,
    frequencies,
    neighborhood,
    query_pixels,
)
from mvdiffusion.models.kernels.tokens import Tokens

MIN_OVERLAP = 0.3  # of two views that attend to each other
NO_DEPTH = 1e6  # the released code's depth of a target where there is none, meters


class DepthGeometry(CorrespondenceGeometry):
    """Views with depth and poses: pixels correspond by the 3-D point they show.

    `released` is the arithmetic of the published checkpoints, but for what docs/released.md lists,
    such as points behind a camera: one cell per target, whose position code is the difference of
    two depths in two cameras. `paper` is the formula of the paper: a
    3 x 3 neighborhood, each cell carried back into the query view by its own depth and encoded by
    its displacement there; tokens whose depth contradicts the query's are invalid (occlusion).
    """

    def __init__(
        self,
        depth: Tensor,  # [G, V, H, W], meters
        K: Tensor,  # [G, V, 3, 3], pixels
        pose: Tensor,  # [G, V, 4, 4], camera-to-world
        variant: str = "released",
    ) -> None:
        """Keep depth and cameras.

        Raises:
            ValueError: the shapes do not fit together.
        """
        lead = depth.shape[:2]
        if depth.ndim != 4 or K.shape != (*lead, 3, 3) or pose.shape != (*lead, 4, 4):
            raise ValueError(
                "Expected `depth` (G, V, H, W), `K` (G, V, 3, 3) and `pose` (G, V, 4, 4), got "
                f"{tuple(depth.shape)}, {tuple(K.shape)} and {tuple(pose.shape)}."
            )
        super().__init__(depth.shape[-2], depth.shape[-1], variant)
        self.depth, self.K, self.pose = depth.float(), K.float(), pose.float()

    @cached_property
    def targets(self) -> tuple[Tensor, Tensor]:
        """Target views [G, V, T] and which of them exist [G, V, T].

        Targets overlap by more than `MIN_OVERLAP`; a view without any takes the previous and the
        next one. Rows with fewer targets than others are filled up.
        """
        views = torch.arange(self.depth.shape[1], device=self.depth.device)
        same = views[:, None] == views
        linked = (overlaps(self.depth, self.K, self.pose) > MIN_OVERLAP) & ~same
        beside = (views[:, None] - views).abs() == 1
        linked = torch.where(linked.any(-1, keepdim=True), linked, beside)
        order = linked.int().argsort(dim=-1, descending=True, stable=True)
        order = order[..., : max(int(linked.sum(-1).max()), 1)]
        return order, linked.gather(-1, order)

    def query_code(self, height: int, width: int, channels: int) -> Tensor:
        """The query's own code γ(0), [h * w, C]."""
        if self.variant == "paper":
            return super().query_code(height, width, channels)
        odd = torch.arange(height * width, device=self.K.device) % 2  # as for the tokens
        return odd.float()[:, None].expand(-1, channels)

    def _compute_bands(self, channels: int) -> Tensor:
        if self.variant == "paper":
            return super()._compute_bands(channels)
        return frequencies(2 * channels, "released", self.K.device)  # C / 2 of them

    def _encoded(self, level: LevelGeometry) -> Tokens:
        if self.variant == "paper":
            return level.tokens()
        pairs, cosine = released_pairs(level.displacement[..., 0], self.targets[1].sum(-1))
        tokens = replace(level, displacement=pairs).tokens()
        return replace(tokens, cosine=cosine.flatten(0, 2))

    @torch.no_grad()
    def _compute_level(self, h: int, w: int) -> LevelGeometry:
        targets, exists = self.targets
        scale = torch.tensor([self.width / w, self.height / h], device=self.depth.device)
        query = query_pixels(h, w, scale)[:2].T  # [h * w, 2]
        # With depth, a pixel lies at one point of the target, if that is in front of it.
        depth = self._read(self.depth, query.expand(*self.depth.shape[:2], -1, -1))
        K, pose = self._of_targets(self.K), self._of_targets(self.pose)
        to_target = (self.K[:, :, None], self.pose[:, :, None], K, pose)
        xy, z = reproject(query, depth[:, :, None], *to_target)  # [G, V, T, h * w, 2]
        seen = (depth[:, :, None] > 0) & (z > 0) & exists[..., None]
        # The released code attends to that point alone, the paper to its 3 x 3 neighbors too.
        offsets = neighborhood(3 if self.variant == "paper" else 1)
        around = torch.tensor(offsets, device=xy.device, dtype=xy.dtype)[:, None]
        cells = (xy / scale - 0.5)[:, :, :, None] + around  # [G, V, T, P, h * w, 2]
        pixels = (cells + 0.5) * scale
        found = self._read(self._of_targets(self.depth), pixels.flatten(3, 4))
        found = found.unflatten(3, pixels.shape[3:5])  # [G, V, T, P, h * w]
        valid = seen[:, :, :, None] & (found > 0)
        # What tells correspondences from what hides them: as released, how far the depths are apart
        # goes into the code; in the paper, points that differ by 0.5 m or more are masked out.
        if self.variant == "released":
            apart = depth[:, :, None, None] - torch.where(valid, found, NO_DEPTH)
            displacement = apart.abs()[..., None]  # meters
        else:
            back, valid = self._carry_back(depth, pixels, found, valid)
            displacement = torch.where(valid[..., None], (back - query) / scale, 0.0)
        valid = valid.permute(0, 1, 4, 2, 3).flatten(3, 4)
        return LevelGeometry(
            targets=targets,
            places=cells.permute(0, 1, 4, 2, 3, 5).flatten(3, 4),
            displacement=displacement.permute(0, 1, 4, 2, 3, 5).flatten(3, 4),
            valid=valid,
            counted=counted_tokens(valid, exists, self.variant == "paper"),
            num_views=depth.shape[1],
            size=(h, w),
        )

    def _carry_back(
        self, depth: Tensor, pixels: Tensor, found: Tensor, valid: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Target pixels, seen from the query view [G, V, T, P, h * w, 2], and what is valid."""
        K, pose = self._of_targets(self.K), self._of_targets(self.pose)
        to_query = (K, pose, self.K[:, :, None], self.pose[:, :, None])
        back, z = reproject(pixels.flatten(3, 4), found.flatten(3, 4), *to_query)
        back, z = back.unflatten(3, valid.shape[3:]), z.unflatten(3, valid.shape[3:])
        near = (z - depth[:, :, None, None]).abs() < MAX_DEPTH_DIFFERENCE
        return back, valid & (z > 0) & near

    def _of_targets(self, values: Tensor) -> Tensor:
        """Gather [G, V, ...] as [G, V, T, ...]."""
        targets, _ = self.targets
        sample = torch.arange(len(values), device=values.device)[:, None, None]
        return values[sample, targets]

    @staticmethod
    def _read(depth: Tensor, pixels: Tensor) -> Tensor:
        """Read depth [..., H, W] at the nearest pixels [..., N, 2]; 0 outside."""
        height, width = depth.shape[-2:]
        x, y = pixels.round().unbind(-1)
        within = (x >= 0) & (x < width) & (y >= 0) & (y < height)
        index = (y.clamp(0, height - 1) * width + x.clamp(0, width - 1)).long()
        return torch.where(within, depth.flatten(-2).gather(-1, index), 0.0)


def released_pairs(differences: Tensor, counts: Tensor) -> tuple[Tensor, Tensor]:
    """Say what the released code encodes of differences of depth [G, V, h * w, N], in meters.

    It takes each two consecutive values, over a view's targets first and then over its cells, for
    the coordinates of one point: the first token gets the sines of both, the second the cosines.

    Args:
        differences: absolute difference of the depths of target and query.
        counts: how many targets each view has, [G, V]; rows are filled up to N.

    Returns:
        The pair of every token [G, V, h * w, N, 2], and whether it gets the cosines.
    """
    cells, targets = differences.shape[2:]
    pairs = differences.new_zeros(*differences.shape, 2)
    cosine = torch.zeros_like(differences, dtype=torch.bool)
    for count in counts.unique().tolist():
        views = counts == count
        values = differences[views][..., :count].flatten(1)
        both = F.pad(values, (0, values.shape[1] % 2)).unflatten(1, (-1, 2))
        both = both.repeat_interleave(2, 1)[:, : values.shape[1]]
        filling = (0, 0, 0, targets - count)
        pairs[views] = F.pad(both.unflatten(1, (cells, count)), filling)
        odd = torch.arange(cells * count, device=differences.device).unflatten(0, (cells, count))
        cosine[views] = F.pad(odd % 2 == 1, filling[2:])
    return pairs, cosine
