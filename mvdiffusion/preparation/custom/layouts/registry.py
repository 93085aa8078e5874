"""The table of layouts of recordings: how each is told from the others, and read or converted.

A layout that is not listed here is one entry more.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from mvdiffusion.preparation.custom.layouts.colmap import find_colmap, holds_model
from mvdiffusion.preparation.custom.layouts.folders import (
    find_frames,
    find_parts,
    holds_frames,
    holds_parts,
)
from mvdiffusion.preparation.custom.layouts.listed import (
    find_poses,
    find_replica,
    find_tum,
    holds_poses,
    holds_replica,
    holds_tum,
)
from mvdiffusion.preparation.custom.layouts.mvsnet import find_cams, holds_cams
from mvdiffusion.preparation.custom.layouts.transforms import find_transforms, holds_transforms
from mvdiffusion.preparation.custom.problems import Problem
from mvdiffusion.preparation.custom.recordings import Recording

Read = Callable[[Path, Path], tuple[Recording, list[Problem]]]


@dataclass(frozen=True)
class Layout:
    """A layout that is read.

    Attributes:
        content: what it is, in words.
        holds: tells whether a folder is a recording in this layout.
        read: reads the recording in a folder; the second folder is that of the check.
    """

    content: str
    holds: Callable[[Path], bool]
    read: Read


@dataclass(frozen=True)
class Foreign:
    """A layout that other programs convert.

    Attributes:
        content: what it is, in words.
        files: patterns of files in a folder, all of which it holds.
        fix: the command that converts it.
    """

    content: str
    files: tuple[str, ...]
    fix: str


def _holds_parts_alone(folder: Path) -> bool:
    return holds_parts(folder) and not holds_poses(folder) and not holds_tum(folder)


LAYOUTS = {
    "rgbd": Layout("color/, depth/, pose/, intrinsic/ (ScanNet)", _holds_parts_alone, find_parts),
    "frames": Layout(
        "frame-N.color.jpg, .depth.pgm, .pose.txt (ScanNet's C++ reader, 3RScan, 7-Scenes)",
        holds_frames,
        find_frames,
    ),
    "tum": Layout("rgb/, depth/, groundtruth.txt (TUM RGB-D, Bonn, ETH3D)", holds_tum, find_tum),
    "replica": Layout("results/, traj.txt (Replica)", holds_replica, find_replica),
    "poses": Layout(
        "images/, depth/, poses.txt, K.txt (deep-video-mvs)",
        lambda folder: holds_poses(folder) and not holds_tum(folder),
        find_poses,
    ),
    "mvsnet": Layout("images/, depths/, cams/ (MVSNet, DTU, BlendedMVS)", holds_cams, find_cams),
    "transforms": Layout(
        "transforms.json (nerfstudio, instant-ngp, NeRFCapture)", holds_transforms, find_transforms
    ),
    "colmap": Layout("a COLMAP model, images/ and depth/", holds_model, find_colmap),
}
"""Recordings by kind."""

_NERFSTUDIO = "Convert it with nerfstudio: `ns-process-data {} --data FOLDER --output-dir OUTPUT`"
FOREIGN = (
    Foreign(
        "a recording of ScanNet (.sens)",
        ("*.sens",),
        "Prepare it with `mvdiffusion data prepare scannet --unit SCENE --source SCENE.sens "
        "--output FOLDER`.",
    ),
    Foreign(
        "an export of Polycam",
        ("keyframes/cameras", "keyframes/depth"),
        f"{_NERFSTUDIO.format('polycam --use-depth')}.",
    ),
    Foreign(
        "an export of Record3D",
        ("EXR_RGBD",),
        f"{_NERFSTUDIO.format('record3d')}, write the depth as .npy or 16-bit PNG, and name it in "
        "depth_file_path.",
    ),
    Foreign(
        "a recording of ROS (.bag)",
        ("*.bag",),
        "Export its images with timestamps in their names, as the TUM RGB-D dataset has them.",
    ),
    Foreign(
        "a scene of NeRF's synthetic data (transforms_train.json)",
        ("transforms_train.json",),
        "Copy the file as transforms.json, and add depth_file_path to its frames.",
    ),
    Foreign(
        "a scene of ScanNet++ (iphone/)",
        ("iphone/pose_intrinsic_imu.json",),
        "Extract color and depth with its toolkit, `python -m iphone.prepare_iphone_data`, and lay "
        "them out as color/, depth/, pose/, intrinsic/.",
    ),
)
"""Recordings that are named, not read."""


def find_scenes(folder: Path) -> dict[str, list[Path]]:
    """Find recordings by kind: the folder itself, or else folders in it, or folders in those."""
    found: dict[str, list[Path]] = {kind: [] for kind in LAYOUTS}
    _add_kinds(folder, found, folder)
    for path in _folders(folder):
        if not _add_kinds(path, found, folder):
            for inside in _folders(path):
                _add_kinds(inside, found, folder)
    return found


def _add_kinds(path: Path, found: dict[str, list[Path]], whole: Path) -> bool:
    """Add a folder to the kinds that it is of, but for those that the whole folder is of."""
    try:
        kinds = [kind for kind, layout in LAYOUTS.items() if layout.holds(path)]
    except OSError:  # may not be read: reported when its images are listed
        return False
    for kind in kinds:
        if found[kind] != [whole]:
            found[kind].append(path)
    return bool(kinds)


def _folders(folder: Path) -> list[Path]:
    try:
        inside = sorted(folder.iterdir())
        return [path for path in inside if path.is_dir() and not path.name.startswith(".")]
    except OSError:
        return []


def foreign(folder: Path) -> Foreign | None:
    """Name the layout of a folder that other programs convert, if it is known."""
    for layout in FOREIGN:
        if all(next(folder.glob(pattern), None) is not None for pattern in layout.files):
            return layout
    return None
