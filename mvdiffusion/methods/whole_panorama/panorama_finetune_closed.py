"""Baseline: `panorama_finetune` without its seam, by circular padding in training and sampling."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mvdiffusion.methods.declaration import Method, Training
from mvdiffusion.methods.whole_panorama.panorama_finetune import cut_from_panoramas
from mvdiffusion.tasks import Task

if TYPE_CHECKING:
    from torch import Tensor

    from mvdiffusion.methods.base import Batch

METHOD = Method(
    "panorama_finetune_closed",
    "SD (Pano), circular padding",
    (Task.PANORAMA,),
    model="panorama_finetune_closed",
    training=Training("panorama-finetune", start="base", changes={"circular_padding": True}),
    place=41,
    color="#8f7a2e",
)


def panorama(batch: Batch) -> Tensor:
    """Generate closed panoramas from the captions of their views, and cut the views from them."""
    return cut_from_panoramas(batch, circular_padding=True)
