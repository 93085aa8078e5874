"""Upper bound: the real views after one pass through the VAE, which every method decodes with."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mvdiffusion.methods.declaration import Method
from mvdiffusion.tasks import Task

if TYPE_CHECKING:
    from torch import Tensor

    from mvdiffusion.methods.base import Batch

METHOD = Method(
    "vae_reconstruction",
    "VAE reconstruction",
    tuple(Task),
    role="upper bound",
    place=0,
    color="#9a9a9a",
    reads_views=True,
)


def panorama(batch: Batch) -> Tensor:
    """Encode and decode the real views."""
    images: Tensor = batch.pipeline.decode_latents(
        batch.pipeline.encode_views(batch.stack("views"))
    )
    return images


outpaint = depth = panorama
