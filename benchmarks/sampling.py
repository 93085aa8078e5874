"""How long a panorama takes and how much memory, split into UNet, CAA, geometry and VAE.

Weights are random: neither time nor memory depends on them. Two kinds of runs: untouched ones give
the seconds of a panorama, one with a stopwatch at every part gives the shares.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from diffusers import AutoencoderKL, DDIMScheduler
from stopwatch import PeakMemory, Stopwatch

from mvdiffusion.models.correspondence_geometry import CorrespondenceGeometry
from mvdiffusion.models.multiview_unet import MultiViewUNet
from mvdiffusion.pipelines.panorama import MVDiffusionPanoramaPipeline
from mvdiffusion.records import provenance, write_json

ATTENTION_BLOCKS = {
    "down_block_types": ["CrossAttnDownBlock2D"] * 3 + ["DownBlock2D"],
    "up_block_types": ["UpBlock2D"] + ["CrossAttnUpBlock2D"] * 3,
}
SIZES: dict[str, dict[str, Any]] = {
    "tiny": {
        "unet": {
            "sample_size": 8,
            "block_out_channels": [32, 32, 32, 32],
            "layers_per_block": 1,
            "attention_head_dim": [1, 1, 1, 1],
            "cross_attention_dim": 32,
            "norm_num_groups": 8,
        },
        "vae": {"block_out_channels": [8, 8, 8, 8], "norm_num_groups": 4},
        "tokens": 16,
    },
    "small": {
        "unet": {
            "sample_size": 16,
            "block_out_channels": [64, 128, 256, 256],
            "layers_per_block": 1,
            "attention_head_dim": [2, 4, 8, 8],
            "cross_attention_dim": 256,
        },
        "vae": {"block_out_channels": [32, 64, 64, 64], "layers_per_block": 1},
        "tokens": 77,
    },
    "sd2": {
        "unet": {
            "sample_size": 64,
            "block_out_channels": [320, 640, 1280, 1280],
            "layers_per_block": 2,
            "attention_head_dim": [5, 10, 20, 20],
            "cross_attention_dim": 1024,
        },
        "vae": {"block_out_channels": [128, 256, 512, 512], "layers_per_block": 2},
        "tokens": 77,
    },
}
VIEWS, GUIDANCE = 8, 9.0


def build(size: dict[str, Any], variant: str, device: torch.device, dtype: torch.dtype) -> Any:
    """Build a pipeline with random weights where it will run."""
    config = {**size["unet"], **ATTENTION_BLOCKS, "use_linear_projection": True}
    blocks = {
        "down_block_types": ["DownEncoderBlock2D"] * 4,
        "up_block_types": ["UpDecoderBlock2D"] * 4,
    }
    with torch.device(device):
        unet = MultiViewUNet({**config, "in_channels": 4, "out_channels": 4}, variant).to(dtype)
        vae = AutoencoderKL(**size["vae"], **blocks).to(dtype)
    scheduler = DDIMScheduler(beta_schedule="scaled_linear", clip_sample=False)
    pipeline = MVDiffusionPanoramaPipeline(vae.eval(), None, None, unet.eval(), scheduler)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def noise_and_text(pipeline: Any, size: dict[str, Any], seed: int) -> tuple[Any, Any]:
    """Draw initial noise [1, V, C, h, w] and guided text embeddings [2, V, L, D]."""
    generator = torch.Generator().manual_seed(seed)
    side, width = size["unet"]["sample_size"], size["unet"]["cross_attention_dim"]
    noise = torch.randn(1, VIEWS, 4, side, side, generator=generator)
    text = torch.randn(2, VIEWS, size["tokens"], width, generator=generator)
    return noise.to(pipeline.unet.device), text.to(pipeline.unet.device, pipeline.unet.dtype)


def make_geometry(pipeline: Any) -> Any:
    """Prepare the cameras of the default views."""
    side = pipeline.unet.config["unet_config"]["sample_size"] * pipeline.vae_scale_factor
    return pipeline.panorama_geometry(VIEWS, side, side, 90.0)


@torch.no_grad()
def make_panorama(pipeline: Any, inputs: tuple[Any, Any], steps: int, watch: Stopwatch) -> None:
    """Sample and decode one panorama; what no other part claims goes to "scheduler"."""
    noise, text = inputs
    with watch.part("scheduler"):
        with watch.part("geometry"):
            geometry = make_geometry(pipeline)
        latents = pipeline.denoise(noise, text, geometry, steps, GUIDANCE)
        with watch.part("vae"):
            pipeline.decode_latents(latents)


@contextmanager
def watching(pipeline: Any, watch: Stopwatch) -> Iterator[None]:
    """Time the UNet, its CAA blocks, and what these compute of the geometry at first use."""
    unet = pipeline.unet
    blocks = [*unet.correspondence_down, unet.correspondence_mid, *unet.correspondence_up]
    parts = {unet: "unet", **dict.fromkeys(blocks, "attention")}
    kind = CorrespondenceGeometry
    patches = [
        mock.patch.object(kind, name, watch.wrap(getattr(kind, name), "geometry"))
        for name in ("tokens", "bands", "query_code")
    ]
    with watch.watch(parts), patches[0], patches[1], patches[2]:
        yield


def benchmark(arguments: argparse.Namespace) -> dict[str, Any]:
    """Measure, and return the report."""
    device, dtype = torch.device(arguments.device), getattr(torch, arguments.dtype)
    size = SIZES[arguments.size]
    torch.manual_seed(0)
    pipeline = build(size, arguments.variant, device, dtype)
    pipeline.set_view_chunk(arguments.view_chunk)
    inputs = noise_and_text(pipeline, size, 0)
    memory, silent = PeakMemory(device), Stopwatch(device)

    def run(steps: int, watch: Stopwatch) -> None:
        make_panorama(pipeline, inputs, steps, watch)

    run(1, silent)  # libraries choose their algorithms in the first run
    with memory.measure() as step_memory, torch.no_grad():
        pipeline.denoise(*inputs, make_geometry(pipeline), 1, GUIDANCE)
    with memory.measure() as panorama_memory:
        totals = [
            seconds(lambda: run(arguments.steps, silent), silent) for _ in range(arguments.repeats)
        ]
    watch = Stopwatch(device)
    with watching(pipeline, watch):
        run(arguments.steps, watch)
    once = {part: watch.seconds[part] for part in ("geometry", "vae")}
    each = {
        part: watch.seconds[part] / arguments.steps for part in ("unet", "attention", "scheduler")
    }
    settings = {key: value for key, value in vars(arguments).items() if key != "output"}
    return {
        "format": 1,
        "settings": {**settings, "views": VIEWS, "guidance_scale": GUIDANCE},
        "threads": torch.get_num_threads(),
        "parameters": {
            "unet": sum(p.numel() for p in pipeline.unet.unet.parameters()),
            "attention": sum(p.numel() for p in pipeline.unet.correspondence_parameters()),
            "vae": sum(p.numel() for p in pipeline.vae.parameters()),
        },
        "seconds": {
            "panorama": {
                "median": statistics.median(totals),
                "min": min(totals),
                "max": max(totals),
            },
            "once": once,
            "per_step": {**each, "total": sum(each.values())},
        },
        "memory_mib": {"step": step_memory, "panorama": panorama_memory},
        "provenance": provenance(),
    }


def seconds(function: Callable[[], None], watch: Stopwatch) -> float:
    """Time a call, work on the GPU included."""
    before = time.perf_counter()
    with watch.part("whole"):
        function()
    return time.perf_counter() - before


def parse_arguments(words: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", choices=SIZES, default="small")
    parser.add_argument("--variant", choices=["released", "paper"], default="released")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--dtype", choices=["float32", "bfloat16", "float16"], default="float32")
    parser.add_argument("--steps", type=int, default=10, help="denoising steps (the paper: 50)")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--view-chunk", type=int, default=None)
    parser.add_argument("--output", type=Path, default=None, help="JSON file")
    return parser.parse_args(words)


def main() -> None:
    """Measure, print, write."""
    arguments = parse_arguments()
    report = benchmark(arguments)
    print(json.dumps({key: report[key] for key in ("seconds", "memory_mib")}, indent=2))
    if arguments.output is not None:
        write_json(arguments.output, report)


if __name__ == "__main__":
    main()
