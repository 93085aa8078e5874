"""BLIP-2: a caption of an image (the captions of paper, section 5; model: arXiv 2301.12597)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors import SafetensorError
from torch import Tensor

from mvdiffusion.images import to_pixels
from mvdiffusion.preparation.settings import CaptionSettings
from mvdiffusion.records import InputError, folder_sha256


class Captioner:
    """A BLIP-2 that is ready to caption."""

    def __init__(self, settings: CaptionSettings) -> None:
        """Read the model, from its folder or the hub's cache, or else from the hub.

        Raises:
            InputError: the model cannot be read, is no BLIP-2 or not whole, or there is no CUDA.
        """
        from transformers import AutoConfig, Blip2ForConditionalGeneration, Blip2Processor

        self.settings, self.device = settings, _device(settings.device)
        self.dtype = getattr(torch, settings.dtype)
        config = _read(AutoConfig.from_pretrained, settings)
        if config.model_type != "blip-2":
            raise InputError(
                f"model: '{settings.model}' is of type {config.model_type!r}; expected a BLIP-2, "
                "such as Salesforce/blip2-opt-2.7b."
            )
        self.identity = _identity(settings, config)
        self.processor = _read(Blip2Processor.from_pretrained, settings)
        self._prompt = self._encode(settings.prompt, config)
        model, report = _read(
            Blip2ForConditionalGeneration.from_pretrained,
            settings,
            torch_dtype=self.dtype,
            use_safetensors=True,  # the other format could run code
            output_loading_info=True,
        )
        if report["missing_keys"]:
            raise InputError(
                f"model: '{settings.model}' lacks {len(report['missing_keys'])} weights, such as "
                f"{min(report['missing_keys'])}; fetch or export it again."
            )
        self.model = model.to(self.device).eval()

    def _encode(self, prompt: str, config: Any) -> Tensor:
        """Return the tokens [1, L] of the image's places and of the prompt."""
        blank = Image.new("RGB", (32, 32))
        tokens = self.processor(images=blank, text=prompt, return_tensors="pt")["input_ids"]
        places = tokens[0].tolist().count(getattr(config, "image_token_index", None))
        if places != config.num_query_tokens:
            raise InputError(
                f"model: '{self.settings.model}' reserves no tokens for the image "
                "(num_query_tokens in processor_config.json and image_token_index in "
                "config.json); use a newer revision of the model."
            )
        return tokens

    @torch.inference_mode()
    def __call__(self, pixels: Tensor) -> list[str]:
        """Caption images.

        Args:
            pixels: [N, 3, S, S] of `prepare_images`.

        Returns:
            N captions, each in one line; "" where the model says nothing.

        Raises:
            InputError: the images do not fit the GPU's memory.
        """
        prompt = self._prompt.expand(len(pixels), -1).to(self.device)
        try:
            tokens = self.model.generate(
                pixel_values=pixels.to(self.device, self.dtype),
                input_ids=prompt,
                attention_mask=torch.ones_like(prompt),
                max_new_tokens=self.settings.max_new_tokens,
                num_beams=self.settings.num_beams,
                do_sample=False,
                min_new_tokens=1,
            )
        except torch.cuda.OutOfMemoryError:
            raise InputError(
                f"batch_size: {self.settings.batch_size} images with {self.settings.num_beams} "
                "beams do not fit into the GPU's memory; lower batch_size and run the command "
                "again."
            ) from None
        # Language models that only decode begin with what they were given, depending on version.
        start = tokens[:, : prompt.shape[1]]
        if start.shape == prompt.shape and bool((start == prompt).all()):
            tokens = tokens[:, prompt.shape[1] :]
        texts = self.processor.batch_decode(tokens, skip_special_tokens=True)
        return [" ".join(text.split()) for text in texts]


def prepare_images(processor: Any, images: Sequence[Tensor]) -> Tensor:
    """Turn images into pixels [N, 3, S, S] (float32) as a model's processor says.

    Args:
        processor: the model's, of transformers.
        images: N tensors [3, H, W] in −1 … 1.
    """
    pictures = [Image.fromarray(to_pixels(image)) for image in images]
    pixels = processor.image_processor(images=pictures, return_tensors="np")["pixel_values"]
    return torch.from_numpy(np.asarray(pixels, np.float32))


def _device(name: str) -> str:
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        raise InputError("device: is 'cuda', but PyTorch finds no GPU; use 'auto' or 'cpu'.")
    return name


def _read(load: Callable[..., Any], settings: CaptionSettings, **options: Any) -> Any:
    """Read a part of the model; the network is asked only for what is not on disk.

    Raises:
        InputError: it is neither on disk nor can be downloaded, or is broken.
    """
    try:
        try:
            return load(
                settings.model, revision=settings.revision, local_files_only=True, **options
            )
        except OSError:
            if Path(settings.model).is_dir():
                raise
            return load(settings.model, revision=settings.revision, **options)
    except (OSError, ValueError, SafetensorError) as error:
        reason = str(error).strip().split("\n")[0]
        raise InputError(
            f"model: '{settings.model}' could not be read ({reason}); expected the folder of a "
            "BLIP-2 model with safetensors, or a hub id, which `huggingface-cli download ID` "
            "downloads."
        ) from None


def _identity(settings: CaptionSettings, config: Any) -> dict[str, str | None]:
    """Say which model it is, alike on every machine."""
    folder = Path(settings.model)
    if folder.is_dir():
        return {"name": folder.resolve().name, "sha256": folder_sha256(folder)}
    commit = getattr(config, "_commit_hash", None) or settings.revision
    return {"name": settings.model, "revision": commit}
