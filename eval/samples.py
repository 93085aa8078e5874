"""Sample folders once opened: what every method, ours or not, hands over to be scored."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from eval.images import check_depth, check_view, read_depth, read_rgb
from eval.trajectories import Trajectory
from mvdiffusion.records import InputError, sha256_file

TASKS = {
    "panorama": "Panorama from text",
    "outpaint": "Panorama from text and one image",
    "depth": "Images from depth",
}
"""Tasks in the order tables show them, with their printed names."""


@dataclass(frozen=True)
class SampleFolder:
    """A validated folder of samples.

    Attributes:
        root: the folder.
        task: what the method was asked for; a key of `TASKS`.
        method: what made the images.
        sample_ids: names of the sample directories, sorted.
        height, width: size of every view in pixels.
        settings_sha256: hash of the settings upstream of the images; None if unknown.
    """

    root: Path
    task: str
    method: str
    sample_ids: tuple[str, ...]
    height: int
    width: int
    settings_sha256: str | None

    def count(self, sample_id: str) -> int:
        """Views of a sample."""
        raise NotImplementedError

    def judged(self, sample_id: str) -> list[int]:
        """Views of a sample that FID, Inception score and CLIP score look at."""
        raise NotImplementedError

    def arrangement(self) -> dict[str, Any]:
        """What a score file says about the cameras."""
        raise NotImplementedError

    def check(self) -> None:
        """Check the header of every file.

        Raises:
            InputError: a file is missing, has another size or another kind of pixels.
        """
        for sample_id in self.sample_ids:
            for path in self.view_paths(sample_id):
                check_view(path, self.height, self.width)

    def views(self, sample_id: str, which: Sequence[int] | None = None) -> np.ndarray:
        """Read the views of a sample, or some of them: uint8 RGB [V, H, W, 3]."""
        paths = self.view_paths(sample_id)
        chosen = paths if which is None else [paths[view] for view in which]
        return np.stack([read_rgb(path) for path in chosen])

    def prompts(self, sample_id: str) -> list[str]:
        """Read the prompts of a sample, one per view.

        Raises:
            InputError: `prompt.txt` is missing, or has not one non-empty line per view.
        """
        path, count = self.root / sample_id / "prompt.txt", self.count(sample_id)
        if not path.is_file():
            raise InputError(f"{path}: no such file; expected one prompt per view, one per line.")
        lines = [line.strip() for line in path.read_text().splitlines()]
        if len(lines) != count or not all(lines):
            found = f"{len(lines)} lines, {sum(not line for line in lines)} of them empty"
            raise InputError(f"{path}: found {found}; expected {count} lines, one prompt per view.")
        return lines

    def view_paths(self, sample_id: str) -> list[Path]:
        """List the files of a sample's views, in order."""
        return [self.root / sample_id / f"{view}.png" for view in range(self.count(sample_id))]

    def images_sha256(self) -> str:
        """Hash names and bytes of every view (64 hex digits)."""
        digest = hashlib.sha256()
        for sample_id in self.sample_ids:
            for path in self.view_paths(sample_id):
                digest.update(f"{sample_id}/{path.name}\0".encode())
                digest.update(bytes.fromhex(sha256_file(path)))
        return digest.hexdigest()


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

    def judged(self, sample_id: str) -> list[int]:
        """All views but those given: these are the same for every method."""
        return [view for view in range(self.num_views) if view not in self.given_views]

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
    """

    trajectories: Mapping[str, Trajectory]

    def count(self, sample_id: str) -> int:
        """Views of a sample."""
        return len(self.trajectories[sample_id].frames)

    def judged(self, sample_id: str) -> list[int]:
        """The key frames, as in the paper."""
        return list(self.trajectories[sample_id].key_frames)

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
                digest.update(bytes.fromhex(sha256_file(path)))
        return digest.hexdigest()

    def check(self) -> None:
        """Check views and depth maps.

        Raises:
            InputError: a file is missing, has another size, or there are views without a camera.
        """
        super().check()
        for sample_id in self.sample_ids:
            found = sum(path.stem.isdigit() for path in (self.root / sample_id).glob("*.png"))
            if found != self.count(sample_id):
                raise InputError(
                    f"{self.root / sample_id}: {found} views, but cameras.json has "
                    f"{self.count(sample_id)} frames; every view needs its camera."
                )
            for path in self.depth_paths(sample_id):
                check_depth(path, self.height, self.width)

    def depth_paths(self, sample_id: str) -> list[Path]:
        """List the files of a sample's depth maps, in order."""
        folder = self.root / sample_id / "depth"
        return [folder / f"{view}.png" for view in range(self.count(sample_id))]

    def depth(self, sample_id: str) -> np.ndarray:
        """Read the depth of a sample in metres [V, H, W], 0 where there is none."""
        return np.stack([read_depth(path) for path in self.depth_paths(sample_id)])
