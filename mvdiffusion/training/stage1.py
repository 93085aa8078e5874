"""Stage 1: the whole UNet is fine-tuned on single views (paper, sections 4.2 and 5.1)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from diffusers import StableDiffusionPipeline
from torch import nn

from mvdiffusion.models.multiview_unet import extend_input_channels
from mvdiffusion.records import InputError
from mvdiffusion.training.diffusion import DiffusionTask, freeze, load_parts
from mvdiffusion.training.examples import Frames, MaskedViews, PanoramaViews
from mvdiffusion.training.pictures import pictures
from mvdiffusion.training.runs import Places, Run, Writer
from mvdiffusion.training.settings import FrameStage, ViewStage


def train_stage1(task: str, settings: Mapping[str, Any], base: Path, places: Places) -> None:
    """Fine-tune the UNet of `base`; write the same folder with the new UNet.

    Args:
        task: "panorama", on views of panoramas, or "depth", on frames of recordings; for depth a
            UNet that knows no depth yet gets an input channel for it.
        settings: those of `ViewStage` or `FrameStage`.
        base: Stable Diffusion style folder.

    Raises:
        InputError: for wrong settings, data or base model.
    """
    if task == "outpaint":
        raise InputError("--task outpaint: has no stage 1; run `mvdiffusion train inpainting`.")
    run = Run(f"{task}_stage1", settings, base, places, __name__)
    _fine_tune(run, base, FrameStage if task == "depth" else ViewStage, task)


def train_inpainting(settings: Mapping[str, Any], base: Path, places: Places) -> None:
    """Fine-tune the UNet of `base` to fill in single views; the base model of outpainting.

    Its input gets a mask and the latents of the masked image, as in Stable Diffusion's inpainting.
    Arguments and errors are those of `train_stage1`.
    """
    _fine_tune(Run("outpaint_base", settings, base, places, __name__), base, ViewStage, "outpaint")


def _fine_tune(run: Run, base: Path, kind: Any, task: str) -> None:
    def build(settings: Any) -> tuple[nn.Module, Writer]:
        parts = load_parts(base)
        freeze(parts.vae, parts.text_encoder)
        parts.unet.train()
        make = _frame_task if task == "depth" else view_task
        return make(settings, run.places, parts, task), parts.save_pretrained

    run.carry_out(kind, build)


def view_task(
    settings: ViewStage, places: Places, parts: StableDiffusionPipeline, task: str = "panorama"
) -> DiffusionTask:
    """Make the task of denoising single views of panoramas.

    Args:
        task: "outpaint" if a part of each view is given; then the UNet gets 2 C + 1 input channels.
    """
    num_views, chosen = settings.data.num_views, settings.training.views_per_panorama
    train, held_out = places.panoramas(settings.data)
    kind = MaskedViews if task == "outpaint" else PanoramaViews
    sources = (
        kind(train, settings.seed, num_views, chosen),
        kind(held_out, settings.seed, num_views),
    )
    if task == "outpaint":
        extend_input_channels(parts.unet, 2 * parts.vae.config.latent_channels + 1)
    return DiffusionTask(settings, parts, sources, pictures(task, held_out))


def _frame_task(
    settings: FrameStage, places: Places, parts: StableDiffusionPipeline, task: str = "depth"
) -> DiffusionTask:
    """Make the task of denoising single frames of recordings; arguments as of `view_task`."""
    extend_input_channels(parts.unet, parts.vae.config.latent_channels + 1)
    train, held_out = places.scenes(settings.data)
    sources = (
        Frames(train.scenes, settings.seed, settings.training.views_per_panorama),
        Frames(held_out.scenes, settings.seed, settings.data.num_views),
    )
    return DiffusionTask(settings, parts, sources, pictures(task, held_out))
