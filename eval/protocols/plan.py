"""Planning: which protocols, and which of their steps, can run on an input."""

from __future__ import annotations

import dataclasses
import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mvdiffusion.records import InputError
from mvdiffusion.settings import suggest

from ..extractors.base import Extractor
from ..extractors.pretrained import STANDARD_EXTRACTORS, load_extractor
from ..extractors.store import FeatureStore
from ..extractors.weights import MissingWeights
from ..folders.crops import select_images
from ..folders.samples import SampleFolder
from ..metrics.base import Inputs, Metric, Outcome, Step, merge
from .protocol import Protocol, metrics, protocols

AN_EXTRACTOR = "a feature extractor (--extractor)"
CONTENT = (
    "images with content, but neighboring views of every sample are constant, as non-finite "
    "weights or overflowing float16 make them"
)


@dataclass(frozen=True)
class Run:
    """A protocol with the steps that an input allows, and what the other steps lack.

    Attributes:
        samples: the samples to score, of which a step may leave some out.
    """

    protocol: Protocol
    steps: tuple[tuple[Step, Inputs], ...]
    lacking: Mapping[str, str]
    samples: tuple[str, ...]

    def measure(self) -> Outcome:
        """Run the steps.

        Raises:
            InputError: two of them measure something of one name.
        """
        return merge([self._measured(step, inputs) for step, inputs in self.steps])

    def _measured(self, step: Step, inputs: Inputs) -> Outcome:
        """Run a step; samples that it leaves out are counted, and have no value."""
        outcome = metrics()[step.metric].run(inputs, step)
        used = inputs.generated.sample_ids
        return outcome if used == self.samples else outcome.spread_over(self.samples, used)


def plan(inputs: Inputs) -> tuple[list[Run], Inputs]:
    """Match an input with the task's protocols that the settings name, or with all of them.

    One list of names may serve several tasks: protocols of other tasks are skipped. Of each
    protocol, the steps whose requirements are met are run.

    Args:
        inputs: what to score. Without extractors, protocols that are named load those that they
            are defined with and can use.

    Returns:
        The protocols that can run, and the input with all extractors that are loaded.

    Raises:
        InputError: an unknown name, none of the task's protocols, one of which nothing can run, or
            an extractor that cannot be loaded.
    """
    names = inputs.settings.protocols
    views = _Views(inputs, loads_extractors=bool(names) and not inputs.extractors)
    runs = [_run(protocol, views) for protocol in _chosen(names, inputs.generated.task)]
    possible = [run for run in runs if run.steps]
    lacking = [
        f"'{run.protocol.name}' needs {'; '.join(dict.fromkeys(run.lacking.values()))}"
        for run in runs
        if not run.steps
    ]
    root = inputs.generated.root
    if names and lacking:
        raise InputError(f"{root}: protocol {lacking[0]}.")
    if not possible:
        raise InputError(f"{root}: no protocol can run on this folder: {'; '.join(lacking)}.")
    return possible, dataclasses.replace(inputs, extractors=tuple(views.extractors))


def _chosen(names: Sequence[str], task: str) -> list[Protocol]:
    """The task's protocols that are named, or all but those that only run if they are named."""
    for name in names:
        if name not in protocols():
            raise InputError(f"protocols: unknown '{name}'{suggest(name, protocols())}")
    of_task = [protocol for protocol in protocols().values() if task in protocol.tasks]
    chosen = [p for p in of_task if (p.name in names if names else not p.on_request)]
    if not chosen:
        raise InputError(
            f"protocols: none of {list(names)} is for the task '{task}'; "
            f"known for it: {', '.join(protocol.name for protocol in of_task)}."
        )
    return chosen


def run_of(protocol: Protocol, inputs: Inputs) -> Run:
    """Find out which steps of one protocol an input allows."""
    return _run(protocol, _Views(inputs))


class _Views:
    """The kinds of images that steps measure, each derived from the input once."""

    def __init__(self, inputs: Inputs, loads_extractors: bool = False) -> None:
        self.inputs = inputs
        self.extractors = list(inputs.extractors)
        self._loads_extractors = loads_extractors
        self._seen: dict[str, Inputs | None] = {}
        self._missing: dict[tuple[str, ...], MissingWeights] = {}

    def of(self, spec: Mapping[str, Any]) -> Inputs | None:
        """The input with images of a kind; None if it has none."""
        key = json.dumps(spec, sort_keys=True)
        if key not in self._seen:
            generated, real = self.inputs.generated, self.inputs.reference
            chosen, reference = select_images(generated, spec), real and select_images(real, spec)
            self._seen[key] = None
            if chosen is not None:
                changed = dataclasses.replace(self.inputs, generated=chosen, reference=reference)
                self._seen[key] = changed
        return self._seen[key]

    def can_load(self, step: Step) -> bool:
        """Whether a step may have the extractors loaded that it is defined with."""
        return self._loads_extractors and bool(step.extractors)

    def can_serve(self, step: Step, metric: Metric) -> bool:
        """Whether there is an extractor for a step, or one may be loaded."""
        return self.can_load(step) or any(_serves(e, step, metric) for e in self.extractors)

    def load(self, step: Step) -> MissingWeights | None:
        """Load the extractors that a step is defined with; return what kept one from being loaded.

        No extractor is loaded, or looked for, twice.
        """
        loaded = {extractor.identity.name for extractor in self.extractors}
        if step.extractors not in self._missing:
            try:
                self.extractors += [load_extractor(n) for n in step.extractors if n not in loaded]
            except MissingWeights as error:
                self._missing[step.extractors] = error
        return self._missing.get(step.extractors)


def _run(protocol: Protocol, views: _Views) -> Run:
    """Match one protocol with the input.

    Raises:
        InputError: prompts that a step reads are wrong.
        MissingWeights: nothing can run without an extractor whose weights are missing.
    """
    steps: list[tuple[Step, Inputs]] = []
    lacking: dict[str, str] = {}
    unloaded: list[MissingWeights] = []
    for step in protocol.steps:
        step = with_settings(step, views.inputs)
        metric = metrics()[step.metric]
        extractor = "" if not metric.uses or views.can_serve(step, metric) else _wanted(step)
        seen = views.of(step.images)
        if seen is None:
            each = (_kind(step.images), extractor, metric.lacks(views.inputs))
            lacking[step.key] = " and ".join(filter(None, each))
            continue
        comparable = seen.with_consistency() if metric.agreement else seen
        if comparable is None:
            lacking[step.key] = CONTENT
            continue
        seen = comparable
        missing = metric.lacks(seen)  # asked once for all steps: comparing folders takes time
        if metric.reads_prompts and not extractor and not missing:
            seen.generated.check_prompts()  # before any work
        if views.can_load(step) and not missing and (error := views.load(step)):
            lacking[step.key] = f"a feature extractor: {str(error).rstrip('.')}"
            unloaded.append(error)
            continue
        serving = tuple(e for e in views.extractors if _serves(e, step, metric))
        if extractor or missing:
            lacking[step.key] = " and ".join(filter(None, (extractor, missing)))
        else:
            steps.append((step, dataclasses.replace(seen, extractors=serving)))
    if unloaded and not steps:
        raise unloaded[0]
    return Run(protocol, tuple(steps), lacking, views.inputs.generated.sample_ids)


def _wanted(step: Step) -> str:
    """Name the extractor that a step lacks."""
    if step.extractors or not step.stand_in:
        return AN_EXTRACTOR
    return f"a feature extractor of the kind '{step.stand_in}' (--extractor)"


def _kind(spec: Mapping[str, Any]) -> str:
    """Name what a folder must hold for panoramas, or for crops (see `select_images`)."""
    whole = "whole equirectangular panoramas"
    if spec.get("directions") != "level_8" or spec.get("sampling", "area") != "area":
        return whole
    return f"{whole}, or views in the same directions of {spec['size']} px or more"


def with_settings(step: Step, inputs: Inputs) -> Step:
    """Let settings take the place of options; a changed one is marked in the protocol's name.

    What images are measured may be changed too. An empty option is one for settings to fill: that
    is no change.
    """
    given = inputs.settings.options_for(inputs.generated.task)
    known = {**step.images, **step.options}
    new = {k: v for k, v in given.items() if k in known and v != known[k]}
    marks = [
        f"@{value}" if option == "resolution" else f"@{option}={value}"
        for option, value in new.items()
        if known[option] != ""
    ]
    images, options = (
        {k: new.get(k, v) for k, v in own.items()} for own in (step.images, step.options)
    )
    return dataclasses.replace(step, images=images, options=options, changed="".join(marks))


def _serves(extractor: Extractor, step: Step, metric: Metric) -> bool:
    """Pretrained extractors serve steps that name them; trained ones stand in for them."""
    name, kind = extractor.identity.name, extractor.description.get("kind")
    named = name in step.extractors
    if not named and (name in STANDARD_EXTRACTORS or kind != step.stand_in):
        return False
    return metric.takes(extractor)


def collect_features(
    runs: Sequence[Run], store: FeatureStore, part: tuple[int, int] = (0, 1)
) -> None:
    """Run the extractors over all images that the steps look at, each image decoded once.

    Real images go through those extractors alone whose features are compared.

    Args:
        runs: protocols with the steps that will be run.
        store: where the features are kept.
        part: which samples: every `part[1]`-th from number `part[0]`.
    """
    folders: dict[int, SampleFolder] = {}
    wanted: dict[int, dict[int, Extractor]] = defaultdict(dict)
    for step, inputs in (pair for run in runs for pair in run.steps):
        compares = metrics()[step.metric].compares
        for folder in (inputs.generated, inputs.real) if compares else (inputs.generated,):
            folders[id(folder)] = folder
            wanted[id(folder)] |= {id(extractor): extractor for extractor in inputs.extractors}
    for key, extractors in wanted.items():
        if extractors:
            folder = folders[key]
            if part[1] > 1:
                ids = folder.sample_ids[part[0] :: part[1]]
                folder = dataclasses.replace(folder, sample_ids=ids)
            store.add(folder, list(extractors.values()))
