"""`manifest.json` of a sample folder: whether it says what it must, and nothing that is not so."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mvdiffusion.records import InputError, read_json

from ..settings import suggest
from .samples import TASKS

COMMON_KEYS = ("method", "height", "width", "samples")
PANORAMA_KEYS = ("num_views", "fov_deg", "yaw_deg")


def read_manifest(path: Path, found: Sequence[str]) -> dict[str, Any]:
    """Read and check a manifest.

    Args:
        path: the file.
        found: names of the sample directories beside it.

    Raises:
        InputError: a key is missing or of another kind, or the samples are not those found.
    """
    manifest = read_json(path)
    if not isinstance(manifest, dict):
        raise InputError(f"{path}: is a {type(manifest).__name__}; expected a mapping of keys.")
    task = manifest.setdefault("task", "panorama")
    if not isinstance(task, str) or task not in TASKS:
        raise InputError(f"{path}: unknown task '{task}'{suggest(str(task), TASKS)}")
    keys = COMMON_KEYS + PANORAMA_KEYS * (task != "depth")
    if missing := [key for key in keys if key not in manifest]:
        raise InputError(f"{path}: missing keys {missing}; expected {list(keys)}.")
    _check_kinds(path, manifest)
    _check_samples(path, manifest["samples"], found)
    if task != "depth":
        _check_views(path, manifest)
    return manifest


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value)


def _is_count(value: Any) -> bool:
    return type(value) is int and value > 0


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)


KINDS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "method": (_is_text, "a name"),
    "height": (_is_count, "a whole number of pixels"),
    "width": (_is_count, "a whole number of pixels"),
    "num_views": (_is_count, "a whole number of views"),
    "fov_deg": (lambda v: _is_number(v) and 0 < v < 180, "degrees between 0 and 180"),
    "yaw_deg": (lambda v: _is_list(v, _is_number), "a list of degrees"),
    "samples": (lambda v: _is_list(v, _is_text), "a list of names, each once"),
    "given_views": (lambda v: _is_list(v, lambda x: type(x) is int), "a list of views"),
    "settings_sha256": (lambda v: v is None or _is_text(v), "a hash"),
}
"""What a value must be, and how to say so."""


def _is_list(value: Any, kind: Callable[[Any], bool]) -> bool:
    return isinstance(value, list) and all(map(kind, value)) and len(set(value)) == len(value)


def _check_kinds(path: Path, manifest: Mapping[str, Any]) -> None:
    for key, (is_right, expected) in KINDS.items():
        if key in manifest and not is_right(manifest[key]):
            found = str(manifest[key])
            raise InputError(f"{path}: {key} is {found[:40]}; expected {expected}.")


def _check_samples(path: Path, samples: Sequence[str], found: Sequence[str]) -> None:
    listed = set(samples)
    if not listed:
        raise InputError(f"{path}: lists no samples; expected at least one.")
    absent, extra = sorted(listed - set(found)), sorted(set(found) - listed)
    if absent or extra:
        raise InputError(
            f"{path}: does not match the folder: listed but absent {absent[:3]}, present but not "
            f"listed {extra[:3]} ({len(absent)} and {len(extra)} in all); generate the folder "
            "again, or delete the manifest to score what is there."
        )


def _check_views(path: Path, manifest: Mapping[str, Any]) -> None:
    count, given = manifest["num_views"], manifest.get("given_views", [])
    if len(manifest["yaw_deg"]) != count:
        raise InputError(
            f"{path}: yaw_deg has {len(manifest['yaw_deg'])} entries; expected num_views = {count}."
        )
    outside = [view for view in given if view not in range(count)]
    if outside or len(given) == count:
        raise InputError(
            f"{path}: given_views is {given}; expected some, not all, of 0 … {count - 1}."
        )
    if manifest["task"] == "outpaint" and not given:
        raise InputError(f"{path}: task is outpaint but given_views is empty; name the view given.")
