"""A benchmark of several parts: which of them are to run, and where what is made goes."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path


def parse_parts(
    parser: argparse.ArgumentParser, parts: Sequence[str], words: list[str] | None = None
) -> argparse.Namespace:
    """Parse the command line of a benchmark whose own options `parser` has already.

    Adds `parts` (default: all), `threads`, `folder` and `output`.
    """
    parser.add_argument("parts", nargs="*", help=f"of {', '.join(parts)} (default: all)")
    parser.add_argument("--threads", type=int, default=2, help="of PyTorch and OpenCV")
    parser.add_argument("--folder", type=Path, default=None, help="for what is made (some GB)")
    parser.add_argument("--output", type=Path, default=None, help="JSON file")
    arguments = parser.parse_args(words)
    arguments.parts = arguments.parts or list(parts)
    if unknown := set(arguments.parts) - set(parts):
        parser.error(f"unknown parts: {', '.join(sorted(unknown))}; there are {', '.join(parts)}")
    return arguments
