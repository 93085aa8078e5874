"""Memory that the trainings of paper.yaml need in each process, counted without weights or data.

Parameters are those of Stable Diffusion 2 on PyTorch's meta device. Each process keeps all weights
in float32, and of those that train a gradient, two moments of AdamW and the average (EMA). What a
backward pass keeps is counted for the single-view stages, by the tensors that autograd saves; that
of the attention between views is measured by benchmarks/sampling.py and its like, not here.

    python benchmarks/training_memory.py --output benchmarks/results/training_memory.json
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel

from mvdiffusion.conversion.bases import Published
from mvdiffusion.models.multiview_unet import MultiViewUNet

GB = 1e9
COPIES = 4  # of what trains, beside the weights: gradient, two moments of AdamW, average


def numel(module: nn.Module) -> int:
    """Number of parameters."""
    return sum(parameter.numel() for parameter in module.parameters())


def saved_bytes(unet: UNet2DConditionModel, views: int, height: int, width: int) -> int:
    """Bytes that autograd saves of one forward pass of a UNet, beside its weights, float32.

    Args:
        views: how many images at once.
        height, width: of a latent, in cells.
    """
    weights = {parameter.untyped_storage()._cdata for parameter in unet.parameters()}
    seen: dict[int, tuple[int, Any]] = {}

    def save(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in weights:
            seen[storage._cdata] = storage.nbytes(), storage  # held: its number must stay its own
        return tensor

    latents = torch.empty(views, unet.config.in_channels, height, width, device="meta")
    text = torch.empty(views, 77, unet.config.cross_attention_dim, device="meta")
    with torch.autograd.graph.saved_tensors_hooks(save, lambda tensor: tensor):
        unet(latents, torch.zeros(views, device="meta"), text)
    return sum(size for size, _ in seen.values())


def count() -> dict[str, dict[str, float]]:
    """Count every kind of training: millions of parameters, and gigabytes in a process."""
    published = Published()
    with torch.device("meta"):
        frozen = numel(AutoencoderKL.from_config(published.config("vae")))
        frozen += numel(CLIPTextModel(CLIPTextConfig(**published.config("text_encoder"))))
        five = {**published.config("unet"), "in_channels": 5}
        single = UNet2DConditionModel.from_config(five)
        trainings = {
            f"{task} stage 2": _stage2(published, channels, kind, frozen)
            for task, channels, kind in (
                ("panorama", 4, "panorama"),
                ("outpaint", 9, "panorama"),
                ("depth", 5, "depth"),
            )
        }
        trainings["depth stage 1"] = _row(numel(single), numel(single) + frozen)
        one = saved_bytes(single, 1, 24, 32)
    trainings["depth stage 1"]["kept of a frame, GB"] = round(one / GB, 3)
    return trainings


def _stage2(published: Published, channels: int, task: str, frozen: int) -> dict[str, float]:
    unet = {**published.config("unet"), "in_channels": channels}
    model = MultiViewUNet(unet, "released", task)
    trained = sum(parameter.numel() for parameter in model.correspondence_parameters())
    return _row(trained, numel(model) + frozen)


def _row(trained: int, everything: int) -> dict[str, float]:
    return {
        "trained, millions": round(trained / 1e6, 1),
        "all, millions": round(everything / 1e6, 1),
        "state, GB": round(4 * (everything + COPIES * trained) / GB, 1),
        "state with ZeRO-1 of 4 processes, GB": round(
            4 * (everything + 2 * trained + 2 * trained / 4) / GB, 1
        ),
    }


def parse_arguments(words: list[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--output", type=Path, default=None, help="JSON file")
    return parser.parse_args(words)


def main() -> None:
    """Count, print, and write the record if asked."""
    arguments = parse_arguments()
    text = json.dumps(count(), indent=2) + "\n"
    print(text, end="")
    if arguments.output:
        arguments.output.write_text(text)


if __name__ == "__main__":
    main()
