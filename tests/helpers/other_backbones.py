"""Stable Diffusion 1.5 and SDXL: configurations as published, and tiny random models of them."""

from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from tiny_models import SD2_UNET
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from mvdiffusion.training.base import LATENT_SCHEDULER, build_tokenizer

# unet/config.json of stable-diffusion-v1-5 and of stabilityai/stable-diffusion-xl-base-1.0.
SD15_UNET: dict[str, Any] = {
    **SD2_UNET,
    "cross_attention_dim": 768,
    "attention_head_dim": 8,
    "use_linear_projection": False,
}
SDXL_UNET: dict[str, Any] = {
    **SD2_UNET,
    "sample_size": 128,
    "block_out_channels": [320, 640, 1280],
    "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
    "up_block_types": ["CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"],
    "cross_attention_dim": 2048,
    "attention_head_dim": [5, 10, 20],
    "transformer_layers_per_block": [1, 2, 10],
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 256,
    "projection_class_embeddings_input_dim": 2816,  # 1280 + 6 x 256
}
PUBLISHED = {"sd15": SD15_UNET, "sd2": SD2_UNET, "sdxl": SDXL_UNET}

WIDTHS = {"sd15": (16,), "sdxl": (16, 12)}  # of the text encoders
PROJECTION = 20  # of SDXL's second one; here it takes less than the width of a token
TINY: dict[str, dict[str, Any]] = {
    "sd15": {"block_out_channels": [32, 32, 64, 64], "attention_head_dim": 2},
    "sdxl": {
        "block_out_channels": [32, 32, 64],
        "attention_head_dim": [1, 1, 2],
        "transformer_layers_per_block": [1, 1, 2],
        "addition_time_embed_dim": 8,
        "projection_class_embeddings_input_dim": PROJECTION + 6 * 8,
    },
}


def tiny_unet(family: str, in_channels: int = 4) -> UNet2DConditionModel:
    torch.manual_seed(1)
    small = {
        "sample_size": 8,
        "in_channels": in_channels,
        "cross_attention_dim": sum(WIDTHS[family]),
        "norm_num_groups": 4,
        "layers_per_block": 1,
    }
    return UNet2DConditionModel(**{**PUBLISHED[family], **small, **TINY[family]}).eval()


def _text(width: int, tokenizer: Any) -> CLIPTextConfig:
    return CLIPTextConfig(
        vocab_size=len(tokenizer), hidden_size=width, intermediate_size=width, num_hidden_layers=3,
        num_attention_heads=2, max_position_embeddings=16, projection_dim=PROJECTION,
        bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip


def tiny_single_view(
    family: str, in_channels: int = 4
) -> StableDiffusionPipeline | StableDiffusionXLPipeline:
    """A random model for images of 16 pixels, of diffusers' own classes."""
    torch.manual_seed(0)
    tokenizers = [build_tokenizer(["a red room"], 16) for _ in WIDTHS[family]]
    tokenizers[-1].pad_token = "!"  # as SDXL's second one differs from the first
    first, *second = (_text(*each) for each in zip(WIDTHS[family], tokenizers, strict=True))
    sdxl = {"scaling_factor": 0.13025, "force_upcast": True} if second else {}
    vae = AutoencoderKL(
        block_out_channels=(8, 8),
        down_block_types=["DownEncoderBlock2D"] * 2,
        up_block_types=["UpDecoderBlock2D"] * 2,
        norm_num_groups=4,
        **sdxl,
    )
    parts = {
        "vae": vae.eval(),
        "text_encoder": CLIPTextModel(first).eval(),
        "tokenizer": tokenizers[0],
        "unet": tiny_unet(family, in_channels),
        "scheduler": DDIMScheduler(
            **LATENT_SCHEDULER, beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012
        ),
    }
    if not second:
        none = dict.fromkeys(("safety_checker", "feature_extractor"))
        return StableDiffusionPipeline(**parts, **none, requires_safety_checker=False)
    more = {
        "text_encoder_2": CLIPTextModelWithProjection(second[0]).eval(),
        "tokenizer_2": tokenizers[1],
    }
    return StableDiffusionXLPipeline(**parts, **more, add_watermarker=False)


def write_single_view(folder: Path, family: str, in_channels: int = 4) -> Path:
    tiny_single_view(family, in_channels).save_pretrained(folder)
    return folder
