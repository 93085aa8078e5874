"""What correspondence-aware attention costs, against the plain arithmetic of the published model.

That arithmetic is written out here from its description (docs/released.md): of one view at a time,
every token is sampled, encoded and normalized, projected to a key and a value, and read by a
softmax. Correspondences are given to both. Outputs and gradients are compared, too.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any
from unittest import mock

import torch
from parts import parse_parts
from sampling import ATTENTION_BLOCKS, SIZES, VIEWS
from stopwatch import PeakMemory
from torch import Tensor, nn
from torch.nn import functional as F

from mvdiffusion.geometry.cameras import panorama_cameras
from mvdiffusion.models.attention import HEAD_CHANNELS, CorrespondenceAttention
from mvdiffusion.models.correspondence_geometry import (
    CorrespondenceGeometry,
    LevelGeometry,
    MultiViewGeometry,
    frequency_code,
)
from mvdiffusion.models.multiview_unet import MultiViewUNet
from mvdiffusion.records import provenance, write_json

PARTS = ("layer", "step")
VARIANTS = ("released", "paper")
CELL = 8  # pixels per latent cell


def plain_attention(
    layer: CorrespondenceAttention, x: Tensor, geometry: CorrespondenceGeometry
) -> Tensor:
    """Compute the layer for x [B * V, C, h, w] token by token, as published.

    Args:
        layer: its weights and its variant.
        x: features.
        geometry: of one sample's cameras, which all share.
    """
    level = geometry.level(*x.shape[2:])
    own = geometry.query_code(*x.shape[2:], x.shape[1])
    samples = x.unflatten(0, (-1, level.num_views))
    outputs = [
        _plain_view(layer, views, view, level, own)
        for views in samples
        for view in range(level.num_views)
    ]
    return torch.stack(outputs)


def _plain_view(
    layer: CorrespondenceAttention, views: Tensor, view: int, level: LevelGeometry, own: Tensor
) -> Tensor:
    """Update one of the views [V, C, h, w] of a sample."""
    (channels, h, w), released = views.shape[1:], layer.variant == "released"
    around = level.valid.shape[-1] // level.targets.shape[-1]
    seen = views if released else layer.norm1(views.movedim(1, -1)).movedim(-1, 1)
    places = level.places[0, view].unflatten(1, (-1, around)).transpose(0, 1)  # [T, hw, P, 2]
    grid = 2 * places / places.new_tensor([w - 1, h - 1]) - 1
    sampled = F.grid_sample(seen[level.targets[0, view]], grid, align_corners=True)
    sampled = sampled.permute(2, 0, 3, 1).flatten(1, 2)  # [hw, T P, C]
    code = frequency_code(level.displacement[0, view], channels, layer.variant)
    tokens = (sampled + code) * level.valid[0, view, ..., None]
    cells = views[view].flatten(1).T
    if released:
        query, tokens = layer.norm1(cells + own), layer.norm1(tokens)
    else:
        query = layer.norm1(cells) + own
    q, k, v = (
        part.unflatten(-1, (layer.heads, HEAD_CHANNELS)).transpose(-3, -2).flatten(0, -3)
        for part in (layer.to_q(query)[:, None], layer.to_k(tokens), layer.to_v(tokens))
    )  # [hw heads, 1 or N, 32]
    scores = torch.einsum("bid,bjd->bij", q, k) * HEAD_CHANNELS**-0.5
    if level.counted is not None:
        counted = level.counted[0, view].repeat_interleave(layer.heads, 0)[:, None]
        scores = scores.masked_fill(~counted, torch.finfo(scores.dtype).min)
    read = torch.einsum("bij,bjd->bid", scores.softmax(-1), v)
    read = read.reshape(h * w, channels)
    if level.counted is not None:
        read = read * level.counted[0, view].any(-1, keepdim=True)
    cells = cells + layer.to_out(read)
    cells = cells + layer.ff(layer.norm2(cells))
    return cells.T.unflatten(-1, (h, w))


def make_layer(variant: str, arguments: argparse.Namespace) -> tuple[Any, Any, Tensor]:
    """Make a layer with random weights, its cameras, and features."""
    torch.manual_seed(0)
    layer = CorrespondenceAttention(arguments.channels, variant)
    for parameter in layer.parameters():
        if parameter.ndim > 1:
            nn.init.normal_(parameter, std=parameter.shape[1] ** -0.5)
    side = arguments.side * CELL
    K, R = panorama_cameras(side, side, VIEWS)
    geometry = MultiViewGeometry(K[None], R[None], side, side, variant)
    geometry.tokens(arguments.side, arguments.side)
    x = torch.randn(VIEWS, arguments.channels, arguments.side, arguments.side)
    return layer, geometry, x


def make_runs(arguments: argparse.Namespace) -> dict[str, Callable[[], list[Tensor]]]:
    """Make what is measured: every variant, in the suite's way and plainly."""
    runs = {}
    for variant in VARIANTS:
        layer, geometry, x = make_layer(variant, arguments)
        for kind, function in (("ours", layer), ("plain", _bind(plain_attention, layer))):
            runs[f"{variant} {kind}"] = _forward(function, x, geometry)
            runs[f"{variant} {kind} backward"] = _backward(function, layer, x, geometry)
    return runs


def _bind(function: Callable[..., Tensor], layer: nn.Module) -> Callable[..., Tensor]:
    return lambda *given: function(layer, *given)


def _forward(function: Callable[..., Tensor], x: Tensor, geometry: Any) -> Callable[[], Any]:
    @torch.no_grad()
    def run() -> list[Tensor]:
        return [function(x, geometry)]

    return run


def _backward(
    function: Callable[..., Tensor], layer: nn.Module, x: Tensor, geometry: Any
) -> Callable[[], list[Tensor]]:
    def run() -> list[Tensor]:
        given = x.detach().requires_grad_()
        weights = list(layer.parameters())
        result = function(given, geometry)
        return list(torch.autograd.grad(result, [given, *weights], result.detach().cos()))

    return run


def make_steps(arguments: argparse.Namespace) -> dict[str, Callable[[], list[Tensor]]]:
    """Make steps of the UNet: eight views, with guidance."""
    size, runs = SIZES["small"]["unet"], {}
    side, text = arguments.step_side, size["cross_attention_dim"]
    for variant in VARIANTS:
        torch.manual_seed(0)
        options = {**size, **ATTENTION_BLOCKS, "sample_size": side, "use_linear_projection": True}
        model = MultiViewUNet({**options, "in_channels": 4, "out_channels": 4}, variant).eval()
        for parameter in model.correspondence_parameters():
            if parameter.ndim > 1:
                nn.init.normal_(parameter, std=parameter[0].numel() ** -0.5)
        K, R = panorama_cameras(side * CELL, side * CELL, VIEWS)
        geometry = model.prepare_geometry(K[None], R[None], side * CELL, side * CELL)
        model.complete_geometry(geometry, side, side)
        latents = torch.randn(2, VIEWS, 4, side, side)
        given = (latents, torch.tensor(500), torch.randn(2, VIEWS, 77, text), geometry)
        for kind in ("ours", "plain"):
            runs[f"{variant} {kind}"] = _step(model, given, kind == "plain")
    return runs


def _step(model: MultiViewUNet, given: tuple[Any, ...], plain: bool) -> Callable[[], list[Tensor]]:
    @torch.no_grad()
    def run() -> list[Tensor]:
        if not plain:
            return [model(*given).sample]
        with mock.patch.object(CorrespondenceAttention, "forward", plain_attention):
            return [model(*given).sample]

    return run


MAKERS = {"layer": make_runs, "step": make_steps}


def compare(runs: dict[str, Callable[[], list[Tensor]]], repeats: int) -> dict[str, Any]:
    """Run all in turn; give CPU and wall seconds, ratios, and how far results are apart."""
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in runs}
    results = {}
    for turn in range(repeats + 1):
        for name, run in runs.items():
            cpu, wall = time.process_time(), time.perf_counter()
            results[name] = run()
            if turn:  # libraries choose their algorithms in the first run
                seconds[name].append((time.process_time() - cpu, time.perf_counter() - wall))
    return {
        name: {
            "cpu_seconds": round(statistics.median(cpu for cpu, _ in found), 3),
            "wall_seconds": round(statistics.median(wall for _, wall in found), 3),
            # The published model knows one arithmetic, with which both variants are compared.
            **_against(seconds, name),
            "difference": _difference(results[name], results[name.replace("ours", "plain")]),
        }
        for name, found in seconds.items()
    }


def _against(seconds: dict[str, list[tuple[float, float]]], name: str) -> dict[str, float]:
    published = "released plain" + (" backward" if name.endswith("backward") else "")
    pairs = zip(seconds[published], seconds[name], strict=True)
    ratios = [(other[0] / own[0], other[1] / own[1]) for other, own in pairs]
    return {
        "times_as_fast_cpu": round(statistics.median(cpu for cpu, _ in ratios), 2),
        "times_as_fast_wall": round(statistics.median(wall for _, wall in ratios), 2),
    }


def _difference(found: list[Tensor], expected: list[Tensor]) -> float:
    """Largest difference, relative to the largest value of each tensor."""
    apart = ((a - b).abs().max() / b.abs().max() for a, b in zip(found, expected, strict=True))
    return float(f"{max(float(each) for each in apart):.2g}")


def measure_memory(part: str, name: str, words: list[str]) -> dict[str, float]:
    """Peak memory of one run in a process of its own, above what it held before, in MiB."""
    command = [sys.executable, __file__, part, *words, "--memory", name]
    found = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    peak: dict[str, float] = json.loads(found.splitlines()[-1])
    return peak


def show_memory(arguments: argparse.Namespace) -> None:
    """Run one case, with its weights, cameras and inputs held before."""
    run = MAKERS[arguments.parts[0]](arguments)[arguments.memory]
    with torch.no_grad():  # what libraries and kernels hold from their first use on
        small = argparse.Namespace(**{**vars(arguments), "side": 8, "channels": 64})
        layer, geometry, x = make_layer(VARIANTS[0], small)
        layer(x, geometry)
    with PeakMemory(torch.device("cpu")).measure() as found:
        kept = run()
    del kept
    print(json.dumps({"mib": round(found["peak"] - found["before"], 1)}))


def parse_arguments(words: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--channels", type=int, default=320, help="of the layer")
    parser.add_argument("--side", type=int, default=64, help="of the layer's features, in cells")
    parser.add_argument("--step-side", type=int, default=32, help="of the UNet's latents")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--memory", default=None, help=argparse.SUPPRESS)
    return parse_parts(parser, PARTS, words)


def main() -> None:
    """Measure, print, write."""
    arguments = parse_arguments()
    torch.set_num_threads(arguments.threads)
    if arguments.memory:
        show_memory(arguments)
        return
    names = ("channels", "side", "step_side", "threads")
    words = [f"--{name.replace('_', '-')}={getattr(arguments, name)}" for name in names]
    report: dict[str, Any] = {
        "format": 1,
        "settings": {key: getattr(arguments, key) for key in names},
    }
    report["load_average"] = os.getloadavg()[0]
    for part in arguments.parts:
        runs = MAKERS[part](arguments)
        report[part] = compare(runs, arguments.repeats)
        for name, found in report[part].items():
            found["memory_mib"] = measure_memory(part, name, words)["mib"]
    print(json.dumps({part: report[part] for part in arguments.parts}, indent=2))
    if arguments.output is not None:
        write_json(arguments.output, {**report, "provenance": provenance()})


if __name__ == "__main__":
    main()
