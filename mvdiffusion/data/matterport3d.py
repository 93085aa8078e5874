"""Panoramas in Matterport3D's layout, cut into perspective views (paper, sections 4.1 and 5.1).

<root>/<split>.npy                      [N, 6] relative paths of the faces
<root>/<scene>/matterport_skybox_images/<id>_skybox{0..5}_sami.jpg
                                        up, left, front, right, back, down
<root>/<scene>/blip3/<id>_<degrees>.txt captions at 0, 45, … 315; the first line counts
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mvdiffusion.data.captions import PROMPT_PREFIX, read_caption
from mvdiffusion.data.splits import (
    CAPTION_DEGREES,
    caption_name,
    check_unchanged,
    panorama_id,
    read_split,
)
from mvdiffusion.geometry.cameras import panorama_cameras
from mvdiffusion.geometry.cubemap import cube_to_equirectangular
from mvdiffusion.geometry.view_cutting import fast_cube_to_views, pad_faces, samples_per_pixel
from mvdiffusion.images import read_face
from mvdiffusion.records import InputError


@dataclass(frozen=True)
class PanoramaSample:
    """Views of one panorama.

    Attributes:
        sample_id: the panorama's id.
        views: [V, 3, H, W] in −1 … 1.
        prompts: one per view.
    """

    sample_id: str
    views: Tensor
    prompts: list[str]
    geometry: None = None  # views about one point have no depth


class Matterport3DPanoramas:
    """A split of Matterport3D, or of anything in its layout."""

    def __init__(
        self,
        root: str | Path,
        split: str,
        *,
        image_size: int,
        num_views: int = 8,
        fov_deg: float = 90.0,
        prompt_prefix: str = PROMPT_PREFIX,
    ) -> None:
        """Open a split.

        Args:
            root: the folder that holds `<split>.npy`.
            split: name of the split.
            image_size: height and width of the views in pixels.
            num_views: views of a panorama, evenly spaced about the vertical.
            fov_deg: field of view of a view in degrees.
            prompt_prefix: put before each caption (as released).

        Raises:
            InputError: the split is missing, an entry is not a panorama that is there, or a
                rendered file has changed.
        """
        self.root, self.split = Path(root), split
        check_unchanged(self.root)
        self.height = self.width = self.image_size = image_size
        self.num_views, self.fov_deg = num_views, fov_deg
        self.prompt_prefix = prompt_prefix
        self._faces = read_split(self.root, split)
        self._ids = [panorama_id(paths[0]) for paths in self._faces]

    def __len__(self) -> int:
        return len(self._faces)

    def sample_id(self, index: int) -> str:
        """Return the id of a panorama."""
        return self._ids[index]

    def load(
        self, index: int, yaw_deg: float = 0.0, views: Sequence[int] | None = None
    ) -> PanoramaSample:
        """Cut views of a panorama.

        Args:
            index: of the panorama.
            yaw_deg: direction of view 0, in degrees to the right of the front face.
            views: which of the `num_views` views (default: all).

        Raises:
            InputError: a face or caption is missing or broken.
        """
        chosen = list(range(self.num_views)) if views is None else list(views)
        prompts = self.prompts(index, yaw_deg, chosen)
        return PanoramaSample(self._ids[index], self.views(index, yaw_deg, chosen), prompts)

    def prompts(self, index: int, yaw_deg: float, views: Sequence[int]) -> list[str]:
        """Read the prompts of views.

        Args:
            index: of the panorama.
            yaw_deg: direction of view 0, in degrees to the right of the front face.
            views: which of the `num_views` views.

        Raises:
            InputError: a caption is missing or broken.
        """
        return [self._prompt(index, yaw_deg + 360 / self.num_views * view) for view in views]

    def equirectangular(self, index: int, yaw_deg: float = 0.0) -> Tensor:
        """Stitch a panorama to an equirectangular image as high as a view.

        Args:
            index: of the panorama.
            yaw_deg: direction of the image's middle, in degrees to the right of the front face, to
                the nearest column.

        Returns:
            The image [3, H, 2 H] in −1 … 1.

        Raises:
            InputError: a face is missing or broken.
        """
        faces = torch.from_numpy(np.stack(self._read_faces(index))).movedim(-1, 1)
        image = cube_to_equirectangular(faces / 127.5 - 1, self.height)
        return image.roll(-round(yaw_deg / 360 * image.shape[-1]), -1)

    def views(self, index: int, yaw_deg: float, views: Sequence[int]) -> Tensor:
        """Cut views [V, 3, H, W] in −1 … 1 of a panorama that may lack captions.

        Args:
            index: of the panorama.
            yaw_deg: direction of view 0, in degrees to the right of the front face.
            views: which of the `num_views` views.

        Raises:
            InputError: a face is missing or broken.
        """
        faces = pad_faces(self._read_faces(index))
        chosen, size = list(views), self.image_size
        K, R = panorama_cameras(size, size, self.num_views, self.fov_deg, yaw_deg)
        samples = samples_per_pixel(faces.shape[1] - 2, self.fov_deg, size)
        return fast_cube_to_views(faces, K[chosen], R[chosen], size, samples)

    def caption_file(self, index: int, degrees: int) -> Path:
        """Return where the caption of a direction (0, 45, … 315) stands.

        Args:
            index: of the panorama.
            degrees: direction, one of `CAPTION_DEGREES`.
        """
        scene = (self.root / self._faces[index][0]).parent.parent
        return scene / caption_name(self._ids[index], degrees)

    def _read_faces(self, index: int) -> list[NDArray[np.uint8]]:
        """Read six faces [S, S, 3]."""
        paths = [self.root / path for path in self._faces[index]]
        faces = [read_face(path) for path in paths]
        for path, face in zip(paths, faces, strict=True):
            if face.shape != faces[0].shape:
                raise InputError(
                    f"{path}: is {face.shape[1]} x {face.shape[0]} pixels; expected "
                    f"{faces[0].shape[0]} as {paths[0].name} has. Export the six faces at the same "
                    "size."
                )
        return faces

    def _prompt(self, index: int, yaw_deg: float) -> str:
        """Return the caption of the nearest multiple of 45°, as released, with its prefix."""
        step = CAPTION_DEGREES.step
        degrees = math.floor(yaw_deg / step + 0.5) * step % 360
        return self.prompt_prefix + read_caption(self.caption_file(index, degrees))
