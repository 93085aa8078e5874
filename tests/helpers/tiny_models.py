"""The smallest UNets of the three tasks."""

import torch
from diffusers import UNet2DConditionModel

from mvdiffusion.pipelines import (
    MVDiffusionDepthPipeline,
    MVDiffusionOutpaintPipeline,
    MVDiffusionPanoramaPipeline,
)

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
