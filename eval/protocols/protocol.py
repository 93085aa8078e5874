"""Named, versioned protocols: data that say which metrics run on which images, and how.

`protocols.yaml` holds them; other packages add files of their own (see `plugins`). A protocol's
name and version are stored with every number.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import yaml

from mvdiffusion.records import InputError
from mvdiffusion.settings import suggest

from ..extractors.pretrained import STANDARD_EXTRACTORS
from ..metrics import (  # noqa: F401 -- importing them registers the metrics
    controls,
    depth_consistency,
    error_accumulation,
    given_view,
    kernel_distances,
    omnifid,
    overlap_similarity,
    panorama_consistency,
    quality,
    seams,
)
from ..metrics.base import METRICS, Metric, Step, register
from ..plugins import load_plugins

PROTOCOLS_FILE = Path(__file__).with_name("protocols.yaml")
SCHEMA = Path(__file__).with_name("protocols.schema.json")
NOT_OPTIONS = ("metric", "extractors", "stand_in", "images")


@dataclass(frozen=True)
class Protocol:
    """A named, versioned way to measure.

    Attributes:
        tasks: the tasks it is for.
        description: what it measures, in one sentence.
        source: where it is defined.
        count: images on either side behind its published numbers, if there are any.
    """

    name: str
    version: int
    tasks: tuple[str, ...]
    description: str
    source: str
    count: int | None
    steps: tuple[Step, ...]

    @property
    def extractors(self) -> list[str]:
        """Names of the pretrained extractors that it is defined with."""
        return list(dict.fromkeys(name for step in self.steps for name in step.extractors))


@cache
def metrics() -> Mapping[str, Metric]:
    """All metrics by name, including those of other packages.

    Raises:
        InputError: a plug-in is not a metric, or its name is already registered.
    """
    for name, metric in load_plugins("metrics", Metric).items():
        try:
            register(metric)
        except ValueError as error:
            raise InputError(f"plug-in '{name}': {error}") from None
    return METRICS


@cache
def protocols() -> Mapping[str, Protocol]:
    """All protocols by name, including those of other packages.

    Raises:
        InputError: a file of protocols is wrong, or two have one name.
    """
    files = [PROTOCOLS_FILE, *(Path(file) for file in load_plugins("protocols").values())]
    found: dict[str, Protocol] = {}
    for file in files:
        for protocol in read_protocols(file):
            if protocol.name in found:
                raise InputError(
                    f"{file}: there already is a protocol '{protocol.name}'; choose another name."
                )
            found[protocol.name] = protocol
    return found


def read_protocols(file: Path) -> list[Protocol]:
    """Read a YAML file of protocols.

    Raises:
        InputError: it is unreadable, does not fit the schema, or names unknown metrics, options
            or extractors.
    """
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
        jsonschema.validate(content, json.loads(SCHEMA.read_text(encoding="utf-8")))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise InputError(f"{file}: could not be read as protocols ({error}).") from None
    except jsonschema.ValidationError as error:
        raise InputError(f"{file}: {error.json_path}: {error.message}.") from None
    return [_protocol(file, entry) for entry in content]


def _protocol(file: Path, entry: Mapping[str, Any]) -> Protocol:
    steps = tuple(_step(file, entry, key, given) for key, given in entry["metrics"].items())
    return Protocol(
        entry["name"],
        entry["version"],
        tuple(entry["tasks"]),
        entry["measures"],
        entry["source"],
        entry.get("count"),
        steps,
    )


def _step(file: Path, entry: Mapping[str, Any], key: str, given: Mapping[str, Any]) -> Step:
    where = f"{file}: protocol '{entry['name']}', '{key}'"
    name = given.get("metric", key)
    if name not in metrics():
        raise InputError(f"{where}: unknown metric '{name}'{suggest(name, metrics())}")
    options = {option: value for option, value in given.items() if option not in NOT_OPTIONS}
    if set(options) != set(metrics()[name].options):
        expected = ", ".join(metrics()[name].options) or "none"
        raise InputError(
            f"{where}: expected the options of '{name}' ({expected}), got "
            f"{', '.join(options) or 'none'}."
        )
    for extractor in given.get("extractors", ()):
        if extractor not in STANDARD_EXTRACTORS:
            known = suggest(extractor, STANDARD_EXTRACTORS)
            raise InputError(f"{where}: unknown extractor '{extractor}'{known}")
    return Step(
        key,
        name,
        entry["name"],
        entry["version"],
        given.get("images", entry.get("images", {"of": "views"})),
        tuple(given.get("extractors", ())),
        given.get("stand_in"),
        options,
    )
