"""The files that an external method writes: where they are, and whether they are whole."""

from __future__ import annotations

import glob
import re
import string
from collections.abc import Sequence
from pathlib import Path

from mvdiffusion.images import is_whole_png, read_rgb
from mvdiffusion.methods.specification import Output
from mvdiffusion.records import InputError

_WILD = {"sample": "(?P<sample>[^/]+)", None: ""}  # None: a text without a field after it


def find_files(
    folder: Path, output: Output, sample: str, count: int, frames: Sequence[int] = ()
) -> dict[str, Path | None]:
    """Find the files of a sample by the names that they should have, in order; None: not there.

    Args:
        folder: what the method has written.
        output: what it writes, and the pattern of the names.
        sample: name of the sample.
        count: number of views.
        frames: numbers of the frames of a sequence.

    Raises:
        InputError: several files fit one name.
    """
    return {
        output.files.format(sample=sample, **names): _find_file(folder, output, sample, names)
        for names in _names(output, count, frames)
    }


def _names(output: Output, count: int, frames: Sequence[int]) -> list[dict[str, object]]:
    """What tells the files of a sample apart, in order."""
    if output.layout == "views":
        return [{"view": view} for view in range(count)]
    if output.layout == "frames":
        return [{"frame": frame} for frame in frames]
    if output.layout == "cube" and output.faces:
        return [{"face": face.name} for face in output.faces.values()]
    return [{}]


def _find_file(folder: Path, output: Output, sample: str, names: dict[str, object]) -> Path | None:
    values = {name: glob.escape(str(value)) for name, value in (names | {"sample": sample}).items()}
    found = sorted(folder.glob(output.files.format(**values)))
    if len(found) > 1:
        raise InputError(f"{found[0]}: {found[1].name} fits {output.files} as well; keep one.")
    return found[0] if found else None


def is_whole(path: Path | None) -> bool:
    """Tell whether a picture is there, to its end."""
    if path is None or not path.is_file():
        return False
    if path.suffix.lower() == ".png":
        return is_whole_png(path)
    try:
        read_rgb(path)
    except InputError:
        return False
    return True


def samples_in(folder: Path, output: Output) -> list[str]:
    """Names of the samples that have files in a folder, whoever made it.

    Args:
        folder: the folder.
        output: the pattern of its files' names.
    """
    parts = string.Formatter().parse(output.files)
    wild = re.compile(
        "".join(
            re.escape(text).replace(r"\*", "[^/]*") + _WILD.get(name, "[^/]+")
            for text, name, _, _ in parts
        )
    )
    paths = (path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    matches = (wild.fullmatch(path) for path in paths if not path.startswith("."))
    return sorted({match["sample"] for match in matches if match})
