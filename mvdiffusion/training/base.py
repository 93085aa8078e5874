"""The miniature's base model: tokenizer, text encoder and UNet trained from scratch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from diffusers import DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from tokenizers import pre_tokenizers
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from mvdiffusion.models.patch_autoencoder import PatchAutoencoder
from mvdiffusion.records import InputError
from mvdiffusion.training.diffusion import freeze, vae_scale_factor
from mvdiffusion.training.runs import Places, Run, Writer
from mvdiffusion.training.settings import BaseSettings
from mvdiffusion.training.stage1 import view_task
from mvdiffusion.training.vae import load_vae

START, END, WORD_END = "<|startoftext|>", "<|endoftext|>", "</w>"
CAPTION_PANORAMAS = 512  # whose captions give the tokenizer its words
# As in Stable Diffusion: latents have no fixed range to clip to.
LATENT_SCHEDULER = {"clip_sample": False, "set_alpha_to_one": False, "steps_offset": 1}


def build_tokenizer(captions: Iterable[str], max_length: int) -> CLIPTokenizer:
    """Build CLIP's byte-pair tokenizer from the words of captions.

    Every byte has a token, inside and at the end of a word, so that any text can be encoded; the
    merges spell the captions' words from their beginnings. Nothing depends on the order of the
    captions or of hashes: equal words give equal tokens.

    Args:
        max_length: tokens of every prompt.
    """
    backend = CLIPTokenizer().backend_tokenizer
    words = {
        word
        for caption in set(captions)
        for word, _ in backend.pre_tokenizer.pre_tokenize_str(
            backend.normalizer.normalize_str(caption)
        )
    }
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = dict.fromkeys([START, END, *alphabet, *(byte + WORD_END for byte in alphabet)])
    merges: dict[tuple[str, str], None] = {}
    for word in sorted(words):
        letters = [*word[:-1], word[-1] + WORD_END]
        start = letters[0]
        for letter in letters[1:]:
            merges[start, letter] = None
            start += letter
            vocabulary[start] = None
    return CLIPTokenizer(
        vocab={token: index for index, token in enumerate(vocabulary)},
        merges=list(merges),
        model_max_length=max_length,
        # Named: what is assumed for them differs between a built and a loaded tokenizer.
        bos_token=START,
        eos_token=END,
        unk_token=END,
        pad_token=END,
    )


def build_text_encoder(options: Mapping[str, Any], tokenizer: CLIPTokenizer) -> CLIPTextModel:
    """Build CLIP's text model; its vocabulary and length follow from the tokenizer."""
    config = CLIPTextConfig(
        **options,
        vocab_size=len(tokenizer),
        max_position_embeddings=tokenizer.model_max_length,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return CLIPTextModel(config)


def _build_unet(
    options: Mapping[str, Any], vae: PatchAutoencoder, image_size: int, text_width: int
) -> UNet2DConditionModel:
    """Build the UNet; channels, sizes and up blocks follow from the VAE and the down blocks."""
    channels = vae.config.latent_channels
    derived: dict[str, Any] = {
        "in_channels": channels,
        "out_channels": channels,
        "sample_size": image_size // vae_scale_factor(vae),
        "cross_attention_dim": text_width,
    }
    if "down_block_types" in options:
        down = reversed(options["down_block_types"])
        derived["up_block_types"] = [name.replace("Down", "Up") for name in down]
    return UNet2DConditionModel(**{**derived, **options})


def train_base(settings: Mapping[str, Any], vae: Path, places: Places) -> None:
    """Train text encoder and UNet on single views; write a Stable Diffusion style folder.

    Args:
        vae: folder of the trained VAE, which stays frozen and is copied into `output`.

    Raises:
        InputError: for wrong settings or data.
    """

    def build(settings: BaseSettings) -> tuple[nn.Module, Writer]:
        parts = _build(settings, places, vae)
        freeze(parts.vae)
        return view_task(settings, places, parts), parts.save_pretrained

    Run("base", settings, vae, places, __name__).carry_out(BaseSettings, build)


def _build(settings: BaseSettings, places: Places, vae_folder: Path) -> StableDiffusionPipeline:
    vae = load_vae(vae_folder)
    panoramas, _ = places.panoramas(settings.data)
    count = min(CAPTION_PANORAMAS, len(panoramas))
    captions = (text for index in range(count) for text in panoramas.load(index).prompts)
    tokenizer = build_tokenizer(captions, settings.tokenizer.model_max_length)
    try:
        text_encoder = build_text_encoder(settings.text_encoder, tokenizer)
        width = text_encoder.config.hidden_size
        unet = _build_unet(settings.unet, vae, settings.data.image_size, width)
        scheduler = DDIMScheduler(**{**LATENT_SCHEDULER, **settings.scheduler})
    except (TypeError, ValueError) as error:
        raise InputError(f"settings of the base model do not describe one: {error}") from None
    none = {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False}
    return StableDiffusionPipeline(vae, text_encoder, tokenizer, unet, scheduler, **none)
