"""Depth in files of all formats that are read, as counts of some unit."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mvdiffusion.images import NO_DEPTH, known_counts, open_image
from mvdiffusion.preparation.custom.image_checks import undecodable, unreadable
from mvdiffusion.preparation.custom.problems import Problem

MILLIMETER = 0.001
DEPTH_SUFFIXES = (".png", ".pgm", ".tif", ".tiff", ".npy", ".pfm")
_COLMAP = re.compile(rb"(\d+)&(\d+)&1&")
_PFM = re.compile(rb"Pf\s+(\d+)\s+(\d+)\s+(-?[\d.eE+-]+)\s")
_PGM = re.compile(rb"P5\s+(?:#[^\n]*\s+)*(\d+)\s+(\d+)\s+(\d+)\s")


def read_counts(path: Path) -> NDArray | Problem:
    """Read depth [H, W] as it is stored, or say why that cannot be."""
    if reason := unreadable(path):
        return reason
    read = _READERS.get(path.suffix.lower(), _image)
    try:
        counts = read(path)
    except Exception as error:  # broken bytes make decoders raise almost anything
        return undecodable(path, error)
    if counts.ndim != 2 or counts.dtype.kind not in "uif" or counts.dtype.itemsize < 2:
        channels = "one channel" if counts.ndim == 2 else f"{counts.shape[-1]} channels"
        bits = 8 * counts.dtype.itemsize
        fix = "Write depth as a 16-bit PNG of one channel, without converting it."
        return Problem(path, f"depth is not of 16 bits or more ({channels} of {bits} bits)", fix)
    return counts


def _image(path: Path) -> NDArray:
    with open_image(path) as image:
        return np.array(image)


def _npy(path: Path) -> NDArray:
    array: NDArray = np.load(path, allow_pickle=False)
    return array.reshape(array.shape[:2]) if array.shape[2:] == (1,) else array


def _pgm(path: Path) -> NDArray:
    """Read a binary PGM; Pillow would stretch its values to 16 bits."""
    content = path.read_bytes()
    head = _PGM.match(content)
    if head is None:
        raise ValueError("not a binary PGM")
    width, height, most = (int(number) for number in head.groups())
    kind = np.dtype(">u2" if most > 255 else np.uint8)
    pixels = np.frombuffer(content, kind, width * height, head.end())
    return pixels.reshape(height, width).astype(kind.newbyteorder("="))


def _pfm(path: Path) -> NDArray:
    """Read a PFM of one channel: floating point, the lowest row first."""
    content = path.read_bytes()
    head = _PFM.match(content)
    if head is None:
        raise ValueError("not a PFM of one channel")
    width, height, scale = int(head[1]), int(head[2]), float(head[3])
    pixels = np.frombuffer(content, "<f4" if scale < 0 else ">f4", width * height, head.end())
    return pixels.reshape(height, width)[::-1].astype(np.float32)


def _colmap(path: Path) -> NDArray:
    """Read a depth map of COLMAP's stereo: "width&height&channels&" and floating point by rows."""
    content = path.read_bytes()
    head = _COLMAP.match(content)
    if head is None:
        raise ValueError("not a depth map of COLMAP")
    width, height = int(head[1]), int(head[2])
    pixels = np.frombuffer(content, "<f4", width * height, head.end())
    return pixels.reshape(height, width).astype(np.float32)


_READERS: dict[str, Callable[[Path], NDArray]] = {
    ".npy": _npy,
    ".pgm": _pgm,
    ".pfm": _pfm,
    ".bin": _colmap,
}


def usual_unit(counts: NDArray) -> float:
    """Meters per count where nobody says: meters in floating point, else millimeters."""
    return 1.0 if counts.dtype.kind == "f" else MILLIMETER


def in_meters(counts: NDArray, unit: float) -> NDArray[np.float64]:
    """Turn counts into meters, 0 where there is no depth.

    Args:
        counts: [H, W].
        unit: meters per count.
    """
    if counts.dtype.kind == "f":
        known = np.where(np.isfinite(counts) & (counts > 0), counts, 0)
    else:
        known = np.maximum(known_counts(counts), 0)
    return known.astype(np.float64) / (1 / unit)


def is_saturated(counts: NDArray) -> bool:
    """Tell whether counts hold the value beyond which a 16-bit image cannot count."""
    return counts.dtype.kind != "f" and bool((counts == NO_DEPTH).any())
