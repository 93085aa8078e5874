"""What correspondence-aware attention needs to know of the cameras (paper, section 4.1).

Nothing here depends on the image content or on the denoising step: build it once per sampling.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from mvdiffusion.attention_settings import AttentionSettings
from mvdiffusion.geometry.homography import homography, inside, pixel_grid, project
from mvdiffusion.models.bilinear import BilinearReading
from mvdiffusion.models.kernels.tokens import Tokens


@dataclass(frozen=True)
class LevelGeometry:
    """Correspondences at one feature resolution; N = T targets x P neighborhood cells.

    Attributes:
        targets: indices of the target views, [G, V, T].
        places: where the tokens are in their targets, [G, V, h * w, N, 2]: x and y in cells,
            integers at the cells' centers.
        displacement: what the position code encodes, [G, V, h * w, N, 1 or 2]; in query cells if
            two-dimensional (see the geometry that made it).
        valid: whether the token belongs to a correspondence, [G, V, h * w, N].
        counted: which tokens take part in the softmax, [G, V, h * w or 1, N]; None if all do.
        num_views: number of views V, also where the queries are those of some views alone.
        size: rows h and columns w of the features.
    """

    targets: Tensor
    places: Tensor
    displacement: Tensor
    valid: Tensor
    counted: Tensor | None
    num_views: int
    size: tuple[int, int]

    def tokens(self) -> Tokens:
        """Where the tokens of all G * V * h * w cells are in features [G, V, h, w] of all views."""
        samples, neighbors = len(self.targets), self.valid.shape[-1] // self.targets.shape[-1]
        first = self.num_views * torch.arange(samples, device=self.targets.device)
        images = (self.targets + first[:, None, None]).repeat_interleave(neighbors, -1)
        reading = BilinearReading.at(
            torch.where(self.valid[..., None], self.places, -1.0),
            images[:, :, None].expand(self.valid.shape),
            self.size,
        )
        counted = self.counted
        if counted is not None:
            counted = counted.expand(self.valid.shape).flatten(0, 2)
        return Tokens(
            reading.index.flatten(0, 2),
            reading.weight.flatten(0, 2),
            self.displacement.float().flatten(0, 2),
            self.valid.flatten(0, 2),
            counted,
        )


class CorrespondenceGeometry(ABC):
    """The cameras of G samples with V views, and their correspondences at any feature size.

    Geometry of G = 1 sample serves a batch of samples with the same cameras; in general it serves
    a batch of any multiple of G (guidance doubles the batch).
    """

    K: Tensor  # intrinsics [G, V, 3, 3], pixels

    def __init__(self, height: int, width: int, variant: str) -> None:
        """Remember the images' size and the arithmetic.

        Args:
            height, width: of an image in pixels.
            variant: CAA arithmetic, "released" or "paper".
        """
        self.height, self.width, self.variant = height, width, variant
        self._levels: dict[tuple[int, int], LevelGeometry] = {}
        self._tokens: dict[tuple[int, int], Tokens] = {}
        self._bands: dict[int, Tensor] = {}

    def level(self, height: int, width: int) -> LevelGeometry:
        """Correspondences for features of `height` x `width` cells; computed at first use."""
        if (height, width) not in self._levels:
            self._levels[height, width] = self._compute_level(height, width)
        return self._levels[height, width]

    def tokens(self, height: int, width: int) -> Tokens:
        """What all cells of all views attend to; computed at first use.

        Args:
            height, width: of the features in cells.
        """
        if (height, width) not in self._tokens:
            self._tokens[height, width] = self._encoded(self.level(height, width))
        return self._tokens[height, width]

    def bands(self, channels: int) -> Tensor:
        """Frequencies of the tokens' position code, see `Tokens.code`; computed at first use.

        Args:
            channels: number of channels C.
        """
        if channels not in self._bands:
            self._bands[channels] = self._compute_bands(channels)
        return self._bands[channels]

    def query_code(self, height: int, width: int, channels: int) -> Tensor:
        """The query's own code γ(0), [h * w, C].

        Args:
            height, width: of the features in cells.
            channels: number of channels C.
        """
        halves = torch.arange(channels, device=self.K.device) >= channels // 2  # sines, cosines
        return halves.float().expand(height * width, -1)

    def _compute_bands(self, channels: int) -> Tensor:
        return frequencies(channels, self.variant, self.K.device)

    def _encoded(self, level: LevelGeometry) -> Tokens:
        """Say what is sampled for the tokens of a level and what their codes encode."""
        return level.tokens()

    @abstractmethod
    def _compute_level(self, h: int, w: int) -> LevelGeometry:
        """Compute the correspondences of a feature size."""


class MultiViewGeometry(CorrespondenceGeometry):
    """Views of one camera center: their pixels correspond by homographies, whatever they show."""

    def __init__(
        self,
        K: Tensor,  # [G, V, 3, 3], pixels
        R: Tensor,  # [G, V, 3, 3], camera-to-world
        height: int,
        width: int,
        variant: str = "released",
        attention: AttentionSettings | None = None,
    ) -> None:
        """Keep the cameras of `height` x `width` images, and where attention looks.

        Raises:
            ValueError: `K` and `R` are not both of shape [G, V, 3, 3].
        """
        if K.shape != R.shape or K.ndim != 4 or K.shape[-2:] != (3, 3):
            raise ValueError(
                f"Expected `K` and `R` of shape (G, V, 3, 3), got {tuple(K.shape)} and "
                f"{tuple(R.shape)}."
            )
        super().__init__(height, width, variant)
        self.attention = (attention or AttentionSettings()).with_variant(variant)
        mirrored = self.attention.correspondences == "mirrored"  # the inverse turns: yaw → −yaw
        self.K, self.R = K.float(), R.float().mT.contiguous() if mirrored else R.float()

    @cached_property
    def targets(self) -> tuple[Tensor, Tensor]:
        """Target views [G, V, T] of every view, and which of them exist [G, V, T].

        The left and the right neighbor, around the circle, or every other view that sees any of
        the view's pixels. Rows with fewer targets than others are filled with the view itself,
        which is never valid.
        """
        views = torch.arange(self.K.shape[1], device=self.K.device)
        if self.attention.targets == "neighbors":
            order = torch.stack([views - 1, views + 1], -1) % len(views)
            order = order.expand(len(self.K), -1, -1)
            exists = torch.ones_like(order, dtype=torch.bool)
        else:
            overlaps = self._overlaps()
            count = max(int(overlaps.sum(-1).max()), 1)
            order = overlaps.int().argsort(dim=-1, descending=True, stable=True)[..., :count]
            exists = overlaps.gather(-1, order)
        if not self.attention.closed_loop:
            # The way from view to view must not be shorter across the end of the list.
            exists = exists & ((order - views[:, None]).abs() * 2 <= len(views))
        return torch.where(exists, order, views[:, None]), exists

    def _overlaps(self) -> Tensor:
        """Tell which pairs [G, V, V] of different views share pixels."""
        K, R = self.K, self.R
        H = homography(K[:, :, None], R[:, :, None], K[:, None], R[:, None])
        stride = max(min(self.height, self.width) // 64, 1)
        pixels = pixel_grid(self.height, self.width, stride, stride // 2).to(K)
        xy, in_front = project(H, pixels)
        seen = (inside(xy, self.height, self.width) & in_front).any(-1)
        return seen & ~torch.eye(seen.shape[-1], dtype=torch.bool, device=K.device)

    @torch.no_grad()
    def _compute_level(self, h: int, w: int) -> LevelGeometry:
        (targets, exists), K, R = self.targets, self.K, self.R
        samples = torch.arange(len(K), device=K.device)[:, None, None]
        K_target, R_target = K[samples, targets], R[samples, targets]
        views = targets.shape[1]
        scale = torch.tensor([self.width / w, self.height / h], device=K.device)
        K_query, R_query = K[:, :, None], R[:, :, None]
        forward = homography(K_query, R_query, K_target, R_target)
        backward = homography(K_target, R_target, K_query, R_query)

        # Where a query lands in its target, in pixels; then in cells of the features, whose centers
        # lie half a cell in; its neighbors there are whole cells away.
        query = query_pixels(h, w, scale)  # [3, h * w]
        xy, in_front = project(forward, query)  # [G, V, T, h * w, 2]
        around = neighborhood(self.attention.neighborhood)
        offsets = torch.tensor(around, device=K.device, dtype=xy.dtype)[:, None]
        cells = (xy / scale - 0.5)[:, :, :, None] + offsets  # [G, V, T, P, h * w, 2]
        pixels = (cells + 0.5) * scale
        valid = inside(pixels, self.height, self.width) & in_front[:, :, :, None]
        valid &= (targets != torch.arange(views, device=K.device)[:, None])[..., None, None]

        # The displacement of a neighbor is measured in the query's own view (paper, section 4.1:
        # s - s*): each neighbor is carried back by the inverse homography.
        columns = torch.cat([pixels, torch.ones_like(pixels[..., :1])], -1)
        columns = columns.flatten(3, 4).transpose(-1, -2)  # [G, V, T, 3, P * h * w]
        back, _ = project(backward, columns)
        displacement = (back.unflatten(3, (len(around), h * w)) - query[:2].T) / scale

        valid = valid.permute(0, 1, 4, 2, 3).flatten(3, 4)
        return LevelGeometry(
            targets=targets,
            places=cells.permute(0, 1, 4, 2, 3, 5).flatten(3, 4),
            displacement=displacement.permute(0, 1, 4, 2, 3, 5).flatten(3, 4),
            valid=valid,
            counted=counted_tokens(valid, exists, self.attention.outside == "masked"),
            num_views=views,
            size=(h, w),
        )


def neighborhood(side: int) -> list[tuple[int, int]]:
    """List the offsets (x, y) in cells of a square of `side` x `side` cells, column by column."""
    reach = range(-(side // 2), side // 2 + 1)
    return [(x, y) for x in reach for y in reach]


def counted_tokens(valid: Tensor, exists: Tensor, masked: bool) -> Tensor | None:
    """Tell which tokens take part in the softmax, [G, V, h * w or 1, N]; None if all do.

    Args:
        valid: whether a token belongs to a correspondence, [G, V, h * w, N].
        exists: whether a target is there, or fills up a view with fewer targets, [G, V, T].
        masked: whether tokens of no correspondence are left out; else they are zero vectors.
    """
    if masked:
        return valid
    if exists.all():
        return None
    return exists.repeat_interleave(valid.shape[-1] // exists.shape[-1], -1)[:, :, None]


def query_pixels(h: int, w: int, scale: Tensor) -> Tensor:
    """Pixels of the query cells, [3, h * w]: s // 2, s // 2 + s, …, as in the released code.

    Args:
        h: rows of the features.
        w: columns of the features.
        scale: pixels per cell (s_x, s_y), [2].
    """
    cells = pixel_grid(h, w).to(scale)
    return torch.cat([cells[:2] * scale[:, None] + (scale // 2)[:, None], cells[2:]])


def frequencies(channels: int, variant: str, device: torch.device | None = None) -> Tensor:
    """Angular frequencies [channels / 4] of the position code.

    `released`: powers of two up to 2^(N-1) (above N = 80 of a smaller base), whose upper part is
    below the rounding of float32 pixels. `paper`: the same number, spread evenly in exponent over
    2^0 … 2^7; the paper says only "frequency encoding", and 2^7 resolves 1/100 of a cell.

    Args:
        channels: number of channels C, a multiple of 4.
        variant: "released" or "paper".
        device: device of the result.
    """
    count = channels // 4
    exponents = torch.linspace(0, count - 1, count, device=device)
    if variant == "paper":
        return 2.0 ** torch.linspace(0, min(7, count - 1), count, device=device)
    base = 2.0 if count <= 80 else 5000 ** (1 / (count / 2.5))
    return base**exponents


def frequency_code(displacement: Tensor, channels: int, variant: str) -> Tensor:
    """Encode displacements [..., 2] (cells) as [..., C]: sin x, sin y, cos x, cos y per frequency.

    Paper, section 4.1 (γ); arithmetic in float32.

    Args:
        displacement: from the query's cell to the target, [..., 2].
        channels: number of channels C, a multiple of 4.
        variant: "released" or "paper", see `frequencies`.
    """
    bands = frequencies(channels, variant, displacement.device)
    angles = displacement.float()[..., None] * bands  # [..., 2, C / 4]
    return torch.cat([angles.sin(), angles.cos()], -2).flatten(-2)
