"""Training examples as pure functions of (seed, position): what is drawn never depends on
workers, processes, batches or on where a run was resumed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mvdiffusion.data.captions import join_captions
from mvdiffusion.data.matterport3d import Matterport3DPanoramas
from mvdiffusion.data.scannet import ScanNetScene
from mvdiffusion.models.text_encoding import tokenize
from mvdiffusion.tasks import GIVEN_VIEWS

Batch = dict[str, Tensor]


@dataclass
class Drawn:
    """What a source draws: V views [V, 3, H, W] in −1 … 1, their prompts, and what is given too.

    `random` is the example's source of randomness; every value of `given` has V in front.
    """

    random: np.random.Generator
    views: Tensor
    prompts: list[str]
    given: Batch = field(default_factory=dict)


@lru_cache(maxsize=4)
def _epoch_order(seed: int, epoch: int, length: int) -> np.ndarray:
    return np.random.default_rng([seed, 0, epoch]).permutation(length)


def _place_of(position: int, seed: int, length: int) -> tuple[int, np.random.Generator]:
    """Which of `length` things example `position` is made of, in a new order every epoch."""
    epoch, place = divmod(position, length)
    index = int(_epoch_order(seed, epoch, length)[place])
    return index, np.random.default_rng([seed, 1, position])


class PanoramaViews:
    """Views of panoramas, each time at a random integer yaw."""

    def __init__(
        self,
        panoramas: Matterport3DPanoramas,
        seed: int,
        num_views: int,
        chosen_views: int | None = None,
    ) -> None:
        """Draw `chosen_views` of the `num_views` views at random; None takes all, in order.

        Args:
            chosen_views: how many of them an example has.
        """
        self.panoramas, self.seed = panoramas, seed
        self.num_views, self.count = num_views, chosen_views or num_views

    def __len__(self) -> int:
        return len(self.panoramas)

    def draw(self, position: int) -> Drawn:
        """Return views of one panorama."""
        index, random = _place_of(position, self.seed, len(self.panoramas))
        yaw_deg = int(random.integers(360))
        views = list(range(self.num_views))
        if self.count < self.num_views:
            views = sorted(random.permutation(self.num_views)[: self.count].tolist())
        sample = self.panoramas.load(index, yaw_deg, views)
        return Drawn(random, sample.views, sample.prompts)


class MaskedViews(PanoramaViews):
    """Single views of which parts are given: nothing, everything, or all but a rectangle.

    `mask` [V, 1, H, W] is 0 where a pixel is given and 1 where it is to be generated.
    """

    def draw(self, position: int) -> Drawn:
        """Return views with a mask each."""
        drawn = super().draw(position)
        drawn.given["mask"] = _random_masks(drawn)
        return drawn


def _random_masks(drawn: Drawn) -> Tensor:
    """Draw a mask for each view, [V, 1, H, W]."""
    masks = [_random_mask(drawn.random, *drawn.views.shape[-2:]) for _ in drawn.views]
    return torch.stack(masks)[:, None]


def _random_mask(random: np.random.Generator, height: int, width: int) -> Tensor:
    kind = random.random()
    if kind < 0.6:
        return torch.full((height, width), float(kind < 0.4))
    mask = torch.zeros(height, width)
    (top, bottom), (left, right) = (np.sort(random.integers(0, n + 1, 2)) for n in (height, width))
    mask[top:bottom, left:right] = 1
    return mask


class OutpaintedViews(PanoramaViews):
    """Whole panoramas of which some views are given."""

    def __init__(
        self,
        panoramas: Matterport3DPanoramas,
        seed: int,
        num_views: int,
        given_view_shares: Sequence[float] | None,
    ) -> None:
        """Draw how many views are given, and which; None gives always view 0 alone.

        Args:
            given_view_shares: probabilities that 1, 2, … views are given (at most all but one).
        """
        super().__init__(panoramas, seed, num_views)
        self.shares = given_view_shares

    def draw(self, position: int) -> Drawn:
        """Return all views, with masks [V, 1, H, W] that are 0 in given views."""
        drawn = super().draw(position)
        given = list(GIVEN_VIEWS)
        if self.shares is not None:
            count = int(drawn.random.choice(np.arange(len(self.shares)) + 1, p=self.shares))
            given = drawn.random.permutation(self.count)[: min(count, self.count - 1)].tolist()
        mask = torch.ones_like(drawn.views[:, :1])
        mask[given] = 0
        drawn.given = {"mask": mask}
        return drawn


class EquirectangularImages:
    """Whole panoramas, each time turned by a random integer yaw, and the captions of all views."""

    count = 1

    def __init__(self, panoramas: Matterport3DPanoramas, seed: int, tokenizer: Any) -> None:
        self.panoramas, self.seed, self.tokenizer = panoramas, seed, tokenizer

    def __len__(self) -> int:
        return len(self.panoramas)

    def draw(self, position: int) -> Drawn:
        """Return one panorama [1, 3, H, 2 H]."""
        index, random = _place_of(position, self.seed, len(self.panoramas))
        yaw_deg = int(random.integers(360))
        image, prompt = load_equirectangular(self.panoramas, index, self.tokenizer, yaw_deg)
        return Drawn(random, image[None], [prompt])


def load_equirectangular(
    panoramas: Matterport3DPanoramas, index: int, tokenizer: Any, yaw_deg: float = 0.0
) -> tuple[Tensor, str]:
    """Load a panorama as one image [3, H, 2 H] in −1 … 1, and its prompt.

    Args:
        panoramas: the split.
        index: of the panorama.
        tokenizer: for which the captions are joined.
        yaw_deg: direction of the image's middle and of the first caption.
    """
    prompts = panoramas.prompts(index, yaw_deg, range(panoramas.num_views))
    image = panoramas.equirectangular(index, yaw_deg)
    return image, join_captions(prompts, panoramas.prompt_prefix, tokenizer)


class Frames:
    """Single frames of recordings with their depth [V, H, W]."""

    def __init__(self, scenes: Sequence[ScanNetScene], seed: int, count: int) -> None:
        self.scenes, self.seed, self.count = scenes, seed, count

    def __len__(self) -> int:
        return len(self.scenes)

    def draw(self, position: int) -> Drawn:
        """Return frames of one scene."""
        index, random = _place_of(position, self.seed, len(self.scenes))
        scene = self.scenes[index]
        few = len(scene.valid_frames) < self.count
        frames = random.choice(scene.valid_frames, self.count, replace=few)
        sample = scene.load(sorted(frames.tolist()))
        return Drawn(random, sample.views, sample.prompts, {"depth": sample.depth})


class MaskedFrames(Frames):
    """Single frames with their depth, and masks [V, 1, H, W] as those of `MaskedViews`."""

    def draw(self, position: int) -> Drawn:
        """Return frames of one scene with a mask each."""
        drawn = super().draw(position)
        drawn.given["mask"] = _random_masks(drawn)
        return drawn


class Sequences(Frames):
    """Posed frames that are denoised together: consecutive key frames, or a pair of key frames
    with frames between them (paper, section 4.2).

    Given are depth [V, H, W], K [V, 3, 3], pose [V, 4, 4] and `known` [V]: 1 for the key frames of
    such a pair, which condition the frames between them, and 0 for all others. A scene needs at
    least `num_views` key frames; `interpolation_share` of the examples are pairs.
    """

    def __init__(
        self,
        scenes: Sequence[ScanNetScene],
        seed: int,
        num_views: int,
        interpolation_share: float,
    ) -> None:
        super().__init__(scenes, seed, num_views)
        self.interpolation_share = interpolation_share

    def draw(self, position: int) -> Drawn:
        """Return frames of one scene in their order."""
        index, random = _place_of(position, self.seed, len(self.scenes))
        scene = self.scenes[index]
        known = torch.zeros(self.count)
        drawn = random.random() < self.interpolation_share
        if frames := self._pair(scene, random) if drawn else []:
            known[[0, -1]] = 1
        else:
            start = int(random.integers(len(scene.key_frames) - self.count + 1))
            frames = scene.key_frames[start : start + self.count]
        sample = scene.load(frames)
        given = {"depth": sample.depth, "K": sample.K, "pose": sample.pose, "known": known}
        return Drawn(random, sample.views, sample.prompts, given)

    def _pair(self, scene: ScanNetScene, random: np.random.Generator) -> list[int]:
        """A pair of key frames with frames between them; nothing if the pair drawn has none."""
        first = int(random.integers(len(scene.key_frames) - 1))
        start, end = scene.key_frames[first : first + 2]
        between = scene.frames_between(start, end)
        if not between or self.count < 3:
            return []
        few = len(between) < self.count - 2  # then frames repeat: samples are of equal length
        chosen = random.choice(between, self.count - 2, replace=few)
        return [start, *sorted(chosen.tolist()), end]


Source = PanoramaViews | EquirectangularImages | Frames
"""What draws example `position`: the `count` views of one of its `len` panoramas or scenes."""


class AutoencoderExamples:
    """Views, the noise with which their latents are sampled, and how far the training has come."""

    def __init__(self, source: Source, latent_shape: Sequence[int], total: int) -> None:
        """Make the stream of examples of a source.

        Args:
            latent_shape: [C, h, w] of a view.
            total: examples of the whole training.
        """
        self.source, self.latent_shape, self.total = source, tuple(latent_shape), total

    def __getitem__(self, position: int) -> Batch:
        """Return pixels [V, 3, H, W], noise [V, C, h, w] and progress [V], from 0 to below 1."""
        drawn = self.source.draw(position)
        noise = _normal(drawn.random, self.source.count, self.latent_shape)
        progress = torch.full((self.source.count,), position / self.total)
        return {"pixels": drawn.views, "noise": noise, "progress": progress}


class DiffusionExamples:
    """Views with tokens of their captions, noise, timesteps, and what else is given of them."""

    def __init__(
        self,
        source: Source,
        tokenizers: Sequence[Any],
        latent_shape: Sequence[int],
        num_train_timesteps: int,
        caption_dropout: float,
        timestep_shift: float = 1.0,
        shared_timestep: bool = False,
    ) -> None:
        """Make the stream of examples of a source.

        Args:
            tokenizers: of the text encoders (see `models.text_encoding.tokenize`).
            latent_shape: [C, h, w] of a view.
            caption_dropout: share of captions that are replaced by the empty one.
            timestep_shift: see `DiffusionLossSettings`.
            shared_timestep: draw one timestep and one caption drop for all views of an example.
        """
        self.source, self.tokenizers, self.latent_shape = source, tokenizers, tuple(latent_shape)
        self.num_train_timesteps, self.caption_dropout = num_train_timesteps, caption_dropout
        self.timestep_shift, self.shared_timestep = timestep_shift, shared_timestep
        self._ids: dict[str, Tensor] = {}  # of captions, which come back with their views

    def __getitem__(self, position: int) -> Batch:
        """Return pixels [V, 3, H, W], noise [V, C, h, w], timesteps [V], input_ids [V, L] …"""
        drawn = self.source.draw(position)
        random, count = drawn.random, self.source.count
        draws = 1 if self.shared_timestep else count
        timesteps = random.integers(self.num_train_timesteps, size=draws)
        timesteps = shifted(timesteps, self.num_train_timesteps, self.timestep_shift)
        dropped = np.broadcast_to(random.random(draws) < self.caption_dropout, count)
        prompts = ["" if drop else p for drop, p in zip(dropped, drawn.prompts, strict=True)]
        return {
            "pixels": drawn.views,
            "noise": _normal(random, count, self.latent_shape),
            "timesteps": torch.from_numpy(np.broadcast_to(timesteps, count).copy()),
            "input_ids": self._tokens(prompts),
            **drawn.given,
        }

    def _tokens(self, prompts: Sequence[str]) -> Tensor:
        """Tokens [V, L] of V captions."""
        if new := sorted(set(prompts) - self._ids.keys()):
            self._ids.update(zip(new, tokenize(self.tokenizers, new), strict=True))
        return torch.stack([self._ids[prompt] for prompt in prompts])


def shifted(timesteps: np.ndarray, count: int, shift: float) -> np.ndarray:
    """Move timesteps towards noise (Esser et al. 2024, eq. 23), by the middles of their shares.

    Args:
        timesteps: integers from 0 to `count` - 1; a shift of 1 leaves them as they are.
        count: number of timesteps of the schedule.
        shift: above 1 towards noise, below 1 towards the image.
    """
    share = (timesteps + 0.5) / count
    return (count * shift * share / (1 + (shift - 1) * share)).astype(np.int64)


def _normal(random: np.random.Generator, count: int, shape: tuple[int, ...]) -> Tensor:
    return torch.from_numpy(random.standard_normal((count, *shape), dtype=np.float32))
