"""Opening sample folders: layout, manifest, and one clear error for everything that is wrong.

Every task: `<root>/<sample id>/<view>.png` (RGB, views numbered from 0),
`<root>/<sample id>/prompt.txt` (one line per view) and `<root>/manifest.json`. Depth samples also
have `cameras.json` and `depth/<view>.png` (16-bit, millimeters, 0 for none), and any number of
views. Without a manifest the folder's name is the method, and `layouts` says which folders
are known beside these.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import filterfalse
from pathlib import Path
from typing import Any

from mvdiffusion.manifest import (
    MANIFEST,
    SAMPLE_ID,
    is_sample_id,
    read_manifest,
    read_trajectory,
)
from mvdiffusion.records import InputError
from mvdiffusion.tasks import Task

from .layouts import Assumptions, check_numbers, recognize
from .methods import open_as_method
from .patterns import Parts, Pattern, open_by_pattern, with_prompts
from .samples import PanoramaFolder, SampleFolder, SequenceFolder


def open_folder(
    root: str | Path,
    *,
    fov_deg: float | None = None,
    yaw_deg: Sequence[float] | None = None,
    view_size: int = 512,
    panorama_height: int | None = None,
    real: bool = False,
    views: str | None = None,
    prompts: str | None = None,
) -> SampleFolder:
    """Open a sample folder and check every file's presence and size before any work is done.

    Args:
        root: the folder; its manifest, if any, decides everything else.
        fov_deg: horizontal field of view in degrees; by default that of the manifest, or 90.
        yaw_deg: direction of each view in degrees; by default those of the manifest, or even.
        view_size: height and width in pixels of the views cut out of equirectangular images.
        panorama_height: height in pixels to which equirectangular images are resized first.
        real: whether it is opened as real views: of a folder that the authors' released code wrote,
            the real pictures instead of the generated ones; panoramas are resized by area means.
        views: pattern of the names of its images, for folders in no known layout (see `patterns`).
        prompts: pattern of the names of its files of prompts.

    Raises:
        InputError: a view is missing, has another size or is not RGB, a camera is impossible,
            or the manifest disagrees.
    """
    assumed: dict[str, Any] = {"fov_deg": fov_deg, "yaw_deg": yaw_deg, "view_size": view_size}
    assumed |= {"panorama_height": panorama_height, "real": real}
    folder = recognize_folder(root, **assumed, views=views, prompts=prompts)
    folder.check()
    return folder


def named_source(source: str | Path) -> tuple[str, str]:
    """Split `[NAME=]PATH` into the name, empty if there is none, and the path.

    What exists under its whole name is a path, whatever it is called.
    """
    name, is_named, path = str(source).partition("=")
    return (name, path) if is_named and not Path(source).exists() else ("", str(source))


def recognize_folder(
    root: str | Path,
    *,
    fov_deg: float | None = None,
    yaw_deg: Sequence[float] | None = None,
    view_size: int = 512,
    panorama_height: int | None = None,
    real: bool = False,
    views: str | None = None,
    prompts: str | None = None,
) -> SampleFolder:
    """Open a sample folder without looking at the images of every sample; see `open_folder`.

    Raises:
        InputError: the layout is unknown, a camera is impossible, or the manifest disagrees.
    """
    root = Path(root)
    fov_is_possible = fov_deg is None or 0 < fov_deg < 180
    if not fov_is_possible or not all(math.isfinite(yaw) for yaw in yaw_deg or ()):
        raise InputError(
            f"--fov-deg, --yaw: {fov_deg} and {yaw_deg}; expected degrees, the field of view "
            "between 0 and 180."
        )
    if not root.is_dir():
        raise InputError(f"{root}: no such folder; expected <sample id>/<view>.png inside it.")
    option = "--reference-views" if real else "--views"
    parts: dict[str, Parts] = {}
    try:
        if (root / MANIFEST).is_file():
            if views is not None:
                raise InputError(
                    f"{option}: {root / MANIFEST} says which files there are; leave the option out."
                )
            folder = _from_manifest(root, _sample_directories(root))
            _check_stated(folder, fov_deg, yaw_deg)
        else:
            yaws = tuple(yaw_deg) if yaw_deg else None
            fov = Assumptions.fov_deg if fov_deg is None else fov_deg
            assumed = Assumptions(fov, yaws, view_size, panorama_height, real)
            if views is not None:
                folder, parts = open_by_pattern(root, Pattern(option, views), assumed)
            else:
                found = _sample_directories(root)
                folder = open_as_method(root) or recognize(root, found, assumed)
        if prompts is not None:
            folder = with_prompts(folder, Pattern("--prompts", prompts), parts)
    except OSError as error:
        raise InputError(
            f"{error.filename or root}: could not be read ({error.strerror}); fix its permissions."
        ) from None
    if wrong := next(filterfalse(is_sample_id, folder.sample_ids), None):
        raise InputError(f"{root}: the sample {wrong!r}; expected {SAMPLE_ID}. Rename it.")
    return folder


def _check_stated(
    folder: SampleFolder, fov_deg: float | None, yaw_deg: Sequence[float] | None
) -> None:
    """Refuse cameras that are stated and that the manifest contradicts."""
    if not isinstance(folder, PanoramaFolder):
        return
    for option, stated, found in (
        ("--fov-deg", fov_deg, folder.fov_deg),
        ("--yaw", yaw_deg and tuple(yaw_deg), folder.yaw_deg),
    ):
        if stated and stated != found:
            raise InputError(
                f"{option}: {stated}, but {folder.root / MANIFEST} says {found}; leave the option "
                "out, or correct the manifest."
            )


def _sample_directories(root: Path) -> list[str]:
    found = []
    for path in sorted(root.iterdir()):
        if path.name.startswith("."):
            continue
        if path.is_symlink() and not path.exists():
            raise InputError(f"{path}: is a broken or circular link; fix or delete it.")
        if path.is_dir():
            found.append(path.name)
    return found


def _from_manifest(root: Path, found: Sequence[str]) -> SampleFolder:
    manifest = read_manifest(root)
    absent = sorted(set(manifest.samples) - set(found))
    extra = sorted(set(found) - set(manifest.samples))
    if absent or extra:
        raise InputError(
            f"{root / MANIFEST}: does not match the folder: listed but missing {absent[:3]}, "
            f"present but not listed {extra[:3]} ({len(absent)} and {len(extra)} in all); generate "
            "the folder again, or delete the manifest to score the images that are there."
        )
    common = (
        *(root, manifest.task.value, manifest.method, manifest.samples),
        *(manifest.height, manifest.width, manifest.settings_sha256),
    )
    if manifest.task == Task.DEPTH:
        cameras = {name: read_trajectory(root / name) for name in manifest.samples}
        return SequenceFolder(*common, cameras)
    folder = PanoramaFolder(*common, manifest.fov_deg, manifest.yaw_deg, manifest.given_views)
    check_numbers(folder)
    return folder
