"""Recordings of one file per frame for color, depth and pose, which go together by their numbers.

color/N.jpg, depth/N.png, pose/N.txt            ScanNet's Python exporter, scannet_frames_25k
frame-N.{color.jpg,depth.pgm,pose.txt}          ScanNet's C++ reader, 3RScan, 7-Scenes
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from mvdiffusion.geometry.matrix_files import read_matrix
from mvdiffusion.preparation.custom.depth_files import DEPTH_SUFFIXES
from mvdiffusion.preparation.custom.image_checks import IMAGE_SUFFIXES, files_in, repeated
from mvdiffusion.preparation.custom.layouts.cameras import Camera, find_camera, pose_problems
from mvdiffusion.preparation.custom.layouts.frame_order import Key, name_key, numbered
from mvdiffusion.preparation.custom.problems import Problem, from_error, note
from mvdiffusion.preparation.custom.recordings import Frame, Recording
from mvdiffusion.records import InputError

PARTS = ("color", "depth", "pose", "intrinsic")
_OF_A_FRAME = re.compile(r"[^.]+\.(color|depth|pose)\.\w+")
_FIX = "Name frames by number: 0.jpg, 0.png, 0.txt …"


def holds_parts(scene: Path) -> bool:
    """Tell whether a folder holds color/, depth/, pose/ or intrinsic/, at least two of them."""
    return sum((scene / part).is_dir() for part in PARTS) >= 2


def find_parts(scene: Path, folder: Path) -> tuple[Recording, list[Problem]]:
    """Read color/, depth/, pose/ and intrinsics.

    Args:
        scene: that holds them.
        folder: that file names are reported relative to.
    """
    colors = files_in(scene / "color", IMAGE_SUFFIXES)
    depths = files_in(scene / "depth", DEPTH_SUFFIXES)
    return _read(scene, folder, colors, depths, files_in(scene / "pose", (".txt",)))


def holds_frames(scene: Path) -> bool:
    """Tell whether a folder holds files of frames such as frame-000000.color.jpg."""
    files = (_OF_A_FRAME.fullmatch(path.name) for path in scene.glob("*.pose.txt"))
    return any(files) and any(scene.glob("*.color.*"))


def find_frames(scene: Path, folder: Path) -> tuple[Recording, list[Problem]]:
    """Read frame-N.color.jpg, frame-N.depth.pgm, frame-N.pose.txt and intrinsics.

    Args:
        scene: that holds them.
        folder: that file names are reported relative to.
    """
    parts: dict[str, list[Path]] = {"color": [], "depth": [], "pose": []}
    for path in sorted(scene.iterdir()):
        if match := _OF_A_FRAME.fullmatch(path.name):
            parts[match[1]].append(path)
    return _read(scene, folder, parts["color"], parts["depth"], parts["pose"])


def _read(
    scene: Path, folder: Path, colors: list[Path], depths: list[Path], poses: list[Path]
) -> tuple[Recording, list[Problem]]:
    problems: list[Problem] = []
    camera = find_camera(scene, colors, depths, problems)
    key = pairing([colors, depths, poses])
    parts = [by_key(paths, key, folder, problems) for paths in (colors, depths, poses)]
    problems += unpaired(dict(zip(("color image", "depth image", "pose"), parts, strict=True)))
    color, depth, pose = parts
    together = [each for each in color if each in depth and each in pose]
    frames = [
        _frame(number, color[one], depth[one], pose[one], camera, problems)
        for number, one in in_order(together, color, scene, problems)
    ]
    unit = None if camera is None else camera.depth_unit
    return Recording(scene, tuple(frames), unit), problems


def _frame(
    number: int,
    color: Path,
    depth: Path,
    pose: Path,
    camera: Camera | None,
    problems: list[Problem],
) -> Frame:
    matrix = None
    try:
        matrix = read_matrix(pose, (4,)).numpy()
        problems += pose_problems(matrix, pose)
    except (InputError, OSError) as error:
        problems.append(from_error(error))
    K, size = (None, None) if camera is None else (camera.K, camera.size)
    return Frame(number, color, depth, matrix, K, size)


def pairing(parts: Sequence[Sequence[Path]]) -> Callable[[Path], Key]:
    """Return what the files of a frame have in common: the last number, or all, in their names.

    Args:
        parts: files of color, of depth, …
    """
    keys = [[key for path in paths if (key := name_key(path))] for paths in parts]
    if all(len({key[-1:] for key in part}) == len(part) for part in keys):
        return lambda path: name_key(path)[-1:]
    return name_key


def by_key(
    paths: Sequence[Path], key: Callable[[Path], Key], folder: Path, problems: list[Problem]
) -> dict[Key, Path]:
    """Find files by what their frames have in common; report those that cannot be told apart.

    Args:
        paths: the files, in order.
        key: of `pairing`.
        folder: that file names are reported relative to.
        problems: those found are added.
    """
    named = {path: found for path in paths if (found := key(path))}
    lost = (path for path in paths if path not in named)
    problems += [Problem(path, "no frame number in its name", _FIX) for path in lost]
    words = ((" ".join(map(str, found)), path) for path, found in named.items())
    problems += repeated(words, folder)
    return {found: path for path, found in reversed(named.items())}


def in_order(
    together: Sequence[Key], color: dict[Key, Path], where: Path, problems: list[Problem]
) -> Iterator[tuple[int, Key]]:
    """Yield the numbers of frames, in order, with their keys; note numbers that are no names.

    Args:
        together: keys of the frames.
        color: their images.
        where: the recording.
        problems: those found are added.
    """
    frames = numbered([color[each] for each in together])
    if any(number != together[place][-1] for number, place in frames):
        problem = "frames named by time, or by several numbers"
        fix = "Nothing to do: they are numbered 0, 1, 2 … in the order of their names."
        problems.append(note(where, problem, fix))
    for number, place in frames:
        yield number, together[place]


def unpaired(parts: dict[str, dict[Key, Path]]) -> Iterator[Problem]:
    """Report frames that have not all of their files.

    Args:
        parts: files by key, for each kind of files in words.
    """
    for key in sorted(set().union(*parts.values())):
        here = next(part[key] for part in parts.values() if key in part)
        if missing := [word for word, part in parts.items() if key not in part]:
            problem = f"this frame has no {' and no '.join(missing)}"
            fix = "Add it, or remove the other files of this frame."
            yield Problem(here, problem, fix)
