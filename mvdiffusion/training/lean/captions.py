"""Embeddings of captions, computed once by text encoders that do not train."""

from __future__ import annotations

import torch
from torch import Tensor

from mvdiffusion.models.text_encoding import TextEncoders

LIMIT_BYTES = 256 * 2**20  # of embeddings that are kept
AT_ONCE = 8  # captions; always as many, so that an embedding does not depend on the others


class CaptionEmbeddings:
    """Computes embeddings and keeps them, the first ones until `limit_bytes` are reached.

    A training meets the same captions in every epoch. What is kept goes with the process: a resumed
    run computes it anew, with the same result.
    """

    def __init__(self, text: TextEncoders, limit_bytes: int = LIMIT_BYTES) -> None:
        """Keep what the encoders compute; nothing while any part of them trains.

        Args:
            text: CLIP's text model, or SDXL's two.
            limit_bytes: of the embeddings kept.
        """
        self.text, self.room = text, limit_bytes
        self._kept: dict[tuple[bytes, torch.dtype | None], Tensor] = {}

    def __call__(self, input_ids: Tensor) -> Tensor:
        """Return embeddings [N, L, D] of tokens [N, L]."""
        if any(value.requires_grad for each in self.text.encoders for value in each.parameters()):
            return self.text.encode(input_ids)
        kind = input_ids.device.type
        precision = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else None
        keys = [(ids.numpy().tobytes(), precision) for ids in input_ids.cpu()]
        places = {key: place for place, key in enumerate(keys)}
        found = {key: self._kept[key] for key in places if key in self._kept}
        missing = [key for key in places if key not in found]
        for start in range(0, len(missing), AT_ONCE):
            part = missing[start : start + AT_ONCE]
            rows = [places[key] for key in part]
            rows += rows[:1] * (AT_ONCE - len(rows))
            with torch.no_grad():
                made = self.text.encode(input_ids[rows])
            for key, embedding in zip(part, made, strict=False):
                found[key] = embedding
                if self.room >= embedding.nbytes:
                    self.room -= embedding.nbytes
                    self._kept[key] = embedding.clone()
        return torch.stack([found[key] for key in keys])
