"""Released checkpoints → pipelines: files in the released format, made from the golden weights."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import (
    StableDiffusionPipeline,
)
from golden import load, relative_error
from released_checkpoints import depth_base, released, text_encoder, vae, write

from mvdiffusion.conversion.convert import convert_checkpoint
from mvdiffusion.conversion.weights import rename_released, sort_weights
from mvdiffusion.pipelines.depth import MVDiffusionDepthPipeline
from mvdiffusion.pipelines.loading import HASHES
from mvdiffusion.pipelines.outpaint import MVDiffusionOutpaintPipeline
from mvdiffusion.pipelines.panorama import MVDiffusionPanoramaPipeline
from mvdiffusion.records import InputError, sha256_file

WEIGHTS = {"panorama": "pano_unet", "outpaint": "outpaint_sampling", "depth": "depth_unet"}


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
    card = (tmp_path / "model/README.md").read_text()
    assert f"the checkpoint `pano.ckpt` (SHA-256 `{sha256_file(path)}`), which was" in card
    assert str(tmp_path) not in card
    assert json.loads((tmp_path / "model" / HASHES).read_text())["files"].keys() >= {
        "README.md",
        "pipeline.py",
        "unet/multiview_unet.py",
    }
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
    assert pipeline.default_size() == (512, 512)
    small = {"num_inference_steps": 1, "num_views": 2, "height": 64, "width": 64}
    assert len(pipeline("a red room", **small).images[0]) == 2


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
    with pytest.raises(InputError, match=r"depth_gen.ckpt: .* the UNet .* --base"):
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
    extra = {**state, "ema.decay": torch.ones(1), "extra.weight": torch.ones(1)}
    path = write(tmp_path / "extra.ckpt", extra)
    report = convert_checkpoint(path, str(base), tmp_path / "extra")
    assert report["unknown"] == ["ema.decay", "extra.weight"]
    assert "ema.decay" in capsys.readouterr().err
    del state["mv_base_model.cp_blocks_mid.transformer.attn1.to_q.weight"]
    path = write(tmp_path / "pano.ckpt", state)
    for options, message in (
        ({}, r"lacks 1 of the \d+ weights of the UNet \(correspondence_mid.to_q.weight\)"),
        ({"task": "depth"}, r"pano.ckpt: --task depth: the checkpoint is a panorama model"),
        ({"dtype": "int8"}, "int8: expected"),
        ({"base": str(tmp_path / "nowhere")}, "--base .*nowhere: .*no such folder"),
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
