"""Stage 1: the whole UNet is fine-tuned on single views (paper, sections 4.2 and 5.1)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from mvdiffusion.models.multiview_unet import extend_input_channels
from mvdiffusion.records import InputError
from mvdiffusion.settings import parse
from mvdiffusion.training.diffusion import (
    DiffusionTask,
    TextToImage,
    diffusion_examples,
    freeze,
    load_parts,
)
from mvdiffusion.training.examples import Frames, MaskedViews, PanoramaViews
from mvdiffusion.training.pictures import depth_pictures, outpaint_pictures, view_pictures
from mvdiffusion.training.runs import Run, open_panoramas, open_scenes
from mvdiffusion.training.settings import FrameStage, ViewStage


def train_stage1(
    task: str,
    settings: Mapping[str, Any],
    data: Path,
    validation: Path,
    base: Path,
    output: Path,
    checkpoints: Path,
    log_dir: Path,
    overwrite: bool = False,
) -> None:
    """Fine-tune the UNet of `base`; write the same folder with the new UNet.

    Args:
        task: "panorama", on views of panoramas, or "depth", on frames of recordings; for depth a
            UNet that knows no depth yet gets an input channel for it.
        settings: those of `ViewStage` or `FrameStage`.
        data: folder of the split "train".
        validation: folder of the split "validation".
        base: Stable Diffusion style folder.
        output: written whole or not at all.
        checkpoints: folder of resumable states.
        log_dir: gets logs and pictures.
        overwrite: move an `output` and checkpoints of another identity aside instead of refusing.

    Raises:
        InputError: for wrong settings, data or base model.
    """
    if task == "outpaint":
        raise InputError("--task outpaint: has no stage 1; run `mvdiffusion train inpainting`.")
    run = Run(
        f"{task}_stage1", settings, data, base, output, checkpoints, log_dir, __name__, overwrite
    )
    if task == "depth":
        _fine_tune(run, FrameStage, _on_frames, validation)
    else:
        _fine_tune(run, ViewStage, view_task, validation)


def train_inpainting(
    settings: Mapping[str, Any],
    data: Path,
    validation: Path,
    base: Path,
    output: Path,
    checkpoints: Path,
    log_dir: Path,
    overwrite: bool = False,
) -> None:
    """Fine-tune the UNet of `base` to fill in single views; the base model of outpainting.

    Its input gets a mask and the latents of the masked image, as in Stable Diffusion's inpainting.
    Arguments and errors are those of `train_stage1`.
    """
    run = Run(
        "outpaint_base", settings, data, base, output, checkpoints, log_dir, __name__, overwrite
    )
    _fine_tune(run, ViewStage, _on_masked_views, validation)


def _fine_tune(run: Run, kind: Any, build: Any, validation: Path) -> None:
    settings = parse(kind, run.settings)
    if run.is_finished():
        return
    assert run.base is not None
    parts = load_parts(run.base)
    freeze(parts.vae, parts.text_encoder)
    torch.manual_seed(settings.seed)
    task = build(settings, run.data, validation, parts)
    parts.unet.train()
    files = run.train(task, settings.training, settings.device)
    files.finish(run.output, parts.pipeline().save_pretrained)


def view_task(
    settings: ViewStage, data: Path, validation: Path, parts: TextToImage
) -> DiffusionTask:
    """Make the task of denoising single views of panoramas."""
    view, chosen = settings.data, settings.training.views_per_panorama
    train = open_panoramas(data, "train", view)
    held_out = open_panoramas(validation, "validation", view)
    sources = (
        PanoramaViews(train, settings.seed, view.num_views, chosen),
        PanoramaViews(held_out, settings.seed, view.num_views),
    )
    streams = [diffusion_examples(settings, parts, view.size, source) for source in sources]
    return DiffusionTask(
        parts, settings.loss.min_snr_gamma, streams[0], streams[1], view_pictures(held_out)
    )


def _on_masked_views(
    settings: ViewStage, data: Path, validation: Path, parts: TextToImage
) -> DiffusionTask:
    extend_input_channels(parts.unet, 2 * parts.vae.config.latent_channels + 1)
    view, chosen = settings.data, settings.training.views_per_panorama
    train = open_panoramas(data, "train", view)
    held_out = open_panoramas(validation, "validation", view)
    sources = (
        MaskedViews(train, settings.seed, view.num_views, chosen),
        MaskedViews(held_out, settings.seed, view.num_views),
    )
    streams = [diffusion_examples(settings, parts, view.size, source) for source in sources]
    pictures = outpaint_pictures(held_out, view.fov_deg)
    return DiffusionTask(parts, settings.loss.min_snr_gamma, streams[0], streams[1], pictures)


def _on_frames(
    settings: FrameStage, data: Path, validation: Path, parts: TextToImage
) -> DiffusionTask:
    extend_input_channels(parts.unet, parts.vae.config.latent_channels + 1)
    frame, chosen = settings.data, settings.training.views_per_panorama
    train = open_scenes(data, "train", frame, num_views=1)
    held_out = open_scenes(validation, "validation", frame)
    sources = (
        Frames(train.scenes, settings.seed, chosen),
        Frames(held_out.scenes, settings.seed, frame.num_views),
    )
    streams = [diffusion_examples(settings, parts, frame.size, source) for source in sources]
    pictures = depth_pictures(held_out)
    return DiffusionTask(parts, settings.loss.min_snr_gamma, streams[0], streams[1], pictures)
