"""Released checkpoints → pipelines: files in the released format, made from the golden weights."""

import json
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    StableDiffusionPipeline,
    UNet2DConditionModel,
)
from golden import load, relative_error
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTextModel

from mvdiffusion.conversion.convert import convert_checkpoint
from mvdiffusion.conversion.weights import rename_released, sort_weights
from mvdiffusion.pipelines.depth import MVDiffusionDepthPipeline
from mvdiffusion.pipelines.outpaint import MVDiffusionOutpaintPipeline
from mvdiffusion.pipelines.panorama import MVDiffusionPanoramaPipeline
from mvdiffusion.records import InputError, sha256_file
from mvdiffusion.training.base import build_tokenizer

WEIGHTS = {"panorama": "pano_unet", "outpaint": "outpaint_sampling", "depth": "depth_unet"}


class ForeignSettings:
    """Stands for the authors' own and Lightning's classes in the files."""

    def __init__(self) -> None:
        self.lr = 2e-4


def text_encoder(vocabulary: int, seed: int) -> CLIPTextModel:
    torch.manual_seed(seed)
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=vocabulary,
            hidden_size=16,
            intermediate_size=16,
            num_hidden_layers=1,
            num_attention_heads=2,
            max_position_embeddings=8,
            bos_token_id=0,
            eos_token_id=1,
            pad_token_id=1,
        )
    )


def vae(seed: int) -> AutoencoderKL:
    torch.manual_seed(seed)
    return AutoencoderKL(block_out_channels=(4, 4, 4, 4), norm_num_groups=2, **BLOCKS)


BLOCKS = {
    "down_block_types": ["DownEncoderBlock2D"] * 4,
    "up_block_types": ["UpDecoderBlock2D"] * 4,
}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Stable Diffusion folder as small as the golden weights; 4 channels, other weights."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("base")
    tokenizer = build_tokenizer(["a red room"], 8)
    _, settings = load("pano_unet")
    StableDiffusionPipeline(
        vae=vae(1),
        text_encoder=text_encoder(len(tokenizer), 1),
        tokenizer=tokenizer,
        unet=UNet2DConditionModel.from_config(settings["unet_config"]),
        scheduler=DDIMScheduler.from_config(load("pano_sampling")[1]["scheduler"]),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    ).save_pretrained(folder)
    return folder


def depth_base(base: Path, target: Path) -> Path:
    """The base whose UNet has the widths of the golden depth model."""
    target.mkdir()
    for part in base.iterdir():
        (target / part.name).symlink_to(part)
    (target / "unet").unlink()
    _, settings = load("depth_unet")
    UNet2DConditionModel.from_config(settings["unet_config"]).save_config(target / "unet")
    return target


def old_name(key: str) -> str:
    """Names that the VAE's attention had when the checkpoints were made."""
    renamed = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    for new, old in renamed.items():
        key = key.replace(f"mid_block.attentions.0.{new}.", f"mid_block.attentions.0.{old}.")
    return key


def released(name: str, vocabulary: int, wrapper: str = "") -> OrderedDict[str, Tensor]:
    """The state dict of a released checkpoint."""
    tensors, _ = load(name)
    made = OrderedDict(
        (key.replace("mv_base_model.", f"mv_base_model.{wrapper}"), value)
        for key, value in tensors.items()
        if key.startswith("mv_base_model.")
    )
    made.update((f"vae.{old_name(key)}", value) for key, value in vae(2).state_dict().items())
    for key, value in text_encoder(vocabulary, 2).state_dict().items():
        made[f"text_encoder.text_model.{key.removeprefix('text_model.')}"] = value.half()
    made["text_encoder.text_model.embeddings.position_ids"] = torch.arange(8)[None]
    return made


def write(path: Path, state_dict: Any, **options: Any) -> Path:
    """A Lightning checkpoint around a state dict."""
    content = {
        "epoch": 9,
        "global_step": 24460,
        "pytorch-lightning_version": "1.9.0",
        "state_dict": state_dict,
        "loops": {"fit_loop": {"state_dict": {}}},
        "callbacks": {"ModelCheckpoint{'monitor': 'train_loss'}": {"settings": ForeignSettings()}},
        "optimizer_states": [{"state": {0: {"exp_avg": torch.randn(3)}}, "param_groups": []}],
        "lr_schedulers": [{"T_max": 10, "_step_count": 10}],
        "hyper_parameters": {"config": {"model": ForeignSettings()}},
    }
    torch.save(content, path, **options)
    return path


@pytest.fixture(scope="module")
def vocabulary(base: Path) -> int:
    return CLIPTextModel.from_pretrained(base / "text_encoder").config.vocab_size


def check_other_parts(pipeline: Any, vocabulary: int) -> None:
    """VAE and text encoder are the checkpoint's, not the base's."""
    for key, value in vae(2).state_dict().items():
        assert torch.equal(pipeline.vae.state_dict()[key], value), key
    for key, value in text_encoder(vocabulary, 2).state_dict().items():
        found = pipeline.text_encoder.state_dict()[key]
        assert torch.equal(found, value.half().float()), key


@pytest.mark.parametrize(
    ("half", "wrapper", "zip_format"), [(False, "", True), (True, "module.", False)]
)
@torch.no_grad()
def test_panorama(
    base: Path, vocabulary: int, tmp_path: Path, half: bool, wrapper: str, zip_format: bool
) -> None:
    state = released("pano_unet", vocabulary, wrapper)
    # Golden weights were rounded to half precision before the outputs were computed.
    state = {key: value if half else value.float() for key, value in state.items()}
    path = write(tmp_path / "pano.ckpt", state, _use_new_zipfile_serialization=zip_format)
    report = convert_checkpoint(path, str(base), tmp_path / "model")
    assert report == json.loads((tmp_path / "model" / "conversion.json").read_text())
    assert convert_checkpoint(path, str(base), tmp_path / "model") == report  # already made
    with pytest.raises(InputError, match=r"model: was made with other settings \(dtype\)"):
        convert_checkpoint(path, str(base), tmp_path / "model", dtype="float16")
    assert report["task"] == "panorama"
    assert report["unknown"] == []
    assert report["checkpoint"]["sha256"] == sha256_file(path)
    ignored = sum(map(len, report["ignored"].values()))
    assert sum(report["weights"].values()) + ignored == len(state)
    pipeline = MVDiffusionPanoramaPipeline.from_pretrained(tmp_path / "model")
    check_other_parts(pipeline, vocabulary)
    tensors, settings = load("pano_sampling")
    pipeline.set_progress_bar_config(disable=True)
    latents = pipeline.denoise(
        tensors["latents_init"],
        torch.cat([tensors["negative_prompt_embeds"], tensors["prompt_embeds"]]),
        pipeline.unet.prepare_geometry(tensors["K"], tensors["R"], 128, 128),
        settings["num_inference_steps"],
        settings["guidance_scale"],
    )
    assert relative_error(latents, tensors["latents_final"]) < 1e-3
    assert len(pipeline("a red room", num_inference_steps=1, num_views=2).images[0]) == 2


@torch.no_grad()
def test_outpaint(base: Path, vocabulary: int, tmp_path: Path) -> None:
    path = write(tmp_path / "pano_outpaint.ckpt", released("outpaint_sampling", vocabulary))
    assert convert_checkpoint(path, str(base), tmp_path / "model")["task"] == "outpaint"
    pipeline = MVDiffusionOutpaintPipeline.from_pretrained(tmp_path / "model")
    pipeline.set_progress_bar_config(disable=True)
    tensors, settings = load("outpaint_sampling")
    latents = pipeline.denoise(
        tensors["latents_init"],
        torch.cat([tensors["negative_prompt_embeds"], tensors["prompt_embeds"]]),
        pipeline.unet.prepare_geometry(tensors["K"], tensors["R"], 128, 128),
        settings["num_inference_steps"],
        settings["guidance_scale"],
        extra_channels=torch.cat([tensors["mask"], tensors["masked_image_latents"]], 2),
    )
    assert relative_error(latents, tensors["latents_final"]) < 1e-3


@torch.no_grad()
def test_depth(base: Path, vocabulary: int, tmp_path: Path) -> None:
    path = write(tmp_path / "depth_gen.ckpt", released("depth_unet", vocabulary))
    with pytest.raises(InputError, match=r"depth_gen.ckpt: the UNet: .* base"):
        convert_checkpoint(path, str(base), tmp_path / "model")
    assert not (tmp_path / "model").exists()
    own = depth_base(base, tmp_path / "base")
    assert convert_checkpoint(path, str(own), tmp_path / "model")["task"] == "depth"
    unet = MVDiffusionDepthPipeline.from_pretrained(tmp_path / "model").unet
    tensors, _ = load("depth_unet")
    geometry = unet.prepare_depth_geometry(
        tensors["depths"], tensors["K"][:, None].expand(-1, 4, -1, -1), tensors["poses"]
    )
    inputs = tensors["latents"], tensors["timesteps"], tensors["prompt_embeds"], geometry
    assert relative_error(unet(*inputs).sample, tensors["noise_pred"]) < 1e-4
    with_images = unet(*inputs, image_condition=tensors["condition"]).sample
    assert relative_error(with_images, tensors["noise_pred_interpolation"]) < 1e-4


@torch.no_grad()
def test_single_view_depth(base: Path, vocabulary: int, tmp_path: Path) -> None:
    state = {
        key: value
        for key, value in released("depth_unet", vocabulary, "_orig_mod.").items()
        if not key.startswith("mv_base_model._orig_mod.c")
    }
    path = write(tmp_path / "depth_single_view.ckpt", state)
    own = depth_base(base, tmp_path / "base")
    report = convert_checkpoint(path, str(own), tmp_path / "model", dtype="float16")
    assert report["task"] == "single_view_depth"
    single = StableDiffusionPipeline.from_pretrained(tmp_path / "model", torch_dtype=torch.float16)
    assert single.unet.config.in_channels == 5
    for key, value in load("depth_unet")[0].items():
        if key.startswith("mv_base_model.unet."):
            assert torch.equal(single.unet.state_dict()[key[19:]], value), key
    # What stage 2 starts from: the multi-view layers are new and change nothing.
    pipeline = MVDiffusionDepthPipeline.from_single_view(tmp_path / "model")
    assert pipeline.unet.config["task"] == "depth"


def test_what_is_missing_or_unknown_is_said(
    base: Path, vocabulary: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state = released("pano_unet", vocabulary)
    extra = {**state, "ema.decay": torch.ones(1), "vae.quantizer.weight": torch.ones(1)}
    path = write(tmp_path / "extra.ckpt", extra)
    report = convert_checkpoint(path, str(base), tmp_path / "extra")
    assert report["unknown"] == ["ema.decay", "vae.quantizer.weight"]
    assert "ema.decay" in capsys.readouterr().err
    del state["mv_base_model.cp_blocks_mid.transformer.attn1.to_q.weight"]
    path = write(tmp_path / "pano.ckpt", state)
    for options, message in (
        ({}, r"lacks 1 weights of the UNet, such as correspondence_mid.to_q.weight"),
        ({"task": "depth"}, r"pano.ckpt: --task depth: the checkpoint is a panorama model"),
        ({"dtype": "int8"}, "int8: expected"),
        ({"base": str(tmp_path / "nowhere")}, "--base .*nowhere: its vae could not be read"),
    ):
        with pytest.raises(InputError, match=message):
            convert_checkpoint(path, **{"base": str(base), "output": tmp_path / "out", **options})
    with pytest.raises(InputError, match=r"no UNet among the checkpoint's weights"):
        convert_checkpoint(
            write(tmp_path / "a.ckpt", {"w": torch.ones(1)}), str(base), tmp_path / "out"
        )
    assert not (tmp_path / "out").exists()


def test_two_keys_of_one_weight_are_refused() -> None:
    keys = "mv_base_model.unet.conv_in.weight", "mv_base_model.module.unet.conv_in.weight"
    with pytest.raises(InputError, match="twice"):
        sort_weights(dict.fromkeys(keys, torch.ones(1)))


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("cp_blocks_encoder.2.transformer.attn1.to_q.weight", "correspondence_down.2.to_q.weight"),
        ("cp_blocks_mid.transformer.norm2.bias", "correspondence_mid.norm2.bias"),
        (
            "cp_blocks_decoder.1.attn1.transformer.attn1.to_out.bias",
            "correspondence_up.1.attention.to_out.bias",
        ),
        ("cp_blocks_mid.resnet.bn2.weight", "correspondence_mid.norm2.weight"),
        ("condition_upblocks.3.conv2.weight", "image_conditioning.up.3.conv2.weight"),
        (
            "unet.down_blocks.0.attentions.1.transformer_blocks.0.attn1.to_q.weight",
            "unet.down_blocks.0.attentions.1.transformer_blocks.0.attn1.to_q.weight",
        ),
    ],
)
def test_names(theirs: str, ours: str) -> None:
    assert rename_released(f"mv_base_model.{theirs}") == ours
