"""ControlNet with inpainting: what it is without training, against diffusers, frame after frame."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import (
    AutoencoderKL,
    ControlNetModel,
    DDIMScheduler,
    StableDiffusionControlNetInpaintPipeline,
    UNet2DConditionModel,
)
from tiny_models import single_view_unet
from torch import Tensor

from mvdiffusion.data.scannet import ScanNetScenes
from mvdiffusion.geometry.depth import normalized_inverse_depth
from mvdiffusion.geometry.warping import depth_views, warp_by_depth
from mvdiffusion.methods import controlnet as method
from mvdiffusion.methods.base import Batch
from mvdiffusion.models.controlnet import control_image, controlnet_of
from mvdiffusion.models.multiview_unet import MultiViewUNet
from mvdiffusion.pipelines import MVDiffusionDepthPipeline, MVDiffusionOutpaintPipeline, sequential
from mvdiffusion.pipelines.controlnet import ControlNetInpaintPipeline
from mvdiffusion.pipelines.sequential import decode_view, inpaint_view, masked_image, sample_view
from mvdiffusion.records import InputError

SAMPLING = {"num_inference_steps": 2, "guidance_scale": 2.0, "negative_prompt": ""}
PROMPTS = ["a red room", "a blue room"]


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def noise(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def controlled(parts: dict[str, Any]) -> ControlNetInpaintPipeline:
    unet = single_view_unet("outpaint")
    controlnet = controlnet_of(unet, 4, 2).eval()
    pipeline = ControlNetInpaintPipeline(
        **parts, unet=MultiViewUNet.from_unet(unet).eval(), controlnet=controlnet
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def disturb(controlnet: ControlNetModel) -> None:
    """Make the convolutions that start at zero tell something."""
    torch.manual_seed(5)
    with torch.no_grad():
        for layer in (*controlnet.controlnet_down_blocks, controlnet.controlnet_mid_block):
            layer.weight.add_(0.2 * torch.randn_like(layer.weight))


def test_with_zero_convolutions_it_is_the_inpainting_model_exactly(
    controlled: ControlNetInpaintPipeline, outpaint: MVDiffusionOutpaintPipeline
) -> None:
    start, known = noise(2, 4, 6, 8), random(2, 12, 16, seed=2) > 0.02
    given = (PROMPTS, start, SAMPLING, (random(2, 3, 12, 16), known))
    control = control_image(1 + random(2, 12, 16))[:, None]
    made = inpaint_view(controlled, *given, image_condition=control)
    assert torch.equal(made, inpaint_view(controlled, *given))
    assert torch.equal(made, inpaint_view(outpaint, *given))
    disturb(controlled.controlnet)
    added = (inpaint_view(controlled, *given, image_condition=control) - made).abs().max()
    assert added > 0.01
    controlled.conditioning_scale = 0.0
    assert torch.equal(made, inpaint_view(controlled, *given, image_condition=control))
    controlled.conditioning_scale = 0.1
    less = (inpaint_view(controlled, *given, image_condition=control) - made).abs().max()
    assert 0 < less < added


def test_the_control_image_is_near_in_white_and_nothing_in_black() -> None:
    """Inverse depths 1, 1/2, 1/4 of an image lie at 1, 1/3 and 0 of its range."""
    image = control_image(torch.tensor([[[1.0, 2.0], [4.0, 0.0]]]))
    assert image.shape == (1, 3, 2, 2)
    for channel in image[0]:
        assert channel.flatten().tolist() == pytest.approx([1, 1 / 3, 0, 0])


@pytest.mark.parametrize(("cell", "channels"), [(1, [16]), (2, [16, 32]), (8, [16, 32, 96, 256])])
def test_the_control_image_comes_to_the_size_of_the_latents(cell: int, channels: list[int]) -> None:
    controlnet = controlnet_of(single_view_unet("outpaint"), 4, cell)
    assert list(controlnet.config.conditioning_embedding_out_channels) == channels
    assert controlnet.config.in_channels == 4
    embedded = controlnet.controlnet_cond_embedding(torch.zeros(1, 3, 8 * cell, 16 * cell))
    assert embedded.shape[-2:] == (8, 16)


@pytest.fixture(scope="module")
def published(parts: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Parts with Stable Diffusion's shape, of small width, as diffusers saves them."""
    torch.manual_seed(3)
    shape = {
        "sample_size": 8,
        "out_channels": 4,
        "block_out_channels": [32, 32, 64, 64],
        "down_block_types": ["CrossAttnDownBlock2D"] * 3 + ["DownBlock2D"],
        "up_block_types": ["UpBlock2D"] + ["CrossAttnUpBlock2D"] * 3,
        "layers_per_block": 2,
        "cross_attention_dim": 32,
        "attention_head_dim": [1, 1, 2, 2],
        "norm_num_groups": 8,
        "use_linear_projection": True,
    }
    unet = UNet2DConditionModel(**shape, in_channels=9)
    vae = AutoencoderKL(
        block_out_channels=[8] * 4,
        down_block_types=["DownEncoderBlock2D"] * 4,
        up_block_types=["UpDecoderBlock2D"] * 4,
        norm_num_groups=4,
        latent_channels=4,
    )
    with torch.no_grad():  # diffusers draws latents where we take their mode: leave no variance
        vae.quant_conv.weight[4:] = 0
        vae.quant_conv.bias[4:] = -30
    controlnet = controlnet_of(unet, 4, 8)
    disturb(controlnet)
    folder = tmp_path_factory.mktemp("published")
    texts = {name: parts[name] for name in ("text_encoder", "tokenizer")}
    none = {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False}
    StableDiffusionControlNetInpaintPipeline(
        **texts,
        vae=vae,
        unet=unet,
        controlnet=controlnet,
        scheduler=DDIMScheduler(clip_sample=False, steps_offset=1),  # as diffusers corrects it
        **none,
    ).save_pretrained(folder)
    return folder


def test_it_paints_what_the_pipeline_of_diffusers_paints(published: Path) -> None:
    theirs = StableDiffusionControlNetInpaintPipeline.from_pretrained(
        published, safety_checker=None, requires_safety_checker=False
    )
    ours = ControlNetInpaintPipeline.from_single_view(published)
    for pipeline in (theirs, ours):
        pipeline.set_progress_bar_config(disable=True)
    image, known = random(2, 3, 64, 64), torch.ones(2, 64, 64, dtype=torch.bool)
    known[:, :, 24:] = False
    control, start = control_image(1 + random(2, 64, 64)), noise(2, 4, 8, 8)
    expected = theirs(
        PROMPTS,
        image=image,
        mask_image=(~known[:, None]).float(),
        control_image=control,
        negative_prompt=["", ""],
        num_inference_steps=2,
        guidance_scale=2.0,
        latents=start,
        controlnet_conditioning_scale=1.0,  # theirs is 0.5, the published one 1
        output_type="pt",
    ).images
    channels = masked_image(ours, 2 * image - 1, known)
    options = {"extra_channels": channels, "image_condition": control[:, None]}
    made = decode_view(ours, sample_view(ours, PROMPTS, start, SAMPLING, **options))
    torch.testing.assert_close(made, expected, atol=1e-3, rtol=1e-3)


def test_a_folder_without_a_controlnet_is_named(models: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="ControlNet"):
        ControlNetInpaintPipeline.from_single_view(_plain_folder(tmp_path, models))


def _plain_folder(root: Path, models: dict[str, Path]) -> Path:
    """A model of single views: the parts of a multi-view one around another UNet."""
    folder = shutil.copytree(models["outpaint"], root / "model")
    shutil.rmtree(folder / "unet")
    single_view_unet("outpaint").save_pretrained(folder / "unet")
    index = json.loads((folder / "model_index.json").read_text())
    index |= {
        "_class_name": "StableDiffusionInpaintPipeline",
        "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["mvdiffusion.models.patch_autoencoder", "PatchAutoencoder"],
    }
    (folder / "model_index.json").write_text(json.dumps(index))
    return folder


def test_frames_are_painted_from_the_warped_picture_of_the_frame_before(
    controlled: ControlNetInpaintPipeline,
    depth: MVDiffusionDepthPipeline,
    walks: ScanNetScenes,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    samples = [walks.load(0, views=False), walks.load(1, views=False)]
    start, seen = noise(2, 5, 4, 6, 8), []
    pictures = random(5, 2, 3, 12, 16)

    def paint(*given: Any, **options: Any) -> Tensor:
        *given, dilation = given
        assert dilation == 0.125
        assert given[0].conditioning_scale == 0.5
        seen.append((*given, options["image_condition"]))
        return pictures[len(seen)]

    monkeypatch.setattr(sequential, "inpaint_view", paint)
    options = method.ControlNetOptions(dilation=0.125, conditioning_scale=0.5)
    others = {"single-view": depth}
    batch = Batch(controlled, samples, start, SAMPLING, walks, others, options=options)
    images = method.depth(batch)
    assert torch.equal(images[:, 1:], pictures[1:].transpose(0, 1))
    posed = {name: batch.stack(name) for name in ("depth", "K", "pose")}
    channel = normalized_inverse_depth(posed["depth"][:, :1], 6, 8)
    prompts = [sample.prompts[0] for sample in samples]
    first = sample_view(depth, prompts, start[:, 0], SAMPLING, extra_channels=channel)
    assert torch.equal(images[:, 0], decode_view(depth, first))
    views = depth_views(**posed)
    for frame in range(1, 5):
        model, texts, noises, _, (warped, known), control = seen[frame - 1]
        assert model is controlled
        assert list(texts) == [sample.prompts[frame] for sample in samples]
        assert torch.equal(noises, start[:, frame])
        expected = warp_by_depth(images[:, frame - 1], views[frame - 1], views[frame])
        assert torch.equal(warped, expected[0])
        assert torch.equal(known, expected[1])
        assert torch.equal(control[:, 0], control_image(posed["depth"][:, frame]))


def test_frames_of_whole_walks(
    controlled: ControlNetInpaintPipeline, depth: MVDiffusionDepthPipeline, walks: ScanNetScenes
) -> None:
    """End to end; a sample does not depend on its batch."""
    disturb(controlled.controlnet)
    samples, start = [walks.load(0, views=False), walks.load(1, views=False)], noise(2, 5, 4, 6, 8)
    further = SAMPLING, walks, {"single-view": depth}, (), method.ControlNetOptions()
    made = [
        method.depth(Batch(controlled, group, noises, *further))
        for group, noises in ((samples, start), (samples[1:], start[1:]))
    ]
    assert made[0].shape == (2, 5, 3, 12, 16)
    torch.testing.assert_close(made[0][1:], made[1], atol=1e-3, rtol=1e-3)
