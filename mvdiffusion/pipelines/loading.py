"""Model folders in the format of diffusers: checking that there is one, and loading its parts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from diffusers import StableDiffusionPipeline

from mvdiffusion.records import InputError


def check_model(folder: Path) -> None:
    """Check that there is a model.

    Raises:
        InputError: there is none.
    """
    if not (folder / "model_index.json").is_file():
        raise InputError(f"{folder}: no model_index.json; expected a diffusers pipeline folder.")


def is_multi_view(folder: Path) -> bool:
    """Whether a model folder holds a multi-view UNet, as stage 2 writes it."""
    return "MultiViewUNet" in (folder / "unet" / "config.json").read_text()


def load_single_view(folder: str | Path, **options: Any) -> StableDiffusionPipeline:
    """Load VAE, text encoder, tokenizer, UNet and scheduler of a Stable Diffusion model.

    Args:
        folder: folder or Hugging Face id of any Stable Diffusion pipeline (text to image,
            inpainting, depth to image); its other parts are not read.
        options: passed on to `from_pretrained`, such as `torch_dtype`.
    """
    unused = dict.fromkeys(("safety_checker", "feature_extractor", "image_encoder"))
    pipeline: StableDiffusionPipeline = StableDiffusionPipeline.from_pretrained(
        folder, **unused, requires_safety_checker=False, **options
    )
    return pipeline
