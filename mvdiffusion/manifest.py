"""What a sample folder says about its images: `manifest.json`, and `cameras.json` of a sequence.

Whatever generates images writes these files here, and whatever scores or stitches them reads them
here. Other keys in them are allowed and ignored.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mvdiffusion.geometry.cameras import is_pinhole, is_rigid
from mvdiffusion.images import save_depth
from mvdiffusion.records import InputError, provenance, read_json, write_json
from mvdiffusion.tasks import Task

MANIFEST, CAMERAS, FORMAT = "manifest.json", "cameras.json", 1
NOT_RIGID = (
    "is not rigid (expected rotation and shift, and 0 0 0 1 as last row); leave out frames without "
    "a valid pose"
)
_COMMON_KEYS = ("method", "height", "width", "samples")
_PANORAMA_KEYS = ("num_views", "fov_deg", "yaw_deg")
_CAMERA_KEYS = ("frames", "key_frames", "K", "pose")


@dataclass(frozen=True)
class Manifest:
    """A sample folder's `manifest.json`.

    Attributes:
        task: what the images were made for.
        method: what made them.
        height: of every view in pixels.
        width: of every view in pixels.
        samples: names of the sample directories.
        settings_sha256: hash of everything that decides the images; None if unknown.
        fov_deg: horizontal field of view of every view of a panorama.
        yaw_deg: viewing direction of each view of a panorama, to the right.
        given_views: views of a panorama that the method was given.
    """

    task: Task
    method: str
    height: int
    width: int
    samples: tuple[str, ...]
    settings_sha256: str | None = None
    fov_deg: float = 90.0
    yaw_deg: tuple[float, ...] = ()
    given_views: tuple[int, ...] = ()


def write_manifest(
    root: Path, manifest: Manifest, settings: Mapping[str, Any], **more: object
) -> None:
    """Write a folder's `manifest.json`, the mark that its samples are complete.

    Args:
        root: the sample folder.
        manifest: what the folder holds.
        settings: what made the images, for readers.
        more: further keys.
    """
    content: dict[str, Any] = {
        "format": FORMAT,
        "task": manifest.task.value,
        "method": manifest.method,
        "height": manifest.height,
        "width": manifest.width,
        "samples": sorted(manifest.samples),
        "settings": dict(settings),
        "settings_sha256": manifest.settings_sha256,
        "provenance": provenance(),
    }
    if manifest.task != Task.DEPTH:
        content |= {"num_views": len(manifest.yaw_deg), "fov_deg": manifest.fov_deg}
        content["yaw_deg"] = list(manifest.yaw_deg)
    if manifest.task == Task.OUTPAINT:
        content["given_views"] = list(manifest.given_views)
    write_json(root / MANIFEST, content | more)


def read_manifest(root: Path) -> Manifest:
    """Read and check a folder's `manifest.json`; whether its samples are there is not checked.

    Raises:
        InputError: the file is missing or broken, or a key is missing or of another kind.
    """
    path = root / MANIFEST
    content = read_json(path)
    if not isinstance(content, dict):
        raise InputError(f"{path}: is a {type(content).__name__}; expected a mapping of keys.")
    if content.get("format", FORMAT) != FORMAT:
        raise InputError(f"{path}: its format is {content['format']!r}; expected {FORMAT}.")
    task: str = content.get("task", Task.PANORAMA.value)
    if task not in list(Task):
        raise InputError(f"{path}: task is {task!r}; expected one of {', '.join(Task)}.")
    keys = _COMMON_KEYS + _PANORAMA_KEYS * (task != Task.DEPTH)
    if missing := [key for key in keys if key not in content]:
        raise InputError(f"{path}: missing keys {missing}; expected {list(keys)}.")
    _check_kinds(path, content)
    if task != Task.DEPTH:
        _check_views(path, task, content)
    return Manifest(
        Task(task),
        content["method"],
        content["height"],
        content["width"],
        tuple(sorted(content["samples"])),
        content.get("settings_sha256"),
        content.get("fov_deg", 90.0),
        tuple(content.get("yaw_deg", ())),
        tuple(content.get("given_views", ())),
    )


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value)


def _is_count(value: Any) -> bool:
    return type(value) is int and value > 0


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)


def _is_list(value: Any, kind: Callable[[Any], bool]) -> bool:
    return isinstance(value, list) and all(map(kind, value)) and len(set(value)) == len(value)


_KINDS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "method": (_is_text, "a name"),
    "height": (_is_count, "a whole number of pixels"),
    "width": (_is_count, "a whole number of pixels"),
    "num_views": (_is_count, "a whole number of views"),
    "fov_deg": (lambda v: _is_number(v) and 0 < v < 180, "degrees between 0 and 180"),
    "yaw_deg": (lambda v: _is_list(v, _is_number), "a list of degrees"),
    "samples": (lambda v: v != [] and _is_list(v, _is_text), "a list of names, each once"),
    "given_views": (lambda v: _is_list(v, lambda x: type(x) is int), "a list of views"),
    "settings_sha256": (lambda v: v is None or _is_text(v), "a hash"),
}
"""What a value must be, and how to say so."""


def _check_kinds(path: Path, content: Mapping[str, Any]) -> None:
    for key, (is_right, expected) in _KINDS.items():
        if key in content and not is_right(content[key]):
            raise InputError(f"{path}: {key} is {str(content[key])[:40]}; expected {expected}.")


def _check_views(path: Path, task: str, content: Mapping[str, Any]) -> None:
    count, given = content["num_views"], content.get("given_views", [])
    if len(content["yaw_deg"]) != count:
        raise InputError(
            f"{path}: yaw_deg has {len(content['yaw_deg'])} entries; expected num_views = {count}."
        )
    outside = [view for view in given if view not in range(count)]
    if outside or len(given) == count:
        raise InputError(
            f"{path}: given_views is {given}; expected some, not all, of 0 … {count - 1}."
        )
    if task == Task.OUTPAINT and not given:
        raise InputError(f"{path}: task is outpaint but given_views is empty; name the view given.")


@dataclass(frozen=True)
class Trajectory:
    """Frames of a sequence in order, with their cameras.

    Attributes:
        frames: frame numbers [V], rising.
        key_frames: positions in `frames` of the key frames, rising.
        K: intrinsics [V, 3, 3] in pixels of the views.
        pose: camera-to-world [V, 4, 4], meters.
    """

    frames: tuple[int, ...]
    key_frames: tuple[int, ...]
    K: np.ndarray
    pose: np.ndarray

    @property
    def key_pairs(self) -> list[tuple[int, int]]:
        """Consecutive key frames, as positions."""
        return list(zip(self.key_frames, self.key_frames[1:], strict=False))

    @property
    def consecutive_pairs(self) -> list[tuple[int, int]]:
        """Consecutive frames of any kind, as positions."""
        return [(view, view + 1) for view in range(len(self.frames) - 1)]

    @property
    def between_pairs(self) -> list[tuple[int, int]]:
        """Every in-between frame with its previous and with its next key frame, as positions."""
        return [
            (view, key)
            for first, last in self.key_pairs
            for view in range(first + 1, last)
            for key in (first, last)
        ]


def write_geometry(sample: Path, trajectory: Trajectory, depth: Tensor) -> None:
    """Write `cameras.json` and depth/<view>.png of a sequence.

    Args:
        sample: the sample's folder.
        trajectory: its V frames.
        depth: [V, H, W] in meters, 0 where there is none.
    """
    (sample / "depth").mkdir()
    for view, plane in enumerate(depth):
        save_depth(plane, sample / "depth" / f"{view}.png")
    values = {key: getattr(trajectory, key) for key in _CAMERA_KEYS}
    write_json(sample / CAMERAS, {key: np.asarray(value).tolist() for key, value in values.items()})


def read_trajectory(sample: Path) -> Trajectory:
    """Read and check the `cameras.json` of a sample.

    Args:
        sample: the sample's folder.

    Raises:
        InputError: the file is missing, incomplete, contradicts itself, or a camera is impossible.
    """
    path = sample / CAMERAS
    if not path.is_file():
        raise InputError(
            f"{path}: no such file; a depth sample needs its cameras: {list(_CAMERA_KEYS)}."
        )
    content = read_json(path)
    if not isinstance(content, dict):
        raise InputError(f"{path}: is no mapping; expected the keys {list(_CAMERA_KEYS)}.")
    missing = [key for key in _CAMERA_KEYS if key not in content]
    if missing:
        raise InputError(f"{path}: missing keys {missing}; expected {list(_CAMERA_KEYS)}.")
    frames, key_frames = (_numbers(path, content, key) for key in ("frames", "key_frames"))
    _check_order(path, frames, key_frames)
    K = _matrices(path, content, "K", 3, len(frames))
    pose = _matrices(path, content, "pose", 4, len(frames))
    _check_cameras(path, K, pose)
    return Trajectory(frames, key_frames, K, pose)


def _check_order(path: Path, frames: Sequence[int], key_frames: Sequence[int]) -> None:
    if not frames or list(frames) != sorted(set(frames)):
        raise InputError(f"{path}: frames must rise, each once; found {list(frames)[:6]}…")
    rising = list(key_frames) == sorted(set(key_frames))
    if not key_frames or not rising or not 0 <= key_frames[0] <= key_frames[-1] < len(frames):
        raise InputError(
            f"{path}: key_frames are positions in frames, rising from 0 to {len(frames) - 1}; "
            f"found {list(key_frames)[:6]}."
        )


def _numbers(path: Path, content: Mapping[str, Any], key: str) -> tuple[int, ...]:
    found = content[key]
    if not isinstance(found, list) or any(type(number) is not int for number in found):
        raise InputError(f"{path}: {key} is {str(found)[:40]}; expected a list of whole numbers.")
    return tuple(found)


def _matrices(
    path: Path, content: Mapping[str, Any], key: str, size: int, count: int
) -> np.ndarray:
    try:
        matrices = np.array(content[key], dtype=np.float64)
    except (TypeError, ValueError):
        matrices = np.empty(0)
    infinite = int((~np.isfinite(matrices)).sum())
    if matrices.shape != (count, size, size) or infinite:
        holes = f", {infinite} values not finite" if infinite else ""
        raise InputError(
            f"{path}: {key} has shape {list(matrices.shape)}{holes}; expected {count} finite "
            f"matrices of {size}×{size}, one per frame."
        )
    return matrices


def _check_cameras(path: Path, K: np.ndarray, pose: np.ndarray) -> None:
    not_pinhole = np.nonzero(~is_pinhole(torch.from_numpy(K)).numpy())[0]
    if len(not_pinhole):
        raise InputError(
            f"{path}: K of view {not_pinhole[0]} is not [fx 0 cx; 0 fy cy; 0 0 1] with focal "
            "lengths above 0, in pixels."
        )
    not_rigid = np.nonzero(~is_rigid(torch.from_numpy(pose)).numpy())[0]
    if len(not_rigid):
        raise InputError(f"{path}: the pose of view {not_rigid[0]} {NOT_RIGID}.")
