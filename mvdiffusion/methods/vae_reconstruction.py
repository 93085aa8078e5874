"""Upper bound: the real views after one pass through the VAE, which every method decodes with."""

from __future__ import annotations

import torch
from torch import Tensor

from mvdiffusion.methods.base import Batch


@torch.no_grad()
def panorama(batch: Batch) -> Tensor:
    """Encode and decode the real views."""
    images: Tensor = batch.pipeline.decode_latents(
        batch.pipeline.encode_views(batch.stack("views"))
    )
    return images


outpaint = depth = panorama
