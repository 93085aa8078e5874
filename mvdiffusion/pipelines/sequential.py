"""Views that are made one after the other, each sampled alone, given what was made before."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from mvdiffusion.geometry.warping import erode
from mvdiffusion.pipelines.multiview import MultiViewPipeline


def encode_view(
    pipeline: MultiViewPipeline, prompts: Sequence[str], sampling: Mapping[str, Any]
) -> Tensor:
    """Encode the prompts of one view of B samples, [B or 2 B, 1, L, D] (see `encode_prompt`).

    Args:
        pipeline: the model.
        prompts: one per sample.
        sampling: guidance_scale and negative_prompt decide whether there are negative ones.
    """
    guided = sampling["guidance_scale"] > 1
    return pipeline.encode_prompt(
        [[text] for text in prompts], sampling["negative_prompt"] if guided else None
    )


@torch.no_grad()
def sample_view(
    pipeline: MultiViewPipeline,
    prompts: Sequence[str],
    noise: Tensor,
    sampling: Mapping[str, Any],
    **options: Any,
) -> Tensor:
    """Sample one view of B samples.

    Args:
        pipeline: the model.
        prompts: one per sample.
        noise: initial noise [B, C, h, w] of unit variance.
        sampling: num_inference_steps, guidance_scale and negative_prompt.
        options: further ones of `MultiViewPipeline.denoise`.

    Returns:
        Latents [B, C, h, w].
    """
    steps, guidance = (sampling[key] for key in ("num_inference_steps", "guidance_scale"))
    embeds = encode_view(pipeline, prompts, sampling)
    return pipeline.denoise(noise[:, None], embeds, None, steps, guidance, **options)[:, 0]


def decode_view(pipeline: MultiViewPipeline, latents: Tensor) -> Tensor:
    """Decode latents [B, C, h, w] as images [B, 3, H, W] in 0 … 1."""
    images: Tensor = pipeline.decode_latents(latents[:, None])
    return images[:, 0]


def masked_image(pipeline: MultiViewPipeline, image: Tensor, known: Tensor) -> Tensor:
    """Make the input channels of an inpainting UNet, as in Stable Diffusion's inpainting.

    Args:
        pipeline: whose VAE encodes.
        image: [B, 3, H, W] in −1 … 1; nothing is seen of its unknown pixels, which become mid-gray.
        known: bool [B, H, W].

    Returns:
        The mask (1 = to generate; of a cell's pixels, the first decides) and the latents of the
        masked image, [B, 1, 1 + C, h, w].
    """
    kept = torch.where(known[:, None], image, torch.zeros_like(image))
    latents = pipeline.encode_views(kept[:, None]).float()
    mask = interpolate((~known[:, None]).float(), latents.shape[-2:])
    return torch.cat([mask[:, None], latents], 2)


@torch.no_grad()
def inpaint_view(
    pipeline: MultiViewPipeline,
    prompts: Sequence[str],
    noise: Tensor,
    sampling: Mapping[str, Any],
    warped: tuple[Tensor, Tensor] | None = None,
    dilation: float = 0.0,
    **options: Any,
) -> Tensor:
    """Paint one view of B samples with an inpainting model: what is known, and what continues it.

    The image is what the model paints, as in diffusers' pipeline: no pixels are put back, so a view
    holds no pixels of another one.

    Args:
        pipeline: an inpainting model.
        prompts, noise, sampling, options: see `sample_view`.
        warped: an image [B, 3, H, W] in 0 … 1 and its known pixels, bool [B or 1, H, W]; None:
            nothing is known.
        dilation: how far what is painted reaches into the known pixels, as a share of the height,
            and at least a pixel; 0: not at all.

    Returns:
        Images [B, 3, H, W] in 0 … 1.
    """
    factor = pipeline.vae_scale_factor
    if warped is None:
        height, width = (side * factor for side in noise.shape[-2:])
        warped = noise.new_zeros(1, 3, height, width), noise.new_zeros(1, height, width).bool()
    image, known = (value.expand(len(noise), *value.shape[1:]) for value in warped)
    if dilation:
        known = erode(known, max(1, round(dilation * known.shape[-2])))
    channels = masked_image(pipeline, 2 * image - 1, known)
    latents = sample_view(pipeline, prompts, noise, sampling, extra_channels=channels, **options)
    return decode_view(pipeline, latents)
