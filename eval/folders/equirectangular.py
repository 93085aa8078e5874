"""Panoramas given as equirectangular images, whose views are cut when they are read."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mvdiffusion.geometry.cameras import level_rotations
from mvdiffusion.geometry.panoramas import cut_views
from mvdiffusion.images import read_rgb
from mvdiffusion.records import InputError

from .images import check_view
from .samples import PanoramaFolder, file_sha256, read_prompts


@dataclass(frozen=True)
class EquirectangularFolder(PanoramaFolder):
    """Samples that are one equirectangular image each.

    `height`, `width`, `fov_deg` and `yaw_deg` are those of the views cut from it.

    Attributes:
        files: the panorama of each sample.
        panorama_size: width and height of the panoramas.
    """

    files: Mapping[str, Path] = field(default_factory=dict)
    panorama_size: tuple[int, int] = (0, 0)

    def check_images(self, sample_id: str) -> None:
        """Check the header of a sample's panorama."""
        width, height = self.panorama_size
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
        panorama = read_rgb(self.files[sample_id])
        return cut(panorama, self.fov_deg, R, self.height, self.width)

    def prompts(self, sample_id: str) -> list[str]:
        """Read the prompts of a sample, one per view; a single one is that of every view."""
        return read_prompts(self.prompt_path(sample_id), self.num_views, or_one=True)

    def prompt_path(self, sample_id: str) -> Path:
        """Name the file of a sample's prompts: one per view, or one for the whole."""
        file = self.files[sample_id]
        loose = file.parent == self.root
        return file.with_suffix(".txt") if loose else file.parent / "prompt.txt"

    def view_paths(self, sample_id: str) -> list[Path]:
        """Name the panorama of a sample, which all of its views are cut from."""
        return [self.files[sample_id]]

    def view_digests(self, sample_id: str) -> list[str]:
        """Hash the panorama of a sample with the camera of each view (64 hex digits each)."""
        panorama = file_sha256(self.files[sample_id])
        cameras = [(self.fov_deg, yaw, self.height, self.width) for yaw in self.yaw_deg]
        return [hashlib.sha256(f"{panorama}{c}".encode()).hexdigest() for c in cameras]

    def arrangement(self) -> dict[str, Any]:
        """Number of views, their cameras, and the size of what they were cut from."""
        return {**super().arrangement(), "cut_from": list(self.panorama_size)}


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
