"""Model folders in the format of diffusers: hashes of their files, and loading their parts.

A folder that this project writes has a file `sha256.json` with the hashes of all others. Whoever
loads the folder checks them first, so a damaged file is named and never used. A folder from
elsewhere has none; then a sentence tells what could not be read.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias

import torch
from diffusers import DiffusionPipeline, StableDiffusionPipeline, StableDiffusionXLPipeline
from huggingface_hub import snapshot_download

from mvdiffusion.records import InputError, check_hashes, read_json, record_hashes

HASHES = "sha256.json"
WEIGHTS = ("text_encoder", "unet", "vae")
TEXT_ENCODERS = ("text_encoder", "text_encoder_2")  # the second one is SDXL's
PICKLED = ["*.bin", "*.ckpt", "*.pt", "*.pth"]  # patterns of files that are never read


def _says_something(record: logging.LogRecord) -> bool:
    """Tell warnings of diffusers from two that alarm users over nothing.

    One lists modules to keep in float32, and there is none; the other finds the miniature's
    autoencoder where Stable Diffusion has its own.
    """
    text = record.getMessage()
    ours = text.startswith("Expected types") and "PatchAutoencoder" in text
    return not ours and "kept in float32: []" not in text


for _name in ("diffusers.models.modeling_utils", "diffusers.pipelines.pipeline_utils"):
    logging.getLogger(_name).addFilter(_says_something)


def check_model(folder: Path) -> None:
    """Check that there is a model.

    Raises:
        InputError: there is none.
    """
    if not (folder / "model_index.json").is_file():
        raise InputError(f"{folder}: no model_index.json; expected a diffusers pipeline folder.")


def is_multi_view(folder: Path) -> bool:
    """Whether a model folder holds a multi-view UNet, as stage 2 writes it."""
    config = folder / "unet" / "config.json"
    return config.is_file() and b"MultiViewUNet" in config.read_bytes()


def record_files(folder: Path) -> None:
    """Record the hashes of a finished folder's files, for `check_files`."""
    record_hashes(folder, HASHES)


def check_files(folder: Path) -> None:
    """Check that the files of a folder are those that were written, if it has their hashes.

    Raises:
        InputError: one is missing or has changed, or there are pickled weights alone.
    """
    for part in {*WEIGHTS, *TEXT_ENCODERS}:
        kinds = {path.suffix for path in (folder / part).glob("*")}
        if ".bin" in kinds and ".safetensors" not in kinds:
            raise InputError(
                f"{folder / part}: has pickled weights (.bin), which can run code when they are "
                "read; expected safetensors. Get the model in that format or, if you trust the "
                "file, write it again with `save_pretrained` of diffusers."
            )
    check_hashes(folder, HASHES, "make or copy the model again")


def check_architecture(folder: Path) -> None:
    """Check that a folder's UNet is one of Stable Diffusion 1, 2 or XL, and its texts fit.

    Raises:
        InputError: it is another model, such as SDXL's refiner, or a configuration cannot be read.
    """
    index, unet = (
        _configuration(folder, name) for name in ("model_index.json", "unet/config.json")
    )
    names = [name for name in TEXT_ENCODERS if name == TEXT_ENCODERS[0] or name in index]
    texts = [_configuration(folder, f"{name}/config.json") for name in names]
    widths: list[Any] = [text.get("hidden_size") for text in texts]
    expected, kind = unet.get("cross_attention_dim"), unet.get("addition_embed_type")
    if kind != (None if len(texts) == 1 else "text_time"):
        found = (
            f"text encoders of SDXL or its UNet alone ({len(texts)}; addition_embed_type {kind})"
        )
    elif unet.get("_class_name", "UNet2DConditionModel") != "UNet2DConditionModel":
        found = f"a {unet['_class_name']}"
        if found == "a MultiViewUNet":
            found += ", which `from_pretrained` loads"
    elif None not in (*widths, expected) and sum(widths) != expected:
        found = f"a text encoder of width {sum(widths)} beside a UNet that takes {expected}"
    else:
        return
    raise InputError(
        f"{folder}: holds {found}; expected Stable Diffusion 1, 2 (base, inpainting or depth) or "
        "XL (base or inpainting), or a model of the same parts."
    )


def _configuration(folder: Path, name: str) -> dict[str, Any]:
    config = read_json(folder / name)
    if not isinstance(config, dict):
        raise InputError(f"{folder}: {name} is not a JSON object; get it again.")
    return config


@contextmanager
def readable(folder: Path, expected: str) -> Iterator[None]:
    """Say in one sentence why a model folder cannot be loaded, whatever its reader raises.

    Args:
        folder: the model.
        expected: what the folder should hold.

    Raises:
        InputError: it cannot.
    """
    try:
        yield
    except (InputError, MemoryError):
        raise
    except Exception as error:  # a damaged file can make its reader fail in any way
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise InputError(f"{folder}: {expected}: {reason}") from None


def local_folder(folder: str | Path, options: dict[str, Any]) -> Path:
    """Find a multi-view model on the disk, or bring it there from the Hugging Face hub.

    Args:
        folder: the folder, or its id.
        options: of diffusers; those of the download are taken out.

    Raises:
        InputError: there is none.
    """
    names = ("cache_dir", "force_download", "local_files_only", "revision", "token")
    download = {name: options.pop(name) for name in names if name in options}
    path = Path(folder)
    check_no_file(path)
    if path.is_dir():
        return path
    with readable(path, "no such folder, and no model of this id"):
        return Path(snapshot_download(str(folder), ignore_patterns=PICKLED, **download))


def check_no_file(path: Path) -> None:
    """Check that what should be a model folder is no file.

    Raises:
        InputError: it is.
    """
    if path.exists() and not path.is_dir():
        raise InputError(
            f"{path}: is a file; expected a model folder. `mvdiffusion convert` makes one of a "
            "released checkpoint."
        )


SingleView: TypeAlias = StableDiffusionPipeline | StableDiffusionXLPipeline


def load_single_view(folder: str | Path, **options: Any) -> SingleView:
    """Load VAE, text encoders, tokenizers, UNet and scheduler of a Stable Diffusion model.

    Args:
        folder: folder or Hugging Face id of any Stable Diffusion pipeline (text to image,
            inpainting, depth to image), SDXL's among them; its other parts are not read.
        options: passed on to `from_pretrained`, such as `torch_dtype`; without one, weights are
            computed with in float32, in whatever precision the folder holds them.

    Raises:
        InputError: no such model, changed files, or another model.
    """
    local = Path(folder)
    check_no_file(local)
    if local.is_dir():
        check_model(local)
        check_files(local)
        check_architecture(local)
    with readable(local, "no Stable Diffusion model"):
        kind, unused = _family(folder, options)
        pipeline = kind.from_pretrained(folder, **unused, use_safetensors=True, **options)
    loaded: SingleView = in_precision(pipeline, options)
    return loaded


def _family(folder: str | Path, options: Mapping[str, Any]) -> tuple[type[SingleView], dict]:
    """Which pipeline of diffusers loads a model, and what it is to leave out."""
    names = ("cache_dir", "force_download", "local_files_only", "revision", "token")
    index = DiffusionPipeline.load_config(
        str(folder), **{name: options[name] for name in names if name in options}
    )
    unused: dict[str, Any] = dict.fromkeys(("feature_extractor", "image_encoder"))
    if "text_encoder_2" in index:
        return StableDiffusionXLPipeline, {**unused, "add_watermarker": False}
    unused |= {"safety_checker": None, "requires_safety_checker": False}
    return StableDiffusionPipeline, unused


def shared_parts(single: Any) -> dict[str, Any]:
    """Parts that a multi-view pipeline takes over from one of single views, all but the UNet.

    Args:
        single: a pipeline of `load_single_view`.

    Returns:
        Arguments of a pipeline, by name.
    """
    names = ["vae", "text_encoder", "tokenizer", "scheduler"]
    if getattr(single, "text_encoder_2", None) is None:
        return {name: getattr(single, name) for name in names}
    names += ["text_encoder_2", "tokenizer_2"]
    zeros = {"force_zeros_for_empty_prompt": single.config.force_zeros_for_empty_prompt}
    return {name: getattr(single, name) for name in names} | zeros


def in_precision(pipeline: Any, options: Mapping[str, Any]) -> Any:
    """Bring a loaded pipeline to float32 if its options name no other precision.

    Diffusers loads its models so; transformers leaves the text encoder as it is on the disk.
    """
    return pipeline if {"dtype", "torch_dtype"} & options.keys() else pipeline.to(torch.float32)
