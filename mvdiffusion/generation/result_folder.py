"""A user's result: a folder that appears whole, says what made it, and is not made twice."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mvdiffusion.outputs import whole_output
from mvdiffusion.records import (
    InputError,
    folder_sha256,
    provenance,
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
    with whole_output(output, settings) as folder:
        yield folder
        (folder / "prompt.txt").write_text("".join(f"{' '.join(p.split())}\n" for p in prompts))
        files = sorted(path for path in folder.rglob("[!.]*") if path.is_file())
        manifest = {
            "format": 1,
            "settings": dict(settings),
            "settings_sha256": settings_sha256(settings),
            "provenance": provenance(),
            "files": {path.relative_to(folder).as_posix(): sha256_file(path) for path in files},
        }
        write_json(folder / MANIFEST, manifest)
