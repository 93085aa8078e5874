"""Text → a panorama as one equirectangular image, with a model of single images."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mvdiffusion.models.closing import closed_convolutions
from mvdiffusion.pipelines.checks import Generators
from mvdiffusion.pipelines.multiview import MultiViewPipeline


@torch.no_grad()
def generate_equirectangular(
    pipeline: MultiViewPipeline,
    prompts: Sequence[str],
    noise: Tensor,
    num_inference_steps: int,
    guidance_scale: float,
    negative_prompt: str = "",
    circular_padding: bool = False,
    generator: Generators = None,
) -> Tensor:
    """Generate equirectangular images.

    Args:
        pipeline: a model trained on such images; nothing but its single-view parts is used.
        prompts: one per image [B].
        noise: of unit variance [B, C, h, 2 h].
        num_inference_steps: denoising steps.
        guidance_scale: classifier-free guidance; 1 or less switches it off.
        negative_prompt: text of the unconditional branch.
        circular_padding: let UNet and VAE look across the left and right edges.
        generator: one per image, for samplers that add noise.

    Returns:
        Images [B, 3, H, 2 H] in 0 … 1.
    """
    texts = [[prompt] for prompt in prompts]
    embeds = pipeline.encode_prompt(texts, negative_prompt if guidance_scale > 1 else None)
    start = noise[:, None].to(torch.float32)
    with (
        closed_convolutions(pipeline.unet, circular_padding),
        closed_convolutions(pipeline.vae, circular_padding),
    ):
        latents = pipeline.denoise(
            start, embeds, None, num_inference_steps, guidance_scale, generator
        )
        images: Tensor = pipeline.decode_latents(latents)[:, 0]
    return images
