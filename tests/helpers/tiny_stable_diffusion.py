"""Stable Diffusion 2 in its own parts and depth, of small width, as diffusers saves it."""

from pathlib import Path
from typing import Any

import diffusers
import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from tiny_models import SD2_UNET
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    DPTConfig,
    DPTForDepthEstimation,
    DPTImageProcessor,
)

from mvdiffusion.generation.settings import GenerationSettings
from mvdiffusion.training.base import LATENT_SCHEDULER, build_tokenizer

WIDTH = 16  # of the text embeddings
PIPELINES = {
    4: "StableDiffusionPipeline",
    9: "StableDiffusionInpaintPipeline",
    5: "StableDiffusionDepth2ImgPipeline",
}
"""Which pipeline of diffusers a model is published with, by the input channels of its UNet."""
SDE: dict[str, Any] = {
    "scheduler": "DPMSolverMultistepScheduler",
    "algorithm_type": "sde-dpmsolver++",
}


def save_as_published(folder: Path, unet: UNet2DConditionModel, **parts: Any) -> Path:
    """Write a model with all that is published beside it: that of depth has an estimator."""
    besides = dict.fromkeys(("safety_checker", "feature_extractor"))
    besides["requires_safety_checker"] = False
    if (channels := unet.config.in_channels) == 5:
        small = DPTConfig(
            hidden_size=8, num_hidden_layers=4, num_attention_heads=2, intermediate_size=8,
            image_size=16, patch_size=8, neck_hidden_sizes=[8] * 4, fusion_hidden_size=8,
            backbone_out_indices=[0, 1, 2, 3], reassemble_factors=[4, 2, 1, 0.5],
        )  # fmt: skip
        besides = {
            "depth_estimator": DPTForDepthEstimation(small),
            "feature_extractor": DPTImageProcessor(),
        }
    pipeline = getattr(diffusers, PIPELINES[channels])
    pipeline(**parts, unet=unet, **besides).save_pretrained(folder)
    return folder


def write_stable_diffusion_2(folder: Path, in_channels: int = 4) -> Path:
    """Write a random model for images of 64 pixels.

    9 input channels are those of inpainting, 5 those of depth.
    """
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
    parts = {"vae": vae, "text_encoder": CLIPTextModel(text), "tokenizer": tokenizer}
    unet = UNet2DConditionModel(**{**SD2_UNET, **small})
    return save_as_published(folder, unet, **parts, scheduler=scheduler)


def few_noisy_steps(batch_size: int) -> GenerationSettings:
    """Two guided steps of a sampler that draws further noise at every step."""
    return GenerationSettings(
        num_inference_steps=2, guidance_scale=2.0, batch_size=batch_size, device="cpu", **SDE
    )
