"""Correspondence-aware attention in the UNets of Stable Diffusion 1.5, 2 and XL."""

from typing import Any

import pytest
import torch
from diffusers import UNet2DConditionModel
from other_backbones import PROJECTION, PUBLISHED, WIDTHS, tiny_unet
from torch import Tensor, nn

from mvdiffusion.geometry.cameras import panorama_cameras
from mvdiffusion.models.attention import CorrespondenceAttention
from mvdiffusion.models.multiview_unet import MultiViewUNet

# Parameters of the UNets: SD 1.5's is in the documentation of diffusers (`num_parameters`), the
# others follow from the sizes of the published float32 weights.
SIZES = {"sd15": 859_520_964, "sd2": 865_910_724, "sdxl": 2_567_463_684}
PLACES = {
    "sd15": [320, 640, 1280, 1280, 1280, 1280, 1280, 640, 320],
    "sd2": [320, 640, 1280, 1280, 1280, 1280, 1280, 640, 320],
    "sdxl": [320, 640, 1280, 1280, 1280, 640, 320],
}
"""Channels where attention between views stands: after each down block, in the middle, after each
up block."""


@pytest.mark.parametrize("family", PUBLISHED)
def test_parameters_are_those_that_are_published_and_those_of_the_attention(family: str) -> None:
    """Attention of C channels: 4 projections C x C, 12 C x C of the feed-forward, and 14 C."""
    with torch.device("meta"):
        unet = UNet2DConditionModel(**PUBLISHED[family])
        model = MultiViewUNet(PUBLISHED[family])
    assert unet.num_parameters() == SIZES[family]
    attention = sum(16 * channels**2 + 14 * channels for channels in PLACES[family])
    assert sum(weights.numel() for weights in model.correspondence_parameters()) == attention
    assert model.num_parameters() == SIZES[family] + attention


def inputs(family: str, views: int, channels: int = 4, size: int = 8) -> dict[str, Any]:
    torch.manual_seed(2)
    given: dict[str, Any] = {
        "latents": torch.randn(2, views, channels, size, size),
        "timesteps": torch.tensor([3, 400]),
        "prompt_embeds": torch.randn(2, views, 5, sum(WIDTHS[family])),
    }
    if family == "sdxl":
        sizes = torch.tensor([16.0, 16, 0, 0, 16, 16])
        given["added_cond_kwargs"] = {
            "text_embeds": torch.randn(2, views, PROJECTION),
            "time_ids": sizes.expand(2, views, -1) + torch.arange(views)[:, None],
        }
    return given


@pytest.mark.parametrize("chunk", [None, pytest.param(2, marks=pytest.mark.slow)])
@pytest.mark.parametrize("family", WIDTHS)
@torch.no_grad()
def test_untrained_every_view_is_the_single_view_unets(family: str, chunk: int | None) -> None:
    unet = tiny_unet(family)
    model = MultiViewUNet.from_unet(unet)
    model.set_view_chunk(chunk)
    K, R = panorama_cameras(16, 16, 4, 120.0)
    geometry = model.prepare_geometry(K[None], R[None], 16, 16)
    given = inputs(family, 4)
    found = model(**given, geometry=geometry).sample
    added = given.get("added_cond_kwargs", {})
    for sample in range(2):
        for view in range(4):
            one = (slice(sample, sample + 1), view)
            expected = unet(
                given["latents"][one],
                given["timesteps"][sample],
                given["prompt_embeds"][one],
                added_cond_kwargs={name: value[one] for name, value in added.items()},
            ).sample
            torch.testing.assert_close(found[one], expected, rtol=1e-5, atol=1e-5)


@torch.no_grad()
@pytest.mark.slow
def test_attention_stands_at_every_level_of_sdxl_and_closes_the_circle() -> None:
    """Of eight views of 90 degrees each sees its two neighbors: the last one sees the first one."""
    model = MultiViewUNet.from_unet(tiny_unet("sdxl"))
    sizes: list[int] = []
    for module in model.modules():
        if isinstance(module, CorrespondenceAttention):
            module.register_forward_pre_hook(lambda _, given: sizes.append(given[0].shape[-1]))
    K, R = panorama_cameras(16, 16, 8, 90.0)
    geometry = model.prepare_geometry(K[None], R[None], 16, 16)
    given = inputs("sdxl", 8)
    plain = model(**given, geometry=geometry).sample
    assert sizes == [8, 4, 2, 2, 2, 4, 8]
    # One place at a time: with view 0 its neighbors change, and no others.
    down, up = model.correspondence_down, model.correspondence_up
    for part in (*down, model.correspondence_mid, *up):
        nn.init.normal_(part.to_out.weight, std=0.3)
        assert changed(model, given, geometry) == [0, 1, 7]
        nn.init.zeros_(part.to_out.weight)
    torch.testing.assert_close(model(**given, geometry=geometry).sample, plain)


def changed(model: MultiViewUNet, given: dict[str, Any], geometry: Any) -> list[int]:
    """Views whose prediction changes with the latents of view 0."""
    before = model(**given, geometry=geometry).sample
    latents = given["latents"].clone()
    latents[:, 0] += 1
    after = model(**{**given, "latents": latents}, geometry=geometry).sample
    return (after - before).abs().amax((0, 2, 3, 4)).gt(1e-5).nonzero().flatten().tolist()


@torch.no_grad()
def test_the_pooled_text_and_the_sizes_of_sdxl_count_for_their_view_alone() -> None:
    model = MultiViewUNet.from_unet(tiny_unet("sdxl"))
    given = inputs("sdxl", 3)
    before = model(**given, geometry=None).sample
    for name in ("text_embeds", "time_ids"):
        added: dict[str, Tensor] = {k: v.clone() for k, v in given["added_cond_kwargs"].items()}
        added[name][0, 1] += 1
        after = model(**{**given, "added_cond_kwargs": added}, geometry=None).sample
        moved = (after - before).abs().amax((2, 3, 4)).gt(1e-6)
        assert moved.nonzero().tolist() == [[0, 1]], name


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"addition_embed_type": "text", "addition_embed_type_num_heads": 2}, "addition_embed_ty"),
        ({"class_embed_type": "timestep"}, "class_embed_type"),
        ({"encoder_hid_dim": 8, "encoder_hid_dim_type": "text_proj"}, "encoder_hid_dim_type"),
        ({"down_block_types": ["AttnDownBlock2D", "DownBlock2D"]}, "AttnDownBlock2D"),
    ],
)
def test_a_unet_of_another_family_is_refused(changed: dict[str, Any], named: str) -> None:
    config = {
        "block_out_channels": [32, 32],
        "down_block_types": ["CrossAttnDownBlock2D", "DownBlock2D"],
        "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D"],
        "cross_attention_dim": 8,
        "layers_per_block": 1,
    }
    with pytest.raises(ValueError, match=rf"{named}.*; expected a UNet of the Stable Diffusion 1"):
        MultiViewUNet({**config, **changed})
