"""Recordings with a text file per camera, as MVSNet reads them: DTU, BlendedMVS and others.

images/N.jpg, depths/N.pfm     color and depth
cams/N_cam.txt                 "extrinsic", 4 x 4 world-to-camera, "intrinsic", 3 x 3
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mvdiffusion.preparation.custom.depth_files import DEPTH_SUFFIXES
from mvdiffusion.preparation.custom.image_checks import IMAGE_SUFFIXES, files_in
from mvdiffusion.preparation.custom.layouts.cameras import Array, first_folder, pose_problems
from mvdiffusion.preparation.custom.layouts.folders import by_key, in_order, pairing, unpaired
from mvdiffusion.preparation.custom.problems import Problem, from_error
from mvdiffusion.preparation.custom.recordings import Frame, Recording
from mvdiffusion.records import InputError

_COLORS = ("images", "blended_images", "image")
_DEPTHS = ("depths", "depth", "rendered_depth_maps")


def holds_cams(scene: Path) -> bool:
    """Tell whether a folder holds images/ and cams/*_cam.txt."""
    return first_folder(scene, _COLORS) is not None and any((scene / "cams").glob("*_cam.txt"))


def find_cams(scene: Path, folder: Path) -> tuple[Recording, list[Problem]]:
    """Read images/, cams/ and depths/.

    Args:
        scene: that holds them.
        folder: that file names are reported relative to.
    """
    problems: list[Problem] = []
    colors = files_in(first_folder(scene, _COLORS) or scene / _COLORS[0], IMAGE_SUFFIXES)
    depths = files_in(first_folder(scene, _DEPTHS) or scene / _DEPTHS[0], DEPTH_SUFFIXES)
    cameras = sorted((scene / "cams").glob("*_cam.txt"))
    key = pairing([colors, depths, cameras])
    parts = [by_key(paths, key, folder, problems) for paths in (colors, depths, cameras)]
    problems += unpaired(dict(zip(("color image", "depth image", "camera"), parts, strict=True)))
    color, depth, camera = parts
    together = [each for each in color if each in depth and each in camera]
    frames = []
    for number, each in in_order(together, color, scene, problems):
        try:
            pose, K = _camera(camera[each])
        except (InputError, OSError) as error:
            problems.append(from_error(error))
            continue
        problems += pose_problems(pose, camera[each])
        frames.append(Frame(number, color[each], depth[each], pose, K))
    return Recording(scene, tuple(frames)), problems


def _camera(path: Path) -> tuple[Array, Array]:
    """Read the camera-to-world pose [4, 4] and the intrinsics [3, 3] of a file."""
    words = path.read_text("utf-8-sig", "replace").split()
    try:
        outer, inner = words.index("extrinsic") + 1, words.index("intrinsic") + 1
        world = np.array(words[outer : outer + 16], np.float64).reshape(4, 4)
        K = np.array(words[inner : inner + 9], np.float64).reshape(3, 3)
        return np.asarray(np.linalg.inv(world), np.float64), K
    except (ValueError, np.linalg.LinAlgError):
        raise InputError(
            f"{path}: found no camera; expected 'extrinsic' and 16 numbers, 'intrinsic' and 9. "
            "Export it again."
        ) from None
