"""Captions that the user gives along with images."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from mvdiffusion.data.captions import read_caption
from mvdiffusion.preparation.custom.image_checks import IMAGE_SUFFIXES
from mvdiffusion.preparation.custom.problems import Problem, from_error
from mvdiffusion.records import InputError, read_json


@dataclass(frozen=True)
class Captions:
    """Texts by name, and one for all that have none of their own.

    Attributes:
        texts: by the image's name without suffix, or by id.
        everywhere: for images without one; None if there is none.
    """

    texts: Mapping[str, str] = field(default_factory=dict)
    everywhere: str | None = None

    def __bool__(self) -> bool:
        return bool(self.texts) or self.everywhere is not None

    def of(self, *names: str) -> str | None:
        """Caption of the first name that has one."""
        found = (self.texts[name] for name in names if name in self.texts)
        return next(found, self.everywhere)


def read_captions(
    caption: str | None, source: Path | None, present: Iterable[tuple[str, Path]]
) -> tuple[Captions, list[Problem]]:
    """Read captions: one for all, or of a file or folder, or those that lie beside the images.

    Args:
        caption: for all images.
        source: a JSON file {"image name": "text"}, or a folder of <image name>.txt.
        present: folders of captions that are taken if neither is given, each after what its
            names begin with.

    Raises:
        InputError: both are given, the caption is empty, or the source is not there.
    """
    if caption is not None and source is not None:
        raise InputError("--caption and --captions are both given; keep one of them.")
    if caption is not None:
        if not caption.strip():
            raise InputError("--caption is empty; give a text, or leave the option out.")
        return Captions(everywhere=" ".join(caption.split())), []
    if source is None or source.is_dir():
        return _of_folders([("", source)] if source else present)
    if not source.is_file():
        raise InputError(f"--captions {source}: no such file or folder; check the path.")
    return _of_file(source)


def _of_file(path: Path) -> tuple[Captions, list[Problem]]:
    values = read_json(path)
    if not isinstance(values, dict):
        raise InputError(f"--captions {path}: expected a mapping of image names to texts.")
    texts, problems = {}, []
    for name, text in values.items():
        if isinstance(text, str) and text.strip():
            known = Path(name).suffix.lower() in IMAGE_SUFFIXES
            stem = Path(name).with_suffix("").as_posix() if known else name
            texts[stem] = " ".join(text.split())
        else:
            problem = f"the caption of '{name}' is {text!r}"
            problems.append(Problem(path, problem, "Give a text that is not empty."))
    return Captions(texts), problems


def _of_folders(places: Iterable[tuple[str, Path]]) -> tuple[Captions, list[Problem]]:
    texts, problems = {}, []
    found = [(start, place, path) for start, place in places for path in place.rglob("*.txt")]
    for start, place, path in sorted(found):
        name = start + path.relative_to(place).with_suffix("").as_posix()
        try:
            texts[name] = read_caption(path)
        except (InputError, OSError) as error:
            problems.append(from_error(error))
    return Captions(texts), problems
