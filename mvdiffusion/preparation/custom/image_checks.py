"""Checks of a user's image files: every reason why one cannot be used as it is."""

from __future__ import annotations

import errno
import os
import re
import stat
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from PIL import Image
from tqdm import tqdm

from mvdiffusion.images import open_image
from mvdiffusion.preparation.custom.problems import Problem, name_in, note

IMAGE_SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp"}
_UNSUPPORTED = {".heic", ".heif", ".avif", ".exr", ".hdr", ".gif", ".dng", ".cr2", ".nef", ".raw"}
_ORIENTATION = 0x0112  # EXIF
_MANY = 200  # images from which on a progress bar is shown

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Look:
    """Contents of an image file.

    Attributes:
        path: the file.
        width: in pixels; 0 if it cannot be decoded.
        height: in pixels; 0 if it cannot be decoded.
        plain_jpeg: it is an RGB JPEG, whose bytes can be taken over.
        problems: what is wrong with it.
    """

    path: Path
    width: int
    height: int
    plain_jpeg: bool
    problems: tuple[Problem, ...]

    @property
    def size(self) -> str:
        """Width and height in words."""
        return f"{self.width} x {self.height}"


def in_parallel(
    function: Callable[[Item], Result], items: Sequence[Item], title: str
) -> Iterator[Result]:
    """Apply a function to all items in threads (decoding lets others run), in order."""
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        results = pool.map(function, items)
        yield from tqdm(results, desc=title, total=len(items), disable=len(items) < _MANY)


def look_at(path: Path) -> Look:
    """Decode an image and report all that is wrong with it as a color image."""
    if reason := unreadable(path):
        return Look(path, 0, 0, False, (reason,))
    try:
        with open_image(path) as image:
            image.load()
            problems = (*_color(image, path), *_marks(image, path))
            plain = image.format in ("JPEG", "MPO") and image.mode == "RGB"
            return Look(path, *image.size, plain, problems)
    except Exception as error:  # broken bytes make decoders raise almost anything
        return Look(path, 0, 0, False, (undecodable(path, error),))


def unreadable(path: Path) -> Problem | None:
    """Say why a file's bytes cannot be read, if so."""
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            return Problem(path, "not a regular file", "Put an image file there.")
        if status.st_size == 0:
            return Problem(path, "zero bytes", "Copy or export the file again.")
        with open(path, "rb") as file:
            file.read(1)
    except OSError as error:
        return _refused(path, error)
    return None


def _refused(path: Path, error: OSError) -> Problem:
    fix = "Replace it by the file itself."
    if error.errno == errno.ELOOP:
        return Problem(path, "a link that leads back to itself", fix)
    if error.errno == errno.ENOENT and path.is_symlink():
        return Problem(path, "a link to a file that is not there", fix)
    if error.errno == errno.ENOENT:
        return Problem(path, "no such file", "Add it.")
    if error.errno in (errno.EACCES, errno.EPERM):
        return Problem(path, "may not be read", "Allow reading it: `chmod u+r`.")
    return Problem(path, f"cannot be read ({error.strerror})", "Copy the file again.")


def undecodable(path: Path, error: Exception) -> Problem:
    """Say why a file's bytes are no image, by what the decoder raised."""
    if isinstance(error, Image.DecompressionBombError):
        limit = f"more than {2 * (Image.MAX_IMAGE_PIXELS or 0) // 1_000_000} million pixels"
        return Problem(path, limit, "Make the image smaller.")
    if isinstance(error, Image.UnidentifiedImageError):
        return Problem(path, "not an image", "Export it as PNG or JPEG, or remove it.")
    return Problem(path, "a truncated or broken image", "Copy or export it again.")


def _color(image: Image.Image, path: Path) -> Iterator[Problem]:
    mode = image.mode
    if mode in ("L", "1", "LA"):
        yield note(path, "grayscale", "Nothing to do: it is converted to RGB.")
    if mode == "CMYK":
        yield Problem(path, "CMYK (print) colors", "Convert it to sRGB and save it again.")
    if mode == "F" or mode.startswith("I"):
        fix = "Move it away if it is depth; a photograph has to be RGB."
        yield Problem(path, f"one channel of more than 8 bits (mode {mode}), as depth has", fix)
    if mode.endswith("A") or "transparency" in image.info:
        if image.convert("RGBA").getchannel("A").getextrema()[0] != 255:
            yield Problem(path, "transparent pixels", "Fill them and save it as RGB.")
        else:
            yield note(path, "an alpha channel", "Nothing to do: it is opaque and is dropped.")


def _marks(image: Image.Image, path: Path) -> Iterator[Problem]:
    turned = image.getexif().get(_ORIENTATION, 1)
    if turned not in (0, 1):
        fix = "Rotate the pixels and remove the orientation, as `mogrify -auto-orient` does."
        yield Problem(path, f"rotated by EXIF orientation {turned}", fix)
    if (count := getattr(image, "n_frames", 1)) > 1 and image.format != "MPO":
        yield note(path, f"contains {count} pictures", "Nothing to do: the first one is used.")


def list_images(folder: Path) -> tuple[list[Path], list[Problem]]:
    """List the image files below a folder, sorted; hidden ones and linked folders are left out.

    Returns:
        The files (dangling links among them) and what was met besides.
    """
    images, problems = [], []

    def refuse(error: OSError) -> None:
        problems.append(_refused(Path(error.filename), error))

    for place, folders, files in os.walk(folder, onerror=refuse):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for path in (Path(place, name) for name in folders):
            if path.is_symlink():
                fix = "Nothing to do, or replace the link by the folder."
                problems.append(note(path, "a linked folder, which is not searched", fix))
        for path in (Path(place, name) for name in sorted(files) if not name.startswith(".")):
            if path.suffix.lower() in IMAGE_SUFFIXES:
                images.append(path)
            elif path.suffix.lower() in _UNSUPPORTED:
                problem = f"an unsupported image format ({path.suffix})"
                fix = "Convert it to PNG or JPEG, or remove it."
                problems.append(Problem(path, problem, fix))
    return images, problems


def files_in(folder: Path, suffixes: Collection[str]) -> list[Path]:
    """List the files of some kinds directly inside a folder, if there is one.

    Args:
        suffixes: of their names, in lower case.
    """
    if not folder.is_dir():
        return []
    found = (path for path in folder.iterdir() if path.suffix.lower() in suffixes)
    return sorted(path for path in found if not path.name.startswith("."))


def identifier(text: str) -> str:
    """Make a file name's stem an id: letters, digits, '.', '_' and '-', without '_skybox'."""
    plain = re.sub(r"[^\w.-]+", "-", unicodedata.normalize("NFC", text)).strip("-.")
    return plain.replace("_skybox", "-skybox")


def scene_name(folder: Path) -> str:
    """Id of the scene that a folder holds."""
    return identifier(folder.name) or "scene"


def distinct(places: Sequence[tuple[str, ...]]) -> list[str]:
    """Make ids of names; those of one name in several folders get the folders that differ, too.

    Args:
        places: the folders in which each lies, and its name.
    """
    alike: dict[str, list[tuple[str, ...]]] = defaultdict(list)
    for place in places:
        alike[place[-1]].append(place)
    return [identifier("-".join(_telling(place, alike[place[-1]]))) for place in places]


def _telling(place: tuple[str, ...], alike: list[tuple[str, ...]]) -> tuple[str, ...]:
    """The parts of a path in which those of its name differ, and the name."""
    if len(set(alike)) == 1:
        return place[-1:]
    if len({len(other) for other in alike}) > 1:
        return place
    differ = (len(set(parts)) > 1 for parts in zip(*alike, strict=True))
    told = (part for part, differs in zip(place[:-1], differ, strict=False) if differs)
    return (*told, place[-1])


def repeated(named: Iterable[tuple[str, Path]], folder: Path) -> Iterator[Problem]:
    """Report ids that several files have.

    Args:
        named: pairs (id, file).
        folder: that file names are reported relative to.
    """
    first: dict[str, Path] = {}
    for name, file in named:
        if not name:
            yield Problem(file, "no letter or digit in its name", "Rename it.")
        elif name in first:
            problem = f"has the same id '{name}' as {name_in(first[name], folder)}"
            yield Problem(file, problem, "Rename one of them.")
        else:
            first[name] = file
