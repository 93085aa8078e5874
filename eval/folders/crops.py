"""The images that protocols measure on whole panoramas: crops in sets of directions, or all.

Some protocols evaluate panoramas by perspective crops, OmniFID by cube faces, FAED and others by
the whole image. How crops are sampled is in `sampling`. All of them are again folders of samples,
whose images are cut when they are read.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from mvdiffusion.geometry.cameras import rotation

from .cubes import FROM_FRONT, CubeFolder
from .derived import DerivedFolder, Direction, Directions, WholeFolder, inherited, random_of
from .equirectangular import EquirectangularFolder
from .images import resize_views
from .samples import PanoramaFolder, SampleFolder
from .sampling import SAMPLINGS, enlarged
from .windows import windows


def level_8(sample_id: str) -> tuple[Direction, ...]:
    """Eight level directions, 45° apart, the same for every sample."""
    return tuple((45.0 * view, 0.0) for view in range(8))


def sphere_20(sample_id: str) -> tuple[Direction, ...]:
    """Twenty directions drawn independently and uniformly on the sphere.

    PanFusion's evaluation draws them anew for every panorama, the same ones for the generated and
    the real one, from no fixed seed (its `EvalPanoGen.test_step`). Here the id of the sample is the
    seed, so that both sides, every method and every run look the same way.
    """
    across, height = random_of(sample_id).random((2, 20))
    yaw_deg, pitch_deg = 360 * across - 180, np.degrees(np.arcsin(2 * height - 1))
    return tuple(zip(yaw_deg.tolist(), pitch_deg.tolist(), strict=True))


def level_random_8(sample_id: str) -> tuple[Direction, ...]:
    """Eight level directions drawn independently and uniformly around the horizon.

    As CubeDiff is evaluated, by what its authors wrote to a reader, and 360Anything after it. Here
    the id of the sample is the seed; how those papers draw is not published.
    """
    return tuple((float(yaw), 0.0) for yaw in random_of(sample_id).uniform(-180, 180, 8))


TANGENT_ROWS = ((67.5, 3), (22.5, 6), (-22.5, 6), (-67.5, 3))
"""Latitude in degrees and number of the tangent planes of each row, from above."""


def tangent_18(sample_id: str) -> tuple[Direction, ...]:
    """Eighteen tangent planes in four rows, the same for every sample (TanDiT's planes).

    Each row is spread evenly with half a step left over at the seam; where its rows begin, TanDiT
    does not say.
    """
    return tuple(
        (360 * (plane + 0.5) / count - 180, pitch)
        for pitch, count in TANGENT_ROWS
        for plane in range(count)
    )


def cube_6(sample_id: str) -> tuple[Direction, ...]:
    """Cube faces up, left, front, right, back, down; up and down as seen from the front."""
    return ((0.0, 90.0), (-90.0, 0.0), (0.0, 0.0), (90.0, 0.0), (180.0, 0.0), (0.0, -90.0))


DIRECTIONS: dict[str, Directions] = {
    f.__name__: f for f in (level_8, level_random_8, sphere_20, cube_6, tangent_18)
}
"""Sets of directions by name."""


@dataclass(frozen=True)
class CropFolder(DerivedFolder):
    """Square perspective crops of panoramas.

    Attributes:
        fov_deg: their field of view.
        sampling: how their pixels are sampled; a key of `SAMPLINGS`.
        cut_size: height and width in pixels at which they are cut, before they are resized.
    """

    directions: Directions
    fov_deg: float = 90.0
    sampling: str = "area"
    cut_size: int = 0

    def count(self, sample_id: str) -> int:
        """Crops of a sample."""
        return len(self.directions(sample_id))

    def views(self, sample_id: str, which: Sequence[int] | None = None) -> np.ndarray:
        """Cut the crops of a sample, or some of them: uint8 RGB [V, size, size, 3]."""
        looks = self.directions(sample_id)
        chosen = looks if which is None else [looks[view] for view in which]
        R = torch.stack([rotation(*direction) for direction in chosen])
        panorama = self.source.panorama(sample_id)
        crops = SAMPLINGS[self.sampling](panorama, self.fov_deg, R, self.cut_size)
        return crops if self.cut_size == self.height else enlarged(crops, self.height)

    def view_digests(self, sample_id: str) -> list[str]:
        """Hash the panorama of a sample with the camera of each crop (64 hex digits each)."""
        panorama = self.source.panorama_digest(sample_id)
        how = (self.fov_deg, self.sampling, self.cut_size, self.height)
        names = [f"{panorama} crop {(*how, *look)}" for look in self.directions(sample_id)]
        return [hashlib.sha256(name.encode()).hexdigest() for name in names]

    def arrangement(self) -> dict[str, Any]:
        """Directions, field of view and size of the crops, and of what they are cut from."""
        return {
            "of": "crops",
            "directions": self.directions.__name__,
            "fov_deg": self.fov_deg,
            "sampling": self.sampling,
            "size": self.cut_size,
            "resized_to": self.height,
            "cut_from": list(self.source.panorama_size),
        }


@dataclass(frozen=True)
class ResizedFolder(SampleFolder):
    """Views that a method made one by one in the directions of crops, at their size.

    Attributes:
        source: the views as they are.
    """

    source: PanoramaFolder

    def count(self, sample_id: str) -> int:
        """Views of a sample."""
        return self.source.num_views

    def evaluated_views(self, sample_id: str) -> list[int]:
        """All but those given."""
        return self.source.evaluated_views(sample_id)

    def arrangement(self) -> dict[str, Any]:
        """Cameras of the views, and the size that they had."""
        return {**self.source.arrangement(), "resized_from": [self.source.width] * 2}

    def views(self, sample_id: str, which: Sequence[int] | None = None) -> np.ndarray:
        """Read views and shrink them, each pixel the mean of its area: uint8 RGB [V, H, W, 3]."""
        views = resize_views(self.source.views(sample_id, which), self.height, self.width)
        return (255 * views).round().astype(np.uint8)

    def view_digests(self, sample_id: str) -> list[str]:
        """Hash what each view is read from with its size (64 hex digits each)."""
        names = [f"{digest} at {self.height}" for digest in self.source.view_digests(sample_id)]
        return [hashlib.sha256(name.encode()).hexdigest() for name in names]


@dataclass(frozen=True)
class FaceFolder(DerivedFolder):
    """The faces of cubes as they are given, at another size: up and down as seen from the front."""

    source: CubeFolder

    def count(self, sample_id: str) -> int:
        """Six."""
        return len(self.source.faces[sample_id])

    def arrangement(self) -> dict[str, Any]:
        """Size of the faces, and the size that they had."""
        size = self.source.face_size
        return {"of": "faces", "size": self.height, "resized_from": [size, size]}

    def views(self, sample_id: str, which: Sequence[int] | None = None) -> np.ndarray:
        """Read the faces of a sample, or some of them: uint8 RGB [V, size, size, 3]."""
        faces = self.source.read_faces(sample_id, FROM_FRONT)
        chosen = faces if which is None else [faces[face] for face in which]
        resized = resize_views(np.stack(chosen), self.height, self.width)
        return (255 * resized).round().astype(np.uint8)

    def view_digests(self, sample_id: str) -> list[str]:
        """Hash the files of a sample's faces with their number and size (64 hex digits each)."""
        panorama = self.source.panorama_digest(sample_id)
        names = [f"{panorama} face {face} at {self.height}" for face in range(6)]
        return [hashlib.sha256(name.encode()).hexdigest() for name in names]


def _resized(folder: SampleFolder, spec: Mapping[str, Any]) -> ResizedFolder | None:
    """Views that look as level crops would and are no smaller, at the size of these.

    Other people's crops are of panoramas alone.
    """
    if spec.get("sampling", "area") != "area":
        return None
    size, fov_deg = spec.get("resized_to", spec["size"]), spec.get("fov_deg", 90.0)
    if not isinstance(folder, PanoramaFolder) or folder.height < size:
        return None
    looks = tuple((yaw, 0.0) for yaw in folder.yaw_deg)
    alike = folder.fov_deg == fov_deg and folder.height == folder.width
    if not alike or any(DIRECTIONS[spec["directions"]](i) != looks for i in folder.sample_ids):
        return None
    return ResizedFolder(**inherited(folder, size, size))


def crop(
    folder: EquirectangularFolder,
    directions: Directions,
    fov_deg: float,
    size: int,
    sampling: str = "area",
    resized_to: int | None = None,
) -> CropFolder:
    """See panoramas as square perspective crops.

    Args:
        folder: the panoramas.
        directions: where the crops of a sample look, as `level_8`.
        fov_deg: field of view in degrees, between 0 and 180.
        size: height and width at which a crop is cut, in pixels.
        sampling: how its pixels are sampled; a key of `SAMPLINGS`.
        resized_to: height and width that it then gets, in pixels; None for the same.
    """
    final = resized_to or size
    return CropFolder(
        **inherited(folder, final, final),
        directions=directions,
        fov_deg=float(fov_deg),
        sampling=sampling,
        cut_size=size,
    )


def panoramas(folder: EquirectangularFolder, without_poles: float = 0.0) -> WholeFolder:
    """See every panorama as the one image of its sample.

    Args:
        folder: the panoramas.
        without_poles: share of the rows that is left out above, and as much below, from 0 to less
            than 0.5; rounded to whole rows.
    """
    width, height = folder.panorama_size
    kept = height - 2 * round(without_poles * height)
    return WholeFolder(**inherited(folder, kept, width), without_poles=without_poles)


def _is_of_faces(spec: Mapping[str, Any]) -> bool:
    """Whether crops are the faces of a cube, in no way of sampling of other people."""
    known = {"directions": "cube_6", "fov_deg": 90.0, "sampling": "area", "resized_to": None}
    return all(spec.get(key, value) == value for key, value in known.items())


def select_images(folder: SampleFolder, spec: Mapping[str, Any]) -> SampleFolder | None:
    """Derive the images that a protocol measures.

    Args:
        folder: samples of any layout.
        spec: as in the definitions of protocols: `{"of": "views"}`, the folder itself;
            `{"of": "panoramas"}`, each whole panorama, with `without_poles` as in `panoramas`;
            `{"of": "windows"}`, squares side by side (see `windows`), or with `"drawn": True` one
            at random; or `{"of": "crops", "directions": …, "size": …}`, crops of them, with a name
            out of `DIRECTIONS` and further arguments of `crop`; the field of view is 90 degrees if
            none is given.

    Returns:
        The images as samples; None if whole panoramas are wanted and the folder holds none. Views
        that look as crops sampled by `area` would, and are no smaller, are resized to them instead;
        and so are the faces of cubes, whose edges would be lost in a panorama made of them.
    """
    if spec["of"] == "views":
        return folder
    if spec["of"] == "windows":
        around = folder if isinstance(folder, PanoramaFolder) else None
        return around and windows(around, spec.get("drawn", False))
    if not isinstance(folder, EquirectangularFolder):
        return _resized(folder, spec) if spec["of"] == "crops" else None
    if spec["of"] == "panoramas":
        return panoramas(folder, spec.get("without_poles", 0.0))
    if isinstance(folder, CubeFolder) and _is_of_faces(spec):
        return FaceFolder(**inherited(folder, spec["size"], spec["size"]), directions=cube_6)
    given = {"fov_deg": 90.0, **spec, "directions": DIRECTIONS[spec["directions"]]}
    return crop(folder, **{key: value for key, value in given.items() if key != "of"})
