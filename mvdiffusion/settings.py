"""Settings of every command: read from JSON or YAML, checked against a dataclass."""

from __future__ import annotations

import dataclasses
import json
import types
import typing
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal, TypeVar

import yaml

from mvdiffusion.records import InputError

Settings = TypeVar("Settings")


def read_settings(source: str) -> dict[str, Any]:
    """Read JSON text, or a JSON or YAML file.

    Raises:
        InputError: neither of them, or not a mapping.
    """
    try:
        text = source if source.lstrip().startswith("{") else Path(source).read_text()
        # Not all JSON is YAML: 1e-06 would be a word.
        value = json.loads(text) if text.lstrip().startswith("{") else yaml.safe_load(text)
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise InputError(
            f"--settings: could not read '{source[:80]}' ({error}); expected JSON text, or the "
            "path of a JSON or YAML file."
        ) from None
    if not isinstance(value, dict):
        raise InputError(f"--settings {source[:80]}: expected a mapping of keys to values.")
    return value


def parse(settings_class: type[Settings], values: Mapping[str, Any], where: str = "") -> Settings:
    """Build a settings dataclass from plain JSON or YAML values.

    Raises:
        InputError: naming the key, when it is unknown, missing or of the wrong type.
    """
    if not isinstance(values, Mapping):
        raise InputError(f"setting '{where}' is {values!r}; expected a mapping of keys to values")
    hints = typing.get_type_hints(settings_class)
    for key in values:
        if key not in hints:
            raise InputError(_unknown_key(f"{where}.{key}".lstrip("."), key, list(hints)))
    for item in dataclasses.fields(settings_class):  # type: ignore[arg-type]
        has_default = (item.default, item.default_factory) != (dataclasses.MISSING,) * 2
        if item.name not in values and not has_default:
            raise InputError(f"setting '{where}.{item.name}' is missing; add it".replace("'.", "'"))
    parsed = {key: _value(hints[key], values[key], f"{where}.{key}".lstrip(".")) for key in values}
    return settings_class(**parsed)


def _unknown_key(path: str, key: str, known: list[str]) -> str:
    close = get_close_matches(key, known, n=1)
    hint = f"did you mean '{close[0]}'?" if close else f"known keys: {', '.join(known)}"
    return f"unknown setting '{path}'; {hint}"


def _value(kind: Any, value: Any, path: str) -> Any:
    if dataclasses.is_dataclass(kind):
        return parse(typing.cast(type, kind), value, path)
    origin, options = typing.get_origin(kind), typing.get_args(kind)
    if origin in (types.UnionType, typing.Union):
        if value is None and type(None) in options:
            return None
        return _value(options[0], value, path)
    if origin is Literal:
        if value not in options:
            raise InputError(f"setting '{path}' is {value!r}; expected one of {list(options)}")
        return value
    return _plain(origin or kind, value, path)


def _plain(kind: type, value: Any, path: str) -> Any:
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if isinstance(value, bool) is (kind is bool) and isinstance(value, kind):
        return value
    raise InputError(f"setting '{path}' is {value!r}; expected a value of type {kind.__name__}")
