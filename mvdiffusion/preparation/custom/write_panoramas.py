"""One panorama of the user's → six faces in Matterport3D's order and orientation."""

from __future__ import annotations

import math
import shutil
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from mvdiffusion.geometry.cubemap import face_rotations
from mvdiffusion.geometry.equirectangular import equirectangular_to_views
from mvdiffusion.images import jpeg_bytes, read_face, read_image
from mvdiffusion.preparation.custom.panorama_files import Panorama
from mvdiffusion.records import atomic_output

_BAND = 4_000_000  # pixels sampled at once, for memory
_QUARTER_TURNS = (1, 0, 0, 0, 0, -1)  # anticlockwise, from tilted faces to Matterport3D's


def write_panorama(panorama: Panorama, folder: Path, size: int | None, quality: int) -> None:
    """Write `<id>_skybox{0..5}_sami.jpg`; faces that are there already are kept.

    Args:
        panorama: that passed its check.
        folder: of the faces.
        size: pixels of a face of an equirectangular image (default: a quarter of its width).
        quality: of the JPEGs. Faces that are JPEGs and need no turn keep their bytes.
    """
    paths = [folder / f"{panorama.id}_skybox{face}_sami.jpg" for face in range(6)]
    if all(path.is_file() for path in paths):
        return
    if len(panorama.images) == 6:
        for face, path in enumerate(paths):
            _write_given(panorama, face, path, quality)
        return
    image = read_image(panorama.images[0].path)
    for face, path in enumerate(paths):
        pixels = cut_face(image, face, size or panorama.face_size)
        _write(jpeg_bytes(pixels, quality), path)


def cut_face(panorama: Tensor, face: int, size: int) -> NDArray[np.uint8]:
    """Cut a cube face out of an equirectangular image, without aliasing.

    Args:
        panorama: [3, H, 2 H] in −1 … 1.
        face: 0 … 5, up, left, front, right, back, down, as Matterport3D turns them.
        size: pixels of the face.

    Returns:
        RGB [size, size, 3].
    """
    # Sampled where the panorama's pixels are as dense as in the face's middle, and averaged.
    factor = math.ceil(panorama.shape[-1] / (math.pi * size))
    fine = size * factor
    rows = max(1, min(size, _BAND // (fine * factor)))
    R, bands = face_rotations()[face : face + 1], []
    for top in range(0, size, rows):
        count = min(rows, size - top)
        middle = (fine - 1) / 2
        K = torch.tensor([[fine / 2, 0, middle], [0, fine / 2, middle - top * factor], [0, 0, 1]])
        band = equirectangular_to_views(panorama, K[None], R, count * factor, fine)
        bands.append(F.avg_pool2d(band, factor)[0])
    pixels = ((torch.cat(bands, 1) + 1) * 127.5).round().clamp(0, 255).byte()
    return pixels.permute(1, 2, 0).contiguous().numpy()


def _write_given(panorama: Panorama, face: int, path: Path, quality: int) -> None:
    look, turns = panorama.images[face], _QUARTER_TURNS[face] if panorama.tilted else 0
    if look.plain_jpeg and not turns:
        with atomic_output(path) as temporary:
            shutil.copyfile(look.path, temporary)
    else:
        pixels = np.ascontiguousarray(np.rot90(read_face(look.path), turns))
        _write(jpeg_bytes(pixels, quality), path)


def _write(content: bytes, path: Path) -> None:
    with atomic_output(path) as temporary:
        temporary.write_bytes(content)
