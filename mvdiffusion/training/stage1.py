"""Stage 1: the whole UNet is fine-tuned on single views (paper, sections 4.2 and 5.1)."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch

from mvdiffusion.models.multiview_unet import extend_input_channels
from mvdiffusion.records import InputError
from mvdiffusion.settings import parse
from mvdiffusion.training.diffusion import DiffusionTask, TextToImage, freeze, load_parts
from mvdiffusion.training.examples import Frames, MaskedViews, PanoramaViews
from mvdiffusion.training.pictures import depth_pictures, outpaint_pictures, view_pictures
from mvdiffusion.training.runs import Places, Run, open_panoramas, open_scenes
from mvdiffusion.training.settings import FrameStage, ViewStage


def train_stage1(
    task: str,
    settings: Mapping[str, Any],
    base: Path,
    places: Places,
) -> None:
    """Fine-tune the UNet of `base`; write the same folder with the new UNet.

    Args:
        task: "panorama", on views of panoramas, or "depth", on frames of recordings; for depth a
            UNet that knows no depth yet gets an input channel for it.
        settings: those of `ViewStage` or `FrameStage`.
        base: Stable Diffusion style folder.
        places: where it reads and writes.

    Raises:
        InputError: for wrong settings, data or base model.
    """
    if task == "outpaint":
        raise InputError("--task outpaint: has no stage 1; run `mvdiffusion train inpainting`.")
    run = Run(f"{task}_stage1", settings, base, places, __name__)
    if task == "depth":
        _fine_tune(run, FrameStage, _on_frames)
    else:
        _fine_tune(run, ViewStage, view_task)


def train_inpainting(
    settings: Mapping[str, Any],
    base: Path,
    places: Places,
) -> None:
    """Fine-tune the UNet of `base` to fill in single views; the base model of outpainting.

    Its input gets a mask and the latents of the masked image, as in Stable Diffusion's inpainting.
    Arguments and errors are those of `train_stage1`.
    """
    run = Run("outpaint_base", settings, base, places, __name__)
    _fine_tune(run, ViewStage, partial(view_task, masked=True))


def _fine_tune(run: Run, kind: Any, build: Any) -> None:
    settings = parse(kind, run.settings)
    if run.is_finished():
        return
    assert run.base is not None
    parts = load_parts(run.base)
    freeze(parts.vae, parts.text_encoder)
    torch.manual_seed(settings.seed)
    task = build(settings, run.places.data, run.places.validation, parts)
    parts.unet.train()
    files = run.train(task, settings.training, settings.device)
    files.finish(run.places.output, parts.pipeline().save_pretrained)


def view_task(
    settings: ViewStage, data: Path, validation: Path, parts: TextToImage, masked: bool = False
) -> DiffusionTask:
    """Make the task of denoising single views of panoramas.

    Args:
        settings: settings of the training.
        data: folder of the split "train".
        validation: folder of the split "validation".
        parts: parts of the model.
        masked: whether a part of each view is given; then the UNet gets 2 C + 1 input channels.
    """
    view = settings.data
    train, held_out = (
        open_panoramas(root, split, view)
        for root, split in ((data, "train"), (validation, "validation"))
    )
    kind, draw = (MaskedViews, outpaint_pictures) if masked else (PanoramaViews, view_pictures)
    sources = (
        kind(train, settings.seed, view.num_views, settings.training.views_per_panorama),
        kind(held_out, settings.seed, view.num_views),
    )
    if masked:
        extend_input_channels(parts.unet, 2 * parts.vae.config.latent_channels + 1)
    return DiffusionTask(settings, parts, sources, draw(held_out))


def _on_frames(
    settings: FrameStage, data: Path, validation: Path, parts: TextToImage
) -> DiffusionTask:
    extend_input_channels(parts.unet, parts.vae.config.latent_channels + 1)
    frame = settings.data
    train = open_scenes(data, "train", frame, num_views=1)
    held_out = open_scenes(validation, "validation", frame)
    sources = (
        Frames(train.scenes, settings.seed, settings.training.views_per_panorama),
        Frames(held_out.scenes, settings.seed, frame.num_views),
    )
    return DiffusionTask(settings, parts, sources, depth_pictures(held_out))
