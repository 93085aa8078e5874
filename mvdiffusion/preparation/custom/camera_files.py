"""Cameras of RGB-D recordings from nerfstudio's transforms.json and from COLMAP models.

transforms.json: docs.nerf.studio, "Data conventions". Poses are camera-to-world with x right, y up,
z backwards; pixel centers lie at half integers; depth steps are 0.001 of the poses' unit.
COLMAP: colmap.github.io, "Output format". Poses are world-to-camera with x right, y down,
z forwards; the center of the upper left pixel is (0.5, 0.5).
Which way the world's axes point is of no meaning here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from mvdiffusion.preparation.custom.image_checks import IMAGE_SUFFIXES
from mvdiffusion.preparation.custom.problems import Problem, from_error, note
from mvdiffusion.preparation.custom.recordings import (
    MILLIMETER,
    Frame,
    Recording,
    frame_number,
    pose_problems,
)
from mvdiffusion.records import InputError, read_json

TRANSFORMS = "transforms.json"
_INTRINSICS = ("fl_x", "fl_y", "cx", "cy")
_DISTORTION = ("k1", "k2", "k3", "k4", "p1", "p2")
_PINHOLE = ("PINHOLE", "SIMPLE_PINHOLE", "OPENCV", "perspective")  # nerfstudio's names
_MODEL_PLACES = ("sparse/0", "sparse", ".")
_FLIP = np.diag([1.0, -1.0, -1.0, 1.0])  # y up, z back -> y down, z forwards


def find_transforms(folder: Path, scale: float = 1.0) -> tuple[Recording, list[Problem]]:
    """Read the frames that a `transforms.json` lists.

    Args:
        folder: that holds it.
        scale: meters per unit of the poses.
    """
    empty = Recording(folder)
    problems: list[Problem] = []
    try:
        meta = read_json(folder / TRANSFORMS)
    except (InputError, OSError) as error:
        return empty, [from_error(error)]
    if not isinstance(meta, dict):
        return empty, [Problem(TRANSFORMS, "not a mapping of keys to values", "Export it again.")]
    entries = meta.get("frames")
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        fix = "List the frames under 'frames', one mapping each."
        return empty, [Problem(TRANSFORMS, "no list of frames under the key 'frames'", fix)]
    unit = meta.get("depth_unit_scale_factor", MILLIMETER)
    if not _is_number(unit) or unit <= 0:
        problem = f"depth_unit_scale_factor is {unit!r}"
        problems.append(Problem(TRANSFORMS, problem, "State meters per step, such as 0.001."))
        unit = MILLIMETER
    read = [
        frame
        for place, entry in enumerate(entries)
        if (frame := _frame(folder, {**meta, **entry}, place, scale, problems))
    ]
    if not entries:
        problems.append(Problem(TRANSFORMS, "lists no frames", "List at least two."))
    return Recording(folder, _renumbered(read), float(unit)), problems


def _frame(
    folder: Path, entry: Mapping[str, Any], place: int, scale: float, problems: list[Problem]
) -> Frame | None:
    """Read one entry of 'frames', which the global keys complete."""
    where = f"{TRANSFORMS}: frames[{place}]"
    wrong = list(_wrong_keys(entry, where))
    problems += wrong
    if any(problem.stops for problem in wrong):
        return None
    pose = np.asarray(entry["transform_matrix"], np.float64) @ _FLIP
    problems += pose_problems(pose, where)
    pose[:3, 3] *= scale
    fx, fy, cx, cy = (float(entry[key]) for key in _INTRINSICS)
    K = np.array([[fx, 0, cx - 0.5], [0, fy, cy - 0.5], [0, 0, 1]])
    size = (int(entry["h"]), int(entry["w"]))
    color = _with_suffix(folder / entry["file_path"])
    return Frame(place, color, folder / entry["depth_file_path"], pose, K, size)


def _wrong_keys(entry: Mapping[str, Any], where: str) -> Iterator[Problem]:
    for key in ("file_path", "depth_file_path"):
        if not isinstance(entry.get(key), str):
            problem = f"{key} is {entry[key]!r}" if key in entry else f"{key} is missing"
            yield Problem(where, problem, f"Name the file, relative to {TRANSFORMS}.")
    for key in (*_INTRINSICS, "w", "h"):
        if not _is_number(entry.get(key)) or entry[key] <= 0:
            problem = f"{key} is {entry[key]!r}" if key in entry else f"{key} is missing"
            yield Problem(where, problem, "Give fl_x, fl_y, cx, cy, w, h in pixels.")
    try:
        matrix = np.asarray(entry.get("transform_matrix"))
    except ValueError:  # rows of different lengths
        matrix = np.empty(0)
    if matrix.shape != (4, 4) or matrix.dtype.kind not in "if":
        fix = "Give the camera-to-world matrix as four rows of four numbers."
        yield Problem(where, "transform_matrix is not 4 x 4 numbers", fix)
    model = entry.get("camera_model", "PINHOLE")
    bent = [key for key in _DISTORTION if entry.get(key)]
    if bent or model not in _PINHOLE:
        problem = f"a distorted camera ({', '.join(bent) or model})"
        yield Problem(where, problem, "Undistort the images first, and the depth, too.")


def _is_number(value: Any) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and abs(value) < 1e12


def _with_suffix(path: Path) -> Path:
    """Complete a file name without suffix, as some exporters write it."""
    if path.suffix or path.exists():
        return path
    found = (path.with_suffix(suffix) for suffix in sorted(IMAGE_SUFFIXES))
    return next((candidate for candidate in found if candidate.exists()), path)


def find_model(folder: Path) -> Path | None:
    """Find a COLMAP model: the folder of `cameras.bin` or `cameras.txt`."""
    for place in _MODEL_PLACES:
        if any((folder / place / f"cameras.{kind}").is_file() for kind in ("bin", "txt")):
            return folder / place
    return None


def find_colmap(folder: Path, scale: float = 1.0) -> tuple[Recording, list[Problem]]:
    """Read a COLMAP model, with images/ and depth/ beside it.

    Args:
        folder: that holds the model (there, in sparse/0 or in sparse), images/ and depth/.
        scale: meters per unit of the model.

    Raises:
        InputError: the library pycolmap is not installed.
    """
    where = find_model(folder)
    if where is None:
        fix = "Put cameras, images and points3D (.bin or .txt) into sparse/0."
        return Recording(folder), [Problem("sparse/0", "no COLMAP model", fix)]
    try:
        frames, models = _read_model(folder, where, scale)
    except InputError:
        raise
    except Exception as error:  # of COLMAP's own reader, which has no error class of its own
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        problem = f"not a whole model ({first})"
        return Recording(folder), [Problem(where, problem, "Export the model again, whole.")]
    problems = [*_unsupported(models, where), *_unregistered(folder, frames)]
    return Recording(folder, _renumbered(frames)), problems


def _read_model(folder: Path, where: Path, scale: float) -> tuple[list[Frame], list[str]]:
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
    frames = [_colmap_frame(folder, image, place, scale) for place, image in enumerate(images)]
    return frames, sorted({str(image.camera.model_name) for image in images})


def _colmap_frame(folder: Path, image: Any, place: int, scale: float) -> Frame:
    R, t = np.split(np.array(image.cam_from_world().matrix(), np.float64), [3], axis=1)
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3:] = R.T, -R.T @ t * scale
    K = np.array(image.camera.calibration_matrix(), np.float64)
    K[:2, 2] -= 0.5
    depth = folder / "depth" / Path(image.name).with_suffix(".png")
    size = (int(image.camera.height), int(image.camera.width))
    return Frame(place, folder / "images" / image.name, depth, pose, K, size)


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


def _renumbered(frames: list[Frame]) -> tuple[Frame, ...]:
    """Number frames by their files' names, or by their order if that does not tell them apart."""
    numbers = (frame_number(frame.color) for frame in frames)
    numbered = {
        n: replace(frame, number=n)
        for n, frame in zip(numbers, frames, strict=True)
        if n is not None
    }
    if len(numbered) < len(frames):
        return tuple(frames)
    return tuple(numbered[number] for number in sorted(numbered))
