"""Intrinsics in the files that tools write beside a recording, and checks of poses."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from mvdiffusion.geometry.cameras import is_rigid
from mvdiffusion.geometry.matrix_files import read_intrinsics
from mvdiffusion.images import open_image
from mvdiffusion.preparation.custom.depth_files import read_counts
from mvdiffusion.preparation.custom.problems import Problem, from_error, note
from mvdiffusion.records import InputError, read_json

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Camera:
    """A recording's camera.

    Attributes:
        K: intrinsics [3, 3] in pixels (pixel centers at integers).
        size: (height, width) that K is for; None means the depth images'.
        depth_unit: meters per count of depth; None if the file does not say.
    """

    K: Array
    size: tuple[int, int] | None = None
    depth_unit: float | None = None


def _matrix(path: Path) -> Camera:
    return Camera(read_intrinsics(path).numpy())


def _line(path: Path) -> Camera:
    """Read "fx fy cx cy", perhaps with zeros for the distortion, or a matrix (ETH3D; many)."""
    rows = table(path)
    if len(rows) != 1 or len(rows[0]) < 4:
        return _matrix(path)
    fx, fy, cx, cy, *distortion = rows[0]
    if any(distortion):
        raise InputError(
            f"{path}: a camera with distortion ({distortion}). Undistort the images, and the "
            "depth, too."
        )
    return Camera(np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]]))


def _replica(path: Path) -> Camera:
    """Read `cam_params.json` of Replica as NICE-SLAM rendered it."""
    try:
        camera = read_json(path)["camera"]
        fx, fy, cx, cy, scale, w, h = (
            float(camera[key]) for key in ("fx", "fy", "cx", "cy", "scale", "w", "h")
        )
        unit = 1 / scale
    except (KeyError, TypeError, ValueError, ZeroDivisionError):
        raise InputError(
            f"{path}: found no camera with fx, fy, cx, cy, w, h and scale; expected all of them "
            "under 'camera'."
        ) from None
    return Camera(np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]]), (int(h), int(w)), unit)


def _sensor(path: Path) -> Camera:
    """Read `_info.txt` of ScanNet's C++ reader: lines of "name = values"."""
    lines = (line.partition("=") for line in path.read_text("utf-8-sig", "replace").splitlines())
    values = {name.strip(): value.split() for name, _, value in lines}
    try:
        K = np.array(values["m_calibrationDepthIntrinsic"], np.float64).reshape(4, 4)[:3, :3]
        size = (int(values["m_depthHeight"][0]), int(values["m_depthWidth"][0]))
        unit = 1 / float(values.get("m_depthShift", ["1000"])[0])
    except (KeyError, IndexError, ValueError, ZeroDivisionError):
        raise InputError(
            f"{path}: found no m_calibrationDepthIntrinsic of 16 numbers with m_depthWidth and "
            "m_depthHeight; expected them. Export the scene again."
        ) from None
    return Camera(K, size, unit)


_FILES: dict[str, Callable[[Path], Camera]] = {
    "intrinsic/intrinsic_depth.txt": _matrix,  # ScanNet's Python exporter
    "intrinsics_depth.txt": _matrix,  # scannet_frames_25k
    "_info.txt": _sensor,  # ScanNet's C++ reader, 3RScan
    "info.txt": _sensor,  # BundleFusion
    "intrinsic_depth.txt": _matrix,
    "camera-intrinsics.txt": _line,  # tsdf-fusion-python
    "calibration.txt": _line,  # ETH3D
    "intrinsics.txt": _line,
    "intrinsic.txt": _line,
    "K.txt": _line,  # deep-video-mvs
    "cam_params.json": _replica,
    "../camera-intrinsics.txt": _line,
    "../cam_params.json": _replica,
}
"""Where intrinsics of the depth are found, the first one first, and how they are read."""

_OF_COLOR = ("intrinsic/intrinsic_color.txt", "intrinsics_color.txt")


def find_camera(
    scene: Path, colors: Sequence[Path], depths: Sequence[Path], problems: list[Problem]
) -> Camera | None:
    """Find the camera of the depth; that of the color stands in where the sizes are equal.

    Args:
        scene: folder of the recording.
        colors, depths: its images.
        problems: those found are added.
    """
    here = [name for name in _FILES if (scene / name).is_file()]
    others = [name for name in _OF_COLOR if (scene / name).is_file()]
    read = _FILES[here[0]] if here else _matrix
    if not here and others and _same_size(colors, depths):
        here = others
    if not here:
        fix = (
            "Write the intrinsics of the depth there, [[fx, 0, cx], [0, fy, cy], [0, 0, 1]] in "
            "pixels, or fx fy cx cy into calibration.txt."
        )
        problems.append(Problem(scene / "intrinsic/intrinsic_depth.txt", "no such file", fix))
        return None
    path = scene / here[0]
    try:
        camera = read(path)
    except (InputError, OSError) as error:
        problems.append(from_error(error))
        return None
    if abs(float(camera.K[0, 1])) > 1e-6:
        problem = f"skewed pixels (K[0][1] = {float(camera.K[0, 1]):g}), so not a pinhole camera"
        problems.append(Problem(path, problem, "Undistort the images; give fx, fy, cx, cy."))
    return camera


def _same_size(colors: Sequence[Path], depths: Sequence[Path]) -> bool:
    try:
        with open_image(next(iter(colors))) as color:
            width, height = color.size
    except (StopIteration, OSError, SyntaxError):
        return False
    depth = read_counts(next(iter(depths))) if depths else None
    return isinstance(depth, np.ndarray) and depth.shape == (height, width)


def first_folder(scene: Path, names: Sequence[str]) -> Path | None:
    """Return the first folder of some names that a scene has."""
    return next((scene / name for name in names if (scene / name).is_dir()), None)


def table(path: Path) -> list[list[float]]:
    """Read rows of numbers; lines that begin with '#' are comments.

    Raises:
        InputError: the file is missing, or holds anything else.
    """
    try:
        lines = path.read_text("utf-8-sig").replace(",", " ").splitlines()
        rows = (line.split() for line in lines if not line.lstrip().startswith("#"))
        return [[float(value) for value in row] for row in rows if row]
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; expected rows of numbers there.") from None
    except ValueError as error:  # not text, or not a number
        raise InputError(f"{path}: {error}; expected rows of numbers.") from None


def pose_problems(pose: Array, name: Path | str) -> Iterator[Problem]:
    """Say why a pose [4, 4] is no rigid motion.

    Args:
        pose: camera-to-world [4, 4].
    """
    if is_rigid(torch.from_numpy(pose)):
        return
    fix = "Export camera-to-world poses: rotation and translation in meters, last row 0 0 0 1."
    if not np.isfinite(pose).all():
        fix = "Nothing to do: it stays out of the valid frames."
        yield note(name, "a pose with NaN or infinity (tracking lost)", fix)
    elif pose[3].tolist() != [0, 0, 0, 1]:
        yield Problem(name, "a pose whose last row is not 0 0 0 1", fix)
    elif (determinant := float(np.linalg.det(pose[:3, :3]))) < 0:
        yield Problem(name, "a mirrored pose (left-handed axes)", fix)
    else:
        scale = determinant ** (1 / 3)
        problem = f"a pose scaled by {scale:.2f}" if abs(scale - 1) > 0.005 else "a sheared pose"
        yield Problem(name, problem, fix)
