"""The authors' checkpoints → pipeline folders in the format of diffusers."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, get_args

import torch
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel

from mvdiffusion.conversion.bases import BaseModel, Published
from mvdiffusion.conversion.checkpoint_files import read_checkpoint
from mvdiffusion.conversion.weights import ReleasedWeights, load_weights, sort_weights
from mvdiffusion.models.multiview_unet import MultiViewUNet
from mvdiffusion.outputs import already_made, is_begun, whole_output
from mvdiffusion.pipelines import PIPELINES
from mvdiffusion.pipelines.folders import TASKS, write_card
from mvdiffusion.pipelines.loading import record_files
from mvdiffusion.records import InputError, listed, read_json, sha256_file, write_json
from mvdiffusion.settings import Dtype
from mvdiffusion.tasks import CHECKPOINT_TASKS

REPORT = "conversion.json"
LATENT_CELLS = 64
"""Height and width of the views that the checkpoints were trained on, 512 px."""


def convert_checkpoint(
    checkpoint: Path,
    base: str | None,
    output: Path,
    task: str = "auto",
    dtype: str = "float32",
    overwrite: bool = False,
) -> dict[str, Any]:
    """Import a released checkpoint as a folder for `from_pretrained`.

    Args:
        checkpoint: pano.ckpt, pano_outpaint.ckpt, depth_gen.ckpt or depth_single_view.ckpt, its
            state dict by itself, or its tensors as .safetensors. Only tensors are taken from it;
            nothing in it is run.
        base: folder or hub id of the Stable Diffusion model that it was trained from (2-base,
            2-inpainting, 2-depth): configuration, tokenizer and scheduler come from there, and the
            weights of VAE and text encoder where the checkpoint has none. None: the published
            configuration of Stable Diffusion 2, which is enough for a complete checkpoint.
        output: the folder to write. depth_single_view.ckpt becomes a Stable Diffusion folder with
            a 5-channel UNet, the others become folders of the task's multi-view pipeline.
        task: one of `CHECKPOINT_TASKS`; "auto" tells it from the tensors.
        dtype: "float32", "float16" or "bfloat16", whatever the checkpoint has.

    Returns:
        The report that is written beside the model as conversion.json.

    Raises:
        InputError: a broken checkpoint or one of another kind, missing weights or some that are
            not finite, a base that cannot be read or does not fit; or `output` is of other
            settings.
    """
    if dtype not in get_args(Dtype) or task not in ("auto", *CHECKPOINT_TASKS):
        known = ", ".join(["auto", *CHECKPOINT_TASKS, *get_args(Dtype)])
        raise InputError(f"--task {task} --dtype {dtype}: expected some of {known}.")
    if not checkpoint.is_file():
        raise InputError(
            f"{checkpoint}: no such file; expected a checkpoint there, such as one that the README "
            "of https://github.com/Tangshitao/MVDiffusion links to."
        )
    about = {"name": checkpoint.name, "sha256": sha256_file(checkpoint)}
    made_of = {"checkpoint": about, "base": base, "task": task, "dtype": dtype}
    if is_begun(output, made_of, overwrite=overwrite):
        already_made(output)
        return read_json(output / REPORT)
    try:
        weights = sort_weights(read_checkpoint(checkpoint))
        if task not in ("auto", found := weights.task):
            raise InputError(f"--task {task}: the checkpoint is a {found} model; pass --task auto.")
        source = BaseModel(base) if base else Published()
        pipeline = _assemble(weights, source)
        _set_precision(pipeline, dtype)
    except InputError as error:
        raise InputError(f"{checkpoint}: {str(error).removeprefix(f'{checkpoint}: ')}") from None
    report = {
        "format": 1,
        "task": found,
        "checkpoint": about,
        "base": base,
        "base_source": source.provenance,
        "dtype": dtype,
        "weights": {part: len(getattr(weights, part)) for part in ("unet", "vae", "text_encoder")},
        "ignored": weights.ignored,
        "unknown": weights.unknown,
    }
    if weights.unknown:
        print(f"{checkpoint}: not used, unknown: {listed(weights.unknown, 5)}", file=sys.stderr)
    with whole_output(output, made_of) as folder:
        pipeline.save_pretrained(folder)
        write_json(folder / REPORT, report)
        if type(pipeline).__name__ in TASKS:
            write_card(folder, pipeline, _provenance(report))
        record_files(folder)
    return report


def _provenance(report: dict[str, Any]) -> dict[str, str]:
    """Say in a model card's rows where converted weights come from."""
    checkpoint = report["checkpoint"]
    return {
        "Base": f"Stable Diffusion 2; `{REPORT}` tells which copy was used",
        "Training": f"that of the checkpoint `{checkpoint['name']}` (SHA-256 "
        f"`{checkpoint['sha256']}`), which was converted",
    }


def _assemble(weights: ReleasedWeights, base: BaseModel | Published) -> Any:
    """Build the task's pipeline."""
    parts: dict[str, Any] = {
        "vae": _build_part("vae", weights, base),
        "text_encoder": _build_part("text_encoder", weights, base),
        "tokenizer": base.tokenizer(),
        "scheduler": DDIMScheduler.from_config(base.config("scheduler")),
    }
    unet = _build_unet(weights, base)
    if weights.task == "single_view_depth":
        none = dict.fromkeys(("safety_checker", "feature_extractor"))
        return StableDiffusionPipeline(**parts, **none, unet=unet, requires_safety_checker=False)
    return PIPELINES[weights.task](**parts, unet=unet)


def _build_part(name: str, weights: ReleasedWeights, base: BaseModel | Published) -> Any:
    """Build the VAE or text encoder; the base's weights are read only if there are none."""
    own = getattr(weights, name)
    if not own:
        return base.load(name)
    config = base.config(name)
    with torch.device("meta"):  # neither memory nor time for weights that are replaced
        if name == "vae":
            module: Any = AutoencoderKL.from_config(config)
        else:
            module = CLIPTextModel(CLIPTextConfig(**{**config, "dtype": "float32"}))
    load_weights(module.float(), own, f"the {name.replace('_', ' ')}")
    return module.eval()


def _build_unet(weights: ReleasedWeights, base: BaseModel | Published) -> Any:
    sizes = {"in_channels": weights.in_channels, "sample_size": LATENT_CELLS}
    config = {**base.config("unet"), **sizes}
    own = weights.unet
    with torch.device("meta"):
        if weights.task == "single_view_depth":
            unet: Any = UNet2DConditionModel.from_config(config)
            own = {key.removeprefix("unet."): value for key, value in own.items()}
        else:
            kind = "depth" if weights.task == "depth" else "panorama"
            unet = MultiViewUNet(config, "released", kind)
    load_weights(unet, own, "the UNet")
    return unet.eval()


def _set_precision(pipeline: Any, dtype: str) -> None:
    """Give all weights their precision, in which they must be finite."""
    broken = []
    for name in ("unet", "vae", "text_encoder"):
        module = nn.Module.to(getattr(pipeline, name), getattr(torch, dtype))
        state = module.state_dict().items()
        broken += [f"{name}.{key}" for key, value in state if not value.isfinite().all()]
    if broken:
        raise InputError(
            f"--dtype {dtype}: {len(broken)} weights are not finite in it ({listed(broken)}); use "
            "bfloat16 or float32, or another base if its weights are damaged."
        )
