"""Settings of UNets, and the smallest ones of the three tasks."""

from typing import Any

import torch
from diffusers import UNet2DConditionModel

from mvdiffusion.pipelines import (
    MVDiffusionDepthPipeline,
    MVDiffusionOutpaintPipeline,
    MVDiffusionPanoramaPipeline,
)

TINY_UNET: dict[str, Any] = {
    "sample_size": 8,
    "in_channels": 4,
    "out_channels": 4,
    "block_out_channels": [32, 64],
    "layers_per_block": 1,
    "down_block_types": ["CrossAttnDownBlock2D", "DownBlock2D"],
    "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D"],
    "cross_attention_dim": 16,
    "attention_head_dim": 2,
    "norm_num_groups": 8,
}

SD2_UNET: dict[str, Any] = {
    "sample_size": 64,
    "in_channels": 4,
    "out_channels": 4,
    "block_out_channels": [320, 640, 1280, 1280],
    "layers_per_block": 2,
    "down_block_types": ["CrossAttnDownBlock2D"] * 3 + ["DownBlock2D"],
    "up_block_types": ["UpBlock2D"] + ["CrossAttnUpBlock2D"] * 3,
    "cross_attention_dim": 1024,
    "attention_head_dim": [5, 10, 20, 20],
    "use_linear_projection": True,
}

UNET = {
    "sample_size": 8,
    "out_channels": 4,
    "block_out_channels": [32, 32],
    "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D"],
    "up_block_types": ["CrossAttnUpBlock2D", "UpBlock2D"],
    "layers_per_block": 1,
    "cross_attention_dim": 32,
    "attention_head_dim": 2,
    "norm_num_groups": 4,
}
TASKS = {
    "panorama": (MVDiffusionPanoramaPipeline, 4),
    "outpaint": (MVDiffusionOutpaintPipeline, 9),
    "depth": (MVDiffusionDepthPipeline, 5),
}


def single_view_unet(task: str) -> UNet2DConditionModel:
    torch.manual_seed(1)
    return UNet2DConditionModel(**UNET, in_channels=TASKS[task][1]).eval()
