"""What each measure that makes sampling fast is worth: with it and without, in turn.

Weights are random, of the sizes of `sampling.py`. Both sides of a pair run in one process, one
after the other, `--repeats` times; the file has the medians of processor and wall seconds, their
ratio, and how far the latents or pixels of the two sides lie apart.
"""

from __future__ import annotations

import argparse
import copy
import json
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import sampling
import torch
from torch import Tensor

from mvdiffusion.models.depth_geometry import DepthGeometry
from mvdiffusion.models.image_conditioning import image_condition
from mvdiffusion.models.multiview_unet import MultiViewUNet
from mvdiffusion.pipelines.depth import MVDiffusionDepthPipeline
from mvdiffusion.pipelines.multiview import MultiViewPipeline
from mvdiffusion.records import provenance, write_json

FRAMES = 6  # two known key frames and four between, as in the miniature


@dataclass
class Case:
    """A pipeline with the inputs of its `denoise`."""

    pipeline: Any
    inputs: tuple[Any, ...]  # noise, text, geometry
    options: dict[str, Any]
    steps: int

    def sample(self) -> Tensor:
        """Run the sampler."""
        scale = sampling.GUIDANCE
        found: Tensor = self.pipeline.denoise(*self.inputs, self.steps, scale, **self.options)
        return found

    def with_unet(self, change: Callable[[Any], Any]) -> Case:
        """The same case with a changed copy of the UNet."""
        unet = change(copy.deepcopy(self.pipeline.unet))
        pipeline = copy.copy(self.pipeline)
        pipeline.unet = unet
        noise, text, geometry = self.inputs
        return Case(pipeline, (noise, text.to(unet.dtype), geometry), self.options, self.steps)


def panorama(arguments: argparse.Namespace) -> Case:
    """Eight views that see each other, with guidance."""
    device, dtype = torch.device(arguments.device), getattr(torch, arguments.dtype)
    size = sampling.SIZES[arguments.size]
    size = {**size, "unet": {**size["unet"], **_side(arguments)}}
    pipeline = sampling.build(size, arguments.variant, device, dtype)
    noise, text = sampling.noise_and_text(pipeline, size, 0)
    inputs = noise, text, sampling.make_geometry(pipeline)
    return Case(pipeline, inputs, {}, arguments.steps)


def between_key_frames(arguments: argparse.Namespace) -> Case:
    """Frames between two known key frames, with guidance."""
    made = panorama(arguments)
    config = {**made.pipeline.unet.config["unet_config"], "in_channels": 5}
    device, dtype = made.pipeline.unet.device, made.pipeline.unet.dtype
    with torch.device(device):
        unet = MultiViewUNet(config, arguments.variant, "depth").to(dtype).eval()
    parts = made.pipeline.vae, None, None, unet, made.pipeline.scheduler
    pipeline = MVDiffusionDepthPipeline(*parts)
    pipeline.set_progress_bar_config(disable=True)
    noise, text = (values[:, :FRAMES] for values in made.inputs[:2])
    side = noise.shape[-1] * pipeline.vae_scale_factor
    depth = torch.full((1, FRAMES, side, side), 3.0, device=device)
    pose = torch.eye(4, device=device).repeat(1, FRAMES, 1, 1)
    pose[..., 0, 3] = 0.1 * torch.arange(FRAMES, device=device)
    K = torch.tensor([[side, 0, side / 2], [0, side, side / 2], [0, 0, 1]], device=device)
    geometry = DepthGeometry(depth, K.expand(1, FRAMES, 3, 3), pose, arguments.variant)
    known = torch.tensor([[1.0, *[0.0] * (FRAMES - 2), 1.0]], device=device)
    options = {
        "extra_channels": torch.zeros_like(noise[:, :, :1]),
        "image_condition": image_condition(noise, known),
    }
    return Case(pipeline, (noise, text.contiguous(), geometry), options, arguments.steps)


def _side(arguments: argparse.Namespace) -> dict[str, int]:
    return {"sample_size": arguments.cells} if arguments.cells else {}


@contextmanager
def forgetful() -> Iterator[None]:
    """Encode texts and image condition at every step."""
    with mock.patch.object(MultiViewUNet, "during_sampling", return_value=nullcontext()):
        yield


@contextmanager
def branch_by_branch() -> Iterator[None]:
    """Run the UNet once for each branch of the guidance."""
    whole = MultiViewPipeline.run_unet

    def run(self: Any, inputs: Tensor, t: Tensor, text: Tensor, *rest: Any) -> Tensor:
        halves = zip(inputs.chunk(2), text.chunk(2), strict=True)
        return torch.cat([whole(self, half, t, words, *rest) for half, words in halves])

    with mock.patch.object(MultiViewPipeline, "run_unet", run):
        yield


def geometry_every_step(case: Case) -> Tensor:
    """Find the correspondences anew at every step."""
    whole = MultiViewPipeline.run_unet

    def run(self: Any, inputs: Tensor, t: Tensor, text: Tensor, _: Any, *rest: Any) -> Tensor:
        return whole(self, inputs, t, text, sampling.make_geometry(self), *rest)

    with mock.patch.object(MultiViewPipeline, "run_unet", run):
        return case.sample()


def chunked(case: Case, views: int) -> Tensor:
    """Run some views at a time."""
    case.pipeline.set_view_chunk(views)
    try:
        return case.sample()
    finally:
        case.pipeline.set_view_chunk(None)


def decoded(case: Case, sliced: bool) -> Tensor:
    """Decode the noise as if it were latents."""
    case.pipeline.vae_slicing = sliced
    found: Tensor = case.pipeline.decode_latents(case.inputs[0])
    case.pipeline.vae_slicing = False
    return found


def under(context: Any, case: Case) -> Tensor:
    """Sample within a context."""
    with context():
        return case.sample()


Pair = tuple[Callable[[], Tensor], Callable[[], Tensor]]


def pairs(arguments: argparse.Namespace) -> dict[str, Pair]:
    """Each measure by name: with it, and without."""
    views, frames = panorama(arguments), between_key_frames(arguments)
    last = views.with_unet(lambda unet: unet.to(memory_format=torch.channels_last))
    half = views.with_unet(lambda unet: unet.to(torch.bfloat16))
    found: dict[str, Pair] = {
        "texts_once": (views.sample, lambda: under(forgetful, views)),
        "texts_and_condition_once": (frames.sample, lambda: under(forgetful, frames)),
        "guidance_in_one_batch": (views.sample, lambda: under(branch_by_branch, views)),
        "geometry_once": (views.sample, lambda: geometry_every_step(views)),
        "all_views_at_once": (views.sample, lambda: chunked(views, 1)),
        "decoding_together": (lambda: decoded(views, False), lambda: decoded(views, True)),
        "channels_last": (last.sample, views.sample),
        "bfloat16": (half.sample, views.sample),
    }
    if "compiled_blocks" in arguments.measures:  # some minutes
        compiled = views.with_unet(lambda unet: unet)
        compiled.pipeline.unet.compile_repeated_blocks(fullgraph=True)
        found["compiled_blocks"] = (compiled.sample, views.sample)
    return {name: found[name] for name in arguments.measures}


MEASURES = (
    "texts_once",
    "texts_and_condition_once",
    "guidance_in_one_batch",
    "geometry_once",
    "all_views_at_once",
    "decoding_together",
    "channels_last",
    "bfloat16",
)


def compare(pair: Pair, repeats: int, device: str) -> dict[str, Any]:
    """Time both sides in turn, after one run of each that does not count."""
    outputs = [side().float() for side in pair]
    seconds: dict[str, list[list[float]]] = {"processor": [[], []], "wall": [[], []]}
    for _ in range(repeats):
        for index, side in enumerate(pair):
            before = time.process_time(), time.perf_counter()
            side()
            if device.startswith("cuda"):
                torch.cuda.synchronize()
            seconds["processor"][index].append(time.process_time() - before[0])
            seconds["wall"][index].append(time.perf_counter() - before[1])
    report: dict[str, Any] = {}
    for clock, (mine, without) in seconds.items():
        with_it, before_it = statistics.median(mine), statistics.median(without)
        report[clock] = {"with": with_it, "without": before_it, "ratio": before_it / with_it}
    apart = (outputs[0] - outputs[1]).abs().max() / outputs[1].abs().max()
    return {**report, "largest_relative_difference": float(apart)}


@torch.no_grad()
def benchmark(arguments: argparse.Namespace) -> dict[str, Any]:
    """Measure, and return the report."""
    torch.manual_seed(0)
    torch.set_num_threads(arguments.threads)
    measured = {}
    for name, pair in pairs(arguments).items():
        measured[name] = compare(pair, arguments.repeats, arguments.device)
        print(name, json.dumps(measured[name]))
    settings = {key: value for key, value in vars(arguments).items() if key != "output"}
    return {"format": 1, "settings": settings, "measures": measured, "provenance": provenance()}


def parse_arguments(words: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    known = (*MEASURES, "compiled_blocks")
    parser.add_argument(
        "measures", nargs="*", help=f"of {', '.join(known)} (default: all but the last)"
    )
    parser.add_argument("--size", choices=sampling.SIZES, default="small")
    parser.add_argument("--cells", type=int, default=None, help="latent cells along a view's edge")
    parser.add_argument("--variant", choices=["released", "paper"], default="released")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--dtype", choices=["float32", "bfloat16", "float16"], default="float32")
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--output", type=Path, default=None, help="JSON file")
    arguments = parser.parse_args(words)
    arguments.measures = arguments.measures or list(MEASURES)
    if unknown := set(arguments.measures) - set(known):
        parser.error(
            f"unknown measures: {', '.join(sorted(unknown))}; there are {', '.join(known)}"
        )
    return arguments


def main() -> None:
    """Measure, print, write."""
    arguments = parse_arguments()
    report = benchmark(arguments)
    if arguments.output is not None:
        write_json(arguments.output, report)


if __name__ == "__main__":
    main()
