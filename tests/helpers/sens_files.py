"""Recordings in ScanNet's .sens format, version 4: a writer and a decoder for tests.

Both are plain `struct`, `zlib` and Pillow, and share no code with the package's reader.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import Image

COLOR_CODES = {"unknown": -1, "raw": 0, "png": 1, "jpeg": 2}
DEPTH_CODES = {"unknown": -1, "raw": 0, "zlib": 1, "occi": 2}


def write_sens(path: str | Path, frames: Iterable[tuple], **fields: Any) -> None:
    """Write a recording; arguments as for `sens_bytes`. Frames from a generator are streamed."""
    with open(path, "wb") as file:
        _write(file, frames, **fields)


def sens_bytes(frames: Iterable[tuple], **fields: Any) -> bytes:
    """The bytes of a recording.

    Args:
        frames: one or more of (color uint8 [H, W, 3] RGB, depth uint16 [h, w], pose [4, 4]).
            Color or depth of a later frame may be `bytes`: a payload written as it is.
        fields: as for `_write`.
    """
    file = io.BytesIO()
    _write(file, frames, **fields)
    return file.getvalue()


def _write(
    file: BinaryIO,
    frames: Iterable[tuple],
    *,
    intrinsic_depth: Any,  # [3, 3] or [4, 4]
    intrinsic_color: Any = None,  # default: the depth's
    color_compression: str = "jpeg",
    depth_compression: str = "zlib",
    depth_shift: float = 1000.0,
    sensor_name: str = "StructureSensor",
    version: int = 4,
    jpeg_quality: int = 90,
    imu_frames: int | None = 0,  # None: the file ends after its last frame
) -> None:
    frames = iter(frames)
    color, depth, pose = next(frames)
    name = sensor_name.encode()
    file.write(struct.pack("<IQ", version, len(name)) + name)
    intrinsic_color = intrinsic_depth if intrinsic_color is None else intrinsic_color
    for matrix in (intrinsic_color, np.eye(4), intrinsic_depth, np.eye(4)):
        file.write(_matrix(matrix))
    codes = COLOR_CODES[color_compression], DEPTH_CODES[depth_compression]
    sizes = color.shape[1], color.shape[0], depth.shape[1], depth.shape[0]
    file.write(struct.pack("<iiIIIIf", *codes, *sizes, depth_shift))
    count_at = file.tell()
    file.write(struct.pack("<Q", 0))
    count = 0
    while True:
        color_bytes = _color_bytes(color, color_compression, jpeg_quality)
        depth_bytes = _depth_bytes(depth, depth_compression)
        stamps_and_sizes = 1000 + 33 * count, 1001 + 33 * count, len(color_bytes), len(depth_bytes)
        file.write(_matrix(pose) + struct.pack("<QQQQ", *stamps_and_sizes))
        file.write(color_bytes + depth_bytes)
        count += 1
        following = next(frames, None)
        if following is None:
            break
        color, depth, pose = following
    if imu_frames is not None:  # 15 doubles and a time stamp each
        file.write(struct.pack("<Q", imu_frames))
        file.write(struct.pack("<15dQ", *range(15), 1000) * imu_frames)
    file.seek(count_at)
    file.write(struct.pack("<Q", count))


def _matrix(matrix: Any) -> bytes:
    full = np.eye(4, dtype="<f4")
    matrix = np.asarray(matrix)
    full[: len(matrix), : len(matrix)] = matrix
    return full.tobytes()


def _color_bytes(color: np.ndarray | bytes, compression: str, quality: int) -> bytes:
    if isinstance(color, bytes):
        return color
    if compression == "raw":
        return color.astype(np.uint8).tobytes()
    file = io.BytesIO()
    options = {"quality": quality} if compression == "jpeg" else {"compress_level": 1}
    Image.fromarray(color).save(file, compression, **options)
    return file.getvalue()


def _depth_bytes(depth: np.ndarray | bytes, compression: str) -> bytes:
    if isinstance(depth, bytes):
        return depth
    raw = depth.astype("<u2").tobytes()
    return zlib.compress(raw, 6) if compression == "zlib" else raw


def decode_sens(data: bytes) -> tuple[dict[str, Any], list[tuple]]:
    """Decode a well-formed recording: its header's fields, and its frames as written."""
    version, length = struct.unpack_from("<IQ", data)
    position = 12 + length
    matrices = np.frombuffer(data, "<f4", 64, position).reshape(4, 4, 4)
    position += 256
    color_code, depth_code, cw, ch, dw, dh, shift, count = struct.unpack_from(
        "<iiIIIIfQ", data, position
    )
    position += 36
    header = {
        "version": version,
        "intrinsic_color": matrices[0],
        "intrinsic_depth": matrices[2],
        "color_compression": {code: name for name, code in COLOR_CODES.items()}[color_code],
        "depth_compression": {code: name for name, code in DEPTH_CODES.items()}[depth_code],
        "color_size": (ch, cw),
        "depth_size": (dh, dw),
        "depth_shift": shift,
        "num_frames": count,
    }
    frames = []
    for _ in range(count):
        pose = np.frombuffer(data, "<f4", 16, position).reshape(4, 4)
        _, _, color_size, depth_size = struct.unpack_from("<QQQQ", data, position + 64)
        position += 96
        color, depth = (
            data[position : position + color_size],
            data[position + color_size : position + color_size + depth_size],
        )
        position += color_size + depth_size
        frames.append((_color(color, color_code, ch, cw), _depth(depth, depth_code, dh, dw), pose))
    return header, frames


def _color(data: bytes, code: int, height: int, width: int) -> np.ndarray:
    if code == COLOR_CODES["raw"]:
        return np.frombuffer(data, np.uint8).reshape(height, width, 3)
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


def _depth(data: bytes, code: int, height: int, width: int) -> np.ndarray:
    raw = zlib.decompress(data) if code == DEPTH_CODES["zlib"] else data
    return np.frombuffer(raw, "<u2").reshape(height, width)
