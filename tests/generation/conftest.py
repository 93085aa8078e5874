"""A tiny random pipeline and a few rooms of noise."""

from pathlib import Path

import pytest
import torch
from diffusers import DDIMScheduler, UNet2DConditionModel
from noise_rooms import write_rooms
from torch.nn.functional import interpolate
from transformers import CLIPTextConfig, CLIPTextModel

from mvdiffusion.data.matterport3d import Matterport3DPanoramas
from mvdiffusion.models.multiview_unet import MultiViewUNet
from mvdiffusion.models.patch_autoencoder import PatchAutoencoder
from mvdiffusion.pipelines.panorama import MVDiffusionPanoramaPipeline
from mvdiffusion.training.base import build_tokenizer

UNET = {
    "sample_size": 8,
    "in_channels": 4,
    "out_channels": 4,
    "block_out_channels": [32, 32],
    "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D"],
    "up_block_types": ["CrossAttnUpBlock2D", "UpBlock2D"],
    "layers_per_block": 1,
    "cross_attention_dim": 32,
    "attention_head_dim": 2,
    "norm_num_groups": 4,
}


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def pipeline() -> MVDiffusionPanoramaPipeline:
    """All weights random, those of the attention between views too."""
    torch.manual_seed(0)
    tokenizer = build_tokenizer(["a red room"], 16)
    config = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=16,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    unet = MultiViewUNet.from_unet(UNet2DConditionModel(**UNET))
    vae = PatchAutoencoder(block_out_channels=(8, 8), norm_num_groups=2)
    smooth = interpolate(torch.rand(64, 3, 4, 4), size=16, mode="bicubic")
    vae.initialize_linear(smooth * 2 - 1)
    with torch.no_grad():
        for parameter in unet.correspondence_parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    made = MVDiffusionPanoramaPipeline(
        vae, CLIPTextModel(config).eval(), tokenizer, unet.eval(), DDIMScheduler()
    )
    made.set_progress_bar_config(disable=True)
    return made


@pytest.fixture(scope="session")
def model(pipeline: MVDiffusionPanoramaPipeline, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    pipeline.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Matterport3DPanoramas:
    root = tmp_path_factory.mktemp("rooms")
    write_rooms(root, "test", ["a", "b", "c"], 0)
    return Matterport3DPanoramas(root, "test", image_size=16)
