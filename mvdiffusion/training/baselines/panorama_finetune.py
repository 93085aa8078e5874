"""The UNet fine-tuned on equirectangular images: the paper's "SD (Pano)" (appendix B.2).

There on images of 512 x 1024 pixels, beside views of 512 x 512; here likewise, on images as high as
a view and twice as wide, with the captions of the views joined (`data.captions.join_captions`).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mvdiffusion.data.matterport3d import Matterport3DPanoramas
from mvdiffusion.models.closing import closed_convolutions
from mvdiffusion.models.text_encoding import TextEncoders
from mvdiffusion.pipelines.checks import most_steps
from mvdiffusion.pipelines.equirectangular import generate_equirectangular
from mvdiffusion.pipelines.loading import SingleView
from mvdiffusion.training.baselines.settings import PanoramaStage
from mvdiffusion.training.diffusion import DiffusionTask, Pictures, freeze, load_parts
from mvdiffusion.training.examples import Batch, EquirectangularImages, load_equirectangular
from mvdiffusion.training.pictures import GUIDANCE, STEPS, make_pipeline
from mvdiffusion.training.runs import Places, Run, Writer


class EquirectangularTask(DiffusionTask):
    """Denoising of whole panoramas."""

    def __init__(self, settings: PanoramaStage, *task: Any) -> None:
        """Add to a `DiffusionTask` whether convolutions look across the panoramas' edges."""
        super().__init__(settings, *task)
        self.circular_padding = settings.circular_padding

    def predict(self, inputs: Tensor, embeds: Tensor, batch: Batch) -> Tensor:
        """Return the UNet's output [N, C, h, w] for N panoramas (see `DiffusionTask.predict`).

        Args:
            inputs: noisy latents [N, C, h, w].
            embeds: embeddings of the captions [N, L, D].
            batch: an example with its clean latents.
        """
        with closed_convolutions(self.unet, self.circular_padding):
            return super().predict(inputs, embeds, batch)

    @torch.no_grad()
    def encode(self, pixels: Tensor) -> Tensor:
        """Return scaled latents [N, C, h, w] of panoramas [N, 3, H, W] (their means)."""
        with closed_convolutions(self.vae, self.circular_padding):
            return super().encode(pixels)


def train_panorama_finetune(settings: Mapping[str, Any], base: Path, places: Places) -> None:
    """Fine-tune the UNet of `base` on panoramas; write the same folder with the new UNet.

    Args:
        settings: those of `PanoramaStage`.
        base: Stable Diffusion style folder.
        places: where the training reads and writes.

    Raises:
        InputError: for wrong settings, data or base model.
    """

    def build(settings: PanoramaStage) -> tuple[nn.Module, Writer]:
        parts = load_parts(base)
        freeze(parts.vae, *TextEncoders.of(parts).encoders)
        parts.unet.train()
        return panorama_task(settings, places, parts), parts.save_pretrained

    Run("panorama_finetune", settings, base, places, __name__).carry_out(PanoramaStage, build)


def panorama_task(
    settings: PanoramaStage, places: Places, parts: SingleView
) -> EquirectangularTask:
    """Make the task of denoising whole panoramas.

    Args:
        settings: of the training.
        places: where the panoramas are.
        parts: the model; its UNet is what trains.
    """
    splits = places.panoramas(settings.data)
    sources = [EquirectangularImages(split, settings.seed, parts.tokenizer) for split in splits]
    draw = _pictures(splits[1], settings.circular_padding)
    return EquirectangularTask(settings, parts, sources, draw)


def _pictures(panoramas: Matterport3DPanoramas, circular_padding: bool) -> Pictures:
    """Picture the first held-out panorama above a sample from its captions."""

    def draw(training: Any) -> tuple[Tensor, Tensor]:
        pipeline = make_pipeline("panorama", training.parts)
        image, prompt = load_equirectangular(panoramas, 0, pipeline.tokenizer)
        height, width = image.shape[-2:]
        shape = (1, *pipeline.latent_shape(height, width))
        noise = torch.randn(shape, generator=torch.Generator().manual_seed(0))
        steps = min(STEPS, most_steps(pipeline.scheduler))
        made = generate_equirectangular(
            pipeline,
            [prompt],
            noise.to(training.vae.device),
            steps,
            GUIDANCE,
            circular_padding=circular_padding,
        )
        return image[None], made * 2 - 1

    return draw
