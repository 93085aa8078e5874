"""RePaint (Lugmayr et al. 2022, arXiv 2201.09865) on any sampler of the schema's list.

A plain model fills in what is unknown: after every denoising step the known latents, noised to the
step's level, are put in their place. That the two fit together, the sampler climbs back to stronger
noise now and then and denoises again ("resampling").
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from diffusers.utils.torch_utils import randn_tensor
from torch import Tensor

from mvdiffusion.pipelines.checks import check_finite
from mvdiffusion.pipelines.multiview import MultiViewPipeline
from mvdiffusion.records import InputError


@dataclass(frozen=True)
class Resampling:
    """How often RePaint denoises again.

    Attributes:
        jump_length: levels that it climbs at a time (the paper's j, 10 of 250).
        times: how often each level is denoised (the paper's r, 10); 1 never climbs.
    """

    jump_length: int
    times: int

    def __post_init__(self) -> None:
        """Refuse numbers below 1."""
        if min(self.jump_length, self.times) < 1:
            raise InputError(
                "Expected a `jump_length` and `times` of resampling of 1 or more, got "
                f"{self.jump_length} and {self.times}."
            )


def visited_levels(steps: int, resampling: Resampling) -> list[int]:
    """List the levels of noise in the order in which RePaint visits them (paper, appendix).

    Args:
        steps: of the sampler; level `steps` is noise alone, 0 the image.
        resampling: from level 1 on, each `jump_length` levels, it climbs so many levels and comes
            down again, `times` - 1 times.
    """
    jump = resampling.jump_length
    left = dict.fromkeys(range(1, steps - jump + 1, jump), resampling.times - 1)
    levels = [steps]
    while (level := levels[-1]) > 0:
        if left.get(level):
            left[level] -= 1
            levels += range(level + 1, level + jump + 1)
        else:
            levels.append(level - 1)
    return levels


class Sampler:
    """A scheduler that can climb: latents at level l are signal[l] x image + noise[l] x noise."""

    def __init__(self, scheduler: Any, steps: int, device: torch.device) -> None:
        """Set the steps.

        Args:
            scheduler: of diffusers; those of second order take two timesteps from level to level.
            steps: of the scheduler.
            device: where it computes.
        """
        self.scheduler, self.steps, self.device = scheduler, steps, device
        scheduler.set_timesteps(steps, device=device)
        one, none = (make(1, device=device) for make in (torch.ones, torch.zeros))
        starts = scheduler.timesteps[:: scheduler.order].split(1)
        self.levels = len(starts)
        ends = [(one, none)]  # level 0, then upwards
        ends += [
            (scheduler.add_noise(one, none, t), scheduler.add_noise(none, one, t))
            for t in reversed(starts)
        ]
        self.signal, self.noise = (torch.cat(values) for values in zip(*ends, strict=True))
        # The timestep that follows; how many there were since the last climb; whether that was now.
        self._next, self._since, self._climbed = 0, 0, False
        parameters = inspect.signature(scheduler.step).parameters
        self._takes = {name for name in ("generator", "order") if name in parameters}

    def start(self, noise: Tensor) -> Tensor:
        """Scale noise of unit variance to the highest level."""
        return noise * self.scheduler.init_noise_sigma

    def noised(self, image: Tensor, level: int, noise: Tensor) -> Tensor:
        """Bring clean latents to a level."""
        return self.signal[level] * image + self.noise[level] * noise

    def climb(self, latents: Tensor, level: int, noise: Tensor) -> Tensor:
        """Go one level up from `level`, x_{t-1} to x_t, whatever the noise in `latents`.

        Args:
            latents: at `level`.
            level: below the one that is reached.
            noise: fresh noise of unit variance.
        """
        ratio = self.signal[level + 1] / self.signal[level]
        variance = self.noise[level + 1] ** 2 - (ratio * self.noise[level]) ** 2
        self._next = (self.levels - level - 1) * self.scheduler.order
        self._since, self._climbed = 0, True
        return ratio * latents + variance.clamp(min=0).sqrt() * noise

    def descend(self, latents: Tensor, predict: Any, generator: Any) -> Tensor:
        """Denoise to the next level down.

        Args:
            latents: at the level that was reached last.
            predict: what the model predicts of latents and a timestep.
            generator: for schedulers that add noise.
        """
        if self._climbed:  # what the scheduler remembers belongs to other latents
            self.scheduler.set_timesteps(self.steps, device=self.device)
            if hasattr(self.scheduler, "set_begin_index"):
                self.scheduler.set_begin_index(self._next)
            self._climbed = False
        timesteps = self.scheduler.timesteps[self._next : self._next + self.scheduler.order]
        for t in timesteps:
            self._next, self._since = self._next + 1, self._since + 1
            # A multistep scheduler may count on more steps than it remembers.
            options = {"generator": generator, "order": min(4, self._since)}
            taken = {name: options[name] for name in self._takes}
            step = self.scheduler.step(predict(latents, t), t, latents, **taken)
            latents = step.prev_sample
        return latents


@torch.no_grad()
def repaint(
    pipeline: MultiViewPipeline,
    noise: Tensor,
    embeds: Tensor,
    image: Tensor,
    known: Tensor,
    num_inference_steps: int,
    guidance_scale: float,
    resampling: Resampling,
    generators: Sequence[torch.Generator],
    extra_channels: Tensor | None = None,
) -> Tensor:
    """Sample latents of which some are known.

    Args:
        pipeline: a model of single views.
        noise: initial noise [B, V, C, h, w] of unit variance.
        embeds: of the prompts, [B or 2 B, V, L, D].
        image: the known latents [B, V, C, h, w].
        known: which they are, bool [B, V, 1, h, w].
        num_inference_steps, guidance_scale: as for `MultiViewPipeline.denoise`.
        resampling: how often it denoises again.
        generators: of the noise of the known latents and of the climbs, one per sample.
        extra_channels: input channels after those of the latents, [B, V, C', h, w].

    Returns:
        Latents [B, V, C, h, w]; the known ones are those of `image`.

    Raises:
        InputError: latents became NaN or infinite.
    """
    sampler = Sampler(pipeline.scheduler, num_inference_steps, noise.device)
    generator = list(generators)
    pipeline._guidance_scale = guidance_scale

    def fresh() -> Tensor:
        return randn_tensor(noise.shape, generator, noise.device)

    def predict(latents: Tensor, t: Tensor) -> Tensor:
        return pipeline.predict(latents, t, embeds, extra_channels=extra_channels)

    latents = sampler.start(noise)
    for level, following in pairwise(visited_levels(sampler.levels, resampling)):
        if following > level:
            latents = sampler.climb(latents, level, fresh())
            continue
        latents = sampler.descend(latents, predict, generator)
        noised = sampler.noised(image, following, fresh()) if following else image
        latents = torch.where(known, noised, latents)
        check_finite("latents", latents, pipeline.unet.dtype)
    return latents
