"""Training examples as pure functions of (seed, position): what is drawn never depends on
workers, processes, batches or on where a run was resumed."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

Batch = dict[str, Tensor]


class Panorama(Protocol):
    """One sample: views [V, 3, H, W] in [-1, 1] and their V prompts."""

    views: Tensor
    prompts: list[str]


class Panoramas(Protocol):
    """A data set of panoramas, such as `Matterport3DPanoramas`."""

    def __len__(self) -> int:
        """Return the number of panoramas."""

    def load(self, index: int, yaw_deg: float = 0, views: Sequence[int] | None = None) -> Any:
        """Return the chosen views of panorama `index`, all turned right by `yaw_deg`."""


@lru_cache(maxsize=4)
def _epoch_order(seed: int, epoch: int, length: int) -> np.ndarray:
    return np.random.default_rng([seed, 0, epoch]).permutation(length)


class ViewExamples:
    """Views of panoramas in a new order every epoch, each time at a random integer yaw."""

    def __init__(
        self, panoramas: Panoramas, seed: int, num_views: int, chosen_views: int | None = None
    ) -> None:
        """Draw `chosen_views` of the `num_views` views at random; None takes all, in order."""
        self.panoramas, self.seed = panoramas, seed
        self.num_views, self.chosen_views = num_views, chosen_views or num_views

    def draw(self, position: int) -> tuple[np.random.Generator, Any]:
        """Return the random source of example `position`, and its panorama sample."""
        epoch, place = divmod(position, len(self.panoramas))
        index = int(_epoch_order(self.seed, epoch, len(self.panoramas))[place])
        random = np.random.default_rng([self.seed, 1, position])
        yaw_deg = int(random.integers(360))
        views = list(range(self.num_views))
        if self.chosen_views < self.num_views:
            views = sorted(random.permutation(self.num_views)[: self.chosen_views].tolist())
        return random, self.panoramas.load(index, yaw_deg, views)


class AutoencoderExamples(ViewExamples):
    """Views and the noise with which their latents are sampled."""

    def __init__(self, *stream: Any, latent_shape: Sequence[int]) -> None:
        """`latent_shape` is [C, h, w]."""
        super().__init__(*stream)
        self.latent_shape = tuple(latent_shape)

    def __getitem__(self, position: int) -> Batch:
        """Return pixels [V, 3, H, W] and noise [V, C, h, w]."""
        random, sample = self.draw(position)
        return {
            "pixels": sample.views,
            "noise": _normal(random, self.chosen_views, self.latent_shape),
        }


class DiffusionExamples(ViewExamples):
    """Views with tokens of their captions, noise, and timesteps."""

    def __init__(
        self,
        *stream: Any,
        tokenizer: Any,
        latent_shape: Sequence[int],
        num_train_timesteps: int,
        caption_dropout: float,
        shared_timestep: bool = False,
    ) -> None:
        """`shared_timestep`: one timestep and one caption drop for all views of a panorama."""
        super().__init__(*stream)
        self.tokenizer, self.latent_shape = tokenizer, tuple(latent_shape)
        self.num_train_timesteps, self.caption_dropout = num_train_timesteps, caption_dropout
        self.shared_timestep = shared_timestep

    def __getitem__(self, position: int) -> Batch:
        """Return pixels [V, 3, H, W], noise [V, C, h, w], timesteps [V], input_ids [V, L]."""
        random, sample = self.draw(position)
        count = self.chosen_views
        draws = 1 if self.shared_timestep else count
        timesteps = random.integers(self.num_train_timesteps, size=draws)
        dropped = np.broadcast_to(random.random(draws) < self.caption_dropout, count)
        prompts = ["" if drop else p for drop, p in zip(dropped, sample.prompts, strict=True)]
        return {
            "pixels": sample.views,
            "noise": _normal(random, count, self.latent_shape),
            "timesteps": torch.from_numpy(np.broadcast_to(timesteps, count).copy()),
            "input_ids": tokenize(self.tokenizer, prompts),
        }


def tokenize(tokenizer: Any, prompts: list[str]) -> Tensor:
    """Return token ids [N, L], padded and cut to the tokenizer's `model_max_length`."""
    tokens = tokenizer(
        prompts,
        padding="max_length",
        truncation=True,
        max_length=tokenizer.model_max_length,
        return_tensors="pt",
    )
    ids: Tensor = tokens.input_ids
    return ids


def _normal(random: np.random.Generator, count: int, shape: tuple[int, ...]) -> Tensor:
    return torch.from_numpy(random.standard_normal((count, *shape), dtype=np.float32))
