"""The authors' checkpoints → pipeline folders in the format of diffusers."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import torch
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from transformers import CLIPTextModel, CLIPTokenizer

from mvdiffusion.conversion.pickle_reader import read_state_dict
from mvdiffusion.conversion.weights import ReleasedWeights, load_weights, sort_weights
from mvdiffusion.models.multiview_unet import MultiViewUNet
from mvdiffusion.outputs import already_made, is_begun, whole_output
from mvdiffusion.pipelines import PIPELINES
from mvdiffusion.records import InputError, read_json, sha256_file, write_json
from mvdiffusion.settings import Dtype
from mvdiffusion.tasks import CHECKPOINT_TASKS

REPORT = "conversion.json"


def convert_checkpoint(
    checkpoint: Path,
    base: str,
    output: Path,
    task: str = "auto",
    dtype: str = "float32",
    overwrite: bool = False,
) -> dict[str, Any]:
    """Import a released checkpoint as a folder for `from_pretrained`.

    Args:
        checkpoint: pano.ckpt, pano_outpaint.ckpt, depth_gen.ckpt or depth_single_view.ckpt. Only
            tensors are taken from it; nothing in it is run.
        base: folder or hub id of the Stable Diffusion model that it was trained from (2-base,
            2-inpainting, 2-depth): configuration, tokenizer and scheduler come from there, and the
            weights of VAE and text encoder where the checkpoint has none.
        output: the folder to write. depth_single_view.ckpt becomes a Stable Diffusion folder with
            a 5-channel UNet, the others become folders of the task's multi-view pipeline.
        task: one of `CHECKPOINT_TASKS`; "auto" tells it from the tensors.
        dtype: "float32", "float16" or "bfloat16", whatever the checkpoint has.

    Returns:
        The report that is written beside the model as conversion.json.

    Raises:
        InputError: a broken checkpoint or one of another kind, missing weights, a base that cannot
            be read or does not fit; or `output` is of other settings.
    """
    if dtype not in get_args(Dtype) or task not in ("auto", *CHECKPOINT_TASKS):
        known = ", ".join(["auto", *CHECKPOINT_TASKS, *get_args(Dtype)])
        raise InputError(f"--task {task} --dtype {dtype}: expected some of {known}.")
    if not checkpoint.is_file():
        raise InputError(f"{checkpoint}: no such file; expected a checkpoint there.")
    about = {"name": checkpoint.name, "sha256": sha256_file(checkpoint)}
    made_of = {"checkpoint": about, "base": base, "task": task, "dtype": dtype}
    if is_begun(output, made_of, overwrite=overwrite):
        already_made(output)
        return read_json(output / REPORT)
    try:
        weights = sort_weights(read_state_dict(checkpoint))
        if task not in ("auto", found := weights.task):
            raise InputError(f"--task {task}: the checkpoint is a {found} model; pass --task auto.")
        pipeline = _assemble(weights, base)
    except InputError as error:
        raise InputError(f"{checkpoint}: {str(error).removeprefix(f'{checkpoint}: ')}") from None
    report = {
        "format": 1,
        "task": found,
        "checkpoint": about,
        "base": base,
        "dtype": dtype,
        "weights": {part: len(getattr(weights, part)) for part in ("unet", "vae", "text_encoder")},
        "ignored": weights.ignored,
        "unknown": weights.unknown,
    }
    if weights.unknown:
        print(f"{checkpoint}: not used, unknown: {', '.join(weights.unknown)}", file=sys.stderr)
    with whole_output(output, made_of) as folder:
        pipeline.to(getattr(torch, dtype)).save_pretrained(folder)
        write_json(folder / REPORT, report)
    return report


def _assemble(weights: ReleasedWeights, base: str) -> Any:
    """Build the task's pipeline; names that its modules lack join the unknown ones."""
    parts: dict[str, Any] = {
        "vae": _from_base(AutoencoderKL.from_pretrained, base, "vae"),
        "text_encoder": _from_base(CLIPTextModel.from_pretrained, base, "text_encoder"),
        "tokenizer": _from_base(CLIPTokenizer.from_pretrained, base, "tokenizer"),
        "scheduler": _from_base(DDIMScheduler.from_pretrained, base, "scheduler"),
    }
    for name, own in (("vae", weights.vae), ("text_encoder", weights.text_encoder)):
        if own:
            extra = load_weights(parts[name].float(), own, f"the {name}")
            weights.unknown += [f"{name}.{key}" for key in extra]
    unet = _build_unet(weights, base)
    if weights.task == "single_view_depth":
        none = dict.fromkeys(("safety_checker", "feature_extractor"))
        return StableDiffusionPipeline(**parts, **none, unet=unet, requires_safety_checker=False)
    return PIPELINES[weights.task](**parts, unet=unet)


def _build_unet(weights: ReleasedWeights, base: str) -> Any:
    config = dict(_from_base(UNet2DConditionModel.load_config, base, "unet"))
    config = {key: value for key, value in config.items() if not key.startswith("_")}
    config["in_channels"] = weights.in_channels
    own = weights.unet
    with torch.device("meta"):
        if weights.task == "single_view_depth":
            unet: Any = UNet2DConditionModel.from_config(config)
            own = {key.removeprefix("unet."): value for key, value in own.items()}
        else:
            kind = "depth" if weights.task == "depth" else "panorama"
            unet = MultiViewUNet(config, "released", kind)
    extra = load_weights(unet, own, "the UNet")
    weights.unknown += [f"mv_base_model: {key}" for key in extra]
    return unet.eval()


def _from_base(load: Callable[..., Any], base: str, part: str) -> Any:
    try:
        return load(base, subfolder=part)
    except (OSError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(
            f"--base {base}: its {part} could not be read ({reason}); expected a folder or hub id "
            "in the format of Stable Diffusion 2."
        ) from None
