"""Panoramas given as the six faces of a cube, in the names and orientations that are known.

Both conventions see every face from inside the cube, the sides upright. The upper and the lower
face are as seen from the front by looking up or down (the lower edge of `up` meets the upper edge
of `front`), as py360convert has them in all of its formats; or turned by a quarter, as Matterport3D
stores its skyboxes. The names of the files say which.

Files that are only numbered are taken for views, and those named after axes (`px`, `nx`, …) are not
recognized: their order and turns differ between programs.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mvdiffusion.geometry.cameras import intrinsics, level_rotations
from mvdiffusion.geometry.cubemap import cube_to_equirectangular
from mvdiffusion.geometry.view_cutting import fast_cube_to_views, pad_faces, samples_per_pixel
from mvdiffusion.images import read_rgb
from mvdiffusion.records import InputError

from .equirectangular import EquirectangularFolder
from .images import check_view
from .samples import file_sha256

FROM_FRONT, TURNED = "as seen from the front", "turned by a quarter, as Matterport3D stores them"
NAMES: tuple[tuple[str, tuple[str, ...]], ...] = (
    (FROM_FRONT, ("up", "left", "front", "right", "back", "down")),
    (FROM_FRONT, ("top", "left", "front", "right", "back", "bottom")),
    (FROM_FRONT, ("u", "l", "f", "r", "b", "d")),
    (TURNED, tuple(f"skybox{face}_sami" for face in range(6))),
)
"""How up and down are turned, and names of the faces up, left, front, right, back, down."""
SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
UP, LEFT, FRONT, RIGHT, DOWN = 0, 1, 2, 3, 5


@dataclass(frozen=True)
class CubeFolder(EquirectangularFolder):
    """Samples that are six faces of a cube each, seen as the panorama that they make.

    Attributes:
        faces: files of the faces of each sample: up, left, front, right, back, down.
        face_size: height and width of a face in pixels.
        turn: how the faces up and down are turned: `FROM_FRONT` or `TURNED`.
    """

    faces: Mapping[str, tuple[Path, ...]] = field(default_factory=dict)
    face_size: int = 0
    turn: str = FROM_FRONT

    def read_faces(self, sample_id: str, turn: str = TURNED) -> list[np.ndarray]:
        """Read the faces of a sample, uint8 RGB [S, S, 3] each.

        Args:
            sample_id: the sample.
            turn: how the faces up and down are to be turned: `FROM_FRONT` or `TURNED`.
        """
        faces = [read_rgb(path) for path in self.faces[sample_id]]
        quarters = int(turn == TURNED) - int(self.turn == TURNED)
        faces[UP], faces[DOWN] = np.rot90(faces[UP], quarters), np.rot90(faces[DOWN], -quarters)
        return [np.ascontiguousarray(face) for face in faces]

    def panorama(self, sample_id: str) -> np.ndarray:
        """Resample the faces of a sample to its panorama: uint8 RGB [H, 2 H, 3]."""
        faces = torch.from_numpy(np.stack(self.read_faces(sample_id))).permute(0, 3, 1, 2).float()
        pixels = cube_to_equirectangular(faces, self.panorama_size[1]).round().clamp(0, 255).byte()
        return pixels.permute(1, 2, 0).numpy()

    def panorama_digest(self, sample_id: str) -> str:
        """Hash the faces of a sample, and what is made of them (64 hex digits)."""
        digests = [file_sha256(path) for path in self.faces[sample_id]]
        made = f"{digests} {self.turn} to {self.panorama_size}"
        return hashlib.sha256(made.encode()).hexdigest()

    def views(self, sample_id: str, which: Sequence[int] | None = None) -> np.ndarray:
        """Cut the views of a sample, or some of them, out of its faces: uint8 RGB [V, H, W, 3].

        Where panoramas of another height are asked for, the views are cut out of those.
        """
        if self.resized_from is not None:
            return super().views(sample_id, which)
        chosen = [
            self.yaw_deg[view] for view in (range(self.num_views) if which is None else which)
        ]
        size = self.height
        cameras = (
            intrinsics(self.fov_deg, size, size).expand(len(chosen), 3, 3),
            level_rotations(chosen),
        )
        samples = samples_per_pixel(self.face_size, self.fov_deg, size)
        padded = pad_faces(self.read_faces(sample_id))
        views = fast_cube_to_views(padded, *cameras, size, samples) * 127.5 + 127.5
        return views.round().byte().permute(0, 2, 3, 1).numpy()

    def _resizing(self) -> dict[str, Any]:
        if self.resized_from is None:
            return {}
        return {"resized_from": list(self.resized_from), "resized_by": "sampling of the faces"}

    def check_images(self, sample_id: str) -> None:
        """Check the headers of a sample's faces."""
        for path in self.faces[sample_id]:
            check_view(path, self.face_size, self.face_size)

    def view_paths(self, sample_id: str) -> list[Path]:
        """Name the faces of a sample, which all of its views are cut from."""
        return list(self.faces[sample_id])

    def arrangement(self) -> dict[str, Any]:
        """Number of views, their cameras, and the faces that they were cut from."""
        return {**super().arrangement(), "face_size": self.face_size, "up_and_down": self.turn}


def find_faces(folder: Path) -> tuple[str, tuple[Path, ...]] | None:
    """Find six faces in the folder of a sample.

    A name may have the name of the folder and `_` in front, and be in upper case.

    Args:
        folder: of one sample.

    Returns:
        How up and down are turned, and the files up, left, front, right, back, down; None if the
        folder has no file that is named like the front of a cube.

    Raises:
        InputError: faces are missing, or there are two of one name.
    """
    files = list(_named(folder))
    for turn, names in NAMES:
        found = {name: [path for stem, path in files if stem == name] for name in names}
        if not found[names[FRONT]] or (
            names[0] == "up" and not found["up"] and "top" in dict(files)
        ):
            continue
        if wrong := [name for name, paths in found.items() if len(paths) != 1]:
            kind = "two of" if found[wrong[0]] else "none of"
            raise InputError(
                f"{folder}: {kind} the face '{wrong[0]}'; expected the six faces of a cube, one "
                f"file each: {', '.join(names)}, with up and down {turn}."
            )
        return turn, tuple(paths[0] for paths in found.values())
    return None


def _named(folder: Path) -> Iterator[tuple[str, Path]]:
    """Images of a sample, with their names in lower case and without that of the folder."""
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() in SUFFIXES and not path.name.startswith("."):
            stem = path.stem.removeprefix(f"{folder.name}_")
            yield stem.lower(), path
