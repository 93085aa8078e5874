"""Recordings with a transforms.json, as nerfstudio, instant-ngp, NeRFCapture and others write it.

docs.nerf.studio, "Data conventions": poses are camera-to-world with x right, y up, z backward;
pixel centers lie at half integers; a count of depth is 0.001 m. Which way the world's axes point is
of no meaning here.

What one tool leaves out others have: a frame's numbers complete the global ones; a focal length may
be an angle of view (instant-ngp, Blender); the center is that of the image; the size is that of the
file; NeRFCapture calls depth `depth_path` and its unit `integer_depth_scale`.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from mvdiffusion.images import open_image
from mvdiffusion.preparation.custom.depth_files import DEPTH_SUFFIXES, MILLIMETER
from mvdiffusion.preparation.custom.image_checks import IMAGE_SUFFIXES
from mvdiffusion.preparation.custom.layouts.cameras import pose_problems
from mvdiffusion.preparation.custom.layouts.frame_order import numbered
from mvdiffusion.preparation.custom.problems import Problem, from_error
from mvdiffusion.preparation.custom.recordings import Frame, Recording
from mvdiffusion.records import InputError, read_json

TRANSFORMS = "transforms.json"
_AXES = "x right, y up, z backward"
_DEPTH_FILES = ("depth_file_path", "depth_path")
_UNITS = ("depth_unit_scale_factor", "integer_depth_scale")
_DISTORTION = ("k1", "k2", "k3", "k4", "p1", "p2")
_PINHOLE = ("PINHOLE", "SIMPLE_PINHOLE", "OPENCV", "perspective")  # nerfstudio's names
_FLIP = np.array([1.0, -1.0, -1.0, 1.0])  # of columns: y up, z back -> y down, z forward


def holds_transforms(folder: Path) -> bool:
    """Tell whether a folder holds a transforms.json."""
    return (folder / TRANSFORMS).is_file()


def find_transforms(folder: Path, root: Path | None = None) -> tuple[Recording, list[Problem]]:
    """Read the frames that a `transforms.json` lists.

    Args:
        folder: that holds it.
        root: that file names are reported relative to; not used, as the file names them itself.
    """
    empty = Recording(folder)
    where = folder / TRANSFORMS
    problems: list[Problem] = []
    try:
        meta = read_json(where)
    except (InputError, OSError) as error:
        return empty, [from_error(error)]
    if not isinstance(meta, dict):
        return empty, [Problem(where, "not a mapping of keys to values", "Export it again.")]
    entries = meta.get("frames")
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        fix = "List the frames under 'frames', one mapping each."
        return empty, [Problem(where, "no list of frames under the key 'frames'", fix)]
    unit = _depth_unit(meta, where, problems)
    read = [
        frame
        for place, entry in enumerate(entries)
        if (frame := _frame(folder, {**meta, **entry}, place, problems))
    ]
    if not entries:
        problems.append(Problem(where, "lists no frames", "List at least two."))
    fix = "List every frame once."
    for color, times in Counter(frame.color for frame in read).items():
        if times > 1:
            problems.append(Problem(color, f"listed {times} times in {TRANSFORMS}", fix))
    return Recording(folder, renumbered(read), unit, _AXES), problems


def _depth_unit(meta: Mapping[str, Any], where: Path, problems: list[Problem]) -> float:
    key = next((key for key in _UNITS if key in meta), None)
    if key is None:
        return MILLIMETER
    unit = meta[key]
    if not _is_number(unit) or not unit > 0:
        fix = "State meters per count, such as 0.001."
        problems.append(Problem(where, f"{key} is {unit!r}", fix))
        return MILLIMETER
    return float(unit)


def _frame(
    folder: Path, entry: Mapping[str, Any], place: int, problems: list[Problem]
) -> Frame | None:
    """Read one entry of 'frames', which the global keys complete."""
    where = f"{folder / TRANSFORMS}: frames[{place}]"
    wrong = [*_wrong_files(entry, where), *_wrong_pose(entry, where)]
    color = None if wrong else _named(folder, entry["file_path"], IMAGE_SUFFIXES)
    camera = _completed(entry, color)
    wrong += _wrong_camera(camera, where)
    problems += wrong
    if color is None or any(problem.stops for problem in wrong):
        return None
    pose = np.asarray(entry["transform_matrix"], np.float64) * _FLIP
    problems += pose_problems(pose, where)
    fx, fy, cx, cy, w, h = (float(camera[key]) for key in ("fl_x", "fl_y", "cx", "cy", "w", "h"))
    K = np.array([[fx, 0, cx - 0.5], [0, fy, cy - 0.5], [0, 0, 1]])
    named = next(entry[key] for key in _DEPTH_FILES if key in entry)
    depth = _named(folder, named, DEPTH_SUFFIXES)
    return Frame(place, color, depth, pose, K, (int(h), int(w)))


def _wrong_files(entry: Mapping[str, Any], where: str) -> Iterator[Problem]:
    depth = next((key for key in _DEPTH_FILES if key in entry), _DEPTH_FILES[0])
    for key in ("file_path", depth):
        if not isinstance(entry.get(key), str) or not entry[key].strip():
            problem = f"{key} is {entry[key]!r}" if key in entry else f"{key} is missing"
            yield Problem(where, problem, f"Name the file, relative to {TRANSFORMS}.")


def _wrong_pose(entry: Mapping[str, Any], where: str) -> Iterator[Problem]:
    try:
        matrix = np.asarray(entry.get("transform_matrix"))
    except ValueError:  # rows of different lengths
        matrix = np.empty(0)
    if matrix.shape != (4, 4) or matrix.dtype.kind not in "if":
        fix = "Give the camera-to-world matrix as four rows of four numbers."
        yield Problem(where, "transform_matrix is not 4 x 4 numbers", fix)


def _completed(entry: Mapping[str, Any], color: Path | None) -> dict[str, Any]:
    """Complete a camera as its tool does: from the image's size and the angle of view."""
    camera = dict(entry)
    if color is not None and ("w" not in camera or "h" not in camera):
        try:
            with open_image(color) as image:
                camera["w"], camera["h"] = image.size
        except (OSError, SyntaxError, ValueError):  # reported when the image is looked at
            return {**dict.fromkeys(("w", "h", "fl_x", "fl_y", "cx", "cy"), 1), **entry}
    for axis, size, center in (("x", "w", "cx"), ("y", "h", "cy")):
        if not _is_number(camera.get(size)):
            continue
        camera.setdefault(center, camera[size] / 2)
        angle: Any = camera.get(f"camera_angle_{axis}")
        if f"fl_{axis}" not in camera and _is_number(angle) and 0 < angle < math.pi:
            camera[f"fl_{axis}"] = camera[size] / 2 / math.tan(angle / 2)
    if "fl_x" in camera:
        camera.setdefault("fl_y", camera["fl_x"])
    return camera


def _wrong_camera(camera: Mapping[str, Any], where: str) -> Iterator[Problem]:
    for key in ("fl_x", "fl_y", "cx", "cy", "w", "h"):
        if key == "fl_y" and "fl_x" not in camera:
            continue  # said of fl_x
        if not _is_number(camera.get(key)) or not camera[key] > 0:
            problem = f"{key} is {camera[key]!r}" if key in camera else f"{key} is missing"
            yield Problem(where, problem, "Give fl_x, fl_y, cx, cy, w, h in pixels.")
    model = camera.get("camera_model", "PINHOLE")
    bent = [key for key in _DISTORTION if camera.get(key)]
    if bent or model not in _PINHOLE or camera.get("is_fisheye"):
        problem = f"a distorted camera ({', '.join(bent) or model})"
        yield Problem(where, problem, "Undistort the images first, and the depth, too.")


def _is_number(value: Any) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and abs(value) < 1e12


def _named(folder: Path, name: str, suffixes: tuple[str, ...] | set[str]) -> Path:
    """Find a named file; Windows' separators are understood, a suffix that lacks is completed."""
    path = folder / name
    if not path.exists():
        path = folder / name.replace("\\", "/")
    if path.exists() or path.suffix.lower() in suffixes:
        return path
    found = (path.with_name(path.name + suffix) for suffix in sorted(suffixes))
    return next((candidate for candidate in found if candidate.exists()), path)


def renumbered(frames: list[Frame]) -> tuple[Frame, ...]:
    """Number frames by their files' names, or by their order if those do not tell them apart."""
    order = numbered([frame.color for frame in frames])
    return tuple(replace(frames[place], number=number) for number, place in order)
