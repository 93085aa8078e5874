"""What made a result: commit, machine and packages, and hashes of all that went in."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from mvdiffusion.manifest import MANIFEST
from mvdiffusion.records import read_json, settings_sha256

from ..folders.methods import display_name, rank
from ..folders.samples import TASKS, SampleFolder

HASHES = ("_md5", "_sha256")
"""How keys of a configuration end whose values are hashes of data or of models."""


def made_with(
    settings: Mapping[str, Any], scored: Sequence[Mapping[str, Any]]
) -> list[tuple[str, str]]:
    """Name what made the numbers: everything that differs between scores with all its values.

    Args:
        settings: the configuration.
        scored: what made the scores, see `records.provenance`.
    """

    def distinct(words: Iterable[str]) -> str:
        return "; ".join(dict.fromkeys(words))

    dirty = {True: " with uncommitted changes", False: ""}
    by_name: dict[str, dict[str, None]] = {}
    for made in scored:
        for name, version in made["packages"].items():
            by_name.setdefault(name, {})[version or "none"] = None
    packages = [f"{name} {' or '.join(found)}" for name, found in by_name.items()]
    machine = "{cpu}, {cores} cores, {accelerator}"
    none = {"accelerator": "no accelerator"}
    told = [made if made["accelerator"] else {**made, **none} for made in scored]
    return [
        (
            "commit",
            distinct(f"{m['git_commit'] or 'unknown'}{dirty[m['git_dirty']]}" for m in scored),
        ),
        ("configuration", f"sha256 {settings_sha256(settings)}"),
        ("machine", distinct(machine.format_map(made) for made in told)),
        ("system", distinct("{platform}, Python {python}".format_map(made) for made in scored)),
        ("packages", ", ".join(name for name in packages if not name.endswith(" none"))),
    ]


def hashes_of_inputs(settings: Mapping[str, Any]) -> list[tuple[str, str]]:
    """List the hashes of data and models that a configuration names, by their keys."""
    return list(_hashes(settings, "", False))


def _hashes(value: Any, name: str, counts: bool) -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            below = counts or str(key).endswith(HASHES)
            yield from _hashes(inner, f"{name}.{key}".lstrip("."), below)
    elif counts and isinstance(value, str):
        yield name, value


def hashes_of_images(
    folders: Mapping[str, Mapping[str, SampleFolder]], images: Mapping[str, str]
) -> list[dict[str, str]]:
    """Name, for every method, the hashes of its images, of their settings and of its model.

    Args:
        folders: sample folders by task and method.
        images: hashes of the images that were scored, by `<task>/<method>`.
    """
    return [
        {
            "method": f"{TASKS[task]}: {display_name(method)}",
            "images": images.get(f"{task}/{method}", ""),
            "settings": of_task[method].settings_sha256 or "",
            "model": _model(of_task[method]),
        }
        for task, of_task in folders.items()
        for method in sorted(of_task, key=rank)
    ]


def _model(folder: SampleFolder) -> str:
    """Hash of the model that a folder's manifest names, if it does."""
    manifest = folder.root / MANIFEST
    settings = read_json(manifest).get("settings") if manifest.is_file() else None
    model = settings.get("model") if isinstance(settings, dict) else None
    return model if isinstance(model, str) else ""
