"""What the pipelines take besides, under the names of diffusers' `StableDiffusionPipeline`."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Self, TypeVar

import torch
from diffusers.callbacks import MultiPipelineCallbacks, PipelineCallback
from torch import Tensor

from mvdiffusion.pipelines.checks import Prompts
from mvdiffusion.records import InputError
from mvdiffusion.settings import suggest

Samples = TypeVar("Samples", list[list[str]], Tensor)


EMBEDDINGS = {
    "prompt_embeds": "V, L, D",
    "negative_prompt_embeds": "V, L, D",
    "pooled_prompt_embeds": "V, P",
    "negative_pooled_prompt_embeds": "V, P",
}
"""Options that take the place of texts, with their shape for one sample."""


@dataclass(frozen=True)
class SamplingOptions:
    """Options that every pipeline's call takes by keyword; the defaults change nothing.

    Attributes:
        num_images_per_prompt: samples of each prompt (panoramas, sequences), which follow one
            another in the result.
        prompt_embeds: embeddings [B, V, L, D], or [V, L, D] of one sample, instead of texts.
        negative_prompt_embeds: those of the unconditional branch, of the same shape.
        pooled_prompt_embeds: of SDXL, pooled embeddings [B, V, P] or [V, P] beside `prompt_embeds`.
        negative_pooled_prompt_embeds: those beside `negative_prompt_embeds`.
        guidance_rescale: φ of Lin et al. 2023 (arXiv 2305.08891, section 3.4) in 0 … 1: how far
            the guided prediction of a view is brought back to the spread of the unguided one.
        eta: η of DDIM in 0 … 1 (Song et al. 2020, arXiv 2010.02502, equation 16): the noise that
            its steps add. As in diffusers, other schedulers do without.
        clip_skip: last layers of the text encoder to leave out, for prompts and, as in diffusers,
            not for negative ones.
        cross_attention_kwargs: for the attention processors of the shared UNet; "scale" is that of
            its LoRA and the text encoder's.
        return_dict: False returns a tuple of the images instead of a `MultiViewOutput`.
    """

    num_images_per_prompt: int = 1
    prompt_embeds: Tensor | None = None
    negative_prompt_embeds: Tensor | None = None
    pooled_prompt_embeds: Tensor | None = None
    negative_pooled_prompt_embeds: Tensor | None = None
    guidance_rescale: float = 0.0
    eta: float = 0.0
    clip_skip: int | None = None
    cross_attention_kwargs: Mapping[str, Any] | None = None
    return_dict: bool = True

    def __post_init__(self) -> None:
        """Refuse numbers out of range.

        Raises:
            InputError: naming the option, what was expected and what was got.
        """
        if self.num_images_per_prompt < 1:
            raise InputError(
                f"Expected `num_images_per_prompt` of 1 or more, got {self.num_images_per_prompt}."
            )
        if self.clip_skip is not None and self.clip_skip < 0:
            raise InputError(f"Expected `clip_skip` of 0 or more, got {self.clip_skip}.")
        for name in ("guidance_rescale", "eta"):
            value = getattr(self, name)
            if not math.isfinite(value) or not 0 <= value <= 1:
                raise InputError(f"Expected `{name}` in 0 … 1, got {value}.")

    @classmethod
    def parse(cls, options: Mapping[str, Any]) -> Self:
        """Read the options of a call; embeddings of one sample become a batch of one.

        Raises:
            InputError: an unknown option, a number out of range, or embeddings of another shape.
        """
        names = [field.name for field in fields(cls)]
        for name in options:
            if name not in names:
                raise InputError(f"Unknown argument `{name}`{suggest(name, names)}")
        found = dict(options)
        for name, shape in EMBEDDINGS.items():
            embeds = found.get(name)
            if embeds is None:
                continue
            dimensions = shape.count(",") + 1
            if embeds.ndim not in (dimensions, dimensions + 1):
                raise InputError(
                    f"Expected `{name}` of shape ({shape}) or (B, {shape}), got "
                    f"{tuple(embeds.shape)}."
                )
            found[name] = embeds[None] if embeds.ndim == dimensions else embeds
        return cls(**found)

    def texts(self, prompt: Prompts | None) -> Prompts:
        """Return the prompts, or as many empty ones as there are embeddings in their place.

        Raises:
            InputError: both are given, or neither.
        """
        if (prompt is None) == (self.prompt_embeds is None):
            found = "neither" if prompt is None else "both"
            raise InputError(f"Expected either `prompt` or `prompt_embeds`, got {found}.")
        if self.prompt_embeds is None:
            assert prompt is not None
            return prompt
        batch, views = self.prompt_embeds.shape[:2]
        return [""] * views if batch == 1 else [[""] * views] * batch

    def each(self, samples: Samples) -> Samples:
        """Repeat every sample of a list or tensor `num_images_per_prompt` times."""
        if self.num_images_per_prompt == 1:
            return samples
        if isinstance(samples, Tensor):
            return samples.repeat_interleave(self.num_images_per_prompt, 0)
        return [sample for sample in samples for _ in range(self.num_images_per_prompt)]

    def of_views(self, views: Sequence[int]) -> Self:
        """Pick the embeddings of some views.

        Args:
            views: their places.
        """
        given = {name: value for name in EMBEDDINGS if (value := getattr(self, name)) is not None}
        return replace(self, **{name: value[:, list(views)] for name, value in given.items()})

    def rescale(self, guided: Tensor, positive: Tensor) -> Tensor:
        """Bring guided predictions [..., C, h, w] back to the spread of the unguided ones.

        Args:
            guided: predictions after classifier-free guidance.
            positive: those of the prompts alone.
        """
        if self.guidance_rescale == 0:
            return guided
        spread, expected = (
            values.std(dim=(-3, -2, -1), keepdim=True) for values in (guided, positive)
        )
        return torch.lerp(guided, guided * (expected / spread), self.guidance_rescale)


PLAIN = SamplingOptions()


def tensor_names(callback: Any, names: Sequence[str]) -> Sequence[str]:
    """Names of the tensors that a callback is given: diffusers' own callbacks say theirs.

    Args:
        callback: the argument `callback_on_step_end`.
        names: the argument `callback_on_step_end_tensor_inputs`.
    """
    official = isinstance(callback, PipelineCallback | MultiPipelineCallbacks)
    found: Sequence[str] = callback.tensor_inputs if official else names
    return found
