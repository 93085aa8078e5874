"""From what an external method wrote to perspective views: one function per layout."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from mvdiffusion.geometry.cameras import intrinsics, level_rotations
from mvdiffusion.geometry.cylinder import strip_to_views
from mvdiffusion.geometry.panoramas import cut_views
from mvdiffusion.geometry.view_cutting import fast_cube_to_views, pad_faces, samples_per_pixel
from mvdiffusion.images import read_face, read_image
from mvdiffusion.manifest import Manifest
from mvdiffusion.methods.specification import FACES, Output
from mvdiffusion.records import InputError

_STORED = {"up": 1, "down": -1}
"""Quarter turns counterclockwise from a picture that is upright, as specifications understand it,
to Matterport3D's, whose up and down carry an extra yaw of −90°."""


def read_views(files: list[Path], output: Output, wanted: Manifest) -> Tensor:
    """Read what a method wrote of a sample as views of the cameras that are wanted.

    Args:
        files: those of the sample, in the layout's order.
        output: in which layout they are.
        wanted: cameras and size of the views.

    Returns:
        Views [V, 3, H, W] in −1 … 1.

    Raises:
        InputError: a file is broken, or of a shape that the layout does not have.
    """
    return _LAYOUTS[output.layout](files, output, wanted).clamp(-1, 1)


def _views(files: list[Path], output: Output, wanted: Manifest) -> Tensor:
    """Views as they are, resized where they have another size."""
    if output.fov_deg not in (None, wanted.fov_deg) or output.yaw_deg:
        raise InputError(
            f"{files[0]}: the method's views are {output.fov_deg}° wide and begin at "
            f"{output.yaw_deg}°; expected {wanted.fov_deg}° and 0°, as the data's. Set "
            "`data.fov_deg` to the method's."
        )
    return torch.stack([_resized(file, wanted.height, wanted.width) for file in files])


def _resized(file: Path, height: int, width: int) -> Tensor:
    image = read_image(file)
    found = tuple(image.shape[1:])
    if found == (height, width):
        return image
    if found[0] * width != found[1] * height:
        raise InputError(
            f"{file}: {found[1]} x {found[0]} pixels; expected the proportions of {width} x "
            f"{height}."
        )
    return F.interpolate(image[None], (height, width), mode="bicubic", antialias=True)[0]


def _equirectangular(files: list[Path], output: Output, wanted: Manifest) -> Tensor:
    panorama = read_image(files[0])
    _, rows, columns = panorama.shape
    if columns != 2 * rows:
        raise InputError(
            f"{files[0]}: {columns} x {rows} pixels; expected an equirectangular panorama, twice "
            "as wide as high."
        )
    return cut_views(panorama, wanted.fov_deg, _turns(output, wanted), wanted.height, wanted.width)


def _strip(files: list[Path], output: Output, wanted: Manifest) -> Tensor:
    """A level strip; rows above and below it are not made up, so it must be high enough."""
    strip, size = read_image(files[0]), (wanted.height, wanted.width)
    rows, columns = strip.shape[-2:]
    radius = columns / (2 * math.pi)  # of the cylinder, in pixels
    focal = float(intrinsics(wanted.fov_deg, *size)[0, 0])
    if (needed := round(wanted.height * radius / focal)) > rows:
        raise InputError(
            f"{files[0]}: has {rows} rows; expected {needed}, as views {wanted.fov_deg:g}° wide "
            "see them: generate it narrower, or set `data.fov_deg` lower."
        )
    factor = max(1, math.ceil(radius / focal))  # samples per pixel and axis, against aliasing
    fine = [side * factor for side in size]
    K, top = intrinsics(wanted.fov_deg, *fine)[None], rows / 2 / radius
    turns = _turns(output, wanted).split(1)  # one by one, for memory
    views = [strip_to_views(strip, top, K, R, *fine) for R in turns]
    return F.avg_pool2d(torch.cat(views), factor)


def _cube(files: list[Path], output: Output, wanted: Manifest) -> Tensor:
    directions: dict[str, Path] = dict(zip(output.faces or {}, files, strict=True))
    faces = [upright(read_face(directions[d]), output, d) for d in FACES]
    for face, direction in zip(faces, FACES, strict=True):
        if len(face) != len(faces[0]):
            raise InputError(
                f"{directions[direction]}: {len(face)} pixels wide; expected {len(faces[0])} as "
                "the other faces."
            )
    stored = [np.rot90(f, _STORED.get(d, 0)) for f, d in zip(faces, FACES, strict=True)]
    size, fov_deg = wanted.width, wanted.fov_deg
    if wanted.height != size:
        raise InputError(f"views of {size} x {wanted.height} pixels: expected square ones.")
    R = _turns(output, wanted)
    K = intrinsics(fov_deg, size, size).repeat(len(R), 1, 1)
    padded = pad_faces([np.ascontiguousarray(face) for face in stored])
    return fast_cube_to_views(padded, K, R, size, samples_per_pixel(len(faces[0]), fov_deg, size))


def upright(face: np.ndarray, output: Output, direction: str) -> np.ndarray:
    """Turn a face as it is stored upright; see `specification.Face`.

    Args:
        face: [S, S, 3].
        output: says how faces are stored.
        direction: which face it is.
    """
    stored = (output.faces or {})[direction]  # type: ignore[index]
    return np.rot90(face[:, ::-1] if stored.mirrored else face, -stored.turn)


def _turns(output: Output, wanted: Manifest) -> Tensor:
    """Rotations of the views, in a panorama whose middle looks to `output.yaw_deg`."""
    return level_rotations([yaw - output.yaw_deg for yaw in wanted.yaw_deg])


_LAYOUTS: Mapping[str, Callable[[list[Path], Output, Manifest], Tensor]] = {
    "views": _views,
    "frames": _views,
    "equirectangular": _equirectangular,
    "strip": _strip,
    "cube": _cube,
}
