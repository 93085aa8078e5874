"""The sheet of a study: one HTML page for raters, and the key that tells the methods apart.

The page, its script and its pictures hold opaque ids alone. Pictures are encoded anew, so that
nothing of their files is left. The key is a file of its own beside the page.
"""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup

from mvdiffusion.outputs import check_file, made_before, remade_output, set_aside
from mvdiffusion.records import (
    InputError,
    atomic_output,
    provenance,
    read_json,
    settings_sha256,
    write_json,
)

from ..folders.opening import named_source, open_folder
from ..folders.samples import SampleFolder
from ..tables.table import template
from .design import QUESTIONS, TEXT_QUESTION, Design, make_design
from .pictures import check_alike, draw_pictures, encoded, noise_like

TEMPLATES = Path(__file__).parent / "templates"
MAX_PAGE_BYTES = 25_000_000
"""Largest page: beyond, its pictures lie in a folder beside it."""


@dataclass(frozen=True)
class Sheet:
    """What was written.

    Attributes:
        page: for raters.
        key: for who evaluates the answers.
        pictures: folder that belongs to the page; None if the page holds its pictures itself.
        study: hash of everything that raters see.
        comparisons: number of comparisons that each rater makes, catch trials among them.
    """

    page: Path
    key: Path
    pictures: Path | None
    study: str
    comparisons: int


def write_study(
    sources: Sequence[str],
    output: str | Path,
    *,
    count: int | None = None,
    seed: int = 0,
    samples: Sequence[str] = (),
    questions: Sequence[str] = (),
    catch: int = 0,
    overwrite: bool = False,
) -> Sheet:
    """Write the page of a study and its key, `<page without suffix>.key.json`.

    Args:
        sources: at least two folders of images in any layout, each `[NAME=]DIR`.
        output: the page.
        count, catch, seed: see `design.make_design`.
        samples: ids to choose from; by default all that the methods have in common.
        questions: asked about every comparison, in place of the default ones.
        overwrite: move the key of another study aside instead of refusing to replace it.

    Raises:
        InputError: folders that cannot be compared blindly, samples or images that are missing, or
            a key of another study.
    """
    page = Path(output)
    check_file(page, ".html")
    key, beside = page.with_suffix(".key.json"), page.with_name(f"{page.stem}_pictures")
    check_file(key)
    folders = open_methods(sources)
    shared = _shared(folders, samples)
    check_alike(folders, shared)
    design = make_design(list(folders), shared, count=count, catch=catch, seed=seed)
    used = sorted({shown.sample for shown in design.images.values()})
    texts = _texts(folders, used)
    asked = tuple(questions) or _default_questions(texts)
    pictures = _pictures(design, folders, used)
    content: dict[str, Any] = {
        "questions": list(asked),
        "comparisons": [
            {
                "id": each.id,
                "images": list(each.images),
                "text": texts[design.images[each.images[0]].sample],
            }
            for each in design.comparisons
        ],
    }
    hashes = {image: hashlib.sha256(data).hexdigest() for image, data in pictures.items()}
    study = settings_sha256({**content, "pictures": hashes})
    _check_key(key, study, overwrite)
    embedded = sum(map(len, pictures.values())) * 4 / 3 < MAX_PAGE_BYTES
    if embedded:
        places = {i: f"data:image/jpeg;base64,{_base64(data)}" for i, data in pictures.items()}
    else:
        places = {image: f"{beside.name}/{image}.jpg" for image in pictures}
        _write_pictures(beside, pictures)
    write_json(key, _key(design, folders, study, content, seed))
    with atomic_output(page) as temporary:
        temporary.write_text(_page({"study": study, **content, "pictures": places}), "utf-8")
    return Sheet(page, key, None if embedded else beside, study, len(design.comparisons))


def open_methods(sources: Sequence[str]) -> dict[str, SampleFolder]:
    """Open folders by the names of their methods.

    Args:
        sources: `[NAME=]DIR`; by default the name of the manifest, or the folder's.

    Raises:
        InputError: there are fewer than two, two have one name, or one cannot be read.
    """
    folders: dict[str, SampleFolder] = {}
    for source in sources:
        name, path = named_source(source)
        folder = open_folder(path)
        name = name or folder.method
        if name in folders:
            raise InputError(
                f"{path}: its method is named '{name}', and so is that of {folders[name].root}; "
                f"give one of them another name: NAME={path}."
            )
        folders[name] = folder
    if len(folders) < 2:
        raise InputError(f"study: got {len(folders)} folder; expected at least two.")
    return folders


def _shared(folders: Mapping[str, SampleFolder], wanted: Sequence[str]) -> list[str]:
    """The samples to choose from: those that all methods have, or those of them that are named."""
    shared = set.intersection(*(set(folder.sample_ids) for folder in folders.values()))
    for sample in wanted:
        if sample not in shared:
            lacking = [str(f.root) for f in folders.values() if sample not in f.sample_ids]
            raise InputError(f"--samples: '{sample}' is not in {' and not in '.join(lacking)}.")
    if not shared:
        raise InputError(f"study: the {len(folders)} folders have no sample in common.")
    return sorted(wanted or shared)


def _texts(folders: Mapping[str, SampleFolder], samples: Sequence[str]) -> dict[str, list[str]]:
    """Prompts by sample, each once, from the first folder that has them; else none."""
    texts = {}
    for sample in samples:
        given = (folder for folder in folders.values() if folder.has_prompts(sample))
        first = next(given, None)
        texts[sample] = list(dict.fromkeys(first.prompts(sample))) if first else []
    return texts


def _default_questions(texts: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    return (*QUESTIONS, TEXT_QUESTION) if all(texts.values()) else QUESTIONS


def _pictures(
    design: Design, folders: Mapping[str, SampleFolder], samples: Sequence[str]
) -> dict[str, bytes]:
    """JPEG files by image id, in the order of the ids, which says nothing."""
    drawn = draw_pictures(folders, samples)
    files = {}
    for image, shown in sorted(design.images.items()):
        picture = drawn[shown.method, shown.sample]
        if shown.content == "noise":
            picture = noise_like(picture, int(image, 16))
        files[image] = encoded(picture)
    return files


def _key(
    design: Design,
    folders: Mapping[str, SampleFolder],
    study: str,
    content: Mapping[str, Any],
    seed: int,
) -> dict[str, Any]:
    """What the answers are read with; see `answers.Key`."""
    return {
        "format": 1,
        "study": study,
        "task": next(iter(folders.values())).task,
        "methods": list(folders),
        "questions": content["questions"],
        "images": {image: dataclasses.asdict(shown) for image, shown in design.images.items()},
        "comparisons": [dataclasses.asdict(each) for each in design.comparisons],
        "seed": seed,
        "images_sha256": {name: folder.images_sha256() for name, folder in folders.items()},
        "provenance": provenance(),
    }


def _check_key(key: Path, study: str, overwrite: bool) -> None:
    """Refuse to replace the key of another study, without which its answers are worth nothing."""
    if not key.exists():
        return
    try:
        found = read_json(key)
    except InputError:
        found = None
    if isinstance(found, dict) and found.get("study") == study:
        return
    if not overwrite:
        raise InputError(
            f"{key}: holds the key of another study, whose answers cannot be read without it; "
            "choose another --output, or pass --overwrite to move that key aside."
        )
    set_aside(key)


def _write_pictures(folder: Path, pictures: Mapping[str, bytes]) -> None:
    made_before(folder)  # or else it is refused before any work
    with remade_output(folder) as temporary:
        for image, data in pictures.items():
            (temporary / f"{image}.jpg").write_bytes(data)


def _page(content: Mapping[str, Any]) -> str:
    script, style = ((TEMPLATES / name).read_text("utf-8") for name in ("study.js", "study.css"))
    text = json.dumps(content, separators=(",", ":"), sort_keys=True)
    return template(TEMPLATES / "study.html.j2").render(
        content=Markup(text.replace("<", "\\u003c")),  # no text can end the element it stands in
        script=Markup(script),
        style=Markup(style),
        comparisons=len(content["comparisons"]),
    )


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()
