"""Recordings with a COLMAP model, with images/ and depth/ beside it.

colmap.github.io, "Output format": poses are world-to-camera with x right, y down, z forward; the
center of the upper left pixel is (0.5, 0.5). Lengths are of no unit; the depth of COLMAP's own
stereo has that of its poses.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from mvdiffusion.preparation.custom.depth_files import DEPTH_SUFFIXES
from mvdiffusion.preparation.custom.image_checks import IMAGE_SUFFIXES
from mvdiffusion.preparation.custom.layouts.transforms import holds_transforms, renumbered
from mvdiffusion.preparation.custom.problems import Problem, note
from mvdiffusion.preparation.custom.recordings import Frame, Recording
from mvdiffusion.records import InputError

_PLACES = ("sparse/0", "sparse", ".")
_STEREO = ("geometric", "photometric")  # depth of COLMAP's own, the checked one first
_OF_NERFSTUDIO = "colmap/sparse/0"  # beside a transforms.json, which then counts


def holds_model(folder: Path) -> bool:
    """Tell whether a folder holds a COLMAP model that is not part of nerfstudio's folder."""
    return find_model(folder) is not None and not holds_transforms(folder.parent)


def find_model(folder: Path) -> Path | None:
    """Find a COLMAP model: the folder of `cameras.bin` or `cameras.txt`."""
    places = _PLACES if holds_transforms(folder) else (*_PLACES, _OF_NERFSTUDIO)
    for place in places:
        if any((folder / place / f"cameras.{kind}").is_file() for kind in ("bin", "txt")):
            return folder / place
    return None


def find_colmap(folder: Path, root: Path | None = None) -> tuple[Recording, list[Problem]]:
    """Read a COLMAP model, with images/ and depth/ beside it.

    Args:
        folder: that holds the model (there, in sparse/0 or in sparse), images/ and depth/.
        root: that file names are reported relative to; not used, as the model names them itself.

    Raises:
        InputError: the library pycolmap is not installed.
    """
    where = find_model(folder)
    if where is None:
        fix = "Put cameras, images and points3D (.bin or .txt) into sparse/0."
        return Recording(folder), [Problem(folder / "sparse/0", "no COLMAP model", fix)]
    try:
        frames, models = _read_model(folder, where)
    except InputError:
        raise
    except Exception as error:  # of COLMAP's own reader, which has no error class of its own
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        problem = f"not a whole model ({first})"
        return Recording(folder), [Problem(where, problem, "Export the model again, whole.")]
    problems = [*_unsupported(models, where), *_unregistered(folder, frames)]
    return Recording(folder, renumbered(frames)), problems


def _read_model(folder: Path, where: Path) -> tuple[list[Frame], list[str]]:
    """Frames of the images that have a pose, by name, and the models of their cameras."""
    try:
        import pycolmap
    except ImportError:
        raise InputError(
            f"{where}: a COLMAP model, but the package pycolmap is missing; install it with "
            "`pip install -c constraints.txt -e '.[colmap]'`."
        ) from None
    model = pycolmap.Reconstruction(where)  # whose images die with it
    images = sorted((i for i in model.images.values() if i.has_pose), key=lambda i: str(i.name))
    frames = [_frame(folder, image, place) for place, image in enumerate(images)]
    return frames, sorted({str(image.camera.model_name) for image in images})


def _frame(folder: Path, image: Any, place: int) -> Frame:
    R, t = np.split(np.array(image.cam_from_world().matrix(), np.float64), [3], axis=1)
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3:] = R.T, -R.T @ t
    K = np.array(image.camera.calibration_matrix(), np.float64)
    K[:2, 2] -= 0.5
    size = (int(image.camera.height), int(image.camera.width))
    depth = _depth(folder, image.name)
    return Frame(place, folder / "images" / image.name, depth, pose, K, size)


def _depth(folder: Path, name: str) -> Path:
    """Find the depth of an image: image.png for image.jpg, image.jpg.png, or COLMAP's own."""
    place = folder / "depth" / name
    bare = [place.with_suffix(suffix) for suffix in DEPTH_SUFFIXES]
    whole = [place.with_name(place.name + suffix) for suffix in DEPTH_SUFFIXES]
    own = [folder / "stereo/depth_maps" / f"{name}.{kind}.bin" for kind in _STEREO]
    return next((path for path in (*bare, *whole, *own) if path.exists()), bare[0])


def _unsupported(models: list[str], where: Path) -> Iterator[Problem]:
    for model in models:
        if model not in ("SIMPLE_PINHOLE", "PINHOLE"):
            fix = "Undistort the images with `colmap image_undistorter`, and the depth, too."
            yield Problem(where, f"a camera with distortion ({model})", fix)
    if not models:
        yield Problem(where, "no image of the model has a pose", "Reconstruct the scene again.")


def _unregistered(folder: Path, frames: list[Frame]) -> Iterator[Problem]:
    """Note images that the model does not place."""
    placed = {frame.color for frame in frames}
    for path in sorted((folder / "images").rglob("*")):
        if path.suffix.lower() in IMAGE_SUFFIXES and path not in placed:
            fix = "Nothing to do: it is left out."
            yield note(path, "the model contains no pose of this image", fix)
