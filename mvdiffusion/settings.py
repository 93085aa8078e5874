"""The one reader of settings: JSON or YAML in, checked settings classes out, mistakes in sentences.

A settings class is a frozen dataclass under `@settings`, whose annotations say what is allowed:
`steps: Annotated[int, Field(ge=1)]`. Everything that reads settings, every command and the
workflow, checks them here, so a mistake reads the same everywhere.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, dataclass_transform

import pydantic
import yaml
from pydantic import AfterValidator, Field, TypeAdapter, ValidationError
from pydantic_core import PydanticCustomError

from mvdiffusion.records import InputError, read_json

Settings = TypeVar("Settings")

LARGEST = 1_000_000_000  # what nobody means; told to those alone who exceed it
Whole = Annotated[int, Field(ge=0, le=LARGEST)]
Seed = Annotated[int, Field(ge=0, le=2**32 - 1)]  # as NumPy and PyTorch take
Count = Annotated[int, Field(ge=1, le=LARGEST)]
Positive = Annotated[float, Field(gt=0, le=LARGEST)]
NonNegative = Annotated[float, Field(ge=0, le=LARGEST)]
LearningRate = Annotated[float, Field(gt=0, le=1)]
Share = Annotated[float, Field(ge=0, le=1)]
InnerShare = Annotated[float, Field(gt=0, lt=1)]
Text = Annotated[str, Field(min_length=1)]
JpegQuality = Annotated[int, Field(ge=1, le=95)]
ImageSide = Annotated[int, Field(ge=8, le=2**14)]  # pixels
FieldOfView = Annotated[float, Field(gt=0, lt=180)]


def _known_device(device: str) -> str:
    if not re.fullmatch(_DEVICE, device):
        raise ValueError(_DEVICES)
    return device


_DEVICE = "^(auto|cpu|cuda(:[0-9]+)?|mps)$"
_DEVICES = "one of 'auto', 'cpu', 'cuda', 'cuda:0', 'cuda:1', … and 'mps'"
Device = Annotated[
    str, AfterValidator(_known_device), Field(json_schema_extra={"pattern": _DEVICE})
]
"""Where to compute, for every command and in the configuration: "auto" is a GPU of NVIDIA if there
is one, and else the CPU; "cuda" the first GPU, "cuda:1" the second; "mps" a GPU of Apple, which has
no float64 and is taken only if it is named."""

Dtype = Literal["float32", "float16", "bfloat16"]
Precision = Literal["auto", Dtype]  # auto: bfloat16 where the device has instructions for it

# Strict: neither "64" nor True is a number. An int where a float belongs is one.
STRICT = pydantic.ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)
SHOWN_MISTAKES = 5


def torch_device(device: Device) -> str:
    """Name the device to compute on, as PyTorch does: "auto" takes a GPU if it finds one.

    Raises:
        InputError: no known device, or one that is not there.
    """
    import torch  # here, as the workflow reads settings without it, in milliseconds

    kind, _, number = device.partition(":")
    there = torch.cuda.is_available()
    if not re.fullmatch(_DEVICE, device):
        raise InputError(f"setting 'device' is '{device}'; expected {_DEVICES}.")
    if kind == "cuda" and not there:
        raise InputError(f"setting 'device' is '{device}'; expected {_NO_GPU}.")
    if number and int(number) >= (count := torch.cuda.device_count()):
        most = f"'cuda:{count - 1}' at most, as PyTorch finds {count} GPUs"
        raise InputError(f"setting 'device' is '{device}'; expected {most}.")
    if kind == "mps" and not torch.backends.mps.is_available():
        raise InputError("setting 'device' is 'mps'; expected another, as PyTorch finds none.")
    if kind == "auto":
        return "cuda" if there else "cpu"
    return device


def choose_precision(precision: Precision, device: str) -> Dtype:
    """Say what to compute in: "auto" is bfloat16 where that is fast, and float32 elsewhere.

    A processor without AVX-512 emulates bfloat16: convolutions take 20 to 50 times as long as in
    float32.

    Args:
        precision: as set.
        device: as PyTorch names it.
    """
    import torch

    if precision != "auto":
        return precision
    if device == "mps":
        native = False
    elif device.startswith("cuda"):
        native = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        native = torch.backends.cpu.get_cpu_capability().startswith("AVX512")
    return "bfloat16" if native else "float32"


def _usable(device: Device) -> Device:
    if device not in ("auto", "cpu"):  # else there is nothing to load torch for
        try:
            torch_device(device)
        except InputError as error:
            raise ValueError(str(error).partition("expected ")[2].rstrip(".")) from None
    return device


_NO_GPU = "'auto' or 'cpu', as PyTorch finds no GPU"
UsableDevice = Annotated[Device, AfterValidator(_usable)]
"""A device that is there, as commands need it; a configuration may name that of another machine."""


class YamlLoader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """Reads YAML that holds no key twice; in C, as safe as in Python and ten times as fast."""

    def get_single_node(self) -> yaml.Node | None:
        """Refuse a repeated key, of which YAML's own loader drops all but the last."""
        root: yaml.Node | None = super().get_single_node()
        nodes, seen = [root], set[int]()  # a mapping with several anchors is looked at once
        while nodes:
            node = nodes.pop()
            if node is None or id(node) in seen or isinstance(node, yaml.ScalarNode):
                continue
            seen.add(id(node))
            if isinstance(node, yaml.MappingNode):
                _refuse_repeated_keys(node)
                nodes += [value for _, value in node.value]
            else:
                nodes += node.value
        return root


def _refuse_repeated_keys(node: yaml.MappingNode) -> None:
    lines: dict[str, int] = {}
    for key, _ in node.value:
        if not isinstance(key, yaml.ScalarNode):
            continue
        line = key.start_mark.line + 1
        if first := lines.get(key.value):
            raise yaml.YAMLError(f"the key '{key.value}' is in line {first} and again in {line}")
        lines[key.value] = line


def _pairs_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Refuse a repeated key in JSON."""
    if len(found := dict(pairs)) < len(pairs):
        keys = [key for key, _ in pairs]
        double = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"the key '{double}' is there twice")
    return found


@dataclass_transform(frozen_default=True, field_specifiers=(dataclasses.field, Field))
def settings(cls: type[Settings]) -> type[Settings]:
    """Make a class of annotated fields a frozen dataclass that checks what it is given.

    Also built in Python it raises `InputError`, and no other error, for a wrong value.

    >>> @settings
    ... class Sampling:
    ...     steps: Count = 50
    >>> Sampling(steps=0)
    Traceback (most recent call last):
    mvdiffusion.records.InputError: setting 'steps' is 0; expected a whole number, at least 1.
    """
    made: Any = pydantic.dataclasses.dataclass(cls, frozen=True, config=STRICT)
    check = made.__init__

    @functools.wraps(check)
    def init(self: Any, *args: Any, **kwargs: Any) -> None:
        try:
            check(self, *args, **kwargs)
        except ValidationError as error:
            raise InputError(_sentences(error, made)) from None

    made.__init__ = init
    return made


def mistake(key: str, value: object, expected: str) -> PydanticCustomError:
    """Describe a value that does not go with others, to be raised in `__post_init__`.

    Args:
        key: of the setting, inside the class.
        value: what it is.
        expected: what it should be, after the word "expected".
    """
    found = {"key": key, "value": value, "expected": expected}
    return PydanticCustomError("mistake", "{expected}", found)


def read_settings(source: str | None) -> dict[str, Any]:
    """Read JSON text, or a JSON or YAML file; nothing gives no settings.

    Raises:
        InputError: neither of them, or not a mapping.
    """
    if source is None:
        return {}
    try:
        text = source if source.lstrip().startswith("{") else Path(source).read_text("utf-8")
        # Not all JSON is YAML: 1e-06 would be a word.
        is_json = text.lstrip().startswith("{")
        value = json.loads(text, object_pairs_hook=_pairs_once) if is_json else None
        value = value if is_json else yaml.load(text, YamlLoader)
        value = json.loads(json.dumps(value, default=str))  # YAML has dates, and cycles
    except (OSError, ValueError, TypeError, RecursionError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())  # YAML's are of several lines
        raise InputError(
            f"settings: could not read '{source[:80]}' ({reason}); expected JSON text, or the "
            "path of a JSON or YAML file."
        ) from None
    if not isinstance(value, dict):
        raise InputError(f"settings '{source[:80]}': expected a mapping of keys to values.")
    return value


def read_file(cls: type[Settings], path: Path, **defaults: Any) -> Settings:
    """Read a JSON file as a class under `@settings`; other keys are allowed and ignored.

    Args:
        defaults: values of keys that the file may lack.

    Raises:
        InputError: the file is missing or no JSON, or a key is missing or wrong.
    """
    values = read_json(path)
    if isinstance(values, dict):
        known = cls.__annotations__
        values = defaults | {key: value for key, value in values.items() if key in known}
    return parse(cls, values, file=path)


def parse(cls: type[Settings], values: Any, where: str = "", file: Path | None = None) -> Settings:
    """Build a settings class from plain JSON or YAML values.

    Args:
        values: its settings by name.
        where: the section that they are from, for messages.
        file: the file whose keys they are, for messages.

    Raises:
        InputError: naming each key that is unknown, missing or wrong, and what is expected.
    """
    try:
        # As JSON, a list is good for a tuple and a mapping for a class, and else nothing changes.
        return TypeAdapter(cls).validate_json(json.dumps(values, default=str))
    except ValidationError as error:
        raise InputError(_sentences(error, cls, where, file)) from None


def suggest(wrong: str, known: Iterable[str]) -> str:
    """End an error about an unknown name with the nearest known one and the full list.

    >>> suggest("paper_pano", ["paper-pano", "controls"])
    "; did you mean 'paper-pano'? Known: controls, paper-pano."
    """
    names = sorted(known)
    near = get_close_matches(wrong, names, 1)
    if near:
        return f"; did you mean '{near[0]}'? Known: {', '.join(names)}."
    return f"; known: {', '.join(names)}."


def _sentences(error: ValidationError, cls: Any, where: str = "", file: Path | None = None) -> str:
    schema, said = TypeAdapter(cls).json_schema(), f"{file}: key" if file else "setting"
    mistakes = sorted(error.errors(include_url=False), key=lambda each: "missing" in each["type"])
    sentences = [_sentence(dict(each), schema, where, said) for each in mistakes]
    return "\n".join(sentences[:SHOWN_MISTAKES])


def _sentence(error: dict[str, Any], schema: dict[str, Any], where: str, said: str) -> str:
    """One mistake: the setting's path, what was found, what is expected."""
    location = [part for part in error["loc"] if part != "[key]"]
    if location and isinstance(location[0], int):  # an argument of a class built in Python
        location[0] = list(schema["properties"])[location[0]]
    if error["type"] == "mistake":
        location, error["input"] = [*location, error["ctx"]["key"]], error["ctx"]["value"]
    path = ".".join(filter(None, [where, *map(str, location)]))
    if error["type"] in ("missing", "missing_argument"):
        return f"{said} '{path}' is missing; add it."
    if error["type"].startswith(("unexpected", "extra")) or "[key]" in error["loc"]:
        known = _names(_part_at(schema, location[:-1]))
        return f"unknown {said} '{path}'{suggest(str(location[-1]), known)}"
    if error["type"] in ("mistake", "value_error"):
        expected = str(error["ctx"].get("expected") or error["ctx"]["error"])
    else:
        expected = _expected(_part_at(schema, location), schema)
        if error["type"] == "less_than_equal" and error["ctx"]["le"] == LARGEST:
            expected += f" and at most {LARGEST}"
    subject = f"{said} '{path}' is" if path else f"{said}s:"
    found = "null" if error["input"] is None else repr(error["input"])
    return f"{subject} {found:.80}; expected {expected}."


def _part_at(schema: Mapping[str, Any], location: Iterable[object]) -> Mapping[str, Any]:
    """The part of a JSON schema that describes the value at a location."""
    part = _resolved(schema, schema)
    for step in location:
        if isinstance(step, int):
            part = part.get("items", {})
        else:
            by_pattern = part.get("patternProperties", {}).values()
            named = part.get("properties", {}).get(step)
            part = named or part.get("additionalProperties") or next(iter(by_pattern), {})
        part = _resolved(part, schema)
    return part


def _resolved(part: Any, schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """Follow a reference, and in "this or null" take this."""
    while "$ref" in part or "anyOf" in part:
        if "$ref" in part:
            part = schema["$defs"][part["$ref"].rpartition("/")[2]]
        else:
            first = next(each for each in part["anyOf"] if each.get("type") != "null")
            extra = {} if "$ref" in first else {"nullable": True}
            part = {**first, **extra}
    return part


def _names(part: Mapping[str, Any]) -> list[str]:
    return list(part.get("properties", {})) or part.get("propertyNames", {}).get("enum", [])


NOUNS = {
    "integer": "a whole number",
    "number": "a number",
    "string": "text",
    "boolean": "true or false",
    "array": "a list",
    "object": "a mapping of keys to values",
}
LIMITS = {
    "minimum": "at least {}",
    "exclusiveMinimum": "above {}",
    "maximum": "at most {}",
    "exclusiveMaximum": "below {}",
    "multipleOf": "a multiple of {}",
    "pattern": "matching {}",
    "minItems": "with at least {} entries",
    "maxItems": "with at most {} entries",
    "minProperties": "with at least {} entries",
}


def _expected(part: Mapping[str, Any], schema: Mapping[str, Any]) -> str:
    """Words for what a part of a JSON schema allows: "a whole number, at least 1"."""
    if "enum" in part or "const" in part:
        values = part.get("enum", [part.get("const")])
        words = [f"one of {', '.join(map(repr, values))}"]
    else:
        words = [NOUNS.get(part.get("type", ""), "another value")]
        if part.get("type") == "array":
            words[0] += f" of values, each {_expected(_resolved(part['items'], schema), schema)}"
        if keys := part.get("propertyNames", {}).get("enum"):
            words = [f"a mapping of {', '.join(keys)} to values"]
        words += filter(None, [" and ".join(_limits(part))])
    return ", ".join(words) + (", or null" if part.get("nullable") else "")


def _limits(part: Mapping[str, Any]) -> Iterator[str]:
    if part.get("minLength"):
        yield "not empty"
    if part.get("uniqueItems"):
        yield "each once"
    for limit, words in LIMITS.items():
        if limit in part and part[limit] != LARGEST:
            yield words.format(part[limit])
