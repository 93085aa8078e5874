"""What a panorama takes with each way of computing attention between views, on a GPU above all.

`kernel` is the suite's choice for the device, `pytorch` the same in PyTorch's own operations, and
`plain` the arithmetic of the published model, see `attention.py`. Everything else is the same.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import sampling
import torch
from attention import plain_attention

from mvdiffusion.models.attention import CorrespondenceAttention
from mvdiffusion.models.kernels.choice import SWITCH
from mvdiffusion.records import write_json

WAYS = ("kernel", "pytorch", "plain")


@contextmanager
def computing(way: str) -> Iterator[None]:
    """Within it, attention between views is computed in one of the ways."""
    if way == "plain":
        with mock.patch.object(CorrespondenceAttention, "forward", _plain):
            yield
    elif way == "pytorch":
        with mock.patch.dict(os.environ, {SWITCH: "off"}):
            yield
    else:
        yield


def _plain(layer: Any, x: torch.Tensor, geometry: Any, *_: Any) -> torch.Tensor:
    return plain_attention(layer, x, geometry)


@torch.no_grad()
def latents(arguments: argparse.Namespace) -> torch.Tensor:
    """Predict the noise of one step, to compare the ways by."""
    size, device = sampling.SIZES[arguments.size], torch.device(arguments.device)
    torch.manual_seed(0)
    dtype = getattr(torch, arguments.dtype)
    pipeline = sampling.build(size, arguments.variant, device, dtype)
    for parameter in pipeline.unet.correspondence_parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=parameter.shape[1] ** -0.5)
    noise, text = sampling.noise_and_text(pipeline, size, 0)
    both = torch.cat([noise, noise]).to(dtype)
    geometry = sampling.make_geometry(pipeline)
    found: torch.Tensor = pipeline.unet(both, 500, text, geometry).sample
    return found.double().cpu()


def parse_arguments(words: list[str] | None = None) -> argparse.Namespace:
    """Read the command line, which is that of `sampling`."""
    return sampling.parse_arguments(words)


def main() -> None:
    """Measure all ways in turn, print, write."""
    arguments = parse_arguments()
    report: dict[str, Any] = {"format": 1}
    predicted = {}
    for way in WAYS:
        with computing(way):
            report[way] = sampling.benchmark(arguments)
            predicted[way] = latents(arguments)
    seconds = {way: report[way]["seconds"]["panorama"]["median"] for way in WAYS}
    peak = {way: report[way]["memory_mib"]["panorama"]["peak"] for way in WAYS}
    exact = predicted["plain"]
    report["against_plain"] = {
        way: {
            "times_as_fast": round(seconds["plain"] / seconds[way], 2),
            "share_of_memory": round(peak[way] / peak["plain"], 3),
            "difference": float((predicted[way] - exact).norm() / exact.norm()),
        }
        for way in WAYS
    }
    shown = {"seconds": seconds, "peak_mib": peak, "against_plain": report["against_plain"]}
    print(json.dumps(shown, indent=2))
    if arguments.output is not None:
        write_json(arguments.output, report)


if __name__ == "__main__":
    main()
