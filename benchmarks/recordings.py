"""Recordings of ScanNet's kind, made of a procedural room, and how fast they are read and prepared.

A few frames are rendered and walked to and fro, as many times as a recording is long.
"""

from __future__ import annotations

import multiprocessing
import statistics
import struct
import time
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from numpy.typing import NDArray

from mvdiffusion.geometry.cameras import intrinsics
from mvdiffusion.images import jpeg_bytes
from mvdiffusion.preparation.rooms.design import design_room
from mvdiffusion.preparation.rooms.furniture import Dice
from mvdiffusion.preparation.rooms.paths import walk_poses
from mvdiffusion.preparation.rooms.render import render_frame
from mvdiffusion.preparation.rooms.walks import drop_depth
from mvdiffusion.preparation.scannet import prepare_scene
from mvdiffusion.preparation.sens import SensReader

DEPTH_SIZE = (480, 640)
COLOR_SIZES = {"640x480": (480, 640), "1296x968": (968, 1296)}
FOV_DEG, JPEG_QUALITY, MAX_DEPTH = 60.0, 90, 4.5
COLOR_NOISE, DEPTH_NOISE = 2.0, 1.5  # gray levels; millimeters at one meter, growing by its square
LOSS = 0.35 / 8.5  # of the view per frame: a key frame about every eight
SAMPLE_SECONDS = 0.02


@dataclass(frozen=True)
class Walk:
    """A walk as a recording stores it.

    Attributes:
        color_size: height and width.
        frames: (color as JPEG, depth as zlib, camera-to-world [4, 4]) of each frame.
    """

    color_size: tuple[int, int]
    frames: list[tuple[bytes, bytes, NDArray]]


def render_walk(color_size: tuple[int, int], num_frames: int) -> Walk:
    """Walk through a room with a camera and a depth sensor, both with noise."""
    dice, random = Dice(2), np.random.default_rng(2)
    room = design_room(dice)
    frames = []
    for pose in walk_poses(room, num_frames, LOSS, dice):
        color = _render(room, pose, color_size)[0]
        depth = drop_depth(_render(room, pose, DEPTH_SIZE)[1], MAX_DEPTH, dice)
        noisy = color + random.normal(0, COLOR_NOISE, color.shape)
        sensed = depth * 1000 + random.normal(0, DEPTH_NOISE, depth.shape) * depth**2
        stored = jpeg_bytes(noisy.round().clip(0, 255).astype(np.uint8), JPEG_QUALITY)
        millimeters = sensed.round().clip(0, 65535).astype("<u2")
        frames.append((stored, zlib.compress(millimeters.tobytes()), pose))
    return Walk(color_size, frames)


def _render(room: Any, pose: NDArray, size: tuple[int, int]) -> tuple[NDArray, NDArray]:
    """Color and depth of a size that the renderer may not know: it wants multiples of 16."""
    height = -(-size[0] // 16) * 16
    K = intrinsics(FOV_DEG, height, size[1]).double().numpy()
    color, depth, _ = render_frame(room, K, pose, height, size[1])
    rows = slice((height - size[0]) // 2, (height + size[0]) // 2)
    return color[rows], depth[rows]


def write_recording(path: Path, walk: Walk, num_frames: int) -> None:
    """Write a .sens file, version 4."""
    matrices = b"".join(
        matrix.astype("<f4").tobytes()
        for size in (walk.color_size, DEPTH_SIZE)
        for matrix in (_camera(size), np.eye(4))
    )
    sizes = (*walk.color_size[::-1], *DEPTH_SIZE[::-1])
    there_and_back = [*walk.frames, *walk.frames[-2:0:-1]]
    with open(path, "wb") as file:
        file.write(struct.pack("<IQ4s", 4, 4, b"room") + matrices)
        file.write(struct.pack("<iiIIIIfQ", 2, 1, *sizes, 1000.0, num_frames))
        for number in range(num_frames):
            color, depth, pose = there_and_back[number % len(there_and_back)]
            lengths = (number, number, len(color), len(depth))
            file.write(pose.astype("<f4").tobytes() + struct.pack("<4Q", *lengths) + color + depth)


def _camera(size: tuple[int, int]) -> NDArray:
    matrix = np.eye(4)
    matrix[:3, :3] = intrinsics(FOV_DEG, *size).numpy()
    return matrix


def measure_decoding(path: Path, repeats: int) -> dict[str, Any]:
    """Frames per second of decoding a recording, by threads; the runs alternate."""
    rates: dict[int, list[float]] = {1: [], 2: []}
    with SensReader(path) as reader:
        for _ in range(repeats):
            for threads, found in rates.items():
                before = time.perf_counter()
                with ThreadPoolExecutor(threads) as pool:
                    for _ in pool.map(_decode, [reader] * len(reader), range(len(reader))):
                        pass
                found.append(len(reader) / (time.perf_counter() - before))
    return {
        "frames": len(reader),
        "bytes_per_frame": round(path.stat().st_size / len(reader)),
        "frames_per_second": {
            str(threads): statistics.median(found) for threads, found in rates.items()
        },
    }


def _decode(reader: SensReader, number: int) -> None:
    """Decode a frame and forget it, as preparing does once its files are written."""
    reader.read(number)


def measure_preparing(path: Path, output: Path, workers: int) -> dict[str, Any]:
    """Prepare a recording in a process of its own; its memory counts with that of its children."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_prepare, args=(theirs, path, output, workers))
    process.start()
    peak = max(_memory_until_done(process))
    if process.exitcode != 0:
        raise RuntimeError(f"Preparing {path} ended with exit code {process.exitcode}.")
    frames, seconds = ours.recv()
    return {
        "frames": frames,
        "seconds": seconds,
        "frames_per_second": frames / seconds,
        "peak_memory_mib": round(peak / 2**20, 1),
    }


def _prepare(results: Connection, path: Path, output: Path, workers: int) -> None:
    with SensReader(path) as reader:
        frames = len(reader)
    before = time.perf_counter()
    prepare_scene(path, output, path.stem, {}, workers=workers)
    results.send((frames, time.perf_counter() - before))


def _memory_until_done(process: Any) -> Iterator[int]:
    """Resident bytes of a process and its children, sampled until it ends."""
    yield 0
    root = psutil.Process(process.pid)
    while process.is_alive():
        try:
            tree = [root, *root.children(recursive=True)]
            yield sum(member.memory_info().rss for member in tree)
        except psutil.NoSuchProcess:
            pass  # one ended meanwhile
        process.join(SAMPLE_SECONDS)
