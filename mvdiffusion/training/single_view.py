"""Stage 1: the whole UNet is fine-tuned on single views (paper, section 5.1)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from diffusers import StableDiffusionPipeline

from mvdiffusion.records import InputError
from mvdiffusion.training.diffusion import DiffusionTask, TextToImage, diffusion_examples, freeze
from mvdiffusion.training.loop import train
from mvdiffusion.training.runs import run_identity
from mvdiffusion.training.settings import SingleViewSettings, parse


def load_parts(folder: Path) -> TextToImage:
    """Load a Stable Diffusion style folder, weights in float32.

    Raises:
        InputError: when the folder does not hold such a model.
    """
    if not (folder / "model_index.json").is_file():
        raise InputError(f"{folder}: no model_index.json; expected a diffusers model folder there")
    pipeline = StableDiffusionPipeline.from_pretrained(
        folder, safety_checker=None, feature_extractor=None, requires_safety_checker=False
    )
    return TextToImage(
        pipeline.vae, pipeline.text_encoder, pipeline.tokenizer, pipeline.unet, pipeline.scheduler
    )


def train_stage1(
    settings: Mapping[str, Any],
    data: Path,
    validation: Path,
    base: Path,
    output: Path,
    checkpoints: Path,
    log_dir: Path,
) -> None:
    """Fine-tune the UNet of `base`; write the same folder with the new UNet.

    Raises:
        InputError: for wrong settings, data or base model.
    """
    parsed = parse(SingleViewSettings, settings)
    torch.manual_seed(parsed.seed)
    parts = load_parts(base)
    freeze(parts.vae, parts.text_encoder)
    parts.unet.train()
    examples = diffusion_examples(parsed, parts, data, validation)
    task = DiffusionTask(parts, parsed.loss.min_snr_gamma, *examples)
    files = train(
        task,
        parsed.training,
        name="stage1",
        identity=run_identity("stage1", settings, data, base),
        checkpoints=checkpoints,
        log_dir=log_dir,
        device=parsed.device,
    )
    files.finish(output, parts.pipeline().save_pretrained)
