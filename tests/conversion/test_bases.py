"""Conversion without a base, by the published configuration; bases that do not fit."""

import json
import shutil
from collections import OrderedDict
from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from golden import load
from released_checkpoints import released, text_encoder, vae, write
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from mvdiffusion.conversion import bases, convert
from mvdiffusion.conversion.bases import Published, clip_tokenizer
from mvdiffusion.conversion.convert import convert_checkpoint
from mvdiffusion.models.multiview_unet import MultiViewUNet
from mvdiffusion.pipelines import MVDiffusionPanoramaPipeline
from mvdiffusion.records import InputError

# Released tensors of a multi-view UNet beside this project's: frequencies of the position code, 9
# blocks, which are computed here.
FREQUENCIES = 9


def modules(channels: int, task: str) -> dict[str, nn.Module]:
    """The parts by the published configuration, without memory."""
    published = Published()
    unet = {**published.config("unet"), "in_channels": channels}
    with torch.device("meta"):
        return {
            "single": UNet2DConditionModel.from_config(unet),
            "unet": MultiViewUNet(unet, "released", task),
            "vae": AutoencoderKL.from_config(published.config("vae")),
            "text_encoder": CLIPTextModel(CLIPTextConfig(**published.config("text_encoder"))),
        }


def test_the_published_configuration_is_that_of_stable_diffusion_2() -> None:
    """Parameters as published; 1,552 tensors were counted in the released depth_gen.ckpt."""
    parts = modules(4, "panorama")
    counts = {name: sum(p.numel() for p in part.parameters()) for name, part in parts.items()}
    assert counts["single"] == 865_910_724
    assert counts["vae"] == 83_653_863
    assert counts["text_encoder"] == 340_387_840
    depth = modules(5, "depth")
    tensors = {name: len(part.state_dict()) for name, part in depth.items()}
    assert tensors["single"] == 686
    assert tensors["unet"] + tensors["vae"] + tensors["text_encoder"] + FREQUENCIES == 1552


def test_the_text_encoder_is_the_one_of_open_clip() -> None:
    """Stable Diffusion 2 has ViT-H/14's but for its last layer."""
    own, theirs = (
        Published().config("text_encoder"),
        open_clip.get_model_config("ViT-H-14")["text_cfg"],
    )
    assert own["hidden_size"] == theirs["width"]
    assert own["num_attention_heads"] == theirs["heads"]
    assert own["num_hidden_layers"] == theirs["layers"] - 1
    assert own["max_position_embeddings"] == theirs["context_length"]
    assert own["vocab_size"] == theirs["vocab_size"] == len(clip_tokenizer())
    assert own["hidden_act"] == "gelu"  # open_clip's default; OpenAI's is quick_gelu


SENTENCES = [
    "This is one view of a scene. a living room with a couch, a table and two chairs",
    "A PHOTO of a kitchen's 12 cupboards; (white) [steel] & wood -- 3.5m x 2m",
    "don't we'll they've I'm you're it's he'd",
    "naïve café über Straße 你好 Привет こんにちは 🛋 🏠",
    "a" * 300,
    "snake_case CamelCase x/y\\z #tag @at 100% $5 ^ ~ | ` * + = { } < >",
    "\tmany   spaces\nand lines ",
    "?!."[::2],
    "",
    "a cat " * 100,
]


def test_the_tokenizer_is_clips(tmp_path: Path) -> None:
    words = json.loads(json.dumps(open_clip.tokenizer.SimpleTokenizer().encoder))
    some = [word.removesuffix("</w>") for word in list(words)[600:40000:97] if word.isascii()]
    sentences = [*SENTENCES, *(" ".join(some[i : i + 20]) for i in range(0, len(some), 20))]
    made = clip_tokenizer()
    made.save_pretrained(tmp_path)
    theirs = open_clip.get_tokenizer("ViT-H-14")(sentences)
    for tokenizer in (made, CLIPTokenizer.from_pretrained(tmp_path)):
        own = tokenizer(
            sentences, padding="max_length", max_length=77, truncation=True, return_tensors="pt"
        ).input_ids
        assert torch.equal(own, theirs)
        # Stable Diffusion 2 pads with "!", number 0, so a prompt's "!" is that, too.
        assert tokenizer.pad_token_id == 0
        assert tokenizer("no !").input_ids == [49406, 871, 0, 49407]


@pytest.fixture
def tiny(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A published configuration as small as the golden weights, but with CLIP's vocabulary."""
    names = {
        "scheduler": "scheduler_config.json",
        "text_encoder": "config.json",
        "unet": "config.json",
        "vae": "config.json",
    }
    made = {part: json.loads((base / part / name).read_text()) for part, name in names.items()}
    made["text_encoder"]["vocab_size"] = 49408
    path = tmp_path / "published.json"
    path.write_text(json.dumps(made))
    monkeypatch.setattr(bases, "CONFIGURATIONS", path)
    monkeypatch.setattr(bases, "find_base", None)  # nothing is looked for
    return made


@torch.no_grad()
def test_a_complete_checkpoint_needs_no_base(tiny: dict[str, Any], tmp_path: Path) -> None:
    path = write(tmp_path / "pano.ckpt", released("pano_unet", 49408))
    report = convert_checkpoint(path, None, tmp_path / "model")
    assert report["base"] is report["base_source"] is None
    pipeline = MVDiffusionPanoramaPipeline.from_pretrained(tmp_path / "model")
    for own, theirs in (
        (pipeline.vae, vae(2)),
        (pipeline.text_encoder, text_encoder(49408, 2).half()),
    ):
        for key, value in theirs.state_dict().items():
            assert torch.equal(own.state_dict()[key], value.float()), key
    for key, value in load("pano_unet")[0].items():
        if key.startswith("mv_base_model.unet."):
            assert torch.equal(pipeline.unet.state_dict()[key[14:]], value.float()), key
    pipeline.set_progress_bar_config(disable=True)
    assert pipeline.scheduler.config.prediction_type == "epsilon"
    assert pipeline.default_size() == (512, 512)


def without(state: OrderedDict[str, Tensor], part: str) -> dict[str, Tensor]:
    return {key: value for key, value in state.items() if not key.startswith(part)}


@pytest.mark.parametrize("part", ["vae", "text_encoder"])
def test_without_its_weights_a_part_comes_from_the_base_alone(
    base: Path, vocabulary: int, tmp_path: Path, part: str, tiny: dict[str, Any]
) -> None:
    path = write(tmp_path / "pano.ckpt", without(released("pano_unet", vocabulary), f"{part}."))
    with pytest.raises(InputError, match=f"no weights of the {part}; pass as --base the model"):
        convert_checkpoint(path, None, tmp_path / "model")


def test_weights_of_the_base_are_read_only_where_the_checkpoint_lacks_them(
    base: Path, vocabulary: int, tmp_path: Path
) -> None:
    bare = tmp_path / "base"
    shutil.copytree(base, bare)
    for file in bare.rglob("*.safetensors"):
        file.unlink()
    state = released("pano_unet", vocabulary)
    path = write(tmp_path / "pano.ckpt", state)
    convert_checkpoint(path, str(bare), tmp_path / "model")
    path = write(tmp_path / "other.ckpt", without(state, "vae."))
    with pytest.raises(InputError, match=r"--base .*: .* has no vae/diffusion_pytorch_model.safet"):
        convert_checkpoint(path, str(bare), tmp_path / "other")
    convert_checkpoint(path, str(base), tmp_path / "other")
    made = MVDiffusionPanoramaPipeline.from_pretrained(tmp_path / "other").vae.state_dict()
    assert all(torch.equal(made[key], value) for key, value in vae(1).state_dict().items())


def changed(base: Path, target: Path, file: str, **values: Any) -> str:
    shutil.copytree(base, target)
    content = json.loads((target / file).read_text()) | values
    (target / file).write_text(json.dumps(content))
    return str(target)


@pytest.mark.parametrize(
    ("file", "values", "sentence"),
    [
        (
            "scheduler/scheduler_config.json",
            {"prediction_type": "v_prediction"},
            "prediction type v_prediction; the released checkpoints predict epsilon",
        ),
        ("model_index.json", {"text_encoder_2": ["transformers", "CLIPTextModel"]}, "SDXL"),
        ("unet/config.json", {"addition_embed_type": "text_time"}, "SDXL"),
        ("unet/config.json", {"_class_name": "UNet3DConditionModel"}, "holds a UNet3D"),
        ("unet/config.json", {"cross_attention_dim": 768}, "takes 768; expected Stable Diff"),
        ("unet/config.json", {"block_out_channels": [32, 64, 64, 64]}, "lacks 2 of the"),
        ("unet/config.json", {"down_block_types": ["DownBlock2D"] * 4}, "78 weights that the UNet"),
        (
            "vae/config.json",
            {"mid_block_add_attention": False},
            "weights that the vae has no place for",
        ),
    ],
)
def test_a_base_that_does_not_fit_is_refused(
    base: Path, vocabulary: int, tmp_path: Path, file: str, values: dict[str, Any], sentence: str
) -> None:
    path = write(tmp_path / "pano.ckpt", released("pano_unet", vocabulary))
    wrong = changed(base, tmp_path / "base", file, **values)
    with pytest.raises(InputError, match=sentence) as caught:
        convert_checkpoint(path, wrong, tmp_path / "model")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "model").exists()


def test_the_size_of_views_is_not_the_bases(base: Path, vocabulary: int, tmp_path: Path) -> None:
    """Stable Diffusion 2's bases for 768 px have 96 latent cells; the checkpoints have 64."""
    path = write(tmp_path / "pano.ckpt", released("pano_unet", vocabulary))
    larger = changed(base, tmp_path / "base", "unet/config.json", sample_size=96)
    convert_checkpoint(path, larger, tmp_path / "model")
    pipeline = MVDiffusionPanoramaPipeline.from_pretrained(tmp_path / "model")
    assert pipeline.default_size() == (512, 512)


@pytest.mark.slow
def test_a_checkpoint_of_full_size_is_converted_offline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Weights that are one number each, so that they take no memory before they are written."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    number = torch.tensor(0.01, dtype=torch.float16)
    parts = modules(4, "panorama")
    theirs = {"down": "encoder", "mid": "mid", "up": "decoder"}
    state = {}
    for part, prefix in (
        ("unet", "mv_base_model."),
        ("vae", "vae."),
        ("text_encoder", "text_encoder.text_model."),
    ):
        for key, value in parts[part].state_dict().items():
            for ours, name in theirs.items():
                key = key.replace(f"correspondence_{ours}", f"cp_blocks_{name}")
            state[prefix + key] = number.expand(value.shape)
    (tmp_path / "pano.ckpt").write_bytes(b"stands for the file")
    monkeypatch.setattr(convert, "read_checkpoint", lambda _: state)
    report = convert_checkpoint(tmp_path / "pano.ckpt", None, tmp_path / "model", dtype="float16")
    assert report["weights"] == {"unet": 803, "vae": 248, "text_encoder": 372}
    pipeline = MVDiffusionPanoramaPipeline.from_pretrained(tmp_path / "model", dtype=torch.float16)
    assert pipeline.default_size() == (512, 512)
    shutil.rmtree(tmp_path / "model")
