"""Folders whose files go by names of their own, which a pattern states.

A pattern is the path of a file below the folder, with fields in braces:

| field | stands for |
|---|---|
| `{yaw}` | direction of a view in degrees to the right |
| `{view}` or `{index}` | number of a view, rising in the order of the views |
| `{id}` and any other name | a part of the sample's name; used twice, it is the same text |
| `*` | any text, which is no part of the sample's name |

A field stands for text inside one name, never for a `/`. The id of a sample is the values of its
fields joined by `_`: in alphabetical order of the fields, `{id}` last, so that the pattern of the
real views may name them in another order. Without a field of views, every file is one
equirectangular panorama.
"""

from __future__ import annotations

import glob
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import pairwise
from pathlib import Path

from mvdiffusion.geometry.cameras import even_yaws
from mvdiffusion.records import InputError, listed

from .layouts import PANORAMA_SUFFIXES, Assumptions, common_values, equirectangular_folder
from .samples import PanoramaFolder, SampleFolder

ID, YAW, NUMBERS = "id", "yaw", ("view", "index")
VALUES = {YAW: r"[+-]?\d+(?:\.\d+)?", **dict.fromkeys(NUMBERS, r"\d+")}
"""What fields of views match; others match any text in a name that does not begin with a dot."""
TOKEN = re.compile(r"\{([A-Za-z]\w*)\}|\*")
HOW = (
    "expected a path below the folder with fields in braces, as "
    "'{room}/{id}/{id}_{yaw}.png': {yaw} in degrees or {view} as a number, other names for parts "
    "of the sample's name, and * for any other text"
)

Views = dict[float, Path]
"""Files of a sample by the direction or the number of the view."""
Parts = Mapping[str, str]
"""Parts of a sample's name, by field."""


@dataclass(frozen=True)
class Pattern:
    """A pattern of paths below a folder.

    Attributes:
        option: what messages call it.
        text: the pattern.

    Raises:
        InputError: it is none.
    """

    option: str
    text: str

    def __post_init__(self) -> None:
        """Refuse what no path can be, and what could be read in two ways."""
        literals = TOKEN.sub("", self.text)
        tokens = list(TOKEN.finditer(self.text))
        path = Path(self.text)
        flaw = ""
        if not self.fields:
            flaw = "has no field"
        elif path.is_absolute() or ".." in path.parts:
            flaw = "leads out of the folder"
        elif path.as_posix() != self.text:
            flaw = "has a '.' or '/' too many"
        elif set("{}[]?") & set(literals):
            flaw = "has brackets that enclose no name"
        elif any(one.end() == other.start() for one, other in pairwise(tokens)):
            flaw = "has two fields with nothing between them"
        elif len([name for name in self.fields if name in VALUES]) > 1:
            flaw = "states the views twice"
        if flaw:
            raise InputError(f"{self}: {flaw}; {HOW}.")

    def __str__(self) -> str:
        """The option as it was given."""
        return f"{self.option} '{self.text}'"

    @cached_property
    def fields(self) -> tuple[str, ...]:
        """Names of the fields, each once, in their order."""
        return tuple(dict.fromkeys(m[1] for m in TOKEN.finditer(self.text) if m[1]))

    @property
    def of_sample(self) -> tuple[str, ...]:
        """Fields that name the sample, in the order in which they make its id."""
        return tuple(sorted(set(self.fields) - set(VALUES), key=lambda name: (name == ID, name)))

    @property
    def of_view(self) -> str:
        """The field that names the view; empty if there is none."""
        return next((name for name in self.fields if name in VALUES), "")

    def files(self, root: Path) -> Iterator[tuple[Path, dict[str, str]]]:
        """Find the files that the pattern names, each with the values of its fields.

        Raises:
            InputError: none is there, or the name of one can be read in two ways.
        """
        greedy, lazy = self._regex(""), self._regex("?")
        candidates = sorted(root.glob(self._glob({})))
        found = False
        for path in candidates:
            name = path.relative_to(root).as_posix()
            first, second = greedy.fullmatch(name), lazy.fullmatch(name)
            if first is None or second is None or not path.is_file():
                continue
            if first.groupdict() != second.groupdict():
                raise InputError(
                    f"{self}: {root / name} can be read in two ways, as {_said(first)} and as "
                    f"{_said(second)}; state more of the name, or put one field in place of two."
                )
            found = True
            yield path, first.groupdict()
        if not found:
            raise InputError(f"{self}: {self._nothing(root, candidates)}; {HOW}.")

    def _nothing(self, root: Path, candidates: Sequence[Path]) -> str:
        """Say what is there instead of the files that are named."""
        if candidates:
            near = candidates[0].relative_to(root)
            return (
                f"names no file in {root}; the nearest is {near}, in which a field that is used "
                "twice has two values, or {yaw} or {view} is no number"
            )
        images = (p for p in sorted(root.rglob("*")) if p.suffix.lower() in PANORAMA_SUFFIXES)
        example = next(images, None)
        if example is None:
            return f"names no file in {root}, which holds no images at all"
        return f"names no file in {root}; an image that is there: {example.relative_to(root)}"

    def file(self, root: Path, values: Mapping[str, str]) -> Path:
        """Find the one file of a sample.

        Args:
            root: the folder.
            values: of the sample's fields; a field without a value stands for any text.

        Raises:
            InputError: none is there, or several.
        """
        name = self._glob(values)
        found = sorted(path for path in root.glob(name) if path.is_file())
        if len(found) == 1:
            return found[0]
        sample = ", ".join(f"{key} {value}" for key, value in values.items())
        if not found:
            raise InputError(
                f"{self}: names no file of the sample with {sample}; expected {root / name}."
            )
        names = listed([path.relative_to(root).as_posix() for path in found])
        raise InputError(
            f"{self}: names {len(found)} files of the sample with {sample}: {names}; expected one. "
            f"Fields with a value here: {', '.join(f'{{{key}}}' for key in values)}."
        )

    def _glob(self, values: Mapping[str, str]) -> str:
        return self._translated(
            glob.escape, lambda name: glob.escape(values[name]) if name in values else "*"
        )

    def _regex(self, lazy: str) -> re.Pattern[str]:
        seen: set[str] = set()

        def of_field(name: str) -> str:
            if not name:
                return f"[^/]*{lazy}"
            if name in seen:
                return f"(?P={name})"
            seen.add(name)
            return f"(?P<{name}>{VALUES.get(name, f'[^/.][^/]*{lazy}')})"

        return re.compile(self._translated(re.escape, of_field))

    def _translated(self, literal: Callable[[str], str], of_field: Callable[[str], str]) -> str:
        """Translate literal text and fields; a `*` is a field without a name."""
        parts, end = [], 0
        for token in TOKEN.finditer(self.text):
            parts += [literal(self.text[end : token.start()]), of_field(token[1] or "")]
            end = token.end()
        return "".join([*parts, literal(self.text[end:])])


def _said(match: re.Match[str]) -> str:
    return ", ".join(f"{{{name}}} = {text}" for name, text in match.groupdict().items())


@dataclass(frozen=True)
class PatternFolder(PanoramaFolder):
    """Panoramas whose views are files of any names.

    Attributes:
        files: the views of each sample, in order.
    """

    files: Mapping[str, Sequence[Path]] = field(default_factory=dict)

    def view_paths(self, sample_id: str) -> list[Path]:
        """List the files of a sample's views, in order."""
        return list(self.files[sample_id])


def open_by_pattern(
    root: Path, pattern: Pattern, assumed: Assumptions
) -> tuple[SampleFolder, dict[str, Parts]]:
    """Open a folder whose files a pattern names; the files are not checked yet.

    Args:
        root: the folder.
        pattern: of its views, or of its equirectangular panoramas.
        assumed: what the names do not state.

    Returns:
        The folder, and the parts of each sample's name.

    Raises:
        InputError: no file is named so, two files are the same view, or samples have other views.
    """
    if not pattern.of_sample:
        raise InputError(f"{pattern}: names no sample; {HOW}.")
    found, parts = _samples(root, pattern)
    if not pattern.of_view:
        panoramas = {name: views[0.0] for name, views in found.items()}
        opened: SampleFolder = equirectangular_folder(root, panoramas, assumed)
    else:
        opened = _of_views(root, pattern, found, assumed)
    return replace(opened, named_by={"views": pattern.text}), parts


def _samples(root: Path, pattern: Pattern) -> tuple[dict[str, Views], dict[str, Parts]]:
    """Files and parts of the name of each sample, by its id."""
    found: dict[str, Views] = {}
    parts: dict[str, Parts] = {}
    for path, values in pattern.files(root):
        own = {name: values[name] for name in pattern.of_sample}
        sample_id = "_".join(own.values())
        if parts.setdefault(sample_id, own) != own:
            raise InputError(
                f"{pattern}: {_shown(parts[sample_id])} and {_shown(own)} make the same sample id, "
                f"'{sample_id}'; rename one of them."
            )
        view = float(values.get(pattern.of_view, 0))
        view = round(view % 360, 6) % 360 if pattern.of_view == YAW else view
        other = found.setdefault(sample_id, {}).setdefault(view, path)
        if other is not path:
            what = f"{pattern.of_view} {view:g}" if pattern.of_view else "the panorama"
            raise InputError(
                f"{pattern}: {other} and {path} are both {what} of the sample '{sample_id}'; "
                "expected one file for each. State more of the name."
            )
    return dict(sorted(found.items())), parts


def _shown(parts: Parts) -> str:
    return ", ".join(f"{{{name}}} = {text}" for name, text in parts.items())


def _of_views(
    root: Path, pattern: Pattern, found: Mapping[str, Views], assumed: Assumptions
) -> PatternFolder:
    usual = Counter(tuple(sorted(views)) for views in found.values()).most_common(1)[0][0]
    for sample_id, views in found.items():
        _check_views(root, pattern, sample_id, views, usual)
    if pattern.of_view == YAW:
        if assumed.yaw_deg is not None:
            raise InputError(f"--yaw: {pattern} states the directions; leave the option out.")
        yaw_deg = usual
    else:
        first, count = int(usual[0]), len(usual)
        if usual != tuple(range(first, first + count)):
            raise InputError(
                f"{pattern}: the views have the numbers {_numbers(usual)}; expected one after "
                "another, without gaps."
            )
        yaw_deg = assumed.yaw_deg or even_yaws(count)
        if len(yaw_deg) != count:
            raise InputError(f"--yaw: {len(yaw_deg)} directions; {pattern} finds {count} views.")
    files = {name: [views[view] for view in usual] for name, views in found.items()}
    firsts = [paths[0].relative_to(root).as_posix() for paths in files.values()]
    common = common_values(root, "panorama", tuple(files), firsts, assumed.real)
    return PatternFolder(*common, assumed.fov_deg, yaw_deg, files=files)


def _check_views(
    root: Path, pattern: Pattern, sample_id: str, views: Views, usual: Sequence[float]
) -> None:
    """Refuse a sample that has other views than most."""
    if missing := [view for view in usual if view not in views]:
        raise InputError(
            f"{pattern}: the sample '{sample_id}' lacks {pattern.of_view} {_numbers(missing)}, "
            f"which most samples have, as {next(iter(views.values()))}; all samples need the same "
            "views."
        )
    if extra := [view for view in views if view not in usual]:
        raise InputError(
            f"{pattern}: {views[extra[0]]} is a view that most samples lack; all samples need the "
            "same views."
        )


def _numbers(views: Sequence[float]) -> str:
    return listed([f"{view:g}" for view in views], 8)


def with_prompts(
    folder: SampleFolder, pattern: Pattern, parts: Mapping[str, Parts]
) -> SampleFolder:
    """Have the prompts of a folder read from files that a pattern names.

    Args:
        folder: the folder.
        pattern: of the file of each sample: one prompt per line and view, or one for all.
        parts: of each sample's name; of a folder without a pattern of its own it is `{id}` alone.

    Raises:
        InputError: a sample has no file or several, or the pattern is one of views, or has no part
            of a sample's name: one file would then be the prompts of all samples.
    """
    if pattern.of_view:
        raise InputError(
            f"{pattern}: names a file for each view; expected one file for each sample, with one "
            "prompt per line and view or one for all."
        )
    own = {i: parts.get(i, {ID: i}) for i in folder.sample_ids}
    known = {name for of in own.values() for name in of}
    if not known & set(pattern.fields):
        names = listed([f"{{{name}}}" for name in sorted(known)])
        raise InputError(
            f"{pattern}: no field is a part of the samples' names; expected one of {names}."
        )
    files = {
        sample_id: pattern.file(
            folder.root, {name: text for name, text in of.items() if name in pattern.fields}
        )
        for sample_id, of in own.items()
    }
    return replace(
        folder, prompt_files=files, named_by={**folder.named_by, "prompts": pattern.text}
    )
