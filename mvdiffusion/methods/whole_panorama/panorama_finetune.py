"""Baseline: a panorama as one equirectangular image, cut into views; the paper's "SD (Pano)".

The base fine-tuned on such images (appendix B.2), from the views' captions joined. Its convolutions
pad with zeros, so that its left and right edges do not meet: in the view that looks backwards
stands a seam, which belongs to the baseline.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mvdiffusion.methods.declaration import Method, Training
from mvdiffusion.tasks import Task

if TYPE_CHECKING:
    from torch import Tensor

    from mvdiffusion.methods.base import Batch

METHOD = Method(
    "panorama_finetune",
    "SD (Pano)",
    (Task.PANORAMA,),
    model="panorama_finetune",
    training=Training("panorama-finetune", start="base", changes={"circular_padding": False}),
    place=40,
    published="SD (Pano)",
    color="#c2a33a",
)


def panorama(batch: Batch) -> Tensor:
    """Generate panoramas from the captions of their views, and cut the views from them."""
    return cut_from_panoramas(batch)


def cut_from_panoramas(batch: Batch, circular_padding: bool = False) -> Tensor:
    """Generate panoramas, and cut the views from them.

    Args:
        batch: what a method gets.
        circular_padding: let convolutions look across the panoramas' edges.
    """
    import torch

    from mvdiffusion.data.captions import join_captions
    from mvdiffusion.geometry.cameras import even_yaws, level_rotations
    from mvdiffusion.geometry.panoramas import cut_views
    from mvdiffusion.pipelines.equirectangular import generate_equirectangular

    prefix, tokenizer = batch.dataset.prompt_prefix, batch.pipeline.tokenizer
    prompts = [join_captions(texts, prefix, tokenizer) for texts in batch.prompts]
    noise = torch.cat([batch.noise[:, 0], batch.noise[:, 1]], -1)  # as wide as two views
    images = generate_equirectangular(
        batch.pipeline,
        prompts,
        noise,
        **batch.sampling,
        circular_padding=circular_padding,
        generator=[*batch.generators] or None,
    )
    R = level_rotations(even_yaws(batch.noise.shape[1]))
    fov_deg = batch.dataset.fov_deg
    views = [cut_views(image, fov_deg, R, **batch.size) for image in images.cpu()]
    return torch.stack(views).clamp(0, 1)
