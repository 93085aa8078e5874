"""Cameras in text files of one matrix each, as ScanNet's exporter writes them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from mvdiffusion.geometry.cameras import is_pinhole, is_rigid
from mvdiffusion.records import InputError


def read_matrix(path: Path, sizes: Sequence[int]) -> Tensor:
    """Read a square matrix (float64), whose values need not be finite.

    Args:
        path: a text file of one row per line.
        sizes: the numbers of rows that are accepted.

    Raises:
        InputError: the file is missing, or holds anything else.
    """
    shapes = " or ".join(f"{size} x {size}" for size in sizes)
    try:
        rows = [line.split() for line in path.read_text().splitlines() if line.strip()]
        values = [[float(value) for value in row] for row in rows]
        matrix = torch.tensor(values, dtype=torch.float64)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; expected {shapes} numbers there.") from None
    except ValueError as error:  # not text, not a number, or rows of different lengths
        raise InputError(f"{path}: {error}; expected {shapes} numbers.") from None
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or len(matrix) not in sizes:
        raise InputError(f"{path}: found {list(matrix.shape)} numbers; expected {shapes}.")
    return matrix


def write_matrix(path: Path, matrix: Tensor) -> None:
    """Write a matrix, one row per line; nine digits tell every float32 from its neighbors."""
    rows = (" ".join(f"{value:.9g}" for value in row) for row in matrix.tolist())
    path.write_text("".join(f"{row}\n" for row in rows))


def read_intrinsics(path: Path) -> Tensor:
    """Read intrinsics [3, 3] in pixels (float64) from a file of 3 x 3 or 4 x 4 numbers.

    Raises:
        InputError: the file is missing, of another shape, or no intrinsics.
    """
    K = read_matrix(path, (3, 4))[:3, :3]
    if not is_pinhole(K):
        raise InputError(
            f"{path}: found {K.tolist()}; expected intrinsics in pixels, [[fx, 0, cx], [0, fy, cy],"
            " [0, 0, 1]] with fx and fy above 0."
        )
    return K


def read_pose(path: Path) -> Tensor | None:
    """Read a camera-to-world pose [4, 4] in meters (float64); None if it is no rigid motion.

    Raises:
        InputError: the file is missing or not of 4 x 4 numbers.
    """
    pose = read_matrix(path, (4,))
    return pose if is_rigid(pose) else None
