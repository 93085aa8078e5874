"""A user's result: a folder that appears whole, says what made it, and is not made twice."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mvdiffusion.records import (
    InputError,
    atomic_output,
    folder_sha256,
    provenance,
    read_json,
    settings_sha256,
    sha256_file,
    write_json,
)

MANIFEST = "manifest.json"


def deciding_settings(task: str, model: Path, values: Mapping[str, Any]) -> dict[str, Any]:
    """Gather all that decides the images: the task, the model's bytes and other values.

    Raises:
        InputError: no model there.
    """
    if not (model / "model_index.json").is_file():
        raise InputError(f"{model}: no model_index.json; expected a diffusers pipeline folder.")
    described = {"name": model.resolve().name, "sha256": folder_sha256(model)}
    return {"task": task, "model": described, **values}


def is_finished(output: Path, settings: Mapping[str, Any]) -> bool:
    """Tell whether `output` is the finished result of these settings; False if there is nothing.

    Raises:
        InputError: it holds something else.
    """
    if not output.exists() or (output.is_dir() and not any(output.iterdir())):
        return False
    if not (output / MANIFEST).is_file():
        raise InputError(f"{output}: holds other files; expected a new or empty --output.")
    manifest = read_json(output / MANIFEST)
    if not isinstance(manifest, dict) or not isinstance(manifest.get("settings"), dict):
        raise InputError(f"{output / MANIFEST}: not of a result; choose another --output.")
    if manifest.get("settings_sha256") != settings_sha256(settings):
        found = manifest["settings"]
        others = {key for key in {*found, *settings} if found.get(key) != settings.get(key)}
        raise InputError(
            f"{output}: holds a result of other settings ({', '.join(sorted(others))}); choose "
            "another --output or delete it."
        )
    print(f"{output}: already made with these settings", file=sys.stderr)
    return True


@contextmanager
def open_result(
    output: Path, settings: Mapping[str, Any], prompts: Sequence[str]
) -> Iterator[Path]:
    """Give a folder to fill, which becomes `output` with the prompts and a manifest at the end.

    Args:
        output: the result's folder.
        settings: what decides the images.
        prompts: one per line of prompt.txt.

    Raises:
        InputError: the disk refuses.
    """
    with atomic_output(output) as folder:
        folder.mkdir()
        yield folder
        (folder / "prompt.txt").write_text("".join(f"{' '.join(p.split())}\n" for p in prompts))
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        manifest = {
            "format": 1,
            "settings": dict(settings),
            "settings_sha256": settings_sha256(settings),
            "provenance": provenance(),
            "files": {path.relative_to(folder).as_posix(): sha256_file(path) for path in files},
        }
        write_json(folder / MANIFEST, manifest)
