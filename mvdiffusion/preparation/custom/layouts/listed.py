"""Recordings whose poses stand in one file, a line for each frame.

rgb/, depth/, groundtruth.txt               TUM RGB-D, Bonn, ETH3D: lines "time x y z qx qy qz qw"
results/{frame,depth}*, traj.txt            Replica as NICE-SLAM rendered it: lines of 4 x 4 numbers
images/, depth/, poses.txt                  deep-video-mvs and others: lines of 4 x 4 or 3 x 4
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from mvdiffusion.preparation.custom.depth_files import DEPTH_SUFFIXES
from mvdiffusion.preparation.custom.image_checks import IMAGE_SUFFIXES, files_in
from mvdiffusion.preparation.custom.layouts.cameras import (
    Array,
    Camera,
    find_camera,
    first_folder,
    pose_problems,
    table,
)
from mvdiffusion.preparation.custom.layouts.folders import by_key, in_order, pairing, unpaired
from mvdiffusion.preparation.custom.layouts.frame_order import last_number
from mvdiffusion.preparation.custom.problems import Problem, from_error, note
from mvdiffusion.preparation.custom.recordings import Frame, Recording
from mvdiffusion.records import InputError

_COLORS, _DEPTHS = ("rgb", "images", "image", "color"), ("depth", "depths")
_POSES = ("poses.txt", "pose.txt", "traj.txt", "trajectory.txt")
_TUM, _REPLICA = "groundtruth.txt", "traj.txt"
_TUM_UNIT, _REPLICA_UNIT = 1 / 5000, 1 / 6553.5  # meters per count, by their documentation
_TOGETHER = 0.02  # seconds between what counts as one moment, as in TUM's tools


def _file(scene: Path, names: Sequence[str]) -> Path | None:
    return next((scene / name for name in names if (scene / name).is_file()), None)


def holds_tum(scene: Path) -> bool:
    """Tell whether a folder holds rgb/, depth/ and groundtruth.txt."""
    return (scene / _TUM).is_file() and first_folder(scene, _COLORS) is not None


def holds_replica(scene: Path) -> bool:
    """Tell whether a folder holds results/ and traj.txt."""
    return (scene / _REPLICA).is_file() and (scene / "results").is_dir()


def holds_poses(scene: Path) -> bool:
    """Tell whether a folder holds color and depth images and one file of poses."""
    parts = (first_folder(scene, _COLORS), first_folder(scene, _DEPTHS), _file(scene, _POSES))
    return all(parts) and not (scene / "pose").is_dir()


def find_tum(scene: Path, folder: Path) -> tuple[Recording, list[Problem]]:
    """Read rgb/, depth/ and groundtruth.txt, which go together by time.

    A color image goes with the depth image and the pose nearest in time, within 0.02 s.

    Args:
        scene: that holds them.
        folder: that file names are reported relative to.
    """
    colors = files_in(first_folder(scene, _COLORS) or scene / "rgb", IMAGE_SUFFIXES)
    depths = files_in(first_folder(scene, _DEPTHS) or scene / "depth", DEPTH_SUFFIXES)
    problems: list[Problem] = []
    camera = find_camera(scene, colors, depths, problems)
    try:
        times, poses = _trajectory(scene / _TUM)
    except (InputError, OSError) as error:
        return Recording(scene), [*problems, from_error(error)]
    key = pairing([colors, depths])
    color, depth = (by_key(paths, key, folder, problems) for paths in (colors, depths))
    own, other = (np.array([float(each[-1]) for each in part]) for part in (color, depth))
    pairs, moments = _nearest(own, other), _nearest(own, times, shared=True)
    places, depth_files = {each: place for place, each in enumerate(color)}, list(depth.values())
    together = [each for each, place in places.items() if place in pairs and place in moments]
    left_out = "Nothing to do: the frame is left out."
    for each, place in places.items():
        if missing := [w for w, of in (("depth", pairs), ("pose", moments)) if place not in of]:
            problem = f"no {' and no '.join(missing)} within {_TOGETHER} s"
            problems.append(note(color[each], problem, left_out))
    frames = []
    for number, each in in_order(together, color, scene, problems):
        place = places[each]
        pose = poses[moments[place]]
        frames.append(_frame(number, color[each], depth_files[pairs[place]], pose, camera))
    return Recording(scene, tuple(frames), _unit(camera, _TUM_UNIT)), problems


def find_replica(scene: Path, folder: Path) -> tuple[Recording, list[Problem]]:
    """Read results/frame*.jpg, results/depth*.png and traj.txt.

    Args:
        scene: that holds them.
        folder: that file names are reported relative to.
    """
    colors = [p for p in files_in(scene / "results", IMAGE_SUFFIXES) if p.name.startswith("frame")]
    depths = [p for p in files_in(scene / "results", DEPTH_SUFFIXES) if p.name.startswith("depth")]
    return _by_line(scene, folder, colors, depths, scene / _REPLICA, _REPLICA_UNIT)


def find_poses(scene: Path, folder: Path) -> tuple[Recording, list[Problem]]:
    """Read color images, depth images and a line of poses.txt for each.

    Args:
        scene: that holds them.
        folder: that file names are reported relative to.
    """
    colors = files_in(first_folder(scene, _COLORS) or scene / _COLORS[0], IMAGE_SUFFIXES)
    depths = files_in(first_folder(scene, _DEPTHS) or scene / _DEPTHS[0], DEPTH_SUFFIXES)
    path = _file(scene, _POSES) or scene / _POSES[0]
    return _by_line(scene, folder, colors, depths, path, None)


def _by_line(
    scene: Path,
    folder: Path,
    colors: list[Path],
    depths: list[Path],
    path: Path,
    usual_unit: float | None,
) -> tuple[Recording, list[Problem]]:
    problems: list[Problem] = []
    camera = find_camera(scene, colors, depths, problems)
    try:
        poses = _matrices(path)
    except (InputError, OSError) as error:
        return Recording(scene), [*problems, from_error(error)]
    key = pairing([colors, depths])
    color, depth = (by_key(paths, key, folder, problems) for paths in (colors, depths))
    problems += unpaired({"color image": color, "depth image": depth})
    together = [each for each in color if each in depth]
    # Lines are those of frames by their numbers if frames were removed, else in their order.
    numbers = [last_number(color[each]) for each in together]
    whole = all(number is not None and number < len(poses) for number in numbers)
    if len(poses) != len(together) and not whole:
        problem = f"{len(poses)} poses for {len(together)} frames"
        problems.append(Problem(path, problem, "Give one line for each frame, in their order."))
        return Recording(scene), problems
    frames = []
    for place, (number, each) in enumerate(in_order(together, color, scene, problems)):
        line = place if len(poses) == len(together) else number
        problems += pose_problems(poses[line], f"{path}: line {line + 1}")
        frames.append(_frame(number, color[each], depth[each], poses[line], camera))
    return Recording(scene, tuple(frames), _unit(camera, usual_unit)), problems


def _frame(number: int, color: Path, depth: Path, pose: Array, camera: Camera | None) -> Frame:
    K, size = (None, None) if camera is None else (camera.K, camera.size)
    return Frame(number, color, depth, pose, K, size)


def _unit(camera: Camera | None, usual: float | None) -> float | None:
    return usual if camera is None or camera.depth_unit is None else camera.depth_unit


def _matrices(path: Path) -> list[Array]:
    """Read camera-to-world poses [4, 4] from lines of 16 or 12 numbers."""
    rows = table(path)
    if not rows or {len(row) for row in rows} not in ({16}, {12}):
        lengths = ", ".join(map(str, sorted({len(row) for row in rows}))) or "no"
        raise InputError(
            f"{path}: found lines of {lengths} numbers; expected 16 (4 x 4) or 12 (3 x 4) for each "
            "frame, camera-to-world."
        )
    poses = np.array(rows, np.float64).reshape(len(rows), -1, 4)
    if poses.shape[1] == 3:
        last = np.broadcast_to([0.0, 0.0, 0.0, 1.0], (len(rows), 1, 4))
        poses = np.concatenate([poses, last], 1)
    return list(poses)


def _trajectory(path: Path) -> tuple[Array, Array]:
    """Read times [N] in seconds and camera-to-world poses [N, 4, 4] of TUM's format."""
    rows = [row for row in table(path) if not np.isnan(row).any()]
    if not rows or {len(row) for row in rows} != {8}:
        raise InputError(
            f"{path}: found no lines of 8 numbers alone; expected 'time x y z qx qy qz qw' in each."
        )
    values = np.array(sorted(rows), np.float64)
    values = values[np.linalg.norm(values[:, 4:], axis=1) > 0.5]  # zeros where tracking was lost
    poses = np.tile(np.eye(4), (len(values), 1, 1))
    poses[:, :3, :3], poses[:, :3, 3] = (
        Rotation.from_quat(values[:, 4:]).as_matrix(),
        values[:, 1:4],
    )
    return values[:, 0], poses


def _nearest(own: Array, others: Array, shared: bool = False) -> dict[int, int]:
    """Match each time with the nearest of others; the closest matches go first.

    Args:
        own: times [N] in seconds.
        others: times [M] in seconds, in order or not.
        shared: several may have the same other.

    Returns:
        Place in `others` by place in `own`, of those within 0.02 s.
    """
    order = np.argsort(others, kind="stable")
    found: list[tuple[float, int, int]] = []
    for place, time in enumerate(own.tolist()):
        right = int(np.searchsorted(others[order], time))
        for near in order[max(0, right - 1) : right + 1].tolist():
            distance = abs(float(others[near]) - time)
            if distance <= _TOGETHER:
                found.append((distance, place, near))
    matches: dict[int, int] = {}
    taken: set[int] = set()
    for _, place, near in sorted(found):
        if place not in matches and (shared or near not in taken):
            matches[place] = near
            taken.add(near)
    return matches
