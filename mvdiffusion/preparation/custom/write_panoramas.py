"""One panorama of the user's → six faces in Matterport3D's order and orientation."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from mvdiffusion.data.splits import face_names
from mvdiffusion.geometry.cubemap import face_rotations
from mvdiffusion.geometry.panoramas import cut_views
from mvdiffusion.images import jpeg_bytes, read_face, read_image, to_pixels
from mvdiffusion.preparation.custom.panorama_files import Panorama
from mvdiffusion.records import atomic_output

_QUARTER_TURNS = (1, 0, 0, 0, 0, -1)  # anticlockwise, from tilted faces to Matterport3D's


def write_panorama(panorama: Panorama, folder: Path, size: int | None, quality: int) -> None:
    """Write `<id>_skybox{0..5}_sami.jpg`; faces that are there already are kept.

    Args:
        panorama: that passed its check.
        size: pixels of a face of an equirectangular image (default: a quarter of its width).
        quality: of the JPEGs. Faces that are JPEGs and need no turn keep their bytes.
    """
    paths = [folder / name for name in face_names(panorama.id)]
    if all(path.is_file() for path in paths):
        return
    whole = read_image(panorama.images[0].path) if len(panorama.images) == 1 else None
    for face, path in enumerate(paths):
        with atomic_output(path) as temporary:
            if whole is not None:
                pixels = cut_face(whole, face, size or panorama.face_size)
            else:
                look, turns = panorama.images[face], _QUARTER_TURNS[face] * panorama.tilted
                if look.plain_jpeg and not turns:
                    shutil.copyfile(look.path, temporary)
                    continue
                pixels = np.ascontiguousarray(np.rot90(read_face(look.path), turns))
            temporary.write_bytes(jpeg_bytes(pixels, quality))


def cut_face(panorama: Tensor, face: int, size: int) -> NDArray[np.uint8]:
    """Cut a cube face, RGB [size, size, 3], out of an equirectangular image, without aliasing.

    Args:
        panorama: [3, H, 2 H] in −1 … 1.
        face: 0 … 5, up, left, front, right, back, down, as Matterport3D turns them.
    """
    R = face_rotations()[face : face + 1]
    return to_pixels(cut_views(panorama, 90.0, R, size, size)[0])
