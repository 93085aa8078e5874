"""What texts become: the tokens that a UNet attends to, and what else SDXL's is told with them.

Stable Diffusion 1 and 2 have one text encoder, of which the last hidden states count. SDXL has two
(Podell et al. 2023, arXiv 2307.01952, sections 2.1 and 2.2): of each the states before the last
layer, side by side, and of the second one the pooled embedding of the whole text, which is added to
that of the timestep together with the image's size ("micro-conditioning").

The pooled embedding travels as further tokens at the end of the others. So an embedding is one
tensor whatever the model is, and whoever repeats, cuts, joins or keeps embeddings of views need not
know of it; `conditions` takes it apart where the UNet is run.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor
from torch.nn.functional import pad

from mvdiffusion.records import InputError


@dataclass(frozen=True)
class TextEncoders:
    """One text encoder with its tokenizer, or SDXL's two.

    Attributes:
        encoders: CLIP text models; the second of two has a projection.
        tokenizers: theirs.
        zero_empty: whether the empty text is all zeros instead of what the encoders make of it, as
            SDXL was trained (`force_zeros_for_empty_prompt` of diffusers).
    """

    encoders: Sequence[Any]
    tokenizers: Sequence[Any]
    zero_empty: bool = False

    @classmethod
    def of(cls, parts: Any) -> Self:
        """Take those of a pipeline, of diffusers or of this package.

        Args:
            parts: has `text_encoder` and `tokenizer`; of SDXL also `text_encoder_2`,
                `tokenizer_2` and a configuration.
        """
        if getattr(parts, "text_encoder_2", None) is None:
            return cls([parts.text_encoder], [parts.tokenizer])
        encoders = [parts.text_encoder, parts.text_encoder_2]
        zero_empty = bool(parts.config.get("force_zeros_for_empty_prompt", False))
        return cls(encoders, [parts.tokenizer, parts.tokenizer_2], zero_empty)

    @property
    def pooled_width(self) -> int:
        """Width P of the pooled embedding; 0 where there is none."""
        return self.encoders[-1].config.projection_dim if len(self.encoders) > 1 else 0

    def encode(self, tokens: Tensor, clip_skip: int | None = None) -> Tensor:
        """Encode token ids [N, …] as [N, L, D]; of SDXL with the pooled embedding.

        Args:
            tokens: ids of `tokenize`, on the encoders' device.
            clip_skip: last layers to leave out; the final norm of a single encoder remains.

        Raises:
            InputError: there are not so many layers.
        """
        if len(self.encoders) == 1:
            return self._last_states(tokens, clip_skip)
        self._check_skip(clip_skip)
        parts = zip(self.encoders, tokens.chunk(len(self.encoders), 1), strict=True)
        found = [encoder(ids, output_hidden_states=True) for encoder, ids in parts]
        states = torch.cat([each.hidden_states[-2 - (clip_skip or 0)] for each in found], -1)
        embeds = with_pooled(states, found[-1].text_embeds)
        if not self.zero_empty:
            return embeds
        empty = (tokens == tokenize(self.tokenizers, [""]).to(tokens.device)).all(1)
        return embeds.masked_fill(empty[:, None, None], 0)

    def _last_states(self, tokens: Tensor, clip_skip: int | None) -> Tensor:
        encoder = self.encoders[0]
        if clip_skip is None:
            last: Tensor = encoder(tokens)[0]
            return last
        self._check_skip(clip_skip)
        states = encoder(tokens, output_hidden_states=True).hidden_states
        # The layer norm at the end is one level deeper in some releases of transformers.
        inner = getattr(encoder, "text_model", encoder)
        normed: Tensor = inner.final_layer_norm(states[-1 - clip_skip])
        return normed

    def _check_skip(self, clip_skip: int | None) -> None:
        # Of two encoders the last layer is left out anyway.
        layers = min(each.config.num_hidden_layers for each in self.encoders)
        most = layers - (len(self.encoders) - 1)
        if clip_skip is not None and clip_skip > most:
            raise InputError(
                f"Expected `clip_skip` in 0 … {most}, the text encoder's layers, got {clip_skip}."
            )

    def conditions(
        self, embeds: Tensor, height: int, width: int
    ) -> tuple[Tensor, dict[str, Tensor] | None]:
        """Take embeddings apart as a UNet is given them.

        Args:
            embeds: from `encode`, with any leading dimensions, […, L, D].
            height, width: of the images in pixels, which are whole: not enlarged, not cropped.

        Returns:
            The tokens to attend to; and None, or diffusers' `added_cond_kwargs` of SDXL:
            `text_embeds` […, P] and `time_ids` […, 6], original size, corner of the crop and target
            size.
        """
        pooled_width = self.pooled_width
        if not pooled_width:
            return embeds, None
        count = -(-pooled_width // embeds.shape[-1])
        pooled = embeds[..., -count:, :].flatten(-2)[..., :pooled_width]
        sizes = torch.tensor([height, width, 0, 0, height, width])
        time_ids = sizes.to(pooled).expand(*pooled.shape[:-1], -1)
        return embeds[..., :-count, :], {"text_embeds": pooled, "time_ids": time_ids}


def tokenize(tokenizers: Sequence[Any], texts: Sequence[str]) -> Tensor:
    """Return token ids [N, L], padded and cut to `model_max_length`; of two tokenizers [N, 2 L].

    Args:
        tokenizers: of the model's text encoders.
        texts: N texts.
    """
    ids = [
        tokenizer(
            list(texts),
            padding="max_length",
            truncation=True,
            max_length=tokenizer.model_max_length,
            return_tensors="pt",
        ).input_ids
        for tokenizer in tokenizers
    ]
    return torch.cat(ids, 1)


def with_pooled(tokens: Tensor, pooled: Tensor) -> Tensor:
    """Put pooled embeddings behind the tokens.

    Args:
        tokens: […, L, D].
        pooled: […, P].

    Returns:
        […, L + ⌈P / D⌉, D].
    """
    width = tokens.shape[-1]
    filled = pad(pooled, (0, -pooled.shape[-1] % width))
    return torch.cat([tokens, filled.unflatten(-1, (-1, width)).to(tokens)], -2)
