"""Scoring the images of an artifact again, with the protocols, settings and weights of its score.

Each number is either found again, differs, or is told with what it lacks here.
"""

from __future__ import annotations

import dataclasses
import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mvdiffusion.records import InputError, listed
from mvdiffusion.settings import parse

from ..extractors.base import LOADERS, Extractor, load_trained
from ..extractors.pretrained import STANDARD_EXTRACTORS, load_extractor
from ..extractors.store import FeatureStore
from ..extractors.weights import MissingWeights
from ..folders.faults import find_faults
from ..metrics.base import Inputs, Outcome, merge
from ..protocols.plan import Run, collect_features, run_of
from ..protocols.protocol import protocols
from ..scoring.sanity_checks import warnings_of
from ..scoring.score import describe_run
from ..scoring.score_files import as_stored
from ..settings import ScoreSettings
from .findings import Finding
from .opening import ROLES, Opened

TOLERANCE = 1e-6
"""Difference up to which numbers are equal: relative for those above 1, absolute below."""


@dataclass
class Again:
    """What was measured again, and what kept the rest from it.

    Attributes:
        outcome: all measurements.
        lacking: reasons by protocol, then by step; under "" that of the whole protocol.
        described: the protocols that were run, as score files describe them.
    """

    outcome: Outcome
    lacking: dict[str, dict[str, str]] = field(default_factory=lambda: defaultdict(dict))
    described: dict[str, dict[str, Any]] = field(default_factory=dict)


def extractor_names(content: Mapping[str, Any]) -> set[str]:
    """Names of the extractors that a score was given, without networks that metrics load."""
    return {
        name.rpartition(" (")[0]
        for name, about in content["extractors"].items()
        if name.rpartition(" (")[0] in STANDARD_EXTRACTORS or about.get("kind") in LOADERS
    }


def load_weights(
    content: Mapping[str, Any], recorded: Mapping[str, str], given: Sequence[str | Path]
) -> tuple[list[Extractor], list[Finding]]:
    """Load the extractors behind a score, and compare their weights with the recorded ones.

    Args:
        content: of the score file.
        recorded: hashes of weights by extractor, of the manifest.
        given: folders of trained extractors; pretrained ones are loaded by their names.

    Returns:
        Those whose weights are the recorded ones, and what was found.
    """
    findings, trained = [], {}
    for folder in given:
        try:
            extractor = load_trained(folder)
        except InputError as error:
            findings.append(Finding("weights", "differs", str(error)))
        else:
            trained[extractor.identity.name] = extractor
    loaded, names = [], extractor_names(content)
    for known, expected in recorded.items():
        name = known.rpartition(" (")[0]
        if name not in names:
            continue
        try:
            extractor = trained.get(name) or _standard(name)
        except InputError as error:
            findings.append(Finding("weights", "unverified", f"{known}: {str(error).rstrip('.')}"))
            continue
        found = extractor.identity.weights_sha256
        if found.startswith(expected) and str(extractor.identity) == known:
            loaded.append(extractor)
            findings.append(Finding("weights", "agrees", f"{known}: SHA-256 {found}"))
        else:
            said = (
                f"{known}: the SHA-256 of the weights here is {found}, but {expected} is recorded"
            )
            findings.append(Finding("weights", "differs", said))
    return loaded, findings


def _standard(name: str) -> Extractor:
    if name not in STANDARD_EXTRACTORS:
        raise MissingWeights("is a trained extractor; give its folder (--extractor)")
    return load_extractor(name)


def rescore(
    content: Mapping[str, Any], opened: Mapping[str, Opened], extractors: Sequence[Extractor]
) -> list[Finding]:
    """Score the images again and compare every number.

    Args:
        content: of the score file.
        opened: the folders that it was scored with, or some of them, by role.
        extractors: those that it was scored with, or some of them.
    """
    folders = {role: folder.scored for role, folder in opened.items()}
    settings = {**content["settings"], "protocols": (), "extractors": ()}
    faults = find_faults(folders["generated"])
    inputs = Inputs(
        folders["generated"],
        folders.get("reference"),
        _in_order(content, extractors),
        parse(ScoreSettings, settings),
        folders.get("vae_reconstruction"),
        FeatureStore(),
        faults,
    )
    again = _measure(content, inputs)
    findings = _compared_faults(content, as_stored(dataclasses.asdict(faults)))
    findings += _compared_protocols(content, again.described)
    findings += _compared(content, again, [r for r in ROLES[1:] if r not in opened])
    return findings + _warnings(inputs, opened)


def _in_order(content: Mapping[str, Any], extractors: Sequence[Extractor]) -> tuple[Extractor, ...]:
    """Put those first whose numbers have no extractor in their name: the score's first ones."""
    made = content["metrics"].values()
    first = {one["extractor"] for one in made if one["repeats"] is None}
    return tuple(sorted(extractors, key=lambda each: str(each.identity) not in first))


def _measure(content: Mapping[str, Any], inputs: Inputs) -> Again:
    """Run the protocols of a score, of the versions that it states."""
    again, runs = Again(Outcome({})), list[Run]()
    for name, about in content["protocols"].items():
        known = protocols().get(name)
        if known is None:
            again.lacking[name][""] = "a protocol that is not installed here"
        elif known.version != about["version"]:
            changes = "; ".join(known.changelog[about["version"] - 1 :])
            said = f"version {about['version']} of the protocol, but {known.version} is installed"
            again.lacking[name][""] = f"{said} ({changes})" if changes else said
    for known in protocols().values():  # in the order in which they were scored
        if known.name not in content["protocols"] or known.name in again.lacking:
            continue
        run = run_of(known, inputs)
        again.lacking[known.name] |= run.lacking
        again.described[known.name] = as_stored(describe_run(run))
        runs.append(run)
    collect_features([run for run in runs if run.steps], inputs.store)
    outcomes = []
    for run in runs:
        try:
            outcomes.append(run.measure())
        except MissingWeights as error:
            again.lacking[run.protocol.name][""] = str(error).rstrip(".")
    again.outcome = merge(outcomes)
    return again


def _compared(content: Mapping[str, Any], again: Again, absent: Sequence[str]) -> list[Finding]:
    """Compare all numbers of a score file with those measured again."""
    measured = again.outcome.measurements.items()
    found = as_stored({name: dataclasses.asdict(one) for name, one in measured})
    findings, reasons = list[Finding](), dict[str, list[str]]()
    missing = [role for role in absent if content[role] is not None]
    count = 0
    for name, one in content["metrics"].items():
        other = found.pop(name, None)
        if other is not None and other["extractor"] == one["extractor"]:
            differ = list(numeric_differences(one, other))
            count += not differ
            findings += _named(name, content["images"]["samples"], one, differ)
        elif reason := _reason(name, one, again, missing, other):
            reasons.setdefault(reason, []).append(name)
        else:
            said = (
                f"{name}: is recorded as {one['value']}, but its protocol measures no such number"
            )
            findings.append(Finding("numbers", "differs", said))
    for reason, names in reasons.items():
        said = f"{listed(names, 6)}: needs {reason}"
        findings.append(Finding("numbers", "unverified", said))
    for name in found:
        if found[name]["extractor"] in (None, *content["extractors"]):
            said = f"{name}: is {found[name]['value']}, but the score file lacks it"
            findings.append(Finding("numbers", "differs", said))
    if not reasons:
        findings += _compared_rows(content, again.outcome)
    said = (
        f"{count} of {len(content['metrics'])} metrics, scored again, with all values behind them"
    )
    return [*findings, *([Finding("numbers", "agrees", said)] if count else [])]


def _named(
    metric: str, samples: Sequence[str], one: Mapping[str, Any], differ: Sequence[Any]
) -> list[Finding]:
    """Name the number that differs, by its sample, and how many more do."""
    if not differ:
        return []
    key, recorded, found = next((d for d in differ if d[0] == "value"), differ[0])
    kind, _, place = key.partition(".")
    if kind == "values" and place and one["values_per"] == "sample":
        key = f"value of {samples[int(place)]}"
    more = f" (and {len(differ) - 1} more differences)" if len(differ) > 1 else ""
    said = f"{metric}: {key} is recorded as {recorded}, but scored again as {found}{more}"
    return [Finding("numbers", "differs", said)]


def _reason(
    name: str, one: Mapping[str, Any], again: Again, absent: Sequence[str], other: Any
) -> str:
    """Say what a number lacks that was not measured again; empty if nothing."""
    lacking = again.lacking.get(one["protocol"].partition("@")[0], {})
    if "" in lacking:
        return lacking[""]
    steps = [key for key in lacking if name == key or name.startswith(f"{key}_")]
    if steps:
        return lacking[max(steps, key=len)]
    if other is not None:
        return f"the extractor {one['extractor']}"
    return " and ".join(f"the {role} (--{role.replace('_', '-')})" for role in absent)


def _compared_rows(content: Mapping[str, Any], outcome: Outcome) -> list[Finding]:
    """Compare the breakdown by pairs and the curves by steps."""
    findings = []
    for kind in ("pairs", "steps"):
        differ = list(numeric_differences(content[kind], as_stored(getattr(outcome, kind)), kind))
        for key, recorded, found in differ[:1]:
            said = f"{key} is recorded as {recorded}, but scored again as {found}"
            more = f" (and {len(differ) - 1} more differences)" if len(differ) > 1 else ""
            findings.append(Finding("numbers", "differs", f"{said}{more}"))
    return findings


def _compared_faults(content: Mapping[str, Any], found: Any) -> list[Finding]:
    """Compare the counts of degenerate images and the hash of all pixels."""
    differ = list(numeric_differences(content["faults"], found, "faults"))
    return [
        Finding("numbers", "differs", f"{key} is recorded as {recorded}, but found as {now}")
        for key, recorded, now in differ
    ]


def _compared_protocols(
    content: Mapping[str, Any], described: Mapping[str, Mapping[str, Any]]
) -> list[Finding]:
    """Compare what a score file says that its protocols are, as far as they were run again."""
    findings = []
    for name, found in described.items():
        stated = content["protocols"][name]
        both = stated["metrics"].keys() & found["metrics"].keys()
        one, other = (
            {**about, "metrics": {key: about["metrics"][key] for key in both}}
            for about in (stated, found)
        )
        for key, recorded, now in list(numeric_differences(one, other, name))[:1]:
            said = f"{key} is recorded as {recorded!r:.60}, but is {now!r:.60}"
            findings.append(Finding("protocols", "differs", said))
    return findings


def _warnings(inputs: Inputs, opened: Mapping[str, Opened]) -> list[Finding]:
    """Warn of what scoring warns of, whether the score file still says so or not."""
    reference = opened["reference"].whole if "reference" in opened else None
    return [Finding("warnings", "note", warning) for warning in warnings_of(inputs, reference)]


def numeric_differences(one: Any, other: Any, name: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Compare two JSON values; numbers are equal up to `TOLERANCE`.

    Args:
        one: what was recorded.
        other: what was found now.
        name: of the value, for the names of its parts.

    Returns:
        Name, first and second value of each part that differs.
    """
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        for key in sorted({*one, *other}):
            inner = f"{name}.{key}".lstrip(".")
            yield from numeric_differences(one.get(key), other.get(key), inner)
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        for number, pair in enumerate(zip(one, other, strict=True)):
            yield from numeric_differences(*pair, f"{name}.{number}")
    elif not _equal(one, other):
        yield name, one, other


def _equal(one: Any, other: Any) -> bool:
    if all(isinstance(v, int | float) and not isinstance(v, bool) for v in (one, other)):
        return math.isclose(one, other, rel_tol=TOLERANCE, abs_tol=TOLERANCE)
    return type(one) is type(other) and one == other
