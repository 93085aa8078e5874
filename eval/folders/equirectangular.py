"""Panoramas handed over as equirectangular images: their views are cut when they are read."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from mvdiffusion.geometry.cameras import intrinsics, rotation
from mvdiffusion.geometry.equirectangular import equirectangular_to_views
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
        prompt_files: where its prompts would be: one per view, or one for the whole.
        panorama_size: width and height of the panoramas.
    """

    files: Mapping[str, Path] = field(default_factory=dict)
    prompt_files: Mapping[str, Path] = field(default_factory=dict)
    panorama_size: tuple[int, int] = (0, 0)

    def check_images(self, sample_id: str) -> None:
        """Check the header of a sample's panorama.

        Raises:
            InputError: it is missing, has another size than the first, or is not RGB.
        """
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
        yaw_deg = [self.yaw_deg[view] for view in chosen]
        panorama = read_rgb(self.files[sample_id])
        return cut_views(panorama, self.fov_deg, yaw_deg, self.height, self.width)

    def prompts(self, sample_id: str) -> list[str]:
        """Read the prompts of a sample, one per view; a single one is that of every view.

        Raises:
            InputError: they are missing, or neither one nor one per view.
        """
        return read_prompts(self.prompt_path(sample_id), self.num_views, or_one=True)

    def prompt_path(self, sample_id: str) -> Path:
        """Name the file of a sample's prompts."""
        return self.prompt_files[sample_id]

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


def cut_views(
    panorama: np.ndarray, fov_deg: float, yaw_deg: Sequence[float], height: int, width: int
) -> np.ndarray:
    """Cut level perspective views out of an equirectangular image, without aliasing.

    Args:
        panorama: uint8 RGB [H, 2 H, 3]; yaw 0 is its middle.
        fov_deg: horizontal field of view.
        yaw_deg: direction of each view [V], to the right.
        height, width: size of the views in pixels.

    Returns:
        Views uint8 RGB [V, height, width, 3].
    """
    return cut(panorama, fov_deg, [rotation(yaw) for yaw in yaw_deg], height, width)


def cut(
    panorama: np.ndarray, fov_deg: float, rotations: Sequence[Tensor], height: int, width: int
) -> np.ndarray:
    """Cut perspective views out of an equirectangular image, without aliasing.

    Each pixel is the mean of as many bicubic samples as the panorama has pixels there, at least
    one, as counted in the middle of a level view.

    Args:
        panorama: uint8 RGB [H, 2 H, 3]; yaw 0 is its middle.
        fov_deg: horizontal field of view.
        rotations: camera-to-world [3, 3] of each view.
        height, width: size of the views in pixels.

    Returns:
        Views uint8 RGB [V, height, width, 3].
    """
    focal = float(intrinsics(fov_deg, height, width)[0, 0])
    factor = math.ceil(panorama.shape[1] / (2 * math.pi) / focal)
    K = intrinsics(fov_deg, height * factor, width * factor)[None]
    pixels = torch.from_numpy(panorama.astype(np.float32)).permute(2, 0, 1)
    views = np.empty((len(rotations), height, width, 3), np.uint8)
    for view, R in zip(views, rotations, strict=True):  # one by one, for memory
        fine = equirectangular_to_views(pixels, K, R[None], height * factor, width * factor)
        mean = F.avg_pool2d(fine, factor)[0].round().clamp(0, 255)
        view[:] = mean.byte().permute(1, 2, 0).numpy()
    return views
