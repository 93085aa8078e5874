"""Settings given to a command as JSON text or as a path, checked against a dataclass."""

from __future__ import annotations

import dataclasses
import difflib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TypeVar

import yaml

from mvdiffusion.records import InputError

Settings = TypeVar("Settings")


def read_settings(source: str | None, kind: type[Settings], name: str) -> Settings:
    """Make a settings dataclass out of JSON text, or of a JSON or YAML file.

    Args:
        source: JSON text beginning with `{`, a path, or None for the defaults.
        kind: the dataclass; its fields are the known keys.
        name: what to call the settings in an error.

    Raises:
        InputError: unreadable source, unknown or missing key, wrong type.
    """
    values = _read_mapping(source, name) if source else {}
    fields = {field.name: field for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    for key, value in values.items():
        if key not in fields:
            raise InputError(f"{name}: unknown key '{key}'{suggest(key, fields)}")
        values[key] = _checked(f"{name}.{key}", value, fields[key].type)
    try:
        return kind(**values)
    except TypeError as error:
        required = [f.name for f in fields.values() if f.default is dataclasses.MISSING]
        raise InputError(f"{name}: {error}; required keys: {required}.") from None


def suggest(wrong: str, known: Iterable[str]) -> str:
    """End an error about an unknown name with the nearest known one and the full list.

    >>> suggest("paper_pano", ["paper-pano", "controls"])
    "; did you mean 'paper-pano'? Known: controls, paper-pano."
    """
    names = sorted(known)
    near = difflib.get_close_matches(wrong, names, 1)
    if near:
        return f"; did you mean '{near[0]}'? Known: {', '.join(names)}."
    return f"; known: {', '.join(names)}."


def _read_mapping(source: str, name: str) -> dict[str, Any]:
    try:
        text = source if source.lstrip().startswith("{") else Path(source).read_text()
        # YAML 1.1 takes JSON's 1e-06 for a word.
        value = json.loads(text) if text.lstrip().startswith("{") else yaml.safe_load(text)
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise InputError(
            f"{name}: could not read '{source[:80]}' ({error}); "
            "expected JSON text or a JSON or YAML file."
        ) from None
    if not isinstance(value, dict):
        raise InputError(f"{name}: expected a mapping of keys, got {type(value).__name__}.")
    return value


def _checked(key: str, value: Any, annotation: Any) -> Any:
    """Check a value against a field's annotation (a string, as annotations are postponed)."""
    if annotation.endswith(" | None"):
        if value is None:
            return None
        annotation = annotation.removesuffix(" | None")
    if isinstance(value, list):
        value = tuple(value)
    kinds: dict[str, Any] = {"int": int, "float": (int, float), "str": str, "bool": bool}
    expected = kinds.get(annotation, tuple)
    wrong_bool = isinstance(value, bool) and annotation != "bool"
    if not isinstance(value, expected) or wrong_bool:
        raise InputError(f"{key}: expected {annotation}, got {value!r}.")
    return value
