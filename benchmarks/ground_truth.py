"""How far real images agree with themselves under the paper's two protocols of consistency.

Folders of panoramas and of RGB-D frames are brought into the project's layout, cut or read as its
data sets are, and scored as any method is. Beside the protocols' numbers stand those of the same
images treated otherwise: what of the distance to the paper's numbers comes from where.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import torch
from real_frames import measure_frames
from real_panoramas import measure_panoramas

from mvdiffusion.records import InputError, provenance, write_json
from mvdiffusion_eval.tables.published import published_tables

SPLIT = "test"


def paper_value(table: str, column: str) -> float:
    """The paper's number for real views."""
    published = next(one for one in published_tables() if one.table == table)
    return float(published.numbers("Real views")[column])


def benchmark(arguments: argparse.Namespace) -> dict[str, Any]:
    """Measure every folder, and return the report."""
    cv2.setNumThreads(arguments.threads)
    torch.set_num_threads(arguments.threads)
    report: dict[str, Any] = {
        "format": 1,
        "paper_db": {
            "panoramas": paper_value("3, panoramas", "PSNR of overlaps (dB)"),
            "rgbd": paper_value("3, depth", "PSNR of frames (dB)"),
        },
    }
    parts = {"panoramas": measure_panoramas, "rgbd": measure_frames}
    with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
        for part, measure in parts.items():
            found = report[part] = {}
            for source in getattr(arguments, part):
                if source.resolve().name in found:
                    raise InputError(f"--{part}: two folders are called '{source.resolve().name}'.")
                scratch = Path(name) / part / source.resolve().name
                found[source.resolve().name] = measure(source, scratch, SPLIT)
    return {**report, "provenance": provenance()}


def table(report: Mapping[str, Any]) -> Iterator[str]:
    """Lines for a terminal: numbers in dB, the paper's in front."""
    for part, paper in report["paper_db"].items():
        for name, found in report[part].items():
            yield f"{name} ({part}): the paper's real views {paper} dB"
            yield from _rows(found["psnr_db"], 1)


def _rows(values: Mapping[str, Any], depth: int) -> Iterator[str]:
    for key, value in values.items():
        indent = "  " * depth
        if isinstance(value, Mapping):
            yield f"{indent}{key}"
            yield from _rows(value, depth + 1)
        else:
            yield f"{indent}{key:<{44 - len(indent)}}{value:8.2f}"


def parse_arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    layouts = "as `mvdiffusion data import` reads them"
    parser.add_argument("--panoramas", type=Path, nargs="*", default=[], help=f"folders, {layouts}")
    parser.add_argument("--rgbd", type=Path, nargs="*", default=[], help=f"folders, {layouts}")
    parser.add_argument("--threads", type=int, default=2, help="of PyTorch and OpenCV")
    parser.add_argument("--folder", type=Path, default=None, help="for what is made (some GB)")
    parser.add_argument("--output", type=Path, default=None, help="JSON file")
    arguments = parser.parse_args(words)
    if not arguments.panoramas and not arguments.rgbd:
        parser.error("no folder given; name some with --panoramas or --rgbd")
    return arguments


def main() -> None:
    """Measure, print, write."""
    arguments = parse_arguments()
    try:
        report = benchmark(arguments)
    except InputError as error:
        raise SystemExit(f"error: {error}") from None
    print("\n".join(table(report)))
    if arguments.output is not None:
        write_json(arguments.output, report)


if __name__ == "__main__":
    main()
