"""The released model's outputs, reproduced (tolerances of the golden files)."""

import pytest
import torch
from diffusers import AutoencoderKL, DDIMScheduler
from golden import load, relative_error, released_caa_weights, released_model_weights

from mvdiffusion.models.attention import CorrespondenceAttention
from mvdiffusion.models.correspondence_geometry import MultiViewGeometry
from mvdiffusion.models.multiview_unet import MultiViewUNet
from mvdiffusion.pipelines.panorama import MVDiffusionPanoramaPipeline


@pytest.fixture(scope="module")
def model() -> MultiViewUNet:
    tensors, settings = load("pano_unet")
    unet = MultiViewUNet(settings["unet_config"])
    unet.load_state_dict(released_model_weights(tensors))
    return unet.eval()


@pytest.mark.parametrize("size", ["4", "8"])
@torch.no_grad()
def test_attention_layer(size: str) -> None:
    tensors, settings = load("pano_caa")
    layer = CorrespondenceAttention(64)
    layer.load_state_dict(released_caa_weights(tensors, "caa"))
    geometry = MultiViewGeometry(tensors["K"], tensors["R"], settings["image"], settings["image"])
    assert relative_error(layer(tensors[f"x{size}"], geometry), tensors[f"y{size}"]) < 1e-4


@torch.no_grad()
def test_unet(model: MultiViewUNet) -> None:
    tensors, settings = load("pano_unet")
    geometry = model.prepare_geometry(
        tensors["K"], tensors["R"], settings["image"], settings["image"]
    )
    inputs = tensors["latents"], tensors["timesteps"], tensors["prompt_embeds"]
    assert relative_error(model(*inputs, geometry).sample, tensors["noise_pred"]) < 1e-4
    alone = model(*inputs, None).sample
    assert relative_error(alone, tensors["noise_pred_single_view"]) < 1e-4


@torch.no_grad()
def test_sampling(model: MultiViewUNet) -> None:
    tensors, settings = load("pano_sampling")
    vae = AutoencoderKL(block_out_channels=(4,), norm_num_groups=2)
    scheduler = DDIMScheduler.from_config(settings["scheduler"])
    pipeline = MVDiffusionPanoramaPipeline(vae, None, None, model, scheduler)
    pipeline.set_progress_bar_config(disable=True)
    latents = pipeline.denoise(
        tensors["latents_init"],
        torch.cat([tensors["negative_prompt_embeds"], tensors["prompt_embeds"]]),
        model.prepare_geometry(tensors["K"], tensors["R"], 128, 128),
        settings["num_inference_steps"],
        settings["guidance_scale"],
    )
    assert relative_error(latents, tensors["latents_final"]) < 1e-3
