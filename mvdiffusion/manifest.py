"""What a sample folder says about its images: `manifest.json`, and `cameras.json` of a sequence.

Whatever generates images writes these files here, and whatever scores or stitches them reads them
here. Other keys in them are allowed and ignored.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from itertools import filterfalse, pairwise
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from mvdiffusion.geometry.cameras import is_pinhole, is_rigid
from mvdiffusion.images import save_depth
from mvdiffusion.records import provenance, write_json
from mvdiffusion.settings import Count, FieldOfView, Text, mistake, read_file, settings
from mvdiffusion.tasks import Task

MANIFEST, CAMERAS = "manifest.json", "cameras.json"
RIGID = "rotation and shift, and 0 0 0 1 as last row; leave out frames without a valid pose"
SAMPLE_ID = "names of folders, without '/' and control characters, that do not begin with a dot"
PINHOLE = "[fx 0 cx; 0 fy cy; 0 0 1] in pixels, with focal lengths above 0"


@settings
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
        num_views: number of views of a panorama, as the file states it.
        format: of the file.
    """

    task: Task
    method: Text
    height: Count
    width: Count
    samples: Annotated[tuple[Text, ...], Field(min_length=1)]
    settings_sha256: Text | None = None
    fov_deg: FieldOfView = 90.0
    yaw_deg: tuple[float, ...] = ()
    given_views: tuple[int, ...] = ()
    num_views: Count | None = field(default=None, kw_only=True, compare=False)
    format: Literal[1] = field(default=1, kw_only=True)

    def __post_init__(self) -> None:
        """Refuse what contradicts itself."""
        for key in ("samples", "yaw_deg", "given_views"):
            if len(set(values := getattr(self, key))) < len(values):
                raise mistake(key, values, "a list without repetitions")
        if wrong := next(filterfalse(is_sample_id, self.samples), None):
            raise mistake("samples", wrong, SAMPLE_ID)
        if self.task == Task.DEPTH:
            return
        count, given = len(self.yaw_deg), self.given_views
        if not count:
            raise mistake("yaw_deg", self.yaw_deg, "a direction of every view, in degrees")
        if self.num_views not in (None, count):
            raise mistake("yaw_deg", f"of {count} entries", f"num_views = {self.num_views}")
        if not set(given) < set(range(count)) or (self.task == Task.OUTPAINT and not given):
            raise mistake("given_views", given, f"some, not all, of 0 … {count - 1}")


def is_sample_id(name: str) -> bool:
    """Tell whether a name can be that of a sample's folder: it leads nowhere else, and prints."""
    unprintable = any(unicodedata.category(letter) in ("Cc", "Cs") for letter in name)
    return not (not name or name.startswith(".") or "/" in name or unprintable)


def write_manifest(
    root: Path, manifest: Manifest, settings: Mapping[str, Any], **more: object
) -> None:
    """Write a folder's `manifest.json`, the mark that its samples are complete.

    Args:
        settings: what made the images, for readers.
        more: further keys.
    """
    content = asdict(manifest) | {"samples": sorted(manifest.samples), "settings": dict(settings)}
    content |= {"num_views": len(manifest.yaw_deg), "provenance": provenance()}
    unused = {"given_views"} if manifest.task != Task.OUTPAINT else set()
    if manifest.task == Task.DEPTH:
        unused |= {"num_views", "fov_deg", "yaw_deg"}
    kept = {key: value for key, value in content.items() if key not in unused}
    write_json(root / MANIFEST, kept | more)


def read_manifest(root: Path) -> Manifest:
    """Read and check a folder's `manifest.json`; whether its samples are there is not checked.

    Raises:
        InputError: the file is missing or broken, or a key is missing or of another kind.
    """
    found = read_file(Manifest, root / MANIFEST, task=Task.PANORAMA)
    return replace(found, samples=tuple(sorted(found.samples)))


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
        return list(pairwise(self.key_frames))

    @property
    def consecutive_pairs(self) -> list[tuple[int, int]]:
        """Consecutive frames of any kind, as positions."""
        return list(pairwise(range(len(self.frames))))

    @property
    def between_pairs(self) -> list[tuple[int, int]]:
        """Every in-between frame with its previous and with its next key frame, as positions."""
        return [
            (view, key)
            for first, last in self.key_pairs
            for view in range(first + 1, last)
            for key in (first, last)
        ]


Row3 = Annotated[list[float], Field(min_length=3, max_length=3)]
Row4 = Annotated[list[float], Field(min_length=4, max_length=4)]


@settings
class Cameras:
    """A sequence's `cameras.json`, whose keys are those of `Trajectory`."""

    frames: Annotated[tuple[int, ...], Field(min_length=1)]
    key_frames: Annotated[tuple[int, ...], Field(min_length=1)]
    K: list[Annotated[list[Row3], Field(min_length=3, max_length=3)]]
    pose: list[Annotated[list[Row4], Field(min_length=4, max_length=4)]]

    def __post_init__(self) -> None:
        """Refuse what contradicts itself, and impossible cameras."""
        count = len(self.frames)
        if list(self.frames) != sorted(set(self.frames)):
            raise mistake("frames", self.frames, "numbers that rise")
        if list(self.key_frames) != [i for i in range(count) if i in self.key_frames]:
            expected = f"positions in frames, rising from 0 to {count - 1}"
            raise mistake("key_frames", self.key_frames, expected)
        for key, is_right, expected in (("K", is_pinhole, PINHOLE), ("pose", is_rigid, RIGID)):
            matrices = getattr(self, key)
            if len(matrices) != count:
                raise mistake(key, f"of {len(matrices)} matrices", f"{count}, one per frame")
            if wrong := (~is_right(torch.tensor(matrices, dtype=torch.float64))).nonzero().tolist():
                view = wrong[0][0]
                raise mistake(f"{key}.{view}", matrices[view], expected)


def write_geometry(sample: Path, trajectory: Trajectory, depth: Tensor) -> None:
    """Write `cameras.json` and depth/<view>.png of a sequence.

    Args:
        trajectory: its V frames.
        depth: [V, H, W] in meters, 0 where there is none.
    """
    (sample / "depth").mkdir()
    for view, plane in enumerate(depth):
        save_depth(plane, sample / "depth" / f"{view}.png")
    values = {key: np.asarray(value).tolist() for key, value in vars(trajectory).items()}
    write_json(sample / CAMERAS, values)


def read_trajectory(sample: Path) -> Trajectory:
    """Read and check the `cameras.json` of a sample.

    Raises:
        InputError: the file is missing, incomplete, contradicts itself, or a camera is impossible.
    """
    found = read_file(Cameras, sample / CAMERAS)
    return Trajectory(found.frames, found.key_frames, np.array(found.K), np.array(found.pose))
