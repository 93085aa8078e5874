"""Prompts → embeddings, by the text encoders that a model shares with Stable Diffusion."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from diffusers.configuration_utils import FrozenDict
from diffusers.loaders import (
    StableDiffusionLoraLoaderMixin,
    StableDiffusionXLLoraLoaderMixin,
    TextualInversionLoaderMixin,
)
from diffusers.utils import USE_PEFT_BACKEND, scale_lora_layers, unscale_lora_layers
from torch import Tensor

from mvdiffusion.models.text_encoding import TextEncoders, tokenize, with_pooled
from mvdiffusion.pipelines.checks import check_shape
from mvdiffusion.pipelines.options import PLAIN, SamplingOptions
from mvdiffusion.records import InputError

logger = logging.getLogger(__name__)


class TextConditioning(
    TextualInversionLoaderMixin, StableDiffusionXLLoraLoaderMixin, StableDiffusionLoraLoaderMixin
):
    """The part of a pipeline that encodes prompts, with diffusers' loaders of what changes them.

    LoRAs and textual inversions that were made for Stable Diffusion fit, since text encoders and
    shared UNet are its own.
    """

    text_encoder: Any
    tokenizer: Any
    text_encoder_2: Any
    unet: Any
    _execution_device: torch.device
    _cut_prompts: set[str]

    @property
    def text(self) -> TextEncoders:
        """The text encoder, or SDXL's two."""
        return TextEncoders.of(self)

    def load_lora_weights(self, *source: Any, **options: Any) -> None:
        """Load a LoRA of the family of Stable Diffusion that the model is of.

        Args:
            source, options: see diffusers.
        """
        one = self.text_encoder_2 is None
        family = StableDiffusionLoraLoaderMixin if one else StableDiffusionXLLoraLoaderMixin
        family.load_lora_weights(self, *source, **options)

    @classmethod
    def lora_state_dict(cls, source: Any, **options: Any) -> Any:
        """Read a LoRA; what is made of its layers' names depends on the shared UNet.

        Args:
            source, options: see diffusers.
        """
        if (config := options.get("unet_config")) is not None:
            options["unet_config"] = FrozenDict(config["unet_config"])
        return super().lora_state_dict(source, **options)

    def encode_prompt(
        self,
        prompts: Sequence[Sequence[str]],
        negative_prompt: str | Sequence[str] | None,
        options: SamplingOptions = PLAIN,
    ) -> Tensor:
        """Encode per-view prompts [B][V] as embeddings, or take those of the options.

        Args:
            prompts: per-view prompts of B samples.
            negative_prompt: one for all views, or one per view; None for none (no guidance).
            options: embeddings in place of texts, layers to leave out, scale of a LoRA.

        Returns:
            Embeddings [B, V, L, D], or [2 B, V, L, D] with the negative prompts' first; of SDXL the
            last tokens are the pooled embeddings (see `models.text_encoding`).

        Raises:
            InputError: embeddings of another shape, or more layers to leave out than there are.
        """
        rows = [list(texts) for texts in prompts]
        negative_rows: list[list[str]] = []
        if negative_prompt is not None:
            if isinstance(negative_prompt, str):
                negative_prompt = [negative_prompt] * len(rows[0])
            negative_rows = [list(negative_prompt)] * len(rows)
        positive, negative = options.prompt_embeds, options.negative_prompt_embeds
        with self._scaled_text_encoder(options):
            if positive is None and negative is None and options.clip_skip is None:
                return self._embed(negative_rows + rows)  # all at once
            positive = (
                self._embed(rows, options.clip_skip)
                if positive is None
                else self._given(positive, "prompt_embeds", options, len(rows))
            )
            if not negative_rows:
                return positive
            negative = (
                self._embed(negative_rows)
                if negative is None
                else self._given(negative, "negative_prompt_embeds", options, len(rows))
            )
        check_shape("negative_prompt_embeds", negative, tuple(positive.shape))
        return torch.cat([negative, positive])

    def _given(self, embeds: Tensor, name: str, options: SamplingOptions, batch: int) -> Tensor:
        """Take embeddings [B, V, L, D] from the options; those of one sample are all samples'.

        Raises:
            InputError: they are of another width than the UNet takes.
        """
        width = self.unet.config["unet_config"]["cross_attention_dim"]
        if embeds.shape[-1] != width:
            raise InputError(
                f"Expected `{name}` of width {width}, which the UNet takes, got {embeds.shape[-1]}."
            )
        if self.text.pooled_width:
            embeds = with_pooled(embeds, self._pooled(name, options, embeds))
        embeds = embeds.expand(batch, -1, -1, -1) if len(embeds) == 1 else options.each(embeds)
        return embeds.to(self._execution_device, self.unet.dtype)

    def _pooled(self, name: str, options: SamplingOptions, embeds: Tensor) -> Tensor:
        """Take pooled embeddings [B, V, P] from the options, which belong to embeddings of SDXL.

        Raises:
            InputError: they are missing or of another shape.
        """
        name = name.replace("prompt_embeds", "pooled_prompt_embeds")
        pooled: Tensor | None = getattr(options, name)
        if pooled is None:
            raise InputError(
                f"Expected `{name}` beside embeddings, as the model has two text encoders, got "
                "none."
            )
        check_shape(name, pooled, (*embeds.shape[:2], self.text.pooled_width))
        return pooled

    @contextmanager
    def _scaled_text_encoder(self, options: SamplingOptions) -> Iterator[None]:
        """Give the text encoder's LoRA its scale, as the UNet does with its own."""
        scale = (options.cross_attention_kwargs or {}).get("scale", 1.0)
        if not USE_PEFT_BACKEND or scale == 1.0:
            yield
            return
        encoders = self.text.encoders
        for encoder in encoders:
            scale_lora_layers(encoder, scale)
        try:
            yield
        finally:
            for encoder in encoders:
                unscale_lora_layers(encoder, scale)

    def _embed(self, rows: Sequence[Sequence[str]], clip_skip: int | None = None) -> Tensor:
        """Encode texts [B][V] as [B, V, L, D].

        Args:
            rows: the texts.
            clip_skip: last layers to leave out; the final norm remains.

        Raises:
            InputError: there are not so many layers.
        """
        distinct = sorted({text for row in rows for text in row})
        tokens = self._tokens(distinct)
        embeds = self.text.encode(tokens, clip_skip).to(self.unet.dtype)
        place = {text: index for index, text in enumerate(distinct)}
        return embeds[torch.tensor([[place[text] for text in row] for row in rows])]

    def _tokens(self, texts: list[str]) -> Tensor:
        """Tokens [N, …] of texts for all encoders; what is cut off is logged.

        A textual inversion of several vectors is written out.
        """
        found = []
        for tokenizer in self.text.tokenizers:
            written = self.maybe_convert_prompt(texts, tokenizer)
            if tokenizer is self.tokenizer:  # SDXL's second one cuts at the same place
                self._tell_cut_prompts(written)
            found.append(tokenize([tokenizer], written))
        return torch.cat(found, 1).to(self._execution_device)

    def _tell_cut_prompts(self, prompts: Sequence[str]) -> None:
        """Log what the tokenizer cuts off, once for each prompt."""
        most = self.tokenizer.model_max_length
        tokens = self.tokenizer(prompts, verbose=False).input_ids
        for prompt, ids in zip(prompts, tokens, strict=True):
            if len(ids) > most and prompt not in self._cut_prompts:
                self._cut_prompts.add(prompt)
                lost = self.tokenizer.decode(ids[most - 1 : -1])  # the last token is the text's end
                logger.warning(
                    f"prompt '{prompt[:40]}…': {len(ids)} tokens, of which the model sees {most}; "
                    f"cut off: '{lost}'"
                )
