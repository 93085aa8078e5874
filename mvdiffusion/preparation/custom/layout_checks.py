"""Checking data that already have the project's layouts."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path

from mvdiffusion.data.captions import read_caption
from mvdiffusion.data.matterport3d import Matterport3DPanoramas
from mvdiffusion.data.scannet import KEY_FRAMES, VALID_FRAMES, ScanNetScene
from mvdiffusion.data.splits import CAPTION_DEGREES, panorama_id, read_rows, read_split
from mvdiffusion.preparation.custom.image_checks import in_parallel, look_at
from mvdiffusion.preparation.custom.panorama_files import Panorama, cube_problems
from mvdiffusion.preparation.custom.problems import Problem, from_error, note
from mvdiffusion.preparation.units import RECORD
from mvdiffusion.records import InputError, sha256_file

CAPTIONS_FIX = "Write them with `mvdiffusion data caption`; training and generation need them."


def split_files(folder: Path) -> list[Path]:
    """List the files of splits in Matterport3D's layout: <split>.npy."""
    return sorted(path for path in folder.glob("*.npy") if path.name != VALID_FRAMES)


def check_panoramas(root: Path) -> tuple[list[Panorama], list[Problem]]:
    """Check every split of a root in Matterport3D's layout: lists, faces, captions, hashes."""
    panoramas: list[Panorama] = []
    problems: list[Problem] = []
    for path in split_files(root):
        entries = _entries(root, path, problems)
        faces = [root / name for entry in entries for name in entry]
        looks = list(in_parallel(look_at, faces, f"checking {path.stem}"))
        problems += [problem for look in looks for problem in look.problems]
        for start in range(0, len(looks), 6):
            cube = tuple(looks[start : start + 6])
            problems += cube_problems(cube)
            name = panorama_id(cube[0].path.name)
            panoramas.append(Panorama(cube[0].path.parent.parent.name, name, cube))
        if entries and all(face.is_file() for face in faces):
            problems += _panorama_captions(root, path.stem)
    return panoramas, [*problems, *changed_files(root)]


def _entries(root: Path, path: Path, problems: list[Problem]) -> list[list[str]]:
    """Names of faces [N][6]; of a list with a wrong entry, those that can be looked at."""
    try:
        return read_split(root, path.stem)
    except InputError as error:
        found = from_error(error)
    try:
        entries = read_rows(path)
    except InputError:
        problems.append(found)
        return []
    if found.file == path:  # a missing face is found again when all are looked at
        problems.append(found)
    return [entry for entry in entries if not any(".." in Path(name).parts for name in entry)]


def _panorama_captions(root: Path, split: str) -> Iterator[Problem]:
    try:
        panoramas = Matterport3DPanoramas(root, split, image_size=8)
    except InputError:  # reported with the list
        return
    files = [panoramas.caption_file(i, d) for i in range(len(panoramas)) for d in CAPTION_DEGREES]
    yield from _caption_problems(files)


def _caption_problems(files: Iterable[Path]) -> Iterator[Problem]:
    """Report captions that are missing (a note), no text, or empty."""
    for path in files:
        if not path.exists():
            yield note(path, "no caption", CAPTIONS_FIX)
            continue
        try:
            read_caption(path)
        except (InputError, OSError) as error:
            yield from_error(error)


def scene_folders(folder: Path) -> list[Path]:
    """List the scenes in ScanNet's layout: <scene>/color, or <split>/<scene>/color."""
    found = [*folder.glob("*/color"), *folder.glob("*/*/color")]
    scenes = sorted(path.parent for path in found if path.is_dir())
    return [scene for scene in scenes if "/." not in f"/{scene.relative_to(folder)}"]


def check_lists(scene: Path) -> Iterator[Problem]:
    """Check a scene's key frames, valid frames and the captions of the former."""
    if not (scene / KEY_FRAMES).exists() and not (scene / VALID_FRAMES).exists():
        return
    try:
        opened = ScanNetScene(scene, 8, 8)
    except InputError as error:
        yield from_error(error)
        return
    yield from _caption_problems(scene / "prompt" / f"{frame}.txt" for frame in opened.key_frames)


def changed_files(root: Path) -> Iterator[Problem]:
    """Report files that are not those that a preparation recorded (`prepared.json`)."""
    for record in sorted(root.rglob(RECORD)):
        try:
            files = json.loads(record.read_text())["files"].items()
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            yield Problem(record, "not a record of prepared files", "Prepare it again.")
            continue
        for name, expected in files:
            path = record.parent / name
            if path.is_file() and sha256_file(path) != expected:
                fix = "Prepare it again, or use the edited files as custom data."
                yield Problem(path, "not the file that was prepared", fix)
