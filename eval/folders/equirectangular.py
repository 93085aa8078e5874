"""Panoramas given as equirectangular images, whose views are cut when they are read."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor

from mvdiffusion.geometry.cameras import level_rotations
from mvdiffusion.geometry.panoramas import cut_views
from mvdiffusion.images import read_rgb
from mvdiffusion.records import InputError

from .images import check_view
from .samples import PanoramaFolder, file_sha256


@dataclass(frozen=True)
class EquirectangularFolder(PanoramaFolder):
    """Samples that are one equirectangular image each.

    `height`, `width`, `fov_deg` and `yaw_deg` are those of the views cut from it.

    Attributes:
        files: the panorama of each sample.
        panorama_size: width and height of the panoramas.
        resized_from: width and height of their files, if they are resized when they are read.
        real: whether they are real ones, which are resized more carefully; see `panorama`.
    """

    files: Mapping[str, Path] = field(default_factory=dict)
    panorama_size: tuple[int, int] = (0, 0)
    resized_from: tuple[int, int] | None = None
    real: bool = False

    def panorama(self, sample_id: str) -> np.ndarray:
        """Read the panorama of a sample: uint8 RGB [H, 2 H, 3].

        Where it is to be resized, that is done as in PanFusion's evaluation (its `PanoDataset`):
        real panoramas by the mean of areas, generated ones by one bilinear sample per pixel, which
        aliases when they shrink.
        """
        pixels = read_rgb(self.files[sample_id])
        if self.resized_from is None:
            return pixels
        means = cv2.INTER_AREA if self.real else cv2.INTER_LINEAR
        return cv2.resize(pixels, self.panorama_size, interpolation=means)

    def panorama_digest(self, sample_id: str) -> str:
        """Hash what the panorama of a sample is read from, and how (64 hex digits)."""
        digest = file_sha256(self.files[sample_id])
        name = f"{digest} {self._resizing()} to {self.panorama_size}"
        return hashlib.sha256(name.encode()).hexdigest() if self.resized_from else digest

    def _resizing(self) -> dict[str, Any]:
        if self.resized_from is None:
            return {}
        by = "area means" if self.real else "bilinear samples"
        return {"resized_from": list(self.resized_from), "resized_by": by}

    def check_images(self, sample_id: str) -> None:
        """Check the header of a sample's panorama."""
        width, height = self.resized_from or self.panorama_size
        if width != 2 * height:
            raise InputError(
                f"{self.files[sample_id]}: is {width}×{height} pixels; expected an equirectangular "
                "panorama, twice as wide as high."
            )
        check_view(self.files[sample_id], height, width)

    def views(self, sample_id: str, which: Sequence[int] | None = None) -> np.ndarray:
        """Cut the views of a sample, or some of them: uint8 RGB [V, H, W, 3]."""
        chosen = range(self.num_views) if which is None else which
        R = level_rotations([self.yaw_deg[view] for view in chosen])
        return cut(self.panorama(sample_id), self.fov_deg, R, self.height, self.width)

    def prompt_path(self, sample_id: str) -> Path:
        """Name the file of a sample's prompts: one per view, or one for the whole."""
        if sample_id in self.prompt_files:
            return self.prompt_files[sample_id]
        file = self.files[sample_id]
        loose = file.parent == self.root
        return file.with_suffix(".txt") if loose else file.parent / "prompt.txt"

    def view_paths(self, sample_id: str) -> list[Path]:
        """Name the panorama of a sample, which all of its views are cut from."""
        return [self.files[sample_id]]

    def view_digests(self, sample_id: str) -> list[str]:
        """Hash the panorama of a sample with the camera of each view (64 hex digits each)."""
        panorama = self.panorama_digest(sample_id)
        cameras = [(self.fov_deg, yaw, self.height, self.width) for yaw in self.yaw_deg]
        return [hashlib.sha256(f"{panorama}{c}".encode()).hexdigest() for c in cameras]

    def arrangement(self) -> dict[str, Any]:
        """Number of views, their cameras, and the size of what they were cut from."""
        size = {"cut_from": list(self.panorama_size), **self._resizing()}
        return {**super().arrangement(), **size}


def cut(panorama: np.ndarray, fov_deg: float, R: Tensor, height: int, width: int) -> np.ndarray:
    """Cut perspective views out of an equirectangular image, without aliasing.

    Args:
        panorama: uint8 RGB [H, 2 H, 3]; yaw 0 is its middle.
        fov_deg: horizontal field of view in degrees.
        R: camera-to-world rotations [V, 3, 3].
        height, width: of the views in pixels.

    Returns:
        Views uint8 RGB [V, height, width, 3].
    """
    pixels = torch.from_numpy(panorama).permute(2, 0, 1).float()
    views = cut_views(pixels, fov_deg, R, height, width).round().clamp(0, 255).byte()
    return views.permute(0, 2, 3, 1).numpy()
