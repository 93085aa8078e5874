"""Comparison of several methods: scored with the same settings and samples, and tested."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from mvdiffusion.manifest import MANIFEST
from mvdiffusion.outputs import made_before, remade_output
from mvdiffusion.records import InputError, write_json

from .api import restricted
from .api import score as score_folder
from .claims.leads import doubtful_leads
from .folders.methods import REAL
from .folders.opening import named_source, open_folder
from .folders.samples import SampleFolder
from .metrics.base import Detail
from .scoring.score_files import (
    SAME_PANORAMAS,
    VIEW_KEYS,
    Score,
    as_stored,
    check_comparable,
    identical_images,
    read_score,
)
from .scoring.verification import sealed
from .tables.columns import UNPUBLISHED
from .tables.comparison import comparison_table, difference_table
from .tables.published import beside_published
from .tables.results import main_table
from .tables.table import Table, write_tables

OF_SEQUENCES = ("num_key_frames", "num_between", "geometry_sha256")
"""Properties of sequences that methods share, if they have the same samples."""

CAMERAS = ("fov_deg", "yaw_deg", "view_size", "panorama_height")
"""Options of `score` that are also options of opening a folder."""


@dataclass(frozen=True)
class Comparison:
    """Scores of all methods, in the order given, and their tables.

    Attributes:
        baseline: method that the others are compared with.
        folders: images by method, of those that were given as folders.
        details: values of single views and pairs by method, likewise.
    """

    scores: tuple[Score, ...]
    tables: tuple[Table, ...]
    baseline: str = ""
    folders: Mapping[str, SampleFolder] = field(default_factory=dict)
    details: Mapping[str, Sequence[Detail]] = field(default_factory=dict)

    @property
    def warnings(self) -> list[str]:
        """Methods of the same images, warnings of scoring by method, and doubtful leads."""
        of_methods = [
            f"{score.method}: {warning}"
            for score in self.scores
            for warning in score.content.get("warnings", ())
        ]
        return [*identical_images(self.scores), *of_methods, *doubtful_leads(self.scores)]


def compare(
    sources: Sequence[str | Path],
    output: str | Path,
    reference: str | Path | None = None,
    *,
    baseline: str | None = None,
    common: bool = False,
    cache: str | Path | None = None,
    views: Sequence[str] = (),
    prompts: Sequence[str] = (),
    **options: Any,
) -> Comparison:
    """Score every method and write `scores/<method>.json` and `tables/`, atomically.

    Args:
        sources: at least two folders of any known layout, or score files (`*.json`) ready made;
            `NAME=PATH` gives a method another name.
        output: folder to write; an earlier comparison there is replaced, and files of yours stay.
        reference: real views of the same samples.
        baseline: method that the others are compared with; default the first.
        common: restrict every method to the samples that all of them have.
        cache: feature cache; by default one for this run, shared by all methods.
        views: patterns of the names of images (see `folders.patterns`): of the folders without a
            manifest, or `NAME=PATTERN` of one method.
        prompts: patterns of the names of files of prompts, likewise.
        options: further options of `mvdiffusion_eval.score`, the same for every folder.

    Raises:
        InputError: sources that cannot be compared (task, samples, counts, sizes), two methods of
            the same name, or an error of scoring. Most are found before anything is scored.
    """
    output = Path(output)
    if cache is not None and Path(cache).resolve().is_relative_to(output.resolve()):
        raise InputError(
            f"--cache: {cache} is inside the output folder {output}; choose a folder outside it."
        )
    made_before(output)  # or else it is refused before any work
    cameras = {key: options[key] for key in CAMERAS if key in options}
    given = _sources(sources, views, prompts)
    opened = [_entry(source, cameras) for source in given]
    entries = [entry for entry, _ in opened]
    _check_names(entries, baseline)
    shared = _shared_samples(entries, common)
    options["reference"] = reference
    details: dict[str, list[Detail]] = {entry.method: [] for entry in entries}
    with tempfile.TemporaryDirectory() as temporary:
        options["cache"] = cache or temporary
        scores = [
            _scored(entry, shared, {**options, **source.patterns, "details": details[entry.method]})
            for entry, source in zip(entries, given, strict=True)
        ]
    check_comparable(scores)
    first = next(s for s in scores if s.method == (baseline or scores[0].method))
    notes = (*_restriction(entries, shared), *doubtful_leads(scores))
    main = main_table(first.task, scores, UNPUBLISHED)
    tables = (
        comparison_table(scores, notes),
        difference_table(scores, first, notes),
        beside_published(first.task, replace(main, notes=(*notes, *main.notes))),
    )
    with remade_output(output) as written:
        for score in scores:
            write_json(written / "scores" / f"{score.method}.json", score.content)
        write_tables(tables, written / "tables")
    folders = {folder.method: folder for _, folder in opened if folder is not None}
    folders = {name: restricted(f, first.samples) for name, f in folders.items()}
    if reference is not None and not any(score.is_real for score in scores):
        named: dict[str, Any] = {"real": True, "views": options.get("reference_views")}
        folders[REAL.name] = restricted(open_folder(reference, **cameras, **named), first.samples)
    return Comparison(tuple(scores), tables, first.method, folders, details)


@dataclass(frozen=True)
class _Source:
    """A folder or score file as it was given: its name, if any, path and patterns."""

    name: str
    path: str
    patterns: Mapping[str, Any]

    @property
    def is_file(self) -> bool:
        return self.path.endswith(".json") and not Path(self.path).is_dir()


def _sources(
    sources: Sequence[str | Path], views: Sequence[str], prompts: Sequence[str]
) -> list[_Source]:
    """Split `NAME=PATH`, and give each folder the patterns of its names."""
    split = [named_source(source) for source in sources]
    names = [name or Path(path).name for name, path in split]
    stated = {
        "views": _by_name(views, names, "--views"),
        "prompts": _by_name(prompts, names, "--prompts"),
    }
    found = []
    for (name, path), known in zip(split, names, strict=True):
        source = _Source(name, path, {})
        plain = not source.is_file and not (Path(path) / MANIFEST).is_file()
        patterns = {
            option: by_name.get(known) or (by_name.get("") if plain else None)
            for option, by_name in stated.items()
        }
        found.append(replace(source, patterns={k: text for k, text in patterns.items() if text}))
    return found


def _by_name(words: Sequence[str], names: Collection[str], option: str) -> dict[str, str]:
    """Patterns by the method that they are of; that of all others has an empty name."""
    found: dict[str, str] = {}
    for word in words:
        name, is_named, text = word.partition("=")
        key, pattern = (name, text) if is_named and name in names else ("", word)
        if key in found:
            of = f"of '{key}'" if key else f"without NAME= (methods: {', '.join(names)})"
            raise InputError(
                f"{option}: '{found[key]}' and '{pattern}' are both {of}; expected one PATTERN, "
                "and NAME=PATTERN for methods whose files have other names."
            )
        found[key] = pattern
    return found


def _entry(source: _Source, cameras: Mapping[str, Any]) -> tuple[Score, SampleFolder | None]:
    """A score file as it is; of a folder what is known before it is scored, and the folder."""
    name, path = source.name, source.path
    if source.is_file:
        score = read_score(path)
        renamed = Score(score.path, sealed({**score.content, "method": name})) if name else score
        return renamed, None
    folder = open_folder(path, **cameras, **source.patterns)
    folder = replace(folder, method=name or folder.method)
    images = {"height": folder.height, "width": folder.width, "samples": folder.sample_ids}
    known = {"task": folder.task, "method": folder.method, "images": images | folder.arrangement()}
    return Score(Path(path), as_stored(known)), folder


def _check_names(entries: Sequence[Score], baseline: str | None) -> None:
    if len(entries) < 2:
        raise InputError(f"compare: got {len(entries)} folders; expected at least two.")
    seen: dict[str, Path] = {}
    for entry in entries:
        if not re.fullmatch(r"[^/\\\x00-\x1f\x7f]+", entry.method) or entry.method.startswith("."):
            raise InputError(
                f"{entry.path}: its method is named {entry.method!r}; expected a valid file name "
                "in one line without / that does not begin with a dot."
            )
        # On some file systems, names that differ only in upper and lower case are the same file.
        if (earlier := seen.get(entry.method.casefold())) is not None:
            raise InputError(
                f"{entry.path}: its method is named '{entry.method}', and so is that of "
                f"{earlier}; give one of them another name: NAME={entry.path}."
            )
        seen[entry.method.casefold()] = entry.path
    if baseline is not None and baseline not in [entry.method for entry in entries]:
        names = ", ".join(entry.method for entry in entries)
        raise InputError(f"--baseline: '{baseline}' is not one of the methods: {names}.")


def _shared_samples(entries: Sequence[Score], common: bool) -> tuple[str, ...]:
    """Check that the methods can be compared, and return the samples to compare them on."""
    first = entries[0]
    for entry in entries[1:]:
        if entry.task != first.task:
            raise InputError(
                f"{entry.path}: its task is {entry.task}, but that of {first.path} is "
                f"{first.task}; compare methods of the same task."
            )
        is_same_set = set(entry.samples) == set(first.samples)
        for key in (*VIEW_KEYS, *(OF_SEQUENCES if is_same_set else ())):
            ours, theirs = (each.content["images"].get(key) for each in (entry, first))
            if ours != theirs:
                same = "compare the same views at the same size"
                fix = SAME_PANORAMAS if key == "cut_from" else same
                raise InputError(
                    f"{entry.path}: {key} is {ours}, but {theirs} in {first.path}; {fix}."
                )
        if not common and not is_same_set:
            raise InputError(_unequal(entry, first))
    shared = set(first.samples).intersection(*(entry.samples for entry in entries))
    if not shared:
        raise InputError(f"compare: the {len(entries)} folders have no sample in common.")
    return tuple(sorted(shared))


def _unequal(entry: Score, first: Score) -> str:
    more = sorted(set(entry.samples) - set(first.samples))
    fewer = sorted(set(first.samples) - set(entry.samples))
    return (
        f"{entry.path}: has {len(entry.samples)} samples; {len(more)} of them are not in "
        f"{first.path} {more[:3]}, and {len(fewer)} of the {len(first.samples)} samples there "
        f"are missing here {fewer[:3]}; generate the same samples, or pass --common to compare "
        "those that all methods have."
    )


def _scored(entry: Score, shared: Sequence[str], options: Mapping[str, Any]) -> Score:
    if "metrics" in entry.content:
        limit = options.get("limit")
        if limit is not None and limit < len(shared):
            raise InputError(
                f"{entry.path}: is a score file, which --limit cannot restrict; give its folder "
                "instead."
            )
        if len(entry.samples) != len(shared):
            raise InputError(
                f"{entry.path}: is a score file of {len(entry.samples)} samples, of which all "
                f"methods have {len(shared)}; give its folder instead, because a score file cannot "
                "be restricted."
            )
        return entry
    scored = score_folder(entry.path, samples=shared, method=entry.method, **options)
    # The comparison uses the numbers as they are written to JSON.
    return Score(entry.path, as_stored(scored))


def _restriction(entries: Sequence[Score], shared: Sequence[str]) -> tuple[str, ...]:
    """Say which methods have more samples than were compared."""
    more = [f"{c.method} {len(c.samples)}" for c in entries if len(c.samples) > len(shared)]
    if not more:
        return ()
    return (
        f"Restricted to the {len(shared)} samples that all methods have; some have more: "
        f"{', '.join(more)}.",
    )
