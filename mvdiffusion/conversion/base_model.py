"""Pretrained base models: Stable Diffusion 2 and its inpainting and depth variants."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from mvdiffusion.outputs import already_made, is_begun, whole_output
from mvdiffusion.records import InputError, folder_sha256, read_json

PARTS = {
    "scheduler": ("scheduler_config.json",),
    "text_encoder": ("config.json", "model.safetensors"),
    "tokenizer": ("tokenizer_config.json",),
    "unet": ("config.json", "diffusion_pytorch_model.safetensors"),
    "vae": ("config.json", "diffusion_pytorch_model.safetensors"),
}
"""What is used of a model, in float32, and the files that each part cannot do without."""
NEEDED = ["model_index.json", *(f"{part}/{n}" for part, names in PARTS.items() for n in names)]
WANTED = [*NEEDED, "tokenizer/*"]


def fetch_base(model: str, output: Path, overwrite: bool = False) -> None:
    """Put the parts of a pretrained model that are used into a folder of its own.

    Args:
        model: folder in the format of diffusers, or id of a model on the Hugging Face hub. What
            was downloaded before is not downloaded again; an interrupted download resumes.
        output: the folder to write, whole or not at all; files are linked where that is possible.

    Raises:
        InputError: no such folder, the hub could not be reached or has no such model, a part is
            missing, or `output` is of another model.
    """
    local = folder_sha256(Path(model)) if Path(model).is_dir() else None
    made_of = {"model": model, "sha256": local}
    if is_begun(output, made_of, overwrite=overwrite) and (output / "model_index.json").is_file():
        return already_made(output)
    source = Path(model) if Path(model).is_dir() else _download(model)
    _check(source, model)
    with whole_output(output, made_of) as folder:
        for path in sorted({path for pattern in WANTED for path in source.glob(pattern)}):
            _place(path.resolve(), folder / path.relative_to(source))


def _download(model: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError

    try:
        return Path(snapshot_download(model, allow_patterns=WANTED))
    except HFValidationError:
        raise InputError(
            f"base model '{model}': no such folder, and no id of a model on the Hugging Face hub; "
            "set base.pretrained to one of them."
        ) from None
    except Exception as error:  # the hub's client passes on whatever its network library raises
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise InputError(
            f"base model '{model}': could not be downloaded from the Hugging Face hub ({reason}). "
            "Connect and run the same command again; or download the model elsewhere, such as "
            f"by `hf download {model}`, and set base.pretrained to its folder, or the id of a copy."
        ) from None


def _check(source: Path, model: str) -> None:
    """Refuse a folder that lacks something, before anything is copied."""
    missing = [name for name in NEEDED if not (source / name).is_file()]
    if missing:
        raise InputError(
            f"base model '{model}': {source} has no {', '.join(missing)}; expected a Stable "
            "Diffusion model in the format of diffusers with float32 weights in safetensors files."
        )
    if "unet" not in read_json(source / "model_index.json"):
        raise InputError(f"{source / 'model_index.json'}: names no unet; is it a pipeline's?")


def _place(source: Path, target: Path) -> None:
    """Link a file of gigabytes; copy it only to another file system."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
