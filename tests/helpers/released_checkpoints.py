"""Checkpoints in the released format and their bases, as small as the golden weights."""

from collections import OrderedDict
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    StableDiffusionPipeline,
    UNet2DConditionModel,
)
from golden import load
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTextModel

from mvdiffusion.training.base import build_tokenizer


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


def write_base(folder: Path) -> Path:
    """A Stable Diffusion folder as small as the golden weights; 4 channels, other weights."""
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
