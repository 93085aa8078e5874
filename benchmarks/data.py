"""How fast real data is read: views of panoramas, recordings, and preparing a scene.

All inputs are made here. What is compared runs in turns in one process.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import cv2
import torch
from panoramas import measure_views
from parts import parse_parts
from recordings import (
    COLOR_SIZES,
    measure_decoding,
    measure_preparing,
    render_walk,
    write_recording,
)

from mvdiffusion.records import provenance, write_json

PARTS = ("views", "sens", "prepare")


def benchmark(arguments: argparse.Namespace) -> dict[str, Any]:
    """Measure, and return the report."""
    cv2.setNumThreads(arguments.threads)
    torch.set_num_threads(arguments.threads)
    report: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
        folder = Path(name)
        if "views" in arguments.parts:
            sizes = (arguments.face_size, arguments.image_size)
            report["views"] = measure_views(folder / "panoramas", *sizes, arguments.repeats)
        if "sens" in arguments.parts:
            report["sens"] = {name: decoding(folder, name, arguments) for name in COLOR_SIZES}
        if "prepare" in arguments.parts:
            report["prepare"] = preparing(folder, arguments)
    settings = {
        key: value for key, value in vars(arguments).items() if key not in ("output", "folder")
    }
    return {"format": 1, "settings": settings, **report, "provenance": provenance()}


def decoding(folder: Path, size: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """Measure the reader on a recording with color of a size."""
    path = folder / f"{size}.sens"
    write_recording(path, render_walk(COLOR_SIZES[size], arguments.distinct), arguments.decoded)
    return measure_decoding(path, arguments.repeats)


def preparing(folder: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """Measure preparing a long recording with ScanNet's sizes, by workers."""
    path = folder / "scene.sens"
    walk = render_walk(COLOR_SIZES["1296x968"], arguments.distinct)
    write_recording(path, walk, arguments.frames)
    return {
        str(workers): measure_preparing(path, folder / f"prepared-{workers}", workers)
        for workers in (1, 2)
    }


def parse_arguments(words: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--face-size", type=int, default=1024, help="pixels, a multiple of 16")
    parser.add_argument("--image-size", type=int, default=512, help="of a view in pixels")
    parser.add_argument("--decoded", type=int, default=200, help="frames of a decoded recording")
    parser.add_argument("--frames", type=int, default=10_000, help="frames of a prepared scene")
    parser.add_argument("--distinct", type=int, default=32, help="frames that are rendered")
    return parse_parts(parser, PARTS, words)


def main() -> None:
    """Measure, print, write."""
    arguments = parse_arguments()
    report = benchmark(arguments)
    print(json.dumps({part: report[part] for part in arguments.parts}, indent=2))
    if arguments.output is not None:
        write_json(arguments.output, report)


if __name__ == "__main__":
    main()
