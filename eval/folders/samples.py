"""Opened sample folders: the images of one method, which are to be scored."""

from __future__ import annotations

import hashlib
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from mvdiffusion.images import read_depth, read_rgb
from mvdiffusion.manifest import Trajectory
from mvdiffusion.records import InputError, sha256_file
from mvdiffusion.tasks import Task

from .images import check_depth, check_view

TASKS = {task.value: task.label for task in Task}
"""Tasks in the order tables show them, with their printed names."""


@dataclass(frozen=True)
class SampleFolder(ABC):
    """A validated folder of samples.

    Attributes:
        root: the folder.
        task: the task of the method; a key of `TASKS`.
        method: what made the images.
        sample_ids: names of the sample directories, sorted.
        height, width: size of every view in pixels.
        settings_sha256: hash of the settings upstream of the images; None if unknown.
        view_name: name of a view's file in its sample's folder; `{view}` counts from 0.
        prompt_files: files of prompts that go by names of their own, by sample.
        named_by: patterns by which files were found (see `patterns`): "views" and "prompts".
    """

    root: Path
    task: str
    method: str
    sample_ids: tuple[str, ...]
    height: int
    width: int
    settings_sha256: str | None
    view_name: str = field(default="{view}.png", kw_only=True)
    prompt_files: Mapping[str, Path] = field(default_factory=dict, kw_only=True)
    named_by: Mapping[str, str] = field(default_factory=dict, kw_only=True)

    @abstractmethod
    def count(self, sample_id: str) -> int:
        """Views of a sample."""

    @abstractmethod
    def evaluated_views(self, sample_id: str) -> list[int]:
        """Views of a sample on which FID, Inception score and CLIP score are computed."""

    def neighbors(self, sample_id: str) -> list[tuple[int, int]]:
        """Pairs of views of a sample whose agreement is measured; none unless a subclass says."""
        return []

    @abstractmethod
    def arrangement(self) -> dict[str, Any]:
        """The description of the cameras for the score file."""

    def check(self) -> None:
        """Check the header of every file.

        Raises:
            InputError: a file is missing, has another size or another kind of pixels.
        """
        for sample_id in self.sample_ids:
            self.check_images(sample_id)

    def check_prompts(self) -> None:
        """Check the prompts of every sample.

        Raises:
            InputError: some are missing or unreadable, or not one per view.
        """
        for sample_id in self.sample_ids:
            self.prompts(sample_id)

    def check_images(self, sample_id: str) -> None:
        """Check the headers of a sample's views."""
        for path in self.view_paths(sample_id):
            check_view(path, self.height, self.width)

    def views(self, sample_id: str, which: Sequence[int] | None = None) -> np.ndarray:
        """Read the views of a sample, or some of them: uint8 RGB [V, H, W, 3].

        Args:
            sample_id: the sample.
            which: numbers of the views; None for all.

        Raises:
            InputError: an image cannot be read.
        """
        paths = self.view_paths(sample_id)
        chosen = paths if which is None else [paths[view] for view in which]
        return np.stack([read_rgb(path) for path in chosen])

    def prompts(self, sample_id: str) -> list[str]:
        """Read the prompts of a sample, one per view.

        Raises:
            InputError: `prompt.txt` is missing, or has neither one prompt per view nor one.
        """
        return read_prompts(self.prompt_path(sample_id), self.count(sample_id))

    def has_prompts(self, sample_id: str) -> bool:
        """Whether a sample came with prompts; only the CLIP score needs them."""
        path = self.prompt_path(sample_id)
        return path.exists() or path.is_symlink()

    def prompt_path(self, sample_id: str) -> Path:
        """Name the file of a sample's prompts."""
        return self.prompt_files.get(sample_id, self.root / sample_id / "prompt.txt")

    def view_paths(self, sample_id: str) -> list[Path]:
        """List the files that a sample's views are read from, in order.

        Usually one per view; views that are cut out of a panorama share its one file.
        """
        names = [self.view_name.format(view=view) for view in range(self.count(sample_id))]
        return [self.root / sample_id / name for name in names]

    def view_digests(self, sample_id: str) -> list[str]:
        """Hash what each view of a sample is read from (64 hex digits each).

        Two views of one hash have the same pixels, in whichever folder they are.
        """
        return [file_sha256(path) for path in self.view_paths(sample_id)]

    def images_sha256(self) -> str:
        """Hash names and bytes of every view (64 hex digits)."""
        digest = hashlib.sha256()
        for sample_id in self.sample_ids:
            for path in self.view_paths(sample_id):
                digest.update(f"{sample_id}/{path.name}\0".encode())
                digest.update(bytes.fromhex(file_sha256(path)))
        return digest.hexdigest()


def file_sha256(path: Path) -> str:
    """Hash a file's bytes (64 hex digits), once as long as it does not change."""
    status = path.stat()
    # Neither `touch` nor a file of equal size in its place leaves all of these as they were.
    version = (status.st_ino, status.st_ctime_ns, status.st_mtime_ns, status.st_size)
    return _sha256_of_version(path, version)


@cache
def _sha256_of_version(path: Path, version: tuple[int, ...]) -> str:
    return sha256_file(path)


def read_prompts(path: Path, count: int) -> list[str]:
    """Read `count` prompts, one per line; a single one is that of every view.

    Blank lines are passed over: the authors' released code writes one after each prompt.

    Raises:
        InputError: the file is missing, unreadable or not UTF-8, or has another number of prompts.
    """
    expected = f"expected {count} prompts, one per view and line, or one for all"
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines()]
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; {expected}.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: could not be read as UTF-8 ({error}); {expected}.") from None
    prompts = [line for line in lines if line]
    if len(prompts) not in (1, count):
        raise InputError(f"{path}: found {len(prompts)} prompts; {expected}.")
    return prompts * (count // len(prompts))


def numbered_files(folder: Path, name: str) -> list[int]:
    """List the numbers of the files in a folder that are named so, rising.

    Args:
        folder: where to look.
        name: a file's name with its number in braces, as `{view}.png`.
    """
    pattern = re.compile(re.sub(r"\\{\w+\\}", "(0|[1-9][0-9]*)", re.escape(name)))
    found = (pattern.fullmatch(path.name) for path in folder.iterdir())
    return sorted(int(match[1]) for match in found if match)


@dataclass(frozen=True)
class PanoramaFolder(SampleFolder):
    """Samples that share one arrangement of views around a point.

    Attributes:
        fov_deg: horizontal field of view of every view.
        yaw_deg: viewing direction of each view, to the right.
        given_views: views that were given to the method (outpainting), not made by it.
    """

    fov_deg: float
    yaw_deg: tuple[float, ...]
    given_views: tuple[int, ...] = ()

    @property
    def num_views(self) -> int:
        """Views per sample."""
        return len(self.yaw_deg)

    def count(self, sample_id: str) -> int:
        """Views of a sample."""
        return self.num_views

    def evaluated_views(self, sample_id: str) -> list[int]:
        """All views but those given: these are the same for every method."""
        return [view for view in range(self.num_views) if view not in self.given_views]

    def neighbors(self, sample_id: str) -> list[tuple[int, int]]:
        """Each view and the next one to the right; the last pair closes the loop."""
        return [(view, (view + 1) % self.num_views) for view in range(self.num_views)]

    def arrangement(self) -> dict[str, Any]:
        """Number of views and their cameras."""
        return {
            "num_views": self.num_views,
            "fov_deg": self.fov_deg,
            "yaw_deg": list(self.yaw_deg),
            "given_views": list(self.given_views),
        }


@dataclass(frozen=True)
class SequenceFolder(SampleFolder):
    """Samples that are sequences of frames with depth and cameras.

    Attributes:
        trajectories: cameras by sample.
        depth_name: name of a depth map's file in its sample's folder; in this and in
            `view_name`, `{frame}` is the number of the frame.
    """

    trajectories: Mapping[str, Trajectory]
    depth_name: str = "depth/{view}.png"

    def count(self, sample_id: str) -> int:
        """Views of a sample."""
        return len(self.trajectories[sample_id].frames)

    def evaluated_views(self, sample_id: str) -> list[int]:
        """The key frames, as in the paper."""
        return list(self.trajectories[sample_id].key_frames)

    def neighbors(self, sample_id: str) -> list[tuple[int, int]]:
        """Consecutive frames, and consecutive key frames."""
        trajectory = self.trajectories[sample_id]
        return [*trajectory.consecutive_pairs, *trajectory.key_pairs]

    def arrangement(self) -> dict[str, Any]:
        """Number of key frames and of frames between them, and a hash of cameras and depth."""
        chosen = [self.trajectories[sample_id] for sample_id in self.sample_ids]
        key_frames = sum(len(trajectory.key_frames) for trajectory in chosen)
        frames = sum(len(trajectory.frames) for trajectory in chosen)
        return {
            "num_key_frames": key_frames,
            "num_between": frames - key_frames,
            "geometry_sha256": self.geometry_sha256(),
        }

    def geometry_sha256(self) -> str:
        """Hash cameras and depth of every sample (64 hex digits)."""
        digest = hashlib.sha256()
        for sample_id in self.sample_ids:
            cameras = self.trajectories[sample_id]
            digest.update(f"{sample_id}{cameras.frames}{cameras.key_frames}".encode())
            digest.update(cameras.K.tobytes() + cameras.pose.tobytes())
            for path in self.depth_paths(sample_id):
                digest.update(bytes.fromhex(file_sha256(path)))
        return digest.hexdigest()

    def check_images(self, sample_id: str) -> None:
        """Check the headers of a sample's views and depth maps."""
        super().check_images(sample_id)
        found, count = numbered_files(self.root / sample_id, self.view_name), self.count(sample_id)
        if len(found) != count:
            raise InputError(
                f"{self.root / sample_id}: has {len(found)} views, but cameras.json has {count} "
                "frames; every view needs its camera."
            )
        for path in self.depth_paths(sample_id):
            check_depth(path, self.height, self.width)

    def view_paths(self, sample_id: str) -> list[Path]:
        """List the files of a sample's views, in order."""
        return self._named(sample_id, self.view_name)

    def depth_paths(self, sample_id: str) -> list[Path]:
        """List the files of a sample's depth maps, in order."""
        return self._named(sample_id, self.depth_name)

    def _named(self, sample_id: str, name: str) -> list[Path]:
        frames = enumerate(self.trajectories[sample_id].frames)
        names = [name.format(view=view, frame=frame) for view, frame in frames]
        return [self.root / sample_id / name for name in names]

    def depth(self, sample_id: str) -> np.ndarray:
        """Read the depth of a sample in meters [V, H, W], 0 where there is none."""
        return np.stack([read_depth(path) for path in self.depth_paths(sample_id)])
