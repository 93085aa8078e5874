"""Named, versioned protocols: data that say which metrics run on which images, and how.

The files in `definitions` hold them; other packages add files of their own (see `plugins`). A
protocol's name and version are stored with every number.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field, fields
from functools import cache, cached_property
from pathlib import Path
from typing import (
    Annotated,
    Any,
    Literal,
    Required,  # pydantic needs this one before Python 3.12
)

import yaml
from pydantic import AfterValidator, Field
from typing_extensions import TypedDict

from mvdiffusion.records import InputError
from mvdiffusion.settings import (
    STRICT,
    Count,
    FieldOfView,
    ImageSide,
    Text,
    parse,
    settings,
    suggest,
)
from mvdiffusion.tasks import Task

from ..extractors.pretrained import STANDARD_EXTRACTORS
from ..metrics import (  # noqa: F401 -- importing them registers the metrics
    controls,
    correspondence,
    depth_consistency,
    error_accumulation,
    given_view,
    image_quality,
    kernel_distances,
    met3r,
    overlap_similarity,
    panorama_consistency,
    precision_recall,
    quality,
)
from ..metrics.base import METRICS, Metric, Step, register
from ..metrics.panoramas import coherence, faces, seams  # noqa: F401 -- likewise
from ..plugins import load_plugins
from ..settings import InnerHalf
from .names import protocol_files

ALLOWED = {
    "views": {"of"},
    "panoramas": {"of", "without_poles"},
    "crops": {"of", "directions", "size", "fov_deg", "sampling", "resized_to"},
    "windows": {"of", "drawn"},
}
"""Keys of `Images` by what they are."""


def _go_together(images: Images) -> Images:
    of = images["of"]
    if not set(images) <= ALLOWED[of] or (of == "crops") != ({"directions", "size"} <= set(images)):
        known = ", ".join(sorted(ALLOWED[of] - {"of"})) or "nothing"
        raise ValueError(f"beside 'of: {of}' {known} alone, and crops with directions and size")
    return images


class Images(TypedDict, total=False):
    """Which images are measured; see `definitions/paper.yaml`.

    Attributes:
        of: the views themselves, whole panoramas, crops of these, or windows that share no pixel.
        drawn: whether one window per sample is drawn at random.
        directions: set of directions of the crops.
        size: height and width of a crop in pixels.
        fov_deg: field of view of a crop in degrees.
        sampling: how its pixels are sampled.
        resized_to: height and width in pixels that it then gets, in 8 bits.
        without_poles: share of the rows of a panorama that is left out above, and below.
    """

    __pydantic_config__ = STRICT  # type: ignore[misc]

    of: Required[Literal["views", "panoramas", "crops", "windows"]]
    drawn: bool
    directions: Literal["level_8", "level_random_8", "sphere_20", "cube_6", "tangent_18"]
    size: ImageSide
    fov_deg: FieldOfView
    sampling: Literal["area", "panfusion", "py360convert"]
    resized_to: ImageSide
    without_poles: InnerHalf


@settings
class Measured:
    """A metric of a protocol, without its options.

    Attributes:
        metric: name of the metric, if it is not the key.
        extractors: names of the pretrained extractors that the protocol is defined with.
        stand_in: kind of trained extractor that may take their place.
        images: which images are measured, if not those of the protocol.
    """

    metric: Text | None = None
    extractors: Annotated[tuple[Text, ...], Field(min_length=1)] | None = None
    stand_in: Text | None = None
    images: Annotated[Images, AfterValidator(_go_together)] | None = None


@settings
class Protocol:
    """A named, versioned way to measure.

    Attributes:
        name: name of the protocol.
        version: number that goes up whenever the protocol's numbers change.
        changelog: what has changed, a line for each version from 2.
        tasks: the tasks it is for.
        source: where it is defined.
        measures: what it measures, in one sentence.
        metrics: metrics by the name of what they measure; see `Measured`, beside options.
        count: images on either side behind its published numbers, if there are any.
        images: which images are measured, unless a metric says otherwise.
        undefined: what its source leaves open, and what is done here, a line each.
        on_request: whether it runs only if it is named, for the time that its images take.
    """

    name: Annotated[str, Field(pattern="^[a-z0-9][a-z0-9.-]*$")]
    tasks: Annotated[tuple[Task, ...], Field(min_length=1)]
    source: Text
    measures: Text
    metrics: Annotated[
        dict[Annotated[str, Field(pattern="^[a-z0-9_]+$")], dict[str, Any]], Field(min_length=1)
    ]
    version: Count = 1
    changelog: tuple[Text, ...] = ()
    count: Count | None = None
    images: Annotated[Images, AfterValidator(_go_together)] = field(
        default_factory=lambda: Images(of="views")
    )
    undefined: tuple[Text, ...] = ()
    on_request: bool = False

    @cached_property
    def steps(self) -> tuple[Step, ...]:
        """Its metrics, ready to be run.

        Raises:
            InputError: a metric, an option or an extractor is unknown.
        """
        return tuple(_step(self, key, given) for key, given in self.metrics.items())

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
    found: dict[str, Protocol] = {}
    for file in protocol_files():
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
        InputError: it is unreadable, a key is wrong, or it names unknown metrics, options or
            extractors.
    """
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise InputError(f"{file}: could not be read as protocols ({error}).") from None
    if not isinstance(content, list):
        raise InputError(f"{file}: expected a list of protocols.")
    try:
        found = [parse(Protocol, entry, str(number)) for number, entry in enumerate(content)]
        return [protocol for protocol in found if protocol.steps]  # which checks the metrics
    except InputError as error:
        raise InputError(f"{file}: {error}") from None


def _step(protocol: Protocol, key: str, given: Mapping[str, Any]) -> Step:
    where = f"protocol '{protocol.name}', '{key}'"
    known = {field.name for field in fields(Measured)}
    own = parse(Measured, {k: v for k, v in given.items() if k in known}, f"metrics.{key}")
    options = {option: value for option, value in given.items() if option not in known}
    name = own.metric or key
    if name not in metrics():
        raise InputError(f"{where}: unknown metric '{name}'{suggest(name, metrics())}")
    if set(options) != set(metrics()[name].options):
        expected = ", ".join(metrics()[name].options) or "none"
        raise InputError(
            f"{where}: expected the options of '{name}' ({expected}), got "
            f"{', '.join(options) or 'none'}."
        )
    for extractor in own.extractors or ():
        if extractor not in STANDARD_EXTRACTORS:
            suggestion = suggest(extractor, STANDARD_EXTRACTORS)
            raise InputError(f"{where}: unknown extractor '{extractor}'{suggestion}")
    return Step(
        *(key, name, protocol.name, protocol.version),
        images=own.images or protocol.images,
        extractors=own.extractors or (),
        stand_in=own.stand_in,
        options=options,
    )
