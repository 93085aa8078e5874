"""Panoramas from given views."""

from typing import Any

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL, DDIMScheduler
from golden import load, released_model_weights
from PIL import Image
from torch import Tensor

from mvdiffusion.models.multiview_unet import MultiViewUNet
from mvdiffusion.pipelines import MVDiffusionOutpaintPipeline

STEPS = {"num_inference_steps": 2, "guidance_scale": 2.0, "output_type": "pt"}


def views(count: int, batch: int = 1) -> Tensor:
    return 2 * torch.rand(batch, count, 3, 16, 16, generator=torch.Generator().manual_seed(5)) - 1


def sample(pipeline: MVDiffusionOutpaintPipeline, image: Any, **more: Any) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return pipeline("a room", image, **{"generator": generator, **STEPS, **more}).images


@torch.no_grad()
def test_sampling_of_the_released_model() -> None:
    tensors, settings = load("outpaint_sampling")
    unet = MultiViewUNet(settings["unet_config"])
    unet.load_state_dict(released_model_weights(tensors))
    vae = AutoencoderKL(block_out_channels=(4,), norm_num_groups=2)
    scheduler = DDIMScheduler.from_config(settings["scheduler"])
    pipeline = MVDiffusionOutpaintPipeline(vae, None, None, unet.eval(), scheduler)
    pipeline.set_progress_bar_config(disable=True)
    size = settings["image"]
    latents = pipeline.denoise(
        tensors["latents_init"],
        torch.cat([tensors["negative_prompt_embeds"], tensors["prompt_embeds"]]),
        unet.prepare_geometry(tensors["K"], tensors["R"], size, size),
        settings["num_inference_steps"],
        settings["guidance_scale"],
        extra_channels=torch.cat([tensors["mask"], tensors["masked_image_latents"]], 2),
    )
    expected = tensors["latents_final"]
    assert (latents - expected).abs().max() <= 1e-3 * expected.abs().max()


@pytest.mark.parametrize("given", [(0,), (3,), (4, 0)])
@torch.no_grad()
def test_given_views_pass_the_codec_alone(
    outpaint: MVDiffusionOutpaintPipeline, given: tuple[int, ...]
) -> None:
    image = views(len(given))
    codec = outpaint.decode_latents(outpaint.encode_views(image))
    found = sample(outpaint, image, given_views=given)
    torch.testing.assert_close(found[:, list(given)], codec)
    repainted = sample(outpaint, image, given_views=given, keep_given=False)
    differs = (found - repainted).abs().amax((0, 2, 3, 4)) > 1e-4
    assert set(differs.nonzero().flatten().tolist()) == set(given)


def test_the_given_image_reaches_the_other_views(outpaint: MVDiffusionOutpaintPipeline) -> None:
    image = views(1)
    moved = (sample(outpaint, image) - sample(outpaint, -image)).abs().amax((0, 2, 3, 4)) > 1e-5
    assert moved.all()  # 7 steps away at most, more than 7 layers of attention
    apart = {"correspondence_attention": False}
    moved = sample(outpaint, image, **apart) != sample(outpaint, -image, **apart)
    assert moved[0].flatten(1).any(1).tolist() == [True] + [False] * 7


@torch.no_grad()
def test_mask_and_masked_image(outpaint: MVDiffusionOutpaintPipeline) -> None:
    channels = outpaint.masked_image(views(1, 2), (2,), 3)
    assert channels.shape == (2, 3, 5, 8, 8)
    assert channels[:, :, 0].flatten(2).mean(-1).tolist() == [[1, 1, 0]] * 2
    black = torch.zeros(1, 3, 16, 16)  # zero is mid-gray
    latents = outpaint.vae.encode(black).latent_dist.mode() * outpaint.vae.config.scaling_factor
    torch.testing.assert_close(channels[0, 0, 1:], latents[0])
    torch.testing.assert_close(channels[:, 2, 1:], outpaint.encode_views(views(1, 2))[:, 0])


def test_forms_of_images_agree(outpaint: MVDiffusionOutpaintPipeline) -> None:
    pixels = torch.randint(0, 256, (2, 16, 16, 3), generator=torch.Generator().manual_seed(0))
    first, second = (Image.fromarray(each.byte().numpy()) for each in pixels)
    tensor = pixels.permute(0, 3, 1, 2) / 127.5 - 1
    expected = sample(outpaint, tensor, given_views=(1, 6))
    found = sample(outpaint, [first, second], given_views=(1, 6))
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(sample(outpaint, first), sample(outpaint, tensor[:1]))


def test_a_panorama_does_not_depend_on_its_batch(outpaint: MVDiffusionOutpaintPipeline) -> None:
    image = views(1, 2)
    seeds = [torch.Generator().manual_seed(seed) for seed in (1, 2)]
    both = sample(outpaint, image, generator=seeds)
    alone = sample(outpaint, image[1], generator=torch.Generator().manual_seed(2))
    torch.testing.assert_close(alone[0], both[1], atol=1e-4, rtol=1e-4)
    lists = [[Image.fromarray(np.zeros((16, 16, 3), np.uint8))]] * 2
    assert sample(outpaint, lists).shape == (2, 8, 3, 16, 16)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"image": views(1)[0, 0]}, r"`image` tensor of shape .* got \(3, 16, 16\)"),
        ({"image": (views(1) + 1) * 127.5}, "`image` tensor in −1 … 1"),
        ({"image": []}, "`image` as PIL images or a tensor"),
        ({"image": ["room.png"]}, "`image` as PIL images or a tensor"),
        ({"image": views(2)}, "one `image` per view .* got 2"),
        ({"image": torch.zeros(1, 3, 8, 16)}, "`image` of 16 x 16 pixels .* got 8 x 16"),
        ({"image": [Image.new("RGB", (s, 16)) for s in (16, 8)]}, "of one size"),
        ({"given_views": (8,)}, r"`given_views` in 0 … 7, got 8"),
        ({"given_views": (-1,)}, r"`given_views` in 0 … 7, got -1"),
        ({"given_views": (2, 2)}, r"different `given_views`, got \[2, 2\]"),
        ({"given_views": ()}, "1 … 7 of 8 views in `given_views`, got 0"),
        ({"given_views": range(8), "image": views(8)}, "in `given_views`, got 8"),
        ({"prompt": [["a"] * 8] * 3}, "`prompt` for 1 samples, got it for 3"),
        ({"height": 15}, "`height` and `width` divisible by 2"),
    ],
)
def test_wrong_inputs_are_named(
    outpaint: MVDiffusionOutpaintPipeline, arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        outpaint(**{"prompt": "a", "image": views(1), **arguments}, num_inference_steps=1)
