"""A user's RGB-D recordings: frames with color, depth, pose and intrinsics, and all their checks.

A folder as ScanNet's exporter writes it is read here; `camera_files` reads transforms.json and
COLMAP models into the same form.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from mvdiffusion.geometry.cameras import is_rigid
from mvdiffusion.geometry.depth import depth_correspondences, scale_intrinsics
from mvdiffusion.geometry.homography import inside
from mvdiffusion.geometry.matrix_files import read_intrinsics, read_matrix
from mvdiffusion.images import holds_depth
from mvdiffusion.preparation.custom.image_checks import (
    Look,
    images_in,
    in_parallel,
    look_at,
    repeated,
    scene_name,
    undecodable,
    unreadable,
)
from mvdiffusion.preparation.custom.problems import Problem, from_error, note
from mvdiffusion.preparation.key_frames import choose_key_frames, small_depth
from mvdiffusion.records import InputError

MILLIMETER = 0.001
_NUMBER = re.compile(r"(\d+)\D*$")
_NEAR, _FAR = 0.1, 20.0  # meters, of a plausible frame's median depth
_FEWEST = 2  # frames
_SEQUENCE = 8  # key frames, the shortest that the project's configurations ask for
_PAIRS, _SHARE = 40, 0.3  # pairs judged at most; overlap that they must have
_TOLERANCE = 0.03  # relative difference of depth; sensors and their poses reach about 0.01
_PROPORTIONS = 0.03  # relative difference of a frame's images


@dataclass(frozen=True)
class Frame:
    """One frame of a recording.

    Attributes:
        number: its number in the layout.
        color: image file.
        depth: 16-bit image file.
        pose: camera-to-world [4, 4] in meters; None if there is none that can be read.
        K: intrinsics [3, 3] in pixels (pixel centers at integers); None if unknown.
        size: (height, width) that K is for; None means the depth image's.
    """

    number: int
    color: Path
    depth: Path
    pose: NDArray[np.float64] | None
    K: NDArray[np.float64] | None
    size: tuple[int, int] | None = None


@dataclass(frozen=True)
class Recording:
    """A sequence of frames that becomes one scene.

    Attributes:
        folder: where it lies.
        frames: in order of their numbers.
        depth_unit: meters per step of the depth images' values.
    """

    folder: Path
    frames: tuple[Frame, ...] = ()
    depth_unit: float = MILLIMETER

    @property
    def name(self) -> str:
        """Name of the scene."""
        return scene_name(self.folder)


@dataclass(frozen=True)
class FrameLook:
    """What a frame's files hold: sizes, intrinsics of the depth's size, and a small depth image."""

    frame: Frame
    color: Look
    depth_size: tuple[int, int]  # (height, width); zeros if it cannot be decoded
    depth_median: float  # meters; 0 if there is no depth
    small_depth: Tensor | None  # meters [h, w]
    problems: tuple[Problem, ...]

    @property
    def K(self) -> Tensor | None:
        """Intrinsics [3, 3] in pixels of the depth image (float64)."""
        if self.frame.K is None or not self.depth_size[0]:
            return None
        K = torch.from_numpy(self.frame.K)
        size = self.frame.size
        return K if size is None else scale_intrinsics(K, size, self.depth_size)


def frame_number(path: Path) -> int | None:
    """Number of a frame's file: the last group of digits in its name."""
    match = _NUMBER.search(path.stem)
    return int(match[1]) if match else None


def find_recording(scene: Path, folder: Path) -> tuple[Recording, list[Problem]]:
    """Read a scene as ScanNet's exporter writes it: color/, depth/, pose/, intrinsic/.

    Frames go together by the number at the end of their files' names.

    Args:
        folder: that file names are reported relative to.
    """
    problems: list[Problem] = []
    colors = _numbered(images_in(scene / "color"), folder, problems)
    depths = _numbered(images_in(scene / "depth"), folder, problems)
    poses = _numbered(sorted((scene / "pose").glob("*.txt")), folder, problems)
    K = _intrinsics(scene, colors, depths, problems)
    problems += _unpaired({"color image": colors, "depth image": depths, "pose": poses})
    frames = []
    for number in sorted(colors.keys() & depths.keys() & poses.keys()):
        pose = None
        try:
            pose = read_matrix(poses[number], (4,)).numpy()
            problems += pose_problems(pose, poses[number])
        except (InputError, OSError) as error:
            problems.append(from_error(error))
        frames.append(Frame(number, colors[number], depths[number], pose, K))
    return Recording(scene, tuple(frames)), problems


def _numbered(paths: list[Path], folder: Path, problems: list[Problem]) -> dict[int, Path]:
    numbered = {path: n for path in paths if (n := frame_number(path)) is not None}
    fix = "Name frames by number: 0.jpg, 0.png, 0.txt …"
    lost = (path for path in paths if path not in numbered)
    problems += [Problem(path, "no frame number in its name", fix) for path in lost]
    problems += repeated(((str(number), path) for path, number in numbered.items()), folder)
    return {number: path for path, number in reversed(numbered.items())}


def _unpaired(parts: dict[str, dict[int, Path]]) -> Iterator[Problem]:
    for number in sorted(set().union(*parts.values())):
        here = next(part[number] for part in parts.values() if number in part)
        if missing := [word for word, part in parts.items() if number not in part]:
            problem = f"this frame has no {' and no '.join(missing)}"
            fix = "Add it, or remove the other files of this frame."
            yield Problem(here, problem, fix)


def _intrinsics(
    scene: Path, colors: dict[int, Path], depths: dict[int, Path], problems: list[Problem]
) -> NDArray[np.float64] | None:
    """Intrinsics of the depth's size; those of the color stand in where the sizes are equal."""
    name, other = "intrinsic_depth.txt", "intrinsic_color.txt"
    here = [word for word in (name, other) if (scene / "intrinsic" / word).exists()]
    if here == [other] and _same_size(colors, depths):
        name = other
    try:
        K = read_intrinsics(scene / "intrinsic" / name)
    except InputError as error:
        problems.append(from_error(error))
        return None
    if abs(float(K[0, 1])) > 1e-6:
        problem = f"skewed pixels (K[0][1] = {float(K[0, 1]):g}), so not a pinhole camera"
        fix = "Undistort the images; give fx, fy, cx, cy."
        problems.append(Problem(scene / "intrinsic" / name, problem, fix))
    return K.numpy()


def _same_size(colors: dict[int, Path], depths: dict[int, Path]) -> bool:
    try:
        sizes = [Image.open(next(iter(part.values()))).size for part in (colors, depths)]
    except (StopIteration, OSError, SyntaxError):
        return False
    return sizes[0] == sizes[1]


def pose_problems(pose: NDArray[np.float64], name: Path | str) -> Iterator[Problem]:
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


def check_frames(
    recording: Recording, overlap: float
) -> tuple[list[FrameLook], int, list[Problem]]:
    """Decode every frame of a recording and report what is wrong with them.

    Args:
        overlap: share of pixels that consecutive key frames are to share.

    Returns:
        What the frames hold, how many become key frames (0 if they cannot be used), problems.
    """
    look = partial(_look_at_frame, unit=recording.depth_unit)
    looks = list(in_parallel(look, recording.frames, f"checking {recording.name}"))
    problems = [problem for found in looks for problem in found.problems]
    where = recording.folder
    problems += [*_one_size(looks), *_units(looks, recording.depth_unit, where), *_cameras(looks)]
    keys, usable = 0, list(filter(is_usable, looks))
    if len(usable) < _FEWEST:
        problem = f"{len(usable)} of {len(looks)} frames have color, depth, K and a rigid pose"
        problems.append(Problem(where, problem, "Record at least two; a sequence needs 8 or 12."))
    elif not any(problem.stops for problem in problems):
        depth, K, pose = _stacked(usable)
        keys = len(choose_key_frames(depth, K, pose, overlap))
        problems += _motion_problems(depth, K, pose, keys, where)
    return looks, keys, problems


def _motion_problems(
    depth: Tensor, K: Tensor, pose: Tensor, keys: int, where: Path
) -> Iterator[Problem]:
    """Report frames too far apart for key frames, and poses that contradict the depth.

    Args:
        depth: [F, H, W] in meters, 0 where there is none.
        K: intrinsics [F, 3, 3] in pixels.
        pose: camera-to-world [F, 4, 4].
        keys: how many of the frames become key frames.
    """
    if keys == len(depth):
        problem = "consecutive frames share too little: every frame becomes a key frame"
        fix = "Nothing to do, or keep more frames of the recording, or lower --overlap."
        yield note(where, problem, fix)
    if keys < _SEQUENCE:
        problem = f"{keys} key frames; a sequence of {_SEQUENCE} or more cannot be made"
        fix = "Record more of the scene, raise --overlap, or use a smaller num_views."
        yield note(where, problem, fix)
    disagreement = _depth_disagreement(depth, K, pose)
    if disagreement is not None and disagreement > _TOLERANCE:
        problem = f"depth and poses contradict each other by {disagreement:.0%} (median of pairs)"
        fix = (
            "Check that poses are camera-to-world with x right, y down, z forward, and in the "
            "unit of the depth (--scale)."
        )
        yield note(where, problem, fix)


def _depth_disagreement(depth: Tensor, K: Tensor, pose: Tensor) -> float | None:
    """Measure how far depth carried into another frame is from the depth there.

    Frames some way apart are compared, as neighbors agree under any pose.

    Returns:
        The relative difference, median over pixels and then pairs; None if no two frames overlap.
    """
    # Float32 keeps millimeters only near the origin.
    pose = pose.clone()
    pose[:, :3, 3] -= pose[0, :3, 3].clone()
    K, pose, count = K.to(depth), pose.to(depth), len(depth)
    step = max(1, count // 12)
    starts = torch.arange(count - step)
    starts = starts[:: max(1, len(starts) // _PAIRS)]
    found = []
    for start in starts.tolist():
        pair = torch.tensor([start, start + step])
        found += _pair_difference(depth[pair][None], K[pair][None], pose[pair][None])
    return float(torch.tensor(found).median()) if found else None


def _pair_difference(depth: Tensor, K: Tensor, pose: Tensor) -> list[float]:
    height, width = depth.shape[-2:]
    xy, z = depth_correspondences(depth, K, pose)
    xy, z = xy[0, 0, 1], z[0, 0, 1]
    seen = inside(xy, height, width) & (z > 0)
    if float(seen.float().mean()) < _SHARE:
        return []
    x, y = xy[seen].round().long().unbind(-1)
    there = depth[0, 1][y.clamp(0, height - 1), x.clamp(0, width - 1)]
    known = there > 0
    difference = (z[seen][known] - there[known]).abs() / there[known]
    return [float(difference.median())] if len(difference) else []


def is_usable(found: FrameLook) -> bool:
    """Tell whether a frame has color, depth, intrinsics and a rigid pose."""
    pose = found.frame.pose
    rigid = pose is not None and bool(is_rigid(torch.from_numpy(pose)))
    return rigid and found.K is not None and found.small_depth is not None and found.color.width > 0


def _stacked(looks: list[Any]) -> tuple[Tensor, Tensor, Tensor]:
    """Small depth [F, h, w], its intrinsics [F, 3, 3] and poses [F, 4, 4] of usable frames."""
    depth = torch.stack([found.small_depth for found in looks])
    size = (depth.shape[1], depth.shape[2])
    K = torch.stack([scale_intrinsics(found.K, found.depth_size, size) for found in looks])
    return depth, K, torch.from_numpy(np.stack([found.frame.pose for found in looks]))


def _look_at_frame(frame: Frame, unit: float) -> FrameLook:
    color = look_at(frame.color)
    problems = list(color.problems)
    depth = _read_depth(frame.depth, unit, problems)
    if depth is None:
        return FrameLook(frame, color, (0, 0), 0.0, None, tuple(problems))
    height, width = depth.shape
    if color.width and abs(color.width * height / (color.height * width) - 1) > _PROPORTIONS:
        problem = f"{width} x {height} pixels, but the color image has {color.size}"
        fix = "Export color and depth of the same field of view, in equal proportions."
        problems.append(Problem(frame.depth, problem, fix))
    if not depth.any():
        fix = "Nothing to do: it stays out of the valid frames."
        problems.append(note(frame.depth, "no depth at all (all zero)", fix))
        return FrameLook(frame, color, (height, width), 0.0, None, tuple(problems))
    small, _ = small_depth(torch.from_numpy(depth), torch.eye(3))
    median = float(np.median(depth[depth > 0]))
    return FrameLook(frame, color, (height, width), median, small, tuple(problems))


def _read_depth(path: Path, unit: float, problems: list[Problem]) -> NDArray[np.float32] | None:
    """Depth [H, W] in meters."""
    if reason := unreadable(path):
        problems.append(reason)
        return None
    try:
        with Image.open(path) as image:
            mode, values = image.mode, np.array(image)
    except Exception as error:  # broken bytes make decoders raise almost anything
        problems.append(undecodable(path, error))
        return None
    if not holds_depth(mode):
        kind = "floating point" if mode == "F" else f"8 bits, mode {mode}"
        fix = "Write millimeters as a 16-bit PNG of one channel, without converting it."
        problems.append(Problem(path, f"depth is not of 16 bits ({kind})", fix))
        return None
    return values.astype(np.float32) * np.float32(unit)


def _one_size(looks: list[FrameLook]) -> Iterator[Problem]:
    sizes = [found.depth_size for found in looks if found.depth_size[0]]
    usual = max(sizes, key=sizes.count, default=(0, 0))
    for found in looks:
        if found.depth_size[0] and found.depth_size != usual:
            (height, width), (high, wide) = found.depth_size, usual
            problem = f"depth of {width} x {height} pixels; other frames have {wide} x {high}"
            fix = "Export all frames at one size, or import them as two recordings."
            yield Problem(found.frame.depth, problem, fix)


def _units(looks: list[FrameLook], unit: float, where: Path) -> Iterator[Problem]:
    medians = [found.depth_median for found in looks if found.depth_median]
    if medians and not _NEAR <= (median := float(np.median(medians))) <= _FAR:
        found = f"the median depth is {median:.4g} m if one step is {unit:g} m"
        fix = "Write depth in millimeters, or state its true unit."
        yield Problem(where, f"{found}; the unit may be wrong", fix)


def _cameras(looks: list[FrameLook]) -> Iterator[Problem]:
    """Report intrinsics that do not fit the image, or differ much between frames."""
    seen: set[str] = set()
    first = next((found.K for found in looks if found.K is not None), None)
    for found in looks:
        if (K := found.K) is None or first is None:
            continue
        name = found.frame.color
        for problem in _misfit(K, found.depth_size):
            if problem not in seen:
                seen.add(problem)
                yield Problem(name, problem, "Give fx, fy, cx, cy for this size of image.")
        if camera_shift(K, first, found.depth_size) > 0.1 * found.depth_size[1]:
            problem = "another camera than that of the first frame (zoom, or another lens)"
            yield Problem(name, problem, "Import each camera's frames as a recording of its own.")


def _misfit(K: Tensor, size: tuple[int, int]) -> Iterator[str]:
    height, width = size
    (fx, fy), (cx, cy) = K.diagonal()[:2].tolist(), K[:2, 2].tolist()
    words = f"intrinsics fx {fx:.0f}, fy {fy:.0f}, cx {cx:.0f}, cy {cy:.0f}"
    if not (0.7 < (2 * cx + 1) / width < 1.4 and 0.7 < (2 * cy + 1) / height < 1.4):
        yield f"{words} are not for {width} x {height} pixels"
    elif not (0.2 < fx / width < 5 and 0.7 < fx / fy < 1.4):
        yield f"{words} cannot be those of a camera of {width} x {height} pixels"


def camera_shift(K: Tensor, other: Tensor, size: tuple[int, int]) -> float:
    """Pixels by which a corner of the image moves from one camera [3, 3] to another."""
    height, width = size
    corners = torch.tensor([[0, 0, 1], [width - 1, height - 1, 1]], dtype=K.dtype).T
    moved = other @ torch.linalg.inv(K) @ corners
    return float((moved - corners)[:2].abs().max())
