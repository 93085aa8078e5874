"""A ControlNet on depth (Zhang et al. 2023, arXiv 2302.05543) beside an inpainting UNet."""

from __future__ import annotations

import torch
from diffusers import ControlNetModel, UNet2DConditionModel
from torch import Tensor

from mvdiffusion.geometry.depth import normalized_inverse_depth

EMBEDDING_CHANNELS = (16, 32, 96, 256)  # of the control image, as published; each halves its size


def controlnet_of(
    unet: UNet2DConditionModel, latent_channels: int, cell_size: int
) -> ControlNetModel:
    """Make an untrained ControlNet of a UNet: a copy of its encoder that adds nothing yet.

    Like published ones it sees the noisy latents alone, not the mask of an inpainting UNet.

    Args:
        unet: whose first input channels are those of the latents.
        latent_channels: how many these are.
        cell_size: pixels per latent cell along an axis, a power of two.
    """
    config = {key: value for key, value in unet.config.items() if not key.startswith("_")}
    plain = UNet2DConditionModel.from_config({**config, "in_channels": latent_channels})
    weights = unet.state_dict()
    weights["conv_in.weight"] = weights["conv_in.weight"][:, :latent_channels]
    plain.load_state_dict(weights)
    halvings = cell_size.bit_length() - 1
    channels = (*EMBEDDING_CHANNELS, *EMBEDDING_CHANNELS[-1:] * halvings)[: halvings + 1]
    return ControlNetModel.from_unet(plain, conditioning_embedding_out_channels=channels)


def run_with_controlnet(
    controlnet: ControlNetModel,
    unet: UNet2DConditionModel,
    inputs: Tensor,
    t: Tensor,
    embeds: Tensor,
    control: Tensor,
    scale: float = 1.0,
) -> Tensor:
    """Run a UNet with what a ControlNet, whose precision may be another, adds to it.

    Args:
        controlnet: sees the first of the input channels, the noisy latents.
        unet: sees all of them.
        inputs: noisy latents and further channels, [N, C', h, w].
        t: the timestep, or one for each.
        embeds: embeddings of the prompts, [N, L, D].
        control: control images [N, 3, H, W].
        scale: factor of what the ControlNet adds.

    Returns:
        The UNet's output [N, C, h, w].
    """
    seen = inputs[:, : controlnet.config.in_channels], embeds, control
    latents, text, image = (value.to(controlnet.dtype) for value in seen)
    down, middle = controlnet(latents, t, text, image, scale, return_dict=False)
    if controlnet.dtype != inputs.dtype:  # else autocast may have chosen another for the sums
        down, middle = [value.to(inputs.dtype) for value in down], middle.to(inputs.dtype)
    residuals = {"down_block_additional_residuals": down, "mid_block_additional_residual": middle}
    found: Tensor = unet(inputs, t, embeds, **residuals).sample
    return found


def control_image(depth: Tensor) -> Tensor:
    """Make the ControlNet's image [N, 3, H, W]: inverse depth from 0, far or none, to 1, near.

    Args:
        depth: [N, H, W] in meters, 0 where there is none.
    """
    inverse = normalized_inverse_depth(depth[None], *depth.shape[-2:])[0]
    return torch.clamp((inverse + 1) / 2, min=0).expand(-1, 3, -1, -1)
