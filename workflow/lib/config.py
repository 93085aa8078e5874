"""Configuration files: reading and checking them, and their schema for editors."""

from __future__ import annotations

import dataclasses
import json
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter
from pydantic.json_schema import GenerateJsonSchema
from snakemake.utils import update_config
from snakemake_interface_common.exceptions import WorkflowError

from mvdiffusion.records import InputError
from mvdiffusion.settings import parse, read_settings
from workflow.lib.command_settings import command_settings
from workflow.lib.sections import Configuration

WORKFLOW = Path(__file__).parents[1]
SCHEMA = WORKFLOW / "schemas/config.schema.yaml"
MINI = WORKFLOW / "config/mini.yaml"


def has_all_sections(config: Mapping[str, Any]) -> bool:
    """Whether a configuration stands for itself; otherwise it is to change another."""
    keys = dataclasses.fields(Configuration)
    none = dataclasses.MISSING
    return all(key.name in config for key in keys if key.default is key.default_factory is none)


def checked(
    config: dict[str, Any], source: str, command_line: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Return the configuration if it is right, for itself and for every command that it goes to.

    Args:
        source: the files that it is from, for messages.
        command_line: those of its values that are from `--config` instead.

    Raises:
        WorkflowError: one sentence for each key to fix.
    """
    try:
        parse(Configuration, config)
        for section, kind, values in command_settings(config):
            parse(kind, values, section)
    except InputError as error:
        lines = str(error).splitlines()
        sentences = [f"  {_source_of(line, command_line or {}, source)}: {line}" for line in lines]
        raise WorkflowError("\n".join(["the configuration cannot be used", *sentences])) from None
    return config


def _source_of(sentence: str, command_line: Mapping[str, Any], source: str) -> str:
    """Where the key comes from that a sentence names first."""
    values: Any = command_line
    for part in sentence.partition("'")[2].partition("'")[0].split("."):
        if not isinstance(values, Mapping):
            break
        if part not in values:
            return source
        values = values[part]
    return "--config"


def numbers_of(value: Any) -> Any:
    """Read the numbers that Snakemake leaves as text in what `--config` nests.

    >>> numbers_of({"guidance_scale": "4.0", "methods": ["mvdiffusion"], "stage1": "null"})
    {'guidance_scale': 4.0, 'methods': ['mvdiffusion'], 'stage1': None}
    """
    if isinstance(value, Mapping):
        return {key: numbers_of(each) for key, each in value.items()}
    if isinstance(value, list):
        return [numbers_of(each) for each in value]
    try:
        return json.loads(value) if isinstance(value, str) else value
    except ValueError:
        return value


def complete(config: dict[str, Any], files: Iterable[str | Path], given: Mapping[str, Any]) -> None:
    """Check the configuration that Snakemake has put together, and give it its numbers.

    Args:
        config: what is in the files, and over it what `--config` gives; changed in place.
        files: the files, the deciding one first.
        given: what `--config` gives.

    Raises:
        WorkflowError: one sentence for each key to fix; or a file with one key twice, of which
            Snakemake would take the last.
    """
    names = [os.path.relpath(file) for file in files]
    try:
        for name in names:
            read_settings(name)
    except InputError as error:
        raise WorkflowError(str(error)) from None
    _read_numbers(config, given)
    checked(config, ", ".join(names), given)


def _read_numbers(config: dict[str, Any], given: Mapping[str, Any]) -> None:
    """Put numbers in the place of what is given as text, where it is the configuration's.

    Modules have configurations of their own, which the command line does not touch.
    """
    for key, value in given.items():
        if isinstance(value, Mapping) and isinstance(config.get(key), dict):
            _read_numbers(config[key], value)
        elif key in config and config[key] == value:
            config[key] = numbers_of(value)


def read_config(path: str | Path) -> dict[str, Any]:
    """Read and check a configuration file, which may change some keys of mini."""
    config = read_settings(str(path))
    if not has_all_sections(config):
        changes, config = config, read_settings(str(MINI))
        update_config(config, changes)
    return checked(config, str(path))


class _Described(GenerateJsonSchema):
    """Takes what keys mean from the "Attributes" of docstrings."""

    def dataclass_schema(self, schema: Any) -> dict[str, Any]:
        """Describe a class and its keys."""
        return _described(super().dataclass_schema(schema), schema["cls"])

    def typed_dict_schema(self, schema: Any) -> dict[str, Any]:
        """Describe a mapping and its keys."""
        return _described(super().typed_dict_schema(schema), schema["cls"])


def _described(made: dict[str, Any], cls: type) -> dict[str, Any]:
    meanings: dict[str, str] = {}
    for each in reversed(cls.__mro__):
        attributes = (each.__doc__ or "").partition("Attributes:\n")[2]
        for name, text in re.findall(r"^ {8}(\w+): (.*(?:\n {9,}.*)*)", attributes, re.MULTILINE):
            meanings[name] = " ".join(text.split())
    made["description"] = (cls.__doc__ or "").partition("\n")[0]
    for name, key in made["properties"].items():
        key.pop("title", None)
        key["description"] = meanings[name]
    return made


def schema_text() -> str:
    """JSON schema of configurations, as YAML with a line for each class."""
    schema = TypeAdapter(Configuration).json_schema(schema_generator=_Described)
    lines = [
        "# Written by `python -m workflow.lib.config` from the classes of workflow/lib/sections.py",
        f"$schema: {_Described.schema_dialect}",
    ]
    for key, value in schema.items():
        inner = value.items() if key == "$defs" else ()
        lines.append(f"{key}: {'' if inner else json.dumps(value, ensure_ascii=False)}".rstrip())
        lines += [f"  {name}: {json.dumps(part, ensure_ascii=False)}" for name, part in inner]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    SCHEMA.write_text(schema_text(), encoding="utf-8")
