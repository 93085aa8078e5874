"""Stable Diffusion 2 in its own parts and depth, of small width, as diffusers saves it."""

from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from tiny_models import SD2_UNET
from transformers import CLIPTextConfig, CLIPTextModel

from mvdiffusion.generation.settings import GenerationSettings
from mvdiffusion.training.base import LATENT_SCHEDULER, build_tokenizer

WIDTH = 16  # of the text embeddings
SDE: dict[str, Any] = {
    "scheduler": "DPMSolverMultistepScheduler",
    "algorithm_type": "sde-dpmsolver++",
}


def write_stable_diffusion_2(folder: Path, in_channels: int = 4) -> Path:
    """Write a random model for images of 64 pixels; 9 input channels are those of inpainting."""
    torch.manual_seed(0)
    tokenizer = build_tokenizer(["a red room", "a green room"], 77)
    text = CLIPTextConfig(
        vocab_size=len(tokenizer), hidden_size=WIDTH, intermediate_size=WIDTH, num_hidden_layers=2,
        num_attention_heads=2, max_position_embeddings=77, hidden_act="gelu",
        bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    small = {
        "sample_size": 8,
        "in_channels": in_channels,
        "block_out_channels": [32, 32, 64, 64],
        "attention_head_dim": [1, 1, 2, 2],
        "cross_attention_dim": WIDTH,
        "norm_num_groups": 4,
    }
    vae = AutoencoderKL(
        block_out_channels=(8, 8, 8, 8),
        layers_per_block=2,
        down_block_types=["DownEncoderBlock2D"] * 4,
        up_block_types=["UpDecoderBlock2D"] * 4,
        norm_num_groups=4,
    )
    scheduler = DDIMScheduler(
        **LATENT_SCHEDULER, beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012
    )
    pipeline = StableDiffusionPipeline(
        vae, CLIPTextModel(text), tokenizer, UNet2DConditionModel(**{**SD2_UNET, **small}),
        scheduler, safety_checker=None, feature_extractor=None, requires_safety_checker=False,
    )  # fmt: skip
    pipeline.save_pretrained(folder)
    return folder


def few_noisy_steps(batch_size: int) -> GenerationSettings:
    """Two guided steps of a sampler that draws further noise at every step."""
    return GenerationSettings(
        num_inference_steps=2, guidance_scale=2.0, batch_size=batch_size, device="cpu", **SDE
    )
