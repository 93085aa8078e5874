"""The check of a user's folder: its kind, and all problems in one list."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from mvdiffusion.data.captions import read_caption
from mvdiffusion.data.matterport3d import Matterport3DPanoramas
from mvdiffusion.data.scannet import KEY_FRAMES, VALID_FRAMES, ScanNetScene
from mvdiffusion.data.splits import CAPTION_DEGREES, panorama_id, read_rows, read_split
from mvdiffusion.images import open_image
from mvdiffusion.preparation.custom.captions import Captions, read_captions
from mvdiffusion.preparation.custom.frame_checks import check_frames
from mvdiffusion.preparation.custom.image_checks import (
    identifier,
    in_parallel,
    list_images,
    look_at,
    repeated,
)
from mvdiffusion.preparation.custom.layouts.registry import LAYOUTS, find_scenes, foreign
from mvdiffusion.preparation.custom.panorama_files import (
    FACE_NAMES,
    Panorama,
    cube_problems,
    find_equirectangular,
    find_faces,
    looks_like_faces,
)
from mvdiffusion.preparation.custom.problems import Problem, from_error, note
from mvdiffusion.preparation.custom.recordings import Frame, FrameLook, Recording
from mvdiffusion.preparation.custom.settings import CheckSettings
from mvdiffusion.preparation.units import RECORD
from mvdiffusion.records import InputError, sha256_file

KINDS = {
    "panoramas": "equirectangular images",
    "faces": "cube faces",
    **{kind: f"an RGB-D recording: {layout.content}" for kind, layout in LAYOUTS.items()},
    "matterport3d": "panoramas in Matterport3D's layout, ready for use",
}
CAPTIONS_FIX = "Write them with `mvdiffusion data caption`; training and generation need them."


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
        known = foreign(found.folder) if not kinds else None
        problems = [] if known else list_images(found.folder)[1]
        found.problems += [*problems, _unclear(found.folder, kinds)]
    found.problems = [problem.named_in(found.folder) for problem in found.problems]
    return found


def _survey_kind(found: Survey, kind: str) -> None:
    found.kind = kind
    options = {"--scale": found.settings.scale != 1, "--depth-unit": found.settings.depth_unit}
    for option in (option for option, given in options.items() if given and kind in _PANORAMAS):
        raise InputError(f"{option}: {found.folder} contains {KINDS[kind]}; leave the option out.")
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
    kinds = [kind for kind, scenes in find_scenes(folder).items() if scenes]
    if _split_files(folder):
        kinds.append("matterport3d")
    return kinds or _kinds_of_images(folder)


def _kinds_of_images(folder: Path) -> list[str]:
    images, _ = list_images(folder)
    if foreign(folder) or _is_recording(images, folder):
        return []
    faces = set(looks_like_faces(images, folder))
    kinds = ["faces"] if faces else []
    return [*kinds, "panoramas"] if len(faces) < len(images) else kinds


def _is_recording(images: list[Path], folder: Path) -> bool:
    """Tell whether images seem to be frames of a camera with depth, not panoramas."""
    names = [path.relative_to(folder).as_posix() for path in images]
    folders = [path.name for path in folder.glob("*/")]
    if not any("depth" in name.lower() for name in (*names, *folders)):
        return False
    pictures = [
        path for path, name in zip(images, names, strict=True) if "depth" not in name.lower()
    ]
    for path in (*pictures, *images)[:1]:
        try:
            with open_image(path) as image:
                return image.width != 2 * image.height
        except (OSError, SyntaxError, ValueError):
            return False
    return True


def _unclear(folder: Path, kinds: list[str]) -> Problem:
    if kinds:
        words = " or ".join(f"{kind} ({KINDS[kind]})" for kind in kinds)
        fix = "Choose one with --kind, or separate the files into folders."
        return Problem(".", f"could be {words}", fix)
    if (known := foreign(folder)) is not None:
        return Problem(".", f"{known.content}, which is not read", known.fix)
    layouts = "; ".join(layout.content for layout in LAYOUTS.values())
    images = list_images(folder)[0]
    if images:
        fix = f"Lay it out in one of these ways: {layouts}."
        return Problem(".", "an RGB-D recording in no known layout", fix)
    fix = f"Give a folder of panoramas or cube faces, or of a recording: {layouts}."
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
    if not found.panoramas and not any(problem.stops for problem in problems):
        fix = f"Name them {FACE_NAMES}." if kind == "faces" else "Choose another --kind."
        problems = [Problem(".", f"no {KINDS[kind]} found", fix), *problems]
    found.problems += problems


def _survey_recordings(found: Survey, kind: str) -> None:
    folder, settings = found.folder, found.settings
    scenes = find_scenes(folder)[kind] or [folder]
    found.problems += repeated(((identifier(path.name), path) for path in scenes), folder)
    for scene in scenes:
        recording, problems = LAYOUTS[kind].read(scene, folder)
        found.problems += problems
        if recording.frames or not any(problem.stops for problem in problems):
            recording = recording.adjusted(settings.scale, settings.depth_unit)
            looks, keys, of_frames = check_frames(recording, settings)
            found.recordings.append((recording, looks, keys))
            found.problems += of_frames
        found.problems += _check_lists(scene)
    found.problems += changed_files(folder)


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
        usable = sum(look.is_usable for look in looks)
        colors = sorted({look.color.size for look in looks})[:3]
        depths = sorted({f"{look.depth_size[1]} x {look.depth_size[0]}" for look in looks})[:3]
        lines.append(
            f"{recording.name}: {len(looks)} frames, {usable} usable, {keys} key frames; color "
            f"{', '.join(colors)} and depth {', '.join(depths)}"
        )
    notes = len(found.problems) - count
    lines.append(f"problems to fix: {count}; notes: {notes}" if count else f"ready; notes: {notes}")
    return lines
