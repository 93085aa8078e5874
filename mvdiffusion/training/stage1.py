"""Stage 1: the whole UNet is fine-tuned on single views (paper, sections 4.2 and 5.1)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from mvdiffusion.models.multiview_unet import extend_input_channels
from mvdiffusion.models.text_encoding import TextEncoders
from mvdiffusion.pipelines.loading import SingleView
from mvdiffusion.records import InputError
from mvdiffusion.training.diffusion import DiffusionTask, freeze, load_parts
from mvdiffusion.training.examples import Frames, MaskedViews, PanoramaViews, Source
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
        freeze(parts.vae, *TextEncoders.of(parts).encoders)
        parts.unet.train()
        return view_task(settings, run.places, parts, task), parts.save_pretrained

    run.carry_out(kind, build)


def view_task(
    settings: ViewStage | FrameStage,
    places: Places,
    parts: SingleView,
    task: str = "panorama",
) -> DiffusionTask:
    """Make the task of denoising single views of panoramas, or single frames of recordings.

    Args:
        task: "outpaint" if a part of each view is given; then the UNet gets 2 C + 1 input channels.
            For "depth" it gets C + 1.
    """
    seed, count = settings.seed, settings.data.num_views
    chosen, channels = settings.training.views_per_panorama, parts.vae.config.latent_channels
    sources: list[Source]
    if isinstance(settings, FrameStage):
        extend_input_channels(parts.unet, channels + 1)
        train, held_out = places.scenes(settings.data)
        sources = [Frames(train.scenes, seed, chosen), Frames(held_out.scenes, seed, count)]
        return DiffusionTask(settings, parts, sources, pictures(task, held_out))
    if task == "outpaint":
        extend_input_channels(parts.unet, 2 * channels + 1)
    kind = MaskedViews if task == "outpaint" else PanoramaViews
    learned, others = places.panoramas(settings.data)
    sources = [kind(learned, seed, count, chosen), kind(others, seed, count)]
    return DiffusionTask(settings, parts, sources, pictures(task, others))
