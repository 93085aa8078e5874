"""The check of a user's folder: its kind, and all problems in one list."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from mvdiffusion.data.captions import read_caption
from mvdiffusion.data.matterport3d import Matterport3DPanoramas
from mvdiffusion.data.scannet import KEY_FRAMES, VALID_FRAMES, ScanNetScene
from mvdiffusion.data.splits import CAPTION_DEGREES, panorama_id, read_rows, read_split
from mvdiffusion.preparation.custom.camera_files import (
    TRANSFORMS,
    find_colmap,
    find_model,
    find_transforms,
)
from mvdiffusion.preparation.custom.captions import Captions, read_captions
from mvdiffusion.preparation.custom.image_checks import (
    identifier,
    in_parallel,
    list_images,
    look_at,
    repeated,
)
from mvdiffusion.preparation.custom.panorama_files import (
    Panorama,
    cube_problems,
    find_equirectangular,
    find_faces,
    looks_like_faces,
)
from mvdiffusion.preparation.custom.problems import Problem, from_error, note
from mvdiffusion.preparation.custom.recordings import (
    Frame,
    FrameLook,
    Recording,
    check_frames,
    find_recording,
    is_usable,
)
from mvdiffusion.preparation.units import RECORD
from mvdiffusion.records import InputError, sha256_file
from mvdiffusion.settings import InnerShare, settings

KINDS = {
    "panoramas": "equirectangular images",
    "faces": "cube faces",
    "rgbd": "RGB-D recordings as ScanNet's exporter writes them",
    "transforms": "an RGB-D recording with nerfstudio's transforms.json",
    "colmap": "an RGB-D recording with a COLMAP model",
    "matterport3d": "panoramas in Matterport3D's layout, ready for use",
}
Kind = Literal["panoramas", "faces", "rgbd", "transforms", "colmap", "matterport3d"]
CAPTIONS_FIX = "Write them with `mvdiffusion data caption`; training and generation need them."
_PARTS = ("color", "depth", "pose", "intrinsic")


@settings
class CheckSettings:
    """Settings of a check.

    Attributes:
        kind: one of `KINDS`; None to recognize it.
        caption: for all images.
        captions: file or folder of captions.
        overlap: share of pixels that consecutive key frames are to share, 0 … 1.
        scale: meters per unit of the poses of transforms.json or a COLMAP model.
    """

    kind: Kind | None = None
    caption: str | None = None
    captions: Path | None = None
    overlap: InnerShare = 0.65
    scale: Annotated[float, Field(gt=0, lt=1e6)] = 1.0


@dataclass
class Survey:
    """Contents of a folder.

    Attributes:
        folder: the folder, absolute.
        settings: of the check.
        kind: one of `KINDS`; None if it could not be recognized.
        problems: everything that was found.
        panoramas: of kinds with panoramas.
        recordings: of kinds with recordings: each with what its frames hold, and how many of them
            become key frames.
        captions: that were given or lie beside the images.
    """

    folder: Path
    settings: CheckSettings
    kind: str | None = None
    problems: list[Problem] = field(default_factory=list)
    panoramas: list[Panorama] = field(default_factory=list)
    recordings: list[tuple[Recording, list[FrameLook], int]] = field(default_factory=list)
    captions: Captions = field(default_factory=Captions)

    @property
    def stopping(self) -> list[Problem]:
        """The problems that an import waits for."""
        return [problem for problem in self.problems if problem.stops]


def survey(folder: Path, settings: CheckSettings | None = None) -> Survey:
    """Check a folder of images, a recording, or data in the project's layouts.

    Args:
        folder: of the user's; nothing in it is changed.

    Raises:
        InputError: it is not a folder that can be read, or a setting is wrong.
    """
    settings = settings or CheckSettings()
    found = Survey(_open(folder), settings)
    kinds: list[str] = [settings.kind] if settings.kind else recognize(found.folder)
    if len(kinds) == 1:
        _survey_kind(found, kinds[0])
    else:
        found.problems += [*list_images(found.folder)[1], _unclear(found.folder, kinds)]
    found.problems = [problem.named_in(found.folder) for problem in found.problems]
    return found


def _survey_kind(found: Survey, kind: str) -> None:
    found.kind = kind
    if found.settings.scale != 1 and kind not in ("transforms", "colmap"):
        raise InputError(f"--scale: {found.folder} contains {KINDS[kind]}; leave the option out.")
    survey_files = _survey_panoramas if kind in _PANORAMAS else _survey_recordings
    survey_files(found, kind)
    if kind != "matterport3d":
        _survey_captions(found)


def _open(folder: Path) -> Path:
    try:
        next(folder.iterdir(), None)
    except OSError as error:
        raise InputError(
            f"{folder}: not a folder that can be read ({error.strerror}); name the folder of your "
            "images or recording."
        ) from None
    return folder.resolve()


def recognize(folder: Path) -> list[str]:
    """Name all kinds that a folder could be of; none if it is of no kind."""
    kinds = []
    if sum((folder / part).is_dir() for part in _PARTS) >= 2 or _scene_folders(folder):
        kinds.append("rgbd")
    if (folder / TRANSFORMS).exists():
        kinds.append("transforms")
    if find_model(folder):
        kinds.append("colmap")
    if _split_files(folder):
        kinds.append("matterport3d")
    return kinds or _kinds_of_images(folder)


def _kinds_of_images(folder: Path) -> list[str]:
    images, _ = list_images(folder)
    faces = set(looks_like_faces(images, folder))
    kinds = ["faces"] if faces else []
    return [*kinds, "panoramas"] if len(faces) < len(images) else kinds


def _unclear(folder: Path, kinds: list[str]) -> Problem:
    if kinds:
        words = " or ".join(f"{kind} ({KINDS[kind]})" for kind in kinds)
        fix = "Choose one with --kind, or separate the files into folders."
        return Problem(".", f"could be {words}", fix)
    fix = (
        "Give a folder of panoramas or cube faces, of color/, depth/, pose/, intrinsic/, or with "
        "transforms.json or a COLMAP model."
    )
    if not any(folder.iterdir()):
        return Problem(".", "an empty folder", fix)
    return Problem(".", "no images, recording or model found", fix)


def _split_files(folder: Path) -> list[Path]:
    """List the files of splits in Matterport3D's layout: <split>.npy."""
    return sorted(path for path in folder.glob("*.npy") if path.name != VALID_FRAMES)


def _check_panoramas(root: Path) -> tuple[list[Panorama], list[Problem]]:
    """Check every split of a root in Matterport3D's layout: lists, faces, captions, hashes."""
    panoramas: list[Panorama] = []
    problems: list[Problem] = []
    for path in _split_files(root):
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


def _scene_folders(folder: Path) -> list[Path]:
    """List the scenes in ScanNet's layout: <scene>/color, or <split>/<scene>/color."""
    found = [*folder.glob("*/color"), *folder.glob("*/*/color")]
    scenes = sorted(path.parent for path in found if path.is_dir())
    return [scene for scene in scenes if "/." not in f"/{scene.relative_to(folder)}"]


def _check_lists(scene: Path) -> Iterator[Problem]:
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


_PANORAMAS = {
    "panoramas": find_equirectangular,
    "faces": find_faces,
    "matterport3d": _check_panoramas,
}


def _survey_panoramas(found: Survey, kind: str) -> None:
    found.panoramas, problems = _PANORAMAS[kind](found.folder)
    if not found.panoramas and not problems:
        problems = [Problem(".", "no images of this kind", "Choose another --kind.")]
    found.problems += problems


def _survey_recordings(found: Survey, kind: str) -> None:
    folder, settings = found.folder, found.settings
    if kind == "rgbd":
        scenes = _scene_folders(folder) or [folder]
        found.problems += repeated(((identifier(path.name), path) for path in scenes), folder)
        read = [(*find_recording(scene, folder), _check_lists(scene)) for scene in scenes]
        more: Iterable[Problem] = changed_files(folder)
    else:
        find = find_transforms if kind == "transforms" else find_colmap
        read, more = [(*find(folder, settings.scale), iter(()))], ()
    for recording, problems, of_lists in read:
        found.problems += problems
        if recording.frames or not any(problem.stops for problem in problems):
            looks, keys, of_frames = check_frames(recording, settings.overlap)
            found.recordings.append((recording, looks, keys))
            found.problems += of_frames
        found.problems += of_lists
    found.problems += more


def _survey_captions(found: Survey) -> None:
    """Read the captions, and report images that have none."""
    settings = found.settings
    found.captions, problems = read_captions(
        settings.caption, settings.captions, _caption_folders(found)
    )
    found.problems += problems
    lacking = [path for path, caption in _captioned(found) if not caption]
    if lacking and found.captions:
        fix = "Add its caption, or give --caption TEXT for all."
        found.problems += [Problem(path, "no caption for this image", fix) for path in lacking]
    elif lacking and not any(problem.fix == CAPTIONS_FIX for problem in found.problems):
        found.problems.append(note(".", "no captions", f"After the import: {CAPTIONS_FIX}"))


def _caption_folders(found: Survey) -> list[tuple[str, Path]]:
    """Folders of captions beside the images, each with the start of the names in it."""
    if found.kind == "faces":
        return [("", path) for path in sorted(found.folder.rglob("blip3"))]
    recordings = [recording for recording, *_ in found.recordings]
    return [(f"{recording.name}/", recording.folder / "prompt") for recording in recordings]


def _captioned(found: Survey) -> Iterable[tuple[Path, str | None]]:
    """Each image with its caption."""
    for panorama in found.panoramas:
        path = panorama.images[0].path
        yield path, found.captions.of(*panorama_names(panorama, 0))
    for recording, *_ in found.recordings:
        for frame in recording.frames:
            yield frame.color, found.captions.of(*frame_names(recording, frame))


def panorama_names(panorama: Panorama, degrees: int) -> tuple[str, ...]:
    """Names under which the caption of a direction may be given, the closest first."""
    return f"{panorama.id}_{degrees}", panorama.id, panorama.images[0].path.stem


def frame_names(recording: Recording, frame: Frame) -> tuple[str, ...]:
    """Names under which the caption of a frame may be given, the closest first."""
    names = (frame.color.stem, str(frame.number))
    return (*(f"{recording.name}/{name}" for name in names), *names)


def summary(found: Survey) -> list[str]:
    """Say in lines what was found, and what an import makes of it."""
    count = len(found.stopping)
    lines = [f"{found.folder}: {KINDS[found.kind] if found.kind else 'of unknown kind'}"]
    if found.panoramas:
        pixels = sorted({panorama.face_size for panorama in found.panoramas})
        scenes = len({panorama.scene for panorama in found.panoramas})
        faces = ", ".join(map(str, pixels[:5]))
        cut = "" if found.kind == "matterport3d" else "; an import makes six faces of each"
        size = f"{faces} pixels{cut}"
        lines.append(f"panoramas: {len(found.panoramas)}, scenes: {scenes}, faces of {size}")
    for recording, looks, keys in found.recordings:
        usable = sum(is_usable(look) for look in looks)
        colors = sorted({look.color.size for look in looks})[:3]
        depths = sorted({f"{look.depth_size[1]} x {look.depth_size[0]}" for look in looks})[:3]
        lines.append(
            f"{recording.name}: {len(looks)} frames, {usable} usable, {keys} key frames; color "
            f"{', '.join(colors)} and depth {', '.join(depths)}"
        )
    notes = len(found.problems) - count
    lines.append(f"problems to fix: {count}; notes: {notes}" if count else f"ready; notes: {notes}")
    return lines
