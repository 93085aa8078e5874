"""Matterport3D's files by name, and the lists of a split's panoramas, <split>.npy."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

import numpy as np

from mvdiffusion.records import InputError, atomic_output, check_hashes

FACES = "matterport_skybox_images"
"""Folder of a scene's faces."""

FACE = re.compile(r"(?P<id>[^/]+)_skybox(?P<face>[0-5])_sami\.jpg")
HASHES = ".sha256.json"
"""Hashes of a folder's pictures and poses; rendered scenes have it, those from elsewhere do not."""

CAPTION_DEGREES = range(0, 360, 45)
"""Directions that have captions."""


def face_names(panorama: str) -> list[str]:
    """Names of a panorama's six files: up, left, front, right, back, down."""
    return [f"{panorama}_skybox{face}_sami.jpg" for face in range(6)]


def panorama_id(face: str) -> str:
    """Id of the panorama that a face belongs to, by the face's name or path."""
    return PurePosixPath(face).name.rsplit("_skybox", 1)[0]


def caption_name(panorama: str, degrees: int) -> str:
    """Path of a caption inside its scene.

    Args:
        panorama: id of the panorama.
        degrees: direction of the view, one of `CAPTION_DEGREES`.
    """
    return f"blip3/{panorama}_{degrees}.txt"


def check_unchanged(root: Path) -> None:
    """Check that rendered scenes are as they were rendered: a damaged JPEG can show other pixels.

    Args:
        root: their folder; one without `HASHES` is passed over.

    Raises:
        InputError: a file is missing or has changed.
    """
    check_hashes(root, HASHES, f"delete {root} and render it again")


def write_split(path: Path, panoramas: Iterable[tuple[str, str]]) -> None:
    """Write a split's list as `read_split` reads it.

    Args:
        path: `<root>/<split>.npy`.
        panoramas: scene and id of each.
    """
    rows = [[f"{scene}/{FACES}/{name}" for name in face_names(i)] for scene, i in panoramas]
    with atomic_output(path) as temporary, open(temporary, "wb") as file:
        np.save(file, np.asarray(rows))


def read_split(root: Path, split: str) -> list[list[str]]:
    """Read and check `<root>/<split>.npy`.

    Returns:
        Per panorama the six relative paths of its faces, all of which exist.

    Raises:
        InputError: the file is missing or not an array [N, 6] of text, or an entry is wrong.
    """
    path = root / f"{split}.npy"
    if not path.is_file():
        present = ", ".join(sorted(file.stem for file in root.glob("*.npy"))) or "none"
        raise InputError(f"{path}: no such split; splits present: {present}.")
    rows = read_rows(path)
    _check_entries(path, rows)
    return rows


def read_rows(path: Path) -> list[list[str]]:
    """Read an array [N, 6] of text, whatever it says.

    Raises:
        InputError: the file holds anything else.
    """
    try:
        entries = np.load(path, allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise InputError(
            f"{path}: not an array of text ({error}); write it with np.save."
        ) from None
    if not isinstance(entries, np.ndarray):
        raise InputError(
            f"{path}: is an archive of arrays; expected one array, written by np.save."
        )
    if (
        entries.dtype.kind != "U"
        or entries.ndim != 2
        or entries.shape[1:] != (6,)
        or not len(entries)
    ):
        raise InputError(
            f"{path}: found an array {entries.shape} of {entries.dtype}; expected (N, 6) of text: "
            "six relative paths of faces per panorama."
        )
    return entries.tolist()


def _check_entries(path: Path, entries: list[list[str]]) -> None:
    seen: set[str] = set()
    for row, faces in enumerate(entries):
        for face, name in enumerate(faces):
            where, pure = f"{path}: entry [{row}, {face}] is {name!r}", PurePosixPath(name)
            match = FACE.fullmatch(pure.name)
            if pure.is_absolute() or ".." in pure.parts:
                raise InputError(f"{where}, which leads outside {path.parent}; use relative paths.")
            if not match or int(match["face"]) != face or pure.parent.name != FACES:
                raise InputError(f"{where}; expected <scene>/{FACES}/<id>_skybox{face}_sami.jpg.")
            if name.replace(f"_skybox{face}_", "_skybox0_") != faces[0]:
                raise InputError(f"{where}; expected a face of the same panorama as {faces[0]!r}.")
            if not (path.parent / name).is_file():
                raise InputError(
                    f"{path.parent / name}: no such file, but {path.name} lists it (entry {row}); "
                    "download or render it, or remove the entry."
                )
        if panorama_id(faces[0]) in seen:
            raise InputError(
                f"{path}: entry {row} repeats the panorama {panorama_id(faces[0])!r}; remove it."
            )
        seen.add(panorama_id(faces[0]))
