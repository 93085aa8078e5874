"""A scene of ScanNet out of its recording, brought into the layout of `mvdiffusion.data.scannet`.

<scene>.sens          color, depth and pose of every frame (`mvdiffusion.preparation.sens`)
<prepared>/<scene>/   color/, depth/, pose/, intrinsic/, valid_frames.npy, key_frame_0.6.txt,
                      prompt/ if the authors' labels have it, prepared.json

Color is resized onto the depth's geometry, as both are read with the depth's intrinsics (paper,
section 5.2, and its code).
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from mvdiffusion.data.scannet import (
    INTRINSICS,
    KEY_FRAMES,
    VALID_FRAMES,
    read_key_frames,
    read_valid_frames,
    resize_depth,
)
from mvdiffusion.geometry.cameras import is_pinhole, is_rigid
from mvdiffusion.geometry.depth import scale_intrinsics
from mvdiffusion.geometry.matrix_files import read_intrinsics, read_matrix, write_matrix
from mvdiffusion.images import depth_counts, known_counts
from mvdiffusion.preparation.key_frames import (
    choose_key_frames,
    small_depth,
    write_lists,
)
from mvdiffusion.preparation.labels import find_labels
from mvdiffusion.preparation.sens import FrameError, SensFrame, SensHeader, SensReader
from mvdiffusion.preparation.settings import ScenePreparation
from mvdiffusion.preparation.units import Unit
from mvdiffusion.records import InputError, folder_sha256
from mvdiffusion.settings import parse

DATASET = "scannet"
_PROPORTIONS, _CAMERAS = 0.03, 0.05  # relative differences that still are the same field of view


@dataclass(frozen=True)
class _Frame:
    """What is kept in memory of a frame when its files are written."""

    number: int
    flaw: str = ""  # why it is not valid
    pose: Tensor | None = None  # [4, 4], as it reads back from its file
    depth: Tensor | None = None  # small, in meters [h, w]
    K: Tensor | None = None  # of the small depth [3, 3]


@dataclass(frozen=True)
class _Labels:
    """What the authors' labels hold of a scene; None where they hold nothing."""

    prompts: tuple[Path, ...] = ()
    keys: list[int] | None = None
    valid: list[int] | None = None

    def allows(self, frame: int) -> bool:
        """Whether a frame may be valid."""
        return self.valid is None or frame in self.valid or frame in (self.keys or [])


def prepare_scene(
    source: Path,
    output: Path,
    unit: str,
    settings: Mapping[str, Any],
    labels: Path | None = None,
    workers: int = 1,
    overwrite: bool = False,
) -> None:
    """Bring a recording into ScanNet's exported layout; done already, do nothing.

    Frames that can't be used stay out of `valid_frames.npy`, and prepared.json lists them. Files of
    those whose color or depth can't be decoded are not written.

    Args:
        source: the recording, `<scene>.sens`.
        labels: the authors' labels; what they hold of this scene (captions, key frames, valid
            frames) replaces what would be made here.
        workers: threads; they do not change the bytes.

    Raises:
        InputError: a setting is wrong, the recording is missing or broken, color and depth do not
            show the same field, no frame can be used, or the disk refuses.
    """
    wanted = parse(ScenePreparation, settings)
    if workers < 1:
        raise InputError(f"workers: found {workers}; expected 1 or more.")
    given = None if labels is None else find_labels(labels, unit)
    made = {**asdict(wanted), "labels": None if given is None else folder_sha256(given)}
    scene = Unit(output, DATASET, unit, made, source)
    if scene.is_prepared(overwrite):
        return
    labeled = _Labels() if given is None else _read_labels(given)
    with SensReader(source) as reader:
        K = _depth_camera(reader, wanted)
        with scene.made() as folder:
            K = _make_folders(folder, K, labeled)
            numbers = _numbers(reader, wanted, labeled)
            frames = list(_write_frames(reader, folder, wanted, K, numbers, workers))
            valid, keys = _choose(frames, wanted.overlap, labeled, source)
            write_lists(folder, valid, keys)
            scene.skipped.extend(_skipped(frames, labeled))


def _read_labels(given: Path) -> _Labels:
    keys, valid = given / KEY_FRAMES, given / VALID_FRAMES
    return _Labels(
        tuple(sorted((given / "prompt").glob("*.txt"))),
        read_key_frames(keys) if keys.is_file() else None,
        read_valid_frames(valid) if valid.is_file() else None,
    )


def _depth_camera(reader: SensReader, wanted: ScenePreparation) -> Tensor:
    """Intrinsics [3, 3] of the depth at its written size; checks that color shows the same."""
    header, size = reader.header, (wanted.height, wanted.width)
    _check_sizes(reader.path, header, size)
    cameras = {
        "color": (header.intrinsic_color, header.color_size),
        "depth": (header.intrinsic_depth, header.depth_size),
    }
    color, depth = (
        scale_intrinsics(_camera(reader.path, what, matrix), old, size)
        for what, (matrix, old) in cameras.items()
    )
    difference = (color - depth).abs() / torch.tensor([[size[1]], [size[0]], [1]])
    if float(difference.max()) > _CAMERAS:
        raise InputError(
            f"{reader.path}: at {size[0]} x {size[1]} pixels, the intrinsics of color are "
            f"{color[:2].round().tolist()} and those of depth {depth[:2].round().tolist()}; "
            "expected the same field of view. Register color to depth when recording."
        )
    return depth


def _check_sizes(path: Path, header: SensHeader, size: tuple[int, int]) -> None:
    """Check that color, depth and the size to write have the same proportions."""
    height, width = header.depth_size
    if size[0] > height or size[1] > width:
        raise InputError(
            f"{path}: depth of {height} x {width} pixels, but height and width ask for "
            f"{size[0]} x {size[1]}; expected no more than the recording has. Lower them."
        )
    for what, (high, wide) in (("color", header.color_size), ("height and width", size)):
        if abs(wide * height / (high * width) - 1) > _PROPORTIONS:
            raise InputError(
                f"{path}: depth of {height} x {width} pixels, but {high} x {wide} for {what}; "
                "expected equal proportions. Record both for the same field of view, or change "
                "height and width."
            )


def _camera(path: Path, what: str, matrix: NDArray[np.float32]) -> Tensor:
    """Intrinsics [3, 3] (float64) of a recording's header."""
    K = torch.from_numpy(matrix[:3, :3].astype(np.float64))
    if not is_pinhole(K):
        raise InputError(
            f"{path}: its intrinsics of {what} are {K.tolist()}; expected "
            "[[fx, 0, cx], [0, fy, cy], [0, 0, 1]]. Fetch it again."
        )
    return K


def _make_folders(folder: Path, K: Tensor, labeled: _Labels) -> Tensor:
    """Write what is not of single frames; returns the intrinsics as they read back."""
    for part in ("color", "depth", "pose", "intrinsic"):
        (folder / part).mkdir()
    camera = torch.eye(4, dtype=torch.float64)
    camera[:3, :3] = K
    write_matrix(folder / INTRINSICS, camera)
    for path in labeled.prompts:
        (folder / "prompt").mkdir(exist_ok=True)
        shutil.copyfile(path, folder / "prompt" / path.name)
    return read_intrinsics(folder / INTRINSICS)


def _numbers(reader: SensReader, wanted: ScenePreparation, labeled: _Labels) -> list[int]:
    """Frames to write: every so many, and the key frames of the labels whatever the step."""
    steps = range(0, len(reader), wanted.frame_step)
    return sorted({*steps, *(key for key in labeled.keys or [] if key < len(reader))})


def _write_frames(
    reader: SensReader,
    folder: Path,
    wanted: ScenePreparation,
    K: Tensor,
    numbers: Sequence[int],
    workers: int,
) -> Iterator[_Frame]:
    """Write the files of frames; yields what is kept of them, in order."""
    pool = ThreadPoolExecutor(workers)
    try:
        # A thread reads, writes and forgets a frame; only what `_Frame` holds adds up.
        frames = pool.map(partial(_write_frame, reader, folder, wanted, K), numbers)
        yield from tqdm(frames, f"{reader.path.stem}: frames", len(numbers))
    finally:
        pool.shutdown(cancel_futures=True)


def _write_frame(
    reader: SensReader, folder: Path, wanted: ScenePreparation, K: Tensor, number: int
) -> _Frame:
    try:
        frame = reader.read(number)
    except FrameError as error:
        # Without what stands in brackets: words of the decoder, which change with its version.
        return _Frame(number, error.reason.split(" (")[0])
    size = (wanted.height, wanted.width)
    depth = _millimeters(frame, reader.header.depth_shift, size)
    color = _resized(frame.color, size)
    (folder / "color" / f"{number}.jpg").write_bytes(_jpeg(color, wanted.jpeg_quality))
    (folder / "depth" / f"{number}.png").write_bytes(_png(depth))
    write_matrix(folder / "pose" / f"{number}.txt", torch.from_numpy(frame.pose.copy()))
    pose = read_matrix(folder / "pose" / f"{number}.txt", (4,))
    if flaw := _flaw(pose, depth):
        return _Frame(number, flaw)
    return _Frame(number, "", pose, *small_depth(torch.from_numpy(depth.astype(np.float32)), K))


def _flaw(pose: Tensor, depth: NDArray[np.uint16]) -> str:
    if not pose.isfinite().all():
        return "the pose is not finite: tracking was lost"
    if not is_rigid(pose):
        return "the pose is no rigid motion"
    return "" if depth.any() else "no depth"


def _millimeters(frame: SensFrame, shift: float, size: tuple[int, int]) -> NDArray[np.uint16]:
    """Depth at its written size; what 16 bits can't hold counts as none."""
    depth = depth_counts(known_counts(frame.depth) * (1000 / shift))
    if depth.shape != size:
        depth = resize_depth(torch.from_numpy(depth.astype(np.float32)), *size).numpy()
    return depth.astype(np.uint16)


def _resized(color: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    if color.shape[:2] == size:
        return color
    how = cv2.INTER_AREA if color.shape[0] > size[0] else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(color, size[::-1], interpolation=how), np.uint8)


# OpenCV encodes without Python's lock, which Pillow holds: threads would wait for each other.


def _jpeg(color: NDArray[np.uint8], quality: int) -> bytes:
    """Encode RGB [H, W, 3] without thinning the colors out, of which a recording has enough."""
    options = [
        *(cv2.IMWRITE_JPEG_QUALITY, quality),
        *(cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444),
    ]
    return cv2.imencode(".jpg", cv2.cvtColor(color, cv2.COLOR_RGB2BGR), options)[1].tobytes()


def _png(depth: NDArray[np.uint16]) -> bytes:
    options = [
        # A strategy that leaves no choice to the compressor: equal bytes everywhere.
        *(cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE),
        *(cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_ALL_FILTERS),
    ]
    return cv2.imencode(".png", depth, options)[1].tobytes()


def _choose(
    frames: Sequence[_Frame], overlap: float, labeled: _Labels, source: Path
) -> tuple[list[int], list[int]]:
    """Numbers of the valid frames and of the key frames among them; the labels go first."""
    usable = [frame for frame in frames if not frame.flaw and labeled.allows(frame.number)]
    valid = [frame.number for frame in usable]
    keys = [key for key in labeled.keys or [] if key in valid]
    if usable and labeled.keys is None:
        kept = ((frame.depth, frame.K, frame.pose) for frame in usable)
        depth, K, pose = (torch.stack(part) for part in zip(*kept, strict=True))
        keys = [valid[index] for index in choose_key_frames(depth / 1000, K, pose, overlap)]
    if not keys:
        flaws = [f" (frame {frame.number}: {frame.flaw})" for frame in frames if frame.flaw]
        raise InputError(
            f"{source}: none of its {len(frames)} frames can be used{''.join(flaws[:1])}; fetch it "
            "again, and if there are labels, check that they belong to this scene."
        )
    return valid, keys


def _skipped(frames: Sequence[_Frame], labeled: _Labels) -> list[dict[str, Any]]:
    reasons = dict.fromkeys(labeled.keys or [], "a key frame of the labels, not in the recording")
    reasons |= {frame.number: frame.flaw for frame in frames}
    return [{"frame": number, "reason": why} for number, why in sorted(reasons.items()) if why]
